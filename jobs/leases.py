"""Workers elsewhere: they claim items over HTTP under the same lanes, limits and fences as our own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from django.db import transaction

from orchestrator.problems import Conflict, Invalid, NotFound

from . import lanes, outbox, sql
from .admission import admit
from .clusters import QueueName
from .lanes import HeldLane, LaneLost, Settlement
from .models import Executor, Job, JobItem, Lane
from .pipelines import Outcome, Permanent, RetryLater, registry
from .slices import later, recover_lanes
from .states import ItemStatus


class LeaseLost(Conflict):
    """The lease on this item is lost"""


@dataclass(frozen=True)
class ClaimedItem:
    item: JobItem
    token: UUID
    lease_expires_at: datetime
    description: Mapping[str, Any]


def claim(worker: str, limit: int, perspectives: Sequence[str] | None = None) -> list[ClaimedItem]:
    """Claim up to `limit` items of jobs for outside workers, in queue order; each takes one lane of its job.

    An item that nobody can be asked any more (its image was deleted) is settled as that, and the next one claimed.
    """
    recover_lanes()
    sql.rows("promote_due")
    for queue in QueueName:
        admit(queue, asked=perspectives)
    claimed: list[ClaimedItem] = []
    exhausted: list[int] = []
    wanted = list(perspectives) if perspectives else None
    while len(claimed) < limit:
        with transaction.atomic():
            lane = lanes.take(owner=worker, executor=Executor.EXTERNAL, perspectives=wanted, without=exhausted)
            if lane is None:
                break
            items = lanes.step(lane, batch=1, perspectives=wanted).items
            if not items:
                lanes.free(lane.token)
                exhausted.append(lane.job.id)
                continue
            try:
                claimed.append(_described(lane, JobItem.objects.select_related("job").get(pk=items[0].id)))
            except Outcome as outcome:
                lanes.step(lane, [later(items[0], outcome, None)], batch=0)
                lanes.free(lane.token)
                transaction.on_commit(partial(_see_to, lane.job.id))
    return claimed


def _described(lane: HeldLane, item: JobItem) -> ClaimedItem:
    description = registry[lane.job.pipeline].describe(item.as_work_item(), lane.job)
    return ClaimedItem(item, lane.token, _lease_end(lane.token), description)


def renew(item_id: int, token: UUID) -> datetime:
    """Prolong the lease of an item. Raises NotFound, LeaseLost. Returns when it ends now."""
    _held(item_id, token)
    if not lanes.renew(token):
        raise _lost()
    return _lease_end(token)


def _lease_end(token: UUID) -> datetime:
    lease_expires_at = Lane.objects.values_list("lease_expires_at", flat=True).get(token=token)
    assert lease_expires_at is not None, "a held lane has a lease"
    return lease_expires_at


def settle(
    item_id: int,
    token: UUID,
    *,
    status: str,
    result: Any = None,
    error: str | None = None,
    permanent: bool = False,
    processing_time: int | None = None,
) -> JobItem:
    """Take what an outside worker says of its item, and free its lane.

    status: completed or failed. A failure that is not permanent goes back for another attempt while there are any.
    processing_time: milliseconds. Raises NotFound; LeaseLost if the lease ran out, the item is closed or the token is
    another's; Invalid if the result is not what the item asks for, and then the lease goes on.
    """
    with transaction.atomic():
        item = _held(item_id, token)
        lane = _lane_of(item, token)
        settlement = _settlement(item, lane, status, result, error, permanent, processing_time)
        try:
            lanes.step(lane, [settlement], batch=0)
        except LaneLost:
            raise _lost() from None
        lanes.free(token)
    _see_to(lane.job.id)
    item.refresh_from_db()
    return item


def _see_to(job_pk: int) -> None:
    """Close the job if this was its last item, and tell who watches it."""
    Job.objects.get(pk=job_pk).settle()
    outbox.publish_later(job_pk)


def _settlement(
    item: JobItem,
    lane: HeldLane,
    status: str,
    result: Any,
    error: str | None,
    permanent: bool,
    processing_time: int | None,
) -> Settlement:
    work_item = item.as_work_item()
    if status == ItemStatus.COMPLETED:
        try:
            accepted = registry[lane.job.pipeline].accept(work_item, lane.job, result)
        except Permanent as refusal:
            raise Invalid(str(refusal), errors={"result": [str(refusal)]}) from None
        return Settlement(
            work_item,
            ItemStatus.COMPLETED,
            accepted,
            processing_time_ms=processing_time,
            cost_usd=accepted.cost_usd,
        )
    text = error or "The worker gave no reason."
    outcome = Permanent(text, code="worker_refused") if permanent else RetryLater(text, code="worker_failed")
    return later(work_item, outcome, processing_time)


def _held(item_id: int, token: UUID) -> JobItem:
    item = JobItem.objects.select_related("job").filter(pk=item_id, job__executor=Executor.EXTERNAL).first()
    if item is None:
        raise NotFound(f"No item for outside workers has the id {item_id}.")
    if item.status != ItemStatus.RUNNING or item.lane_token != token:
        raise _lost()
    return item


def _lane_of(item: JobItem, token: UUID) -> HeldLane:
    row = Lane.objects.filter(token=token).select_related("job").first()
    if row is None:
        raise _lost()
    return HeldLane(token, row.cursor, row.job.max_batch, row.job.has_edges, row.job.as_work_job())


def _lost() -> LeaseLost:
    return LeaseLost("The lease on this item is over or belongs to another worker; drop the result and claim anew.")
