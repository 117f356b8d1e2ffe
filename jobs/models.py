"""The queue's rows: queues, jobs, items, lanes, events, archives.

Rows are the truth; a Django-Q task only brings a process to them (docs/explanation/queue.md).
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import models, transaction
from django.db.models.functions import Now

from .clusters import Cluster, QueueName
from .pipelines import WorkItem, WorkJob
from .querysets import ItemQuerySet, JobQuerySet
from .states import ACTIVE, FINAL, EventType, ItemStatus, JobStatus
from .steps import JobSteps

if TYPE_CHECKING:
    from django.contrib.auth.models import User


class RandomUUID(models.Func):
    """PostgreSQL's own version-4 UUID, so that rows made by COPY have one too."""

    template = "gen_random_uuid()"
    output_field = models.UUIDField()


class NextRank(models.Func):
    """A rank behind every other; a sequence, so that creating jobs needs no lock."""

    template = "nextval('jobs_rank')"
    output_field = models.DecimalField(max_digits=60, decimal_places=30)


class Queue(models.Model):
    """Limits that hold over all machines. An empty limit means the environment's value."""

    name = models.TextField(primary_key=True, choices=QueueName.choices)
    max_jobs = models.PositiveSmallIntegerField(null=True, blank=True)
    max_items = models.PositiveSmallIntegerField(null=True, blank=True)
    paused = models.BooleanField(default=False, db_default=False)
    version = models.PositiveBigIntegerField(default=0, db_default=0, editable=False)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(max_items__isnull=True) | models.Q(max_items__range=(1, 64)),
                name="queue_max_items_between_1_and_64",
            ),
            models.CheckConstraint(
                condition=models.Q(max_jobs__isnull=True) | models.Q(max_jobs__range=(0, 64)),
                name="queue_max_jobs_between_0_and_64",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def job_limit(self) -> int:
        """Jobs of this queue that may run at once."""
        if self.max_jobs is not None:
            return self.max_jobs
        return settings.MAX_CONCURRENT_HEAVY_JOBS if self.name == QueueName.HEAVY else settings.MAX_CONCURRENT_JOBS

    @property
    def item_limit(self) -> int:
        """Items of one job of this queue that may run at once."""
        return self.max_items if self.max_items is not None else settings.MAX_CONCURRENT_ITEMS

    def set_limits(self, *, max_jobs: int | None, max_items: int | None, by: User | None) -> None:
        """Change the limits at once: more start now; fewer drain, nothing is killed. None: the environment's value."""
        self._change(by, max_jobs=max_jobs, max_items=max_items)

    def pause(self, *, by: User | None) -> None:
        """Start nothing in this queue any more; running items finish."""
        self._change(by, paused=True)

    def resume(self, *, by: User | None) -> None:
        self._change(by, paused=False)

    def _change(self, by: User | None, **columns: Any) -> None:
        from . import admission, events

        with transaction.atomic():
            type(self).objects.filter(pk=self.pk).update(**columns)
            self.refresh_from_db()
            admission.apply_limits(self.name)
            events.record(
                EventType.LIMITS_CHANGED,
                by=by,
                data={
                    "queue": self.name,
                    "maxConcurrentJobs": self.job_limit,
                    "maxConcurrentItems": self.item_limit,
                    "paused": self.paused,
                },
            )
        admission.admit(self.name)


class Executor(models.TextChoices):
    INTERNAL = "internal"  # our own Django-Q workers
    EXTERNAL = "external"  # workers elsewhere that claim over HTTP


class OnFailedDependency(models.TextChoices):
    WAIT = "wait"
    RUN = "run"


class Job(JobSteps):
    """One piece of work in the queue, made of items."""

    job_id = models.UUIDField(unique=True, default=uuid.uuid4, db_default=RandomUUID(), editable=False)
    type = models.TextField()
    pipeline = models.TextField()
    cluster = models.TextField(choices=Cluster.choices, default=Cluster.DEFAULT, db_default=Cluster.DEFAULT)
    queue = models.ForeignKey(Queue, on_delete=models.PROTECT, default=QueueName.DEFAULT, related_name="jobs")
    name = models.TextField(blank=True, default="", db_default="")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="jobs")
    status = models.TextField(choices=JobStatus.choices, default=JobStatus.PENDING, db_default=JobStatus.PENDING)
    paused = models.BooleanField(default=False, db_default=False)
    held = models.BooleanField(default=False, db_default=False)  # waiting until somebody outside the queue releases it
    executor = models.TextField(choices=Executor.choices, default=Executor.INTERNAL, db_default=Executor.INTERNAL)
    on_failed_dependency = models.TextField(
        choices=OnFailedDependency.choices, default=OnFailedDependency.WAIT, db_default=OnFailedDependency.WAIT
    )
    priority = models.PositiveSmallIntegerField(default=100, db_default=100)
    rank = models.DecimalField(max_digits=60, decimal_places=30, db_default=NextRank(), editable=False)
    config = models.JSONField(default=dict, db_default={})
    result = models.JSONField(null=True, blank=True)
    max_attempts = models.PositiveSmallIntegerField(default=3, db_default=3)
    # 1 after a worker died with several items in hand, so that only the one at fault pays for the next death.
    max_batch = models.PositiveSmallIntegerField(default=50, db_default=50)
    has_edges = models.BooleanField(default=False, db_default=False)
    total_images = models.PositiveIntegerField(default=0, db_default=0)
    # What was closed outside a living lane: by bulk verbs, and by lanes already folded in. Live counts add the lanes'.
    processed_images = models.PositiveIntegerField(default=0, db_default=0)
    failed_images = models.PositiveIntegerField(default=0, db_default=0)
    cancelled_images = models.PositiveIntegerField(default=0, db_default=0)
    cost_usd = models.DecimalField(max_digits=14, decimal_places=8, null=True, blank=True)
    request_id = models.TextField(blank=True, default="", db_default="")
    version = models.PositiveBigIntegerField(default=0, db_default=0, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    started_at = models.DateTimeField(null=True, editable=False)
    completed_at = models.DateTimeField(null=True, editable=False)
    archived = models.BooleanField(default=False, db_default=False)
    archive_date = models.DateTimeField(null=True, editable=False)

    objects = JobQuerySet.as_manager()

    class Meta:
        indexes = [
            # Admission: the best pending job of a queue. The queue page: jobs in order.
            # Taking a lane: the few running jobs in order, however many wait.
            models.Index(fields=["priority", "rank", "id"], name="job_running", condition=models.Q(status="running")),
            models.Index(
                fields=["queue", "priority", "rank", "id"], name="job_in_order", condition=models.Q(status__in=ACTIVE)
            ),
            # The list: everything unarchived, newest finished first or in queue order.
            models.Index(fields=["priority", "rank", "id"], name="job_listed", condition=models.Q(archived=False)),
            models.Index(fields=["user", "-created_at"], name="job_of_user"),
            # Statistics of the last hours and days.
            models.Index(fields=["completed_at"], name="job_finished", condition=models.Q(completed_at__isnull=False)),
            models.Index(fields=["-archive_date"], name="job_archived", condition=models.Q(archived=True)),
        ]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(priority__range=(0, 1000)), name="job_priority_between_0_and_1000"
            ),
            models.CheckConstraint(
                condition=models.Q(max_attempts__range=(1, 10)), name="job_max_attempts_between_1_and_10"
            ),
            models.CheckConstraint(
                condition=models.Q(archived=False) | models.Q(status__in=FINAL), name="job_archived_only_when_final"
            ),
            models.CheckConstraint(condition=models.Q(status__in=JobStatus.values), name="job_status_known"),
        ]

    def __str__(self) -> str:
        return self.name or f"{self.type} {self.job_id}"

    @property
    def is_final(self) -> bool:
        return self.status in FINAL

    def as_work_job(self) -> WorkJob:
        return WorkJob(
            self.pk,
            self.job_id,
            self.type,
            self.pipeline,
            self.config,
            self.user_id,
            self.request_id,
            self.max_attempts,
        )


