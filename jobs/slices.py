"""A slice: what one Django-Q task does. Take a lane, run its items for a few seconds, hand the worker back."""

from __future__ import annotations

import errno
import logging
import os
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar
from uuid import UUID

from django.conf import settings
from django.db import InterfaceError, OperationalError, close_old_connections, connection, transaction
from django_q.conf import Conf

from orchestrator import requestids

from . import backoff, lanes, outbox, sql, wake
from .admission import admit
from .clusters import QUEUE_OF
from .drain import is_draining
from .heartbeat import heartbeat
from .lanes import HeldLane, LaneLost, Settlement, Step
from .models import Job, JobItem
from .pipelines import Cancelled, Context, Outage, Outcome, Permanent, Result, RetryLater, WorkItem, registry
from .states import ItemStatus

logger = logging.getLogger(__name__)
T = TypeVar("T")

TARGET_SECONDS = 0.25  # of work in one batch: what a crash repeats, and how late a result may be seen
FLAGS_SECONDS = 0.5  # how stale the answer of `stopped` may be
REPORT_SECONDS = 0.25  # between two reports of a running item that are written


def run_slice() -> None:
    """Run items of the best job of this cluster, if there is one. Any copy of this task is as good as another."""
    if is_draining():
        return
    cluster = Conf.CLUSTER_NAME
    recover_lanes()
    sql.rows("promote_due")
    admit(QUEUE_OF[cluster])
    lane = lanes.take(owner=f"{socket.gethostname()}:{os.getpid()}", cluster=cluster)
    if lane is not None:
        with requestids.carrying(lane.job.request_id):
            Slice(lane, cluster).run()


def recover_lanes() -> None:
    """Free lanes of lost workers, and see to the jobs that this changed."""
    for job_pk in lanes.recover():
        job = Job.objects.get(pk=job_pk)
        logger.warning("lane recovered from a lost worker", extra={"job": str(job.job_id)})
        wake.workers(job.cluster)
        job.settle()


class Slice:
    """One worker's turn on one lane."""

    def __init__(self, lane: HeldLane, cluster: str) -> None:
        self.lane = lane
        self.cluster = cluster
        self.pipeline = registry[lane.job.pipeline]
        self.ends_at = time.monotonic() + settings.SLICE_SECONDS
        self.n_together = min(self.pipeline.n_together(lane.job.config), lane.max_batch)
        self.batch = self.n_together
        self._flags_read_at = float("-inf")
        self._stopped = False
        self._published_at = float("-inf")

    def run(self) -> None:
        settlements: list[Settlement] = []
        n_settled = 0
        try:
            while True:
                n_settled += len(settlements)
                is_last = is_draining() or time.monotonic() >= self.ends_at
                step = self._step(settlements, 0 if is_last else self.batch)
                if n_settled:
                    self._publish()
                if step.stop or not step.items:
                    break
                settlements = self._work(step.items)
            self._durably(self._release)
        except LaneLost:
            logger.warning("lane lost", extra={"job": str(self.lane.job.job_id), "lane": str(self.lane.token)})
            return
        job = Job.objects.get(pk=self.lane.job.id)
        if job.is_final:
            admit(QUEUE_OF[job.cluster])  # cancelled: with this lane it gave its place back
        elif job.paused or not self._more_to_do():
            job.settle()
        outbox.publish_later(self.lane.job.id)

    def _step(self, settlements: Sequence[Settlement], batch: int) -> Step:
        try:
            return self._durably(lambda: lanes.step(self.lane, settlements, batch=batch))
        except (LaneLost, OperationalError, InterfaceError):
            raise
        except Exception:  # what one item brought cannot be stored, and must not take the others along
            if not settlements:
                raise
        for settlement in settlements:
            self._settle_alone(settlement)
        return self._step((), batch)

    def _settle_alone(self, settlement: Settlement) -> None:
        """Settle one item of a batch that was refused; as failed, where it is the one to blame."""
        try:
            self._durably(lambda: lanes.step(self.lane, [settlement], batch=0))
        except (LaneLost, OperationalError, InterfaceError):
            raise
        except Exception as error:
            log = {"job": str(self.lane.job.job_id), "item": settlement.item.id}
            logger.exception("item cannot be stored", extra=log)
            text = f"What it brought cannot be stored: {type(error).__name__}: {error}"
            failed = later(settlement.item, Permanent(text, code="unstorable"), settlement.processing_time_ms)
            failed = replace(failed, cost_usd=settlement.cost_usd)
            self._durably(lambda: lanes.step(self.lane, [failed], batch=0))

    def _publish(self) -> None:
        """Let viewers know, at most as often as publication would do anything."""
        if time.monotonic() - self._published_at > outbox.PUBLISH_INTERVAL_SECONDS:
            self._published_at = time.monotonic()
            outbox.publish_later(self.lane.job.id)

    # --- items

    def _work(self, items: list[WorkItem]) -> list[Settlement]:
        """Run a claimed batch. Items that could not be started go back and cost nothing."""
        settlements = []
        began = time.monotonic()
        deadline = self.pipeline.deadline_seconds
        with heartbeat.holding(self.lane.token, deadline * len(items)):
            for n, item in enumerate(items):
                if n and self.stopped():
                    settlements += [_given_back(left) for left in items[n:]]
                    break
                settlements.append(self._run_one(item, deadline))
        self._adapt_batch((time.monotonic() - began) / len(items))
        return settlements

    def _run_one(self, item: WorkItem, deadline_seconds: float) -> Settlement:
        began = time.monotonic()
        context = Context(self.lane.job, deadline_seconds, self.stopped, Reporter(self.lane, item).report)
        cause: Exception | None = None
        result: Result | None = None
        try:
            result = self.pipeline.run(item, context)
            lanes.dump(result.value)  # a result that cannot be stored is this item's fault, not the batch's
        except Exception as error:  # the edge of the worker loop
            cause = error
        elapsed_ms = round((time.monotonic() - began) * 1000)
        if cause is None and result is not None:
            return Settlement(
                item, ItemStatus.COMPLETED, result, processing_time_ms=elapsed_ms, cost_usd=result.cost_usd
            )
        return self._failed(item, cause, elapsed_ms)

    def _failed(self, item: WorkItem, cause: Exception | None, elapsed_ms: int) -> Settlement:
        log = {"job": str(self.lane.job.job_id), "item": item.id, "attempt": item.attempts}
        match cause:
            case Cancelled():
                return _given_back(item)
            case OperationalError() | InterfaceError():
                logger.warning("database away", extra=log)
                return later(item, Outage("The database was away.", code="database_away"), elapsed_ms)
            case OSError(errno=errno.ENOSPC | errno.EDQUOT):
                logger.warning("disk full", extra=log)
                return later(item, Outage("The disk has no room; free some.", code="disk_full"), elapsed_ms)
            case Outcome():
                logger.info("item not done", extra=log | {"error": cause.code})
                return later(item, cause, elapsed_ms)
            case _:
                logger.error("item failed unexpectedly", extra=log, exc_info=cause)
                text = f"Unexpected fault: {type(cause).__name__}: {cause}"
                return later(item, Permanent(text, code="unexpected"), elapsed_ms)

    def _adapt_batch(self, seconds_per_item: float) -> None:
        """Aim for a quarter of a second of work; slow items go one by one, and growth is gradual."""
        fitting = int(TARGET_SECONDS / max(seconds_per_item, 1e-6))
        self.batch = max(self.n_together, min(fitting, self.batch * 4, self.lane.max_batch))

    def stopped(self) -> bool:
        """True once the job was cancelled, the lane lost or this worker told to stop."""
        if not self._stopped and time.monotonic() - self._flags_read_at > FLAGS_SECONDS:
            self._flags_read_at = time.monotonic()
            try:
                self._stopped = is_draining() or not _is_wanted(self.lane.token)
            except (OperationalError, InterfaceError):
                connection.close()
        return self._stopped

    # --- the way out

    def _release(self) -> None:
        """Free the lane and, where more is to do, enqueue the next slice in the same transaction."""
        with transaction.atomic():
            lanes.free(self.lane.token)
            if is_draining():
                return
            if self._more_to_do():
                wake.workers(self.cluster)
            elif (seconds := _seconds_to_next_retry(self.lane.job.id)) is not None:
                wake.workers_in(self.cluster, seconds)

    def _more_to_do(self) -> bool:
        return JobItem.objects.filter(job_id=self.lane.job.id, status=ItemStatus.PENDING).exists()

    def _durably(self, action: Callable[[], T]) -> T:
        """Run a transaction again while the database is away, as long as the lease may still be ours."""
        gives_up_at = time.monotonic() + 2 * settings.LEASE_SECONDS
        while True:
            try:
                return action()
            except (OperationalError, InterfaceError):
                if time.monotonic() > gives_up_at or is_draining():
                    raise
                logger.warning("database away, trying again", extra={"job": str(self.lane.job.job_id)})
                connection.close()
                close_old_connections()
                time.sleep(0.2)


