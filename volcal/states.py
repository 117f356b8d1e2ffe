"""How a task stands in the words of its clients, and how far its job is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from jobs.models import JobItem, Lane
from jobs.states import DONE, ItemStatus, JobStatus

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from jobs.models import Job

WORKER_LOST = "worker_lost"
DEPENDENCY_FAILED = "dependency_failed"


class TaskStatus(StrEnum):
    WAITING = "waiting"  # files are missing; ends as an error where one of them expired or was withdrawn
    PENDING = "pending"  # all files are there; in the queue, or paused
    RUNNING = "running"
    DONE = "done"
    ERROR = "error"  # the stages say why
    KILLED = "killed"  # cancelled, or its worker was lost on the last attempt


def status_of(job: Job | None, *, is_complete: bool, is_measured: bool, is_lost: bool) -> TaskStatus:
    """Translate the job's status. is_complete: all files are there. is_lost: a stage failed because its worker was."""
    if job is None:  # purged from the queue's books
        return TaskStatus.DONE if is_measured else TaskStatus.KILLED
    if job.status in DONE:
        return TaskStatus.DONE
    if job.status == JobStatus.CANCELLED:
        return TaskStatus.KILLED
    if job.status == JobStatus.FAILED:
        return TaskStatus.KILLED if is_lost else TaskStatus.ERROR
    if job.status == JobStatus.RUNNING and not job.paused:
        return TaskStatus.RUNNING
    if not is_complete:
        return TaskStatus.WAITING
    return TaskStatus.PENDING


def lost_items() -> QuerySet[JobItem]:
    return JobItem.objects.filter(status=ItemStatus.FAILED, error_code=WORKER_LOST)


def failure_of(job: Job) -> JobItem | None:
    """Find the stage that failed by itself; those behind it failed with it."""
    failed = job.items.filter(status=ItemStatus.FAILED).order_by("seq")
    return failed.exclude(error_code=DEPENDENCY_FAILED).first() or failed.first()


def reason_of(job: Job) -> str:
    """Say why a job came to nothing, in a sentence for people."""
    if job.status == JobStatus.CANCELLED:
        return "The task was cancelled. Start it again to measure the same files."
    cause = failure_of(job)
    if cause is None:
        return "The task failed without saying why; start it again."
    if cause.error_code == WORKER_LOST:
        return f"The worker was lost while it ran the stage {cause.perspective}. Start the task again."
    return cause.error or cause.error_code


@dataclass(frozen=True)
class Stage:
    """One stage as a page shows it. progress: 0 to 1."""

    name: str
    status: str
    progress: float
    detail: str
    seconds: float | None
    attempts: int


def stages_of(job: Job | None) -> list[Stage]:
    """List the stages of a job in their order, with what the running one says of itself."""
    if job is None:
        return []
    lanes = Lane.objects.filter(job=job, token__isnull=False, report__isnull=False)
    reports: dict[int, dict[str, Any]] = {
        report["itemId"]: report for report in lanes.values_list("report", flat=True) if report is not None
    }
    return [_stage(item, reports.get(item.pk, {})) for item in job.items.order_by("seq")]


def _stage(item: JobItem, report: dict[str, Any]) -> Stage:
    is_running = item.status == ItemStatus.RUNNING
    done = 1.0 if item.status == ItemStatus.COMPLETED else 0.0
    return Stage(
        name=item.perspective,
        status=item.status,
        progress=float(report.get("progress", 0.0)) if is_running else done,
        detail=str(report.get("detail", "")) if is_running else item.error or "",
        seconds=item.processing_time / 1000 if item.processing_time is not None else None,
        attempts=item.attempts,
    )


def percent_of(stages: list[Stage]) -> int:
    """Say how much of a job is done, every stage counting the same."""
    return int(100 * sum(stage.progress for stage in stages) / max(len(stages), 1) + 1e-9)


def current_of(stages: list[Stage]) -> str | None:
    """Name the stage that runs, or the one that failed or comes next; None once all are done."""
    for wanted in (ItemStatus.RUNNING, ItemStatus.FAILED):
        if found := [stage.name for stage in stages if stage.status == wanted]:
            return found[0]
    return next((stage.name for stage in stages if stage.status in (ItemStatus.PENDING, ItemStatus.WAITING)), None)