class JobDependency(models.Model):
    """`job` starts only after `depends_on` is done."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="dependencies")
    depends_on = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="dependents")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["job", "depends_on"], name="job_dependency_once"),
            models.CheckConstraint(
                condition=~models.Q(job=models.F("depends_on")), name="job_does_not_depend_on_itself"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.job_id} after {self.depends_on_id}"


class JobItem(models.Model):
    """The smallest piece of work: one image under one perspective, one stage, one node."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="items")
    seq = models.PositiveIntegerField()
    image_path = models.TextField(blank=True, default="", db_default="")
    perspective = models.TextField(blank=True, default="", db_default="")
    payload = models.JSONField(default=dict, db_default={})
    status = models.TextField(choices=ItemStatus.choices, default=ItemStatus.PENDING, db_default=ItemStatus.PENDING)
    blocked_by = models.PositiveIntegerField(default=0, db_default=0)
    run_after = models.DateTimeField(null=True, blank=True)
    attempts = models.PositiveSmallIntegerField(default=0, db_default=0)
    max_attempts = models.PositiveSmallIntegerField(default=3, db_default=3)
    lane_token = models.UUIDField(null=True, blank=True)
    result = models.JSONField(null=True, blank=True)
    error = models.TextField(null=True, blank=True)  # noqa: DJ001  clients tell null (none) from text
    error_code = models.TextField(blank=True, default="", db_default="")
    error_permanent = models.BooleanField(default=False, db_default=False)
    started_at = models.DateTimeField(null=True)
    completed_at = models.DateTimeField(null=True)
    processing_time = models.PositiveIntegerField(null=True)  # milliseconds

    objects = ItemQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["job", "seq"], name="item_seq_once"),
            models.CheckConstraint(condition=models.Q(status__in=ItemStatus.values), name="item_status_known"),
            models.CheckConstraint(
                condition=models.Q(lane_token__isnull=False) ^ ~models.Q(status="running"),
                name="item_running_means_held",
            ),
        ]
        indexes = [
            # STEP claims in this order; never by id, which falls back to walking the primary key.
            models.Index(fields=["job", "seq"], name="item_ready", condition=models.Q(status="pending")),
            # The fence: what a lane holds.
            models.Index(fields=["lane_token"], name="item_held", condition=models.Q(status="running")),
            # Open though not claimable: the job cannot close yet; cancel and reconcile find them here.
            models.Index(fields=["job", "seq"], name="item_waiting", condition=models.Q(status="waiting")),
            # Backoffs that are due.
            models.Index(
                fields=["run_after"], name="item_due", condition=models.Q(status="waiting", run_after__isnull=False)
            ),
            # Failed items of a job, also at a million; retry-failed.
            models.Index(fields=["job", "seq"], name="item_failed", condition=models.Q(status="failed")),
        ]

    def __str__(self) -> str:
        return f"item {self.seq} of job {self.job_id}"

    def as_work_item(self) -> WorkItem:
        return WorkItem(
            self.pk, self.seq, self.attempts, self.max_attempts, self.image_path, self.perspective, self.payload
        )


