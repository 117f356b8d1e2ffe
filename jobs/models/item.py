"""Items, the pieces of a job, and what waits for what among them."""

from __future__ import annotations

from django.db import models

from ..pipelines import WorkItem
from ..querysets import ItemQuerySet
from ..states import ItemStatus
from .job import Job


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
