"""Jobs, and what waits for what among them."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.db.models.functions import Now

from ..clusters import Cluster, QueueName
from ..pipelines import WorkJob
from ..querysets import JobQuerySet
from ..states import ACTIVE, FINAL, JobStatus
from ..steps import JobSteps
from .columns import NextRank, RandomUUID
from .queue import Queue


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
