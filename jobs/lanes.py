"""Lanes: the leases under which items run. Whoever holds a lane's token may settle what it claimed; nobody else."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.db import DataError, IntegrityError, transaction
from django.db.models import F

from orchestrator.texts import storable

from . import sql
from .models import Executor, Job, JobEvent, JobItem, Lane, OnFailedDependency
from .pipelines import Finished, Result, WorkItem, WorkJob, registry
from .states import EventType, ItemStatus

logger = logging.getLogger(__name__)


@dataclass
class HeldLane:
    token: UUID
    cursor: int
    max_batch: int
    has_edges: bool
    job: WorkJob


@dataclass(frozen=True)
class Settlement:
    """How one claimed item ends. refund: the attempt does not count, since the item is not to blame."""

    item: WorkItem
    status: ItemStatus
    result: Result | None = None
    error: str | None = None
    code: str = ""
    permanent: bool = False
    processing_time_ms: int | None = None
    wait_seconds: float | None = None
    refund: bool = False
    cost_usd: Decimal | None = None


@dataclass
class Step:
    stop: bool
    """The job was cancelled or paused, or this lane was retired: claim no more."""
    items: list[WorkItem] = field(default_factory=list)


class LaneLost(Exception):
    """The token is not the lane's any more: the lease ran out, and somebody else may be at work."""


def take(
    *,
    owner: str,
    cluster: str | None = None,
    executor: Executor = Executor.INTERNAL,
    perspectives: list[str] | None = None,
    without: Sequence[int] = (),
) -> HeldLane | None:
    """Take a free lane of the best running job that has something to claim; None where there is none.

    without: primary keys of jobs to pass over.
    """
    taken = sql.rows(
        "take_lane",
        {
            "owner": owner,
            "cluster": cluster,
            "executor": executor,
            "perspectives": perspectives,
            "without": list(without),
            "lease": settings.LEASE_SECONDS,
        },
    )
    if not taken:
        return None
    token, cursor, max_batch, has_edges, pk, job_id, type_, pipeline, config, user_id, request_id, attempts = taken[0]
    job = WorkJob(pk, job_id, type_, pipeline, json.loads(config), user_id, request_id, attempts)
    return HeldLane(token, cursor, max_batch, has_edges, job)


def step(
    lane: HeldLane, settlements: Sequence[Settlement] = (), *, batch: int, perspectives: list[str] | None = None
) -> Step:
    """Settle a batch and claim the next one, all in one transaction (jobs/sql/step.sql).

    Items that are no longer held (cancelled meanwhile) are passed over, and what they brought is not stored.
    Raises LaneLost, with nothing written.
    """
    finished = [Finished(s.item, s.result) for s in settlements if s.result is not None]
    store = registry[lane.job.pipeline].store if finished else None
    if store is None and not (lane.has_edges and settlements):
        return _step(lane, settlements, batch, perspectives)
    with transaction.atomic():
        if not Lane.objects.select_for_update(no_key=True).filter(token=lane.token).exists():
            raise LaneLost
        held = set(
            JobItem.objects.select_for_update(no_key=True)
            .filter(lane_token=lane.token, status=ItemStatus.RUNNING)
            .values_list("pk", flat=True)
        )
        if store is not None and (finished := [done for done in finished if done.item.id in held]):
            store(lane.job, finished)
        kept = [settlement for settlement in settlements if settlement.item.id in held]
        if lane.has_edges:
            _step(lane, kept, 0, perspectives)
            _follow_edges(lane, kept)
            kept = []
        return _step(lane, kept, batch, perspectives)


def _step(lane: HeldLane, settlements: Sequence[Settlement], batch: int, perspectives: list[str] | None) -> Step:
    costs = [s.cost_usd for s in settlements if s.cost_usd is not None]
    found = sql.rows(
        "step",
        {
            "token": lane.token,
            "ids": [s.item.id for s in settlements],
            "statuses": [s.status.value for s in settlements],
            "results": [None if s.result is None else dump(s.result.value) for s in settlements],
            "errors": [storable(s.error) for s in settlements],
            "codes": [storable(s.code) for s in settlements],
            "permanents": [s.permanent for s in settlements],
            "times": [s.processing_time_ms for s in settlements],
            "waits": [None if s.wait_seconds is None else float(s.wait_seconds) for s in settlements],
            "refunds": [s.refund for s in settlements],
            "cost": sum(costs, Decimal()) if costs else None,
            "cursor": lane.cursor,
            "batch": batch,
            "perspectives": perspectives,
            "lease": settings.LEASE_SECONDS,
        },
    )
    if not found:
        raise LaneLost
    stop, _, claimed = found[0]
    items = [WorkItem(*values) for values in json.loads(claimed)]
    if items:
        lane.cursor = items[-1].seq
    elif batch and not stop and lane.cursor >= 0:
        # Nothing behind the cursor; items that came back (retries, other lanes' leftovers) lie before it.
        lane.cursor = -1
        return _step(lane, (), batch, perspectives)
    return Step(stop, items)