class ItemEdge(models.Model):
    """Item `seq` starts only after item `depends_on_seq` of the same job. Keyed by seq, so that COPY needs no ids."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="edges")
    seq = models.PositiveIntegerField()
    depends_on_seq = models.PositiveIntegerField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["job", "depends_on_seq", "seq"], name="item_edge_once")]

    def __str__(self) -> str:
        return f"{self.seq} after {self.depends_on_seq}"


class Lane(models.Model):
    """A lease on one of the places for items of a job. As many rows as the job may run items at once.

    token is the fence: whoever does not hold it writes nothing. Counters say what this lane closed.
    """

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="lanes")
    n = models.PositiveSmallIntegerField()
    token = models.UUIDField(null=True)
    owner = models.TextField(blank=True, default="", db_default="")  # host:pid, or the name of an outside worker
    cursor = models.IntegerField(default=-1, db_default=-1)
    retired = models.BooleanField(default=False, db_default=False)
    lease_expires_at = models.DateTimeField(null=True)
    renewed_at = models.DateTimeField(null=True)
    n_completed = models.PositiveIntegerField(default=0, db_default=0)
    n_failed = models.PositiveIntegerField(default=0, db_default=0)
    cost_usd = models.DecimalField(max_digits=14, decimal_places=8, null=True)  # of what it closed; null is unknown
    # What the item in hand last said of itself: {itemId, name, progress (0..1), detail}. Here and not with the item,
    # since a job has a handful of lanes and may have a million items.
    report = models.JSONField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["job", "n"], name="lane_once"),
            models.UniqueConstraint(fields=["token"], name="lane_token_once"),
        ]
        indexes = [
            # Leases that ran out, among the few that are held at all.
            models.Index(fields=["lease_expires_at"], name="lane_leased", condition=models.Q(token__isnull=False))
        ]

    def __str__(self) -> str:
        return f"lane {self.n} of job {self.job_id}"


class EventStream(models.Model):
    """Numbering of one stream of events: one a job, and one without a job for the queue itself."""

    job = models.OneToOneField(Job, null=True, on_delete=models.CASCADE, related_name="stream")
    sequence = models.PositiveBigIntegerField(default=0, db_default=0)
    published_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                models.expressions.Case(models.When(job__isnull=True, then=1)), name="event_stream_one_for_the_queue"
            )
        ]

    def __str__(self) -> str:
        return f"events of {self.job_id or 'the queue'}"


class JobEvent(models.Model):
    """One change, written with it (outbox); numbered when published, delivered at least once, in order."""

    message_id = models.UUIDField(unique=True, default=uuid.uuid4, db_default=RandomUUID(), editable=False)
    job = models.ForeignKey(Job, null=True, on_delete=models.CASCADE, related_name="events")
    sequence = models.PositiveBigIntegerField(null=True)
    type = models.TextField(choices=EventType.choices)
    data = models.JSONField(default=dict, db_default={})
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    request_id = models.TextField(blank=True, default="", db_default="")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["job", "sequence"], name="event_numbered_once", nulls_distinct=True)
        ]
        indexes = [
            # The outbox: what has no number yet.
            models.Index(fields=["job", "id"], name="event_unpublished", condition=models.Q(sequence__isnull=True)),
            # The queue's own stream.
            models.Index(fields=["sequence"], name="event_of_queue", condition=models.Q(job__isnull=True)),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.sequence}"


class JobArchive(models.Model):
    """One archiving of a job: who, when, why, and what its counters were."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="archives")
    archived_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    archived_at = models.DateTimeField(db_default=Now())
    reason = models.TextField(blank=True, default="", db_default="")
    status = models.TextField(choices=JobStatus.choices)
    total_images = models.PositiveIntegerField()
    processed_images = models.PositiveIntegerField()
    failed_images = models.PositiveIntegerField()
    cancelled_images = models.PositiveIntegerField()
    restored_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    restored_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["job"], condition=models.Q(restored_at__isnull=True), name="job_archived_once_at_a_time"
            )
        ]

    def __str__(self) -> str:
        return f"archiving of job {self.job_id}"