class Reporter:
    """Writes down what a running item says of its progress, and lets viewers know."""

    def __init__(self, lane: HeldLane, item: WorkItem) -> None:
        self.lane = lane
        self.item = item
        self._written: tuple[float, str] | None = None
        self._written_at = float("-inf")

    def report(self, share: float, detail: str) -> None:
        """Write it unless it is no news or the last news is younger than REPORT_SECONDS. Never raises: nobody waits
        for it, and the next report comes."""
        news = (round(min(max(share, 0.0), 1.0), 3), detail)
        if news == self._written or time.monotonic() - self._written_at < REPORT_SECONDS:
            return
        self._written, self._written_at = news, time.monotonic()
        try:
            lanes.report(self.lane, self.item, *news)
        except (OperationalError, InterfaceError):
            connection.close()
            return
        outbox.publish_later(self.lane.job.id)


def later(item: WorkItem, outcome: Outcome, elapsed_ms: int | None) -> Settlement:
    """Settle an item that brought no result: another attempt after a while, or failed for good."""
    failed = Settlement(
        item,
        ItemStatus.FAILED,
        error=str(outcome) or outcome.code,
        code=outcome.code,
        permanent=isinstance(outcome, Permanent),
        processing_time_ms=elapsed_ms,
        cost_usd=outcome.cost_usd,
    )
    if isinstance(outcome, Outage):
        wait = outcome.after_seconds if outcome.after_seconds is not None else backoff.OUTAGE_SECONDS
        return replace(failed, status=ItemStatus.WAITING, wait_seconds=wait, refund=True)
    if isinstance(outcome, RetryLater) and item.attempts < item.max_attempts:
        wait = backoff.seconds_after(item.attempts, outcome.after_seconds)
        return replace(failed, status=ItemStatus.WAITING, wait_seconds=wait)
    return failed


def _given_back(item: WorkItem) -> Settlement:
    return Settlement(item, ItemStatus.PENDING, refund=True)


def _is_wanted(token: UUID) -> bool:
    found = sql.rows("lane_flags", {"token": token})
    return bool(found) and found[0][0]


def _seconds_to_next_retry(job_pk: int) -> float | None:
    seconds: float | None = sql.rows("next_retry", {"job": job_pk})[0][0]
    return seconds