def dump(value: Any) -> str:
    """Write a result as JSON that PostgreSQL takes. Raises ValueError for NaN and infinity."""
    return json.dumps(storable(value), cls=DjangoJSONEncoder, allow_nan=False)


def _follow_edges(lane: HeldLane, settlements: Sequence[Settlement]) -> None:
    """Tell the items that waited for these: those that can go on, and those that never will."""
    done = [s.item.seq for s in settlements if s.status == ItemStatus.COMPLETED]
    failed = [s.item.seq for s in settlements if s.status == ItemStatus.FAILED]
    n_failed = settle_edges(lane.job.id, done, failed)
    if n_failed:
        Lane.objects.filter(token=lane.token).update(n_failed=F("n_failed") + n_failed)


def settle_edges(job_pk: int, done: Sequence[int], failed: Sequence[int]) -> int:
    """Follow the edges from items that closed. Returns how many items failed with the ones they build on."""
    if failed and Job.objects.filter(pk=job_pk, on_failed_dependency=OnFailedDependency.RUN).exists():
        done, failed = [*done, *failed], []
    if done or failed:
        sql.rows("lock_dependents", {"job": job_pk, "done": list(done), "failed": list(failed)})
    if done:
        sql.rows("release_items", {"job": job_pk, "done": list(done)})
    if not failed:
        return 0
    return sql.rows("fail_dependents", {"job": job_pk, "failed": list(failed)})[0][0]


def renew(token: UUID) -> bool:
    """Prolong a lease. False where it is lost."""
    return bool(sql.rows("renew_lane", {"token": token, "lease": settings.LEASE_SECONDS}))


def report(lane: HeldLane, item: WorkItem, share: float, detail: str) -> None:
    """Write down how far the item in hand is, while the lane is still ours. The event only says that there is news."""
    said = {
        "itemId": item.id,
        "name": item.perspective or item.image_path,
        "progress": share,
        "detail": storable(detail),
    }
    with transaction.atomic():
        if Lane.objects.filter(token=lane.token).update(report=said):
            JobEvent.objects.create(job_id=lane.job.id, type=EventType.JOB_PROGRESS, request_id=lane.job.request_id)


def free(token: UUID) -> None:
    """Give a lane back, in the caller's transaction, and with it whatever was claimed and never begun.

    Such items exist when a claim was committed but its answer was lost with the connection.
    """
    if Lane.objects.filter(token=token).update(token=None, owner="", lease_expires_at=None):
        JobItem.objects.filter(lane_token=token, status=ItemStatus.RUNNING).update(
            status=ItemStatus.PENDING, lane_token=None, attempts=F("attempts") - 1
        )


def clusters_with_expired_leases() -> list[str]:
    """Name the clusters whose workers should look for lost ones."""
    return sorted({cluster for *_, cluster in _expired()})


def recover() -> list[int]:
    """Free the lanes whose lease ran out and give their items back, or up. Returns the jobs' primary keys.

    Each in its own transaction: one that cannot be recovered is logged and stops no other.
    """
    recovered = set()
    for lane_pk, job_id, _ in _expired():
        try:
            recovered.update(_recover(lane_pk))
        except (DataError, IntegrityError):
            logger.exception("lane cannot be recovered", extra={"job": str(job_id), "lane": lane_pk})
    return sorted(recovered)


def _expired() -> list[tuple[int, UUID, str]]:
    return sql.rows("expired_leases", {"lease": settings.LEASE_SECONDS})


def _recover(lane_pk: int) -> list[int]:
    with transaction.atomic():
        freed = sql.rows("recover_lane", {"lane": lane_pk, "lease": settings.LEASE_SECONDS})
        for job_pk, _, failed in freed:
            if failed and Job.objects.filter(pk=job_pk, has_edges=True).exists():
                n_failed = settle_edges(job_pk, [], failed)
                Lane.objects.filter(pk=lane_pk).update(n_failed=F("n_failed") + n_failed)
    # After the commit: it takes the job's row, which must never be waited for while lanes are locked.
    Job.objects.filter(pk__in=[job_pk for job_pk, several, _ in freed if several]).update(max_batch=1)
    return [job_pk for job_pk, *_ in freed]