class ClusterCanary(models.Model):
    """Proof that a cluster still takes tasks: its workers write this row when a canary task reaches them."""

    cluster = models.TextField()
    host = models.TextField()
    beat_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [models.UniqueConstraint(fields=["cluster", "host"], name="canary_once")]

    def __str__(self) -> str:
        return f"{self.cluster} on {self.host}"


class BrokerDelivery(models.Model):
    """How far the message broker has been told of one stream; parked when it refused for too long."""

    stream = models.OneToOneField(EventStream, on_delete=models.CASCADE, related_name="delivery")
    delivered_sequence = models.PositiveBigIntegerField(default=0, db_default=0)
    failing_since = models.DateTimeField(null=True)
    attempts = models.PositiveIntegerField(default=0, db_default=0)
    next_attempt_at = models.DateTimeField(null=True)
    last_error = models.TextField(blank=True, default="", db_default="")
    parked_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [
            models.Index(fields=["next_attempt_at"], name="delivery_due", condition=models.Q(parked_at__isnull=True))
        ]

    def __str__(self) -> str:
        return f"deliveries of {self.stream}"


# Rows with a story of their own live beside it; Django finds them here.
from .bulk import BulkAction  # noqa: E402, F401
from .saved_views import SavedView  # noqa: E402, F401
from .tallies import Tally  # noqa: E402, F401
