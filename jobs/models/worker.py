"""What workers hold, and how one knows that they live."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now

from .job import Job


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


class ClusterCanary(models.Model):
    """Proof that a cluster still takes tasks: its workers write this row when a canary task reaches them."""

    cluster = models.TextField()
    host = models.TextField()
    beat_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [models.UniqueConstraint(fields=["cluster", "host"], name="canary_once")]

    def __str__(self) -> str:
        return f"{self.cluster} on {self.host}"
