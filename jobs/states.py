"""The statuses of jobs and items, and the steps between them."""

from django.db import models


class JobStatus(models.TextChoices):
    WAITING = "waiting"  # left when nobody holds it and every job it depends on is done, or failed and may be
    PENDING = "pending"  # left when admission gives it one of the places of its queue
    RUNNING = "running"  # left when its last item closes, when it is cancelled, or when it gives its place back
    COMPLETED = "completed"  # left by retry only when items of it failed, so never
    PARTIAL = "partial"  # left by retry-failed
    FAILED = "failed"  # left by retry-failed
    CANCELLED = "cancelled"  # left by nothing


class ItemStatus(models.TextChoices):
    WAITING = "waiting"  # left when the items it depends on are done and its backoff is over
    PENDING = "pending"  # left when a lane claims it
    RUNNING = "running"  # left when the lane settles it or its lease runs out
    COMPLETED = "completed"  # left by nothing
    FAILED = "failed"  # left by retry-failed
    CANCELLED = "cancelled"  # left by nothing


ACTIVE = (JobStatus.WAITING, JobStatus.PENDING, JobStatus.RUNNING)
FINAL = (JobStatus.COMPLETED, JobStatus.PARTIAL, JobStatus.FAILED, JobStatus.CANCELLED)
DONE = (JobStatus.COMPLETED, JobStatus.PARTIAL)  # what a job that depends on this one waits for
RETRYABLE = (JobStatus.PENDING, JobStatus.RUNNING, JobStatus.PARTIAL, JobStatus.FAILED)

OPEN_ITEMS = (ItemStatus.WAITING, ItemStatus.PENDING, ItemStatus.RUNNING)

STEPS: dict[JobStatus, tuple[JobStatus, ...]] = {
    JobStatus.WAITING: (JobStatus.PENDING, JobStatus.CANCELLED),
    JobStatus.PENDING: (JobStatus.RUNNING, JobStatus.CANCELLED, *FINAL),
    JobStatus.RUNNING: (JobStatus.PENDING, *FINAL),
    JobStatus.COMPLETED: (),
    JobStatus.PARTIAL: (JobStatus.PENDING,),
    JobStatus.FAILED: (JobStatus.PENDING,),
    JobStatus.CANCELLED: (),
}


def sources_of(target: JobStatus) -> list[JobStatus]:
    """List the statuses from which a job may step to `target`."""
    return [source for source, targets in STEPS.items() if target in targets]


class JobType(models.TextChoices):
    """What kind of work a job is, as the API names it. A pipeline may add its own; the column is open."""

    MULTI_PERSPECTIVE = "MULTI_PERSPECTIVE"
    DATASET_PERSPECTIVE = "DATASET_PERSPECTIVE"
    BACKFILL = "BACKFILL"
    DEPENDENCY_CHAIN = "DEPENDENCY_CHAIN"
    IMPORT = "IMPORT"
    EXPORT = "EXPORT"
    SURVEY = "SURVEY"
    WORKFLOW = "WORKFLOW"


class EventType(models.TextChoices):
    JOB_CREATED = "JOB_CREATED"
    JOB_READY = "JOB_READY"
    JOB_STARTED = "JOB_STARTED"
    JOB_PROGRESS = "JOB_PROGRESS"
    JOB_ITEM_COMPLETED = "JOB_ITEM_COMPLETED"
    JOB_ITEM_FAILED = "JOB_ITEM_FAILED"
    JOB_COMPLETED = "JOB_COMPLETED"
    JOB_FAILED = "JOB_FAILED"
    JOB_CANCELLED = "JOB_CANCELLED"
    JOB_PAUSED = "JOB_PAUSED"
    JOB_RESUMED = "JOB_RESUMED"
    JOB_RETRIED = "JOB_RETRIED"
    JOB_ARCHIVED = "JOB_ARCHIVED"
    JOB_RESTORED = "JOB_RESTORED"
    QUEUE_REORDERED = "QUEUE_REORDERED"
    LIMITS_CHANGED = "LIMITS_CHANGED"
