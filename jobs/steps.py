"""The steps of a job: each one locks the job's row, moves it, writes its event, in one transaction."""
# The mixin is only ever part of Job, and says so in the type of self.
# mypy: disable-error-code="misc"

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.db import InterfaceError, OperationalError, connection, models, transaction
from django.db.models import Exists, F
from django.db.models.functions import Coalesce, Now

from orchestrator.problems import Conflict, Invalid

from . import events, wake
from .clusters import QUEUE_OF
from .pipelines import Permanent, registry
from .signals import job_closed
from .states import DONE, FINAL, RETRYABLE, EventType, ItemStatus, JobStatus, sources_of

if TYPE_CHECKING:
    from django.contrib.auth.models import User

    from .models import Job, JobItem

logger = logging.getLogger(__name__)

# Items that a cancellation closes in its own transaction; beyond, the rest follows in steps of this size.
CLOSE_STEP = 20_000


class TransitionRefused(Conflict):
    """The job is not in a state for this"""


class JobSteps(models.Model):
    """What can be done to a job. Mixed into Job; every verb leaves the instance as the row is."""

    class Meta:
        abstract = True

    def cancel(self: Job, *, by: User | None, reason: str = "") -> None:
        """Stop the job for good: no item starts any more, and the late result of a running one is refused.

        Raises TransitionRefused if the job is final.
        """
        with transaction.atomic():
            self._lock()
            if self.is_final:
                raise TransitionRefused(f"The job is already {self.status}; only an open job can be cancelled.")
            self._close(JobStatus.CANCELLED)
            n_left = self.close_open_items(CLOSE_STEP)
            events.record(
                EventType.JOB_CANCELLED,
                job=self,
                by=by,
                data={"cancelledAt": self._closed_at().isoformat(), "reason": reason},
            )
            if n_left:
                wake.close_items(self.pk)
            self._release_dependents()
        self._let_next_in()

    def close_open_items(self: Job, limit: int) -> int:
        """Cancel what runs of a cancelled job, its row being locked, and up to `limit` other open items.

        Returns how many may be left.
        """
        with connection.cursor() as cursor:
            cursor.execute(
                """
                WITH running AS (
                    SELECT id FROM jobs_jobitem
                    WHERE status = 'running' AND lane_token IN (SELECT token FROM jobs_lane WHERE job_id = %s)
                    FOR UPDATE
                ), queued AS (
                    SELECT id FROM jobs_jobitem
                    WHERE job_id = %s AND status IN ('waiting', 'pending')
                    LIMIT %s FOR UPDATE
                ), open AS (
                    SELECT id FROM running UNION ALL SELECT id FROM queued
                )
                UPDATE jobs_jobitem item
                SET status = 'cancelled', lane_token = NULL, run_after = NULL, completed_at = now()
                FROM open WHERE item.id = open.id
                """,
                [self.pk, self.pk, limit],
            )
            n_closed = cursor.rowcount
        self._update(cancelled_images=F("cancelled_images") + n_closed)
        return limit if n_closed >= limit else 0

    def pause(self: Job, *, by: User | None) -> None:
        """Start no more items; running ones finish. Raises TransitionRefused if the job is final."""
        with transaction.atomic():
            self._lock()
            if self.is_final:
                raise TransitionRefused(f"The job is already {self.status}; only an open job can be paused.")
            if self.paused:
                return
            self._update(paused=True)
            events.record(EventType.JOB_PAUSED, job=self, by=by)
            self.give_place_back_if_idle()
        self._let_next_in()

    def resume(self: Job, *, by: User | None) -> None:
        """Go on after a pause. Raises TransitionRefused if the job is final."""
        with transaction.atomic():
            self._lock()
            if self.is_final:
                raise TransitionRefused(f"The job is already {self.status}; there is nothing to resume.")
            if not self.paused:
                return
            self._update(paused=False)
            events.record(EventType.JOB_RESUMED, job=self, by=by)
            if self.status == JobStatus.RUNNING:
                wake.workers(self.cluster, self.lanes.filter(retired=False).count())
        self._let_next_in()

    def archive(self: Job, *, by: User | None, reason: str = "") -> None:
        """Put a finished job out of sight. Raises TransitionRefused unless it is final and not archived."""
        from .models import JobArchive

        with transaction.atomic():
            self._lock()
            if not self.is_final:
                raise TransitionRefused(f"The job is {self.status}; cancel it or let it finish before archiving.")
            if self.archived:
                raise TransitionRefused("The job is archived already.")
            self._update(archived=True, archive_date=Now())
            JobArchive.objects.create(
                job=self,
                archived_by=by,
                archived_at=self.archive_date or Now(),
                reason=reason,
                status=self.status,
                total_images=self.total_images,
                processed_images=self.processed_images,
                failed_images=self.failed_images,
                cancelled_images=self.cancelled_images,
            )
            events.record(EventType.JOB_ARCHIVED, job=self, by=by, data={"reason": reason})

    def restore(self: Job, *, by: User | None, reason: str = "") -> None:
        """Bring an archived job back, behind all others. Raises TransitionRefused unless it is archived."""
        from .models import NextRank

        with transaction.atomic():
            self._lock()
            if not self.archived:
                raise TransitionRefused("The job is not archived.")
            self.archives.filter(restored_at=None).update(restored_at=Now(), restored_by=by)
            self._update(archived=False, archive_date=None, rank=NextRank())
            events.record(EventType.JOB_RESTORED, job=self, by=by, data={"reason": reason})

    def release(self: Job) -> bool:
        """Let a held job go, once it has no dependency in the way. False if nobody held it: nothing is done then.

        May be called inside the transaction that brings what the job waited for; the job starts after its commit.
        """
        with transaction.atomic():
            self._lock()
            if not self.held or self.is_final:
                return False
            self._update(held=False)
            self.leave_waiting_if_ready()
            transaction.on_commit(self._let_next_in)
        return True

    def retry_failed(self: Job, *, by: User | None, item_ids: Sequence[int] | None = None) -> int:
        """Give failed items a new budget of attempts. Returns how many.

        item_ids: only these, and the failed items that they build on. Raises TransitionRefused if nothing failed or
        none is chosen, or the job is archived or cancelled; Invalid if an id is none of the job's failed items.
        """
        from .models import NextRank

        with transaction.atomic():
            self._lock()
            if self.archived:
                raise TransitionRefused("The job is archived; restore it first.")
            failed: models.QuerySet[JobItem] = self.items.filter(status=ItemStatus.FAILED)
            if self.status not in RETRYABLE or not failed.exists():
                raise TransitionRefused(f"The job is {self.status} and has no failed items to retry.")
            if item_ids is not None:
                if not item_ids:
                    raise TransitionRefused("None of the job's failed items was chosen; look again at what failed.")
                failed = self._failed_with_what_they_build_on(item_ids)
            if self.status in FINAL:
                self._move(JobStatus.PENDING)
                self._update(completed_at=None, rank=NextRank())
            # Lanes before items, as STEP locks them; and what leaves `failed` must be in the base first.
            self._fold_lanes()
            n_retried = self._reopen(failed)
            self._update(failed_images=F("failed_images") - n_retried)
            events.record(EventType.JOB_RETRIED, job=self, by=by, data={"retriedItems": n_retried})
            if self.status == JobStatus.RUNNING:
                wake.workers(self.cluster, self.lanes.filter(retired=False).count())
        self._let_next_in()
        return n_retried

    def settle(self: Job) -> None:
        """Close the job if its last item has closed; give its place back if nothing of it can run at the moment."""
        with transaction.atomic():
            self._lock()
            if self.status in (JobStatus.RUNNING, JobStatus.PENDING) and not self._has_open_items():
                self._finish()
            elif self.status == JobStatus.RUNNING:
                self.give_place_back_if_idle()
        self._let_next_in()

    def give_place_back_if_idle(self: Job) -> None:
        """Step back from running to pending when nothing of the job runs or could start; its row is locked."""
        if self.status != JobStatus.RUNNING or self.lanes.filter(token__isnull=False).exists():
            return
        if self.paused or not self.items.filter(status=ItemStatus.PENDING).exists():
            self._move(JobStatus.PENDING)

    # --- private steps

    def _lock(self: Job) -> None:
        """Lock the row and read it anew. NO KEY: events that refer to the job are still written meanwhile."""
        fresh = type(self).objects.select_for_update(no_key=True).get(pk=self.pk)
        for field in self._meta.concrete_fields:
            setattr(self, field.attname, getattr(fresh, field.attname))

    def _update(self: Job, **columns: Any) -> None:
        """Write columns of the locked row, one version on, and read them back."""
        type(self).objects.filter(pk=self.pk).update(**columns, version=F("version") + 1)
        self.refresh_from_db(fields=[*columns, "version"])

    def _move(self: Job, to: JobStatus) -> None:
        if self.status not in sources_of(to):
            raise TransitionRefused(f"The job is {self.status} and cannot become {to}.")
        self._update(status=to)

    def _has_open_items(self: Job) -> bool:
        # One look per status, each under its partial index, instead of a walk over all items. And all in one statement:
        # between two of them, an item that runs could go back to where the first has looked already.
        tokens = self.lanes.filter(token__isnull=False).values("token")
        pending, waiting = (self.items.filter(status=status) for status in (ItemStatus.PENDING, ItemStatus.WAITING))
        running = self.items.model.objects.filter(status=ItemStatus.RUNNING, lane_token__in=tokens)
        any_open = Exists(pending) | Exists(waiting) | Exists(running)
        return type(self).objects.filter(any_open, pk=self.pk).exists()

    def _finish(self: Job) -> None:
        self._fold_lanes()
        if self.failed_images and not self.processed_images:
            status = JobStatus.FAILED
        elif self.failed_images:
            status = JobStatus.PARTIAL
        else:
            status = JobStatus.COMPLETED
        try:
            result = self._collect()
        except Permanent:
            status, result = JobStatus.FAILED, None
        except (OperationalError, InterfaceError):
            raise
        except Exception:  # a job that never closes would keep its place, and stop whatever looks after all jobs
            logger.exception("result cannot be collected", extra={"job": str(self.job_id)})
            status, result = JobStatus.FAILED, None
        self._close(status, result=result)
        events.record(
            EventType.JOB_FAILED if status == JobStatus.FAILED else EventType.JOB_COMPLETED,
            job=self,
            data=self._closing_data(),
        )
        self._release_dependents()

    def _collect(self: Job) -> Any:
        from .lanes import dump

        with transaction.atomic():
            return json.loads(dump(registry[self.pipeline].collect(self.as_work_job())))

    def _closing_data(self: Job) -> Mapping[str, Any]:
        completed_at = self._closed_at()
        seconds = (completed_at - self.started_at).total_seconds() if self.started_at else 0
        return {
            "status": self.status,
            "completedAt": completed_at.isoformat(),
            "totalProcessed": self.processed_images,
            "totalFailed": self.failed_images,
            "processingTime": round(seconds * 1000),
        }

    def _closed_at(self: Job) -> datetime:
        assert self.completed_at is not None, "a closed job has its time"
        return self.completed_at

    def _close(self: Job, status: JobStatus, **columns: Any) -> None:
        self._fold_lanes()
        self._move(status)
        self._update(completed_at=Now(), paused=False, **columns)
        transaction.on_commit(lambda: job_closed.send_robust(type(self), job=self))

    def _fold_lanes(self: Job) -> None:
        """Move what the lanes counted onto the job's row, so that a closed job needs no sum."""
        lanes = list(self.lanes.select_for_update(no_key=True).order_by("id"))
        if not lanes:
            return
        costs = [lane.cost_usd for lane in lanes if lane.cost_usd is not None]
        columns: dict[str, Any] = {
            "processed_images": F("processed_images") + sum(lane.n_completed for lane in lanes),
            "failed_images": F("failed_images") + sum(lane.n_failed for lane in lanes),
        }
        if costs:
            columns["cost_usd"] = Coalesce("cost_usd", 0, output_field=models.DecimalField()) + sum(costs)
        self.lanes.update(n_completed=0, n_failed=0, cost_usd=None)
        self._update(**columns)

    def _reopen(self: Job, failed: models.QuerySet) -> int:
        """Put failed items back to the start: claimable, or waiting where what they build on is not done.

        What had gone on without them waits for them again, unless it runs: each of them lets it go once more.
        """
        n = failed.update(
            status=ItemStatus.PENDING,
            max_attempts=F("attempts") + self.max_attempts,
            error=None,
            error_code="",
            error_permanent=False,
            completed_at=None,
            started_at=None,
            processing_time=None,
            blocked_by=0,
        )
        if self.has_edges:
            with connection.cursor() as cursor:
                cursor.execute(
                    """
                    UPDATE jobs_jobitem item
                    SET status = CASE item.status WHEN 'running' THEN 'running' ELSE 'waiting' END, blocked_by = open.n
                    FROM (SELECT edge.seq, count(*) AS n
                          FROM jobs_itemedge edge
                          JOIN jobs_jobitem source ON source.job_id = edge.job_id AND source.seq = edge.depends_on_seq
                          WHERE edge.job_id = %s AND source.status IN ('waiting', 'pending', 'running')
                          GROUP BY edge.seq) open
                    WHERE item.job_id = %s AND item.seq = open.seq AND item.blocked_by <> open.n
                      AND item.status IN ('waiting', 'pending', 'running')
                    """,
                    [self.pk, self.pk],
                )
        return n

    def _failed_with_what_they_build_on(self: Job, item_ids: Sequence[int]) -> models.QuerySet:
        failed = self.items.filter(status=ItemStatus.FAILED)
        known = set(failed.filter(pk__in=item_ids).values_list("pk", flat=True))
        if unknown := sorted(set(item_ids) - known):
            raise Invalid(
                "Some of these items did not fail or are not of this job.",
                errors={"itemIds": [f"{pk} is not a failed item of this job." for pk in unknown]},
            )
        if not self.has_edges:
            return failed.filter(pk__in=known)
        with connection.cursor() as cursor:
            cursor.execute(
                """
                WITH RECURSIVE wanted AS (
                    SELECT seq FROM jobs_jobitem WHERE id = ANY (%s)
                    UNION
                    SELECT edge.depends_on_seq FROM jobs_itemedge edge JOIN wanted ON wanted.seq = edge.seq
                    WHERE edge.job_id = %s
                )
                SELECT seq FROM wanted
                """,
                [sorted(known), self.pk],
            )
            return failed.filter(seq__in=[row[0] for row in cursor.fetchall()])

    def _release_dependents(self: Job) -> None:
        """Let jobs go that waited for this one, now that it is final."""
        for dependency in self.dependents.select_related("job").order_by("job_id"):
            if dependency.job.status == JobStatus.WAITING:
                dependency.job.leave_waiting_if_ready()

    def leave_waiting_if_ready(self: Job) -> None:
        """Become pending when no dependency is in the way any more. Within the caller's transaction."""
        self._lock()
        if self.status == JobStatus.WAITING and not self.held and not self.blocking().exists():
            self._move(JobStatus.PENDING)
            events.record(EventType.JOB_READY, job=self)

    def blocking(self: Job) -> models.QuerySet:
        """List the dependencies that keep this job waiting. A cancelled one counts as failed."""
        from .models import Job, OnFailedDependency

        enough = FINAL if self.on_failed_dependency == OnFailedDependency.RUN else DONE
        return Job.objects.filter(dependents__job=self).exclude(status__in=enough)

    def _let_next_in(self: Job) -> None:
        from .admission import admit

        # A dependent may be of the other queue.
        dependents = self.dependents.values_list("job__cluster", flat=True)
        for queue in sorted({QUEUE_OF[cluster] for cluster in (self.cluster, *dependents)}):
            admit(queue)
