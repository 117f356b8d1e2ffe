"""Who put which job out of sight, when and why."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models.functions import Now

from ..states import JobStatus
from .job import Job


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
