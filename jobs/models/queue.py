"""The queues, with limits that hold over all machines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import models, transaction

from ..clusters import QueueName
from ..querysets import QueueQuerySet
from ..states import EventType

if TYPE_CHECKING:
    from django.contrib.auth.models import User


class Queue(models.Model):
    """Limits that hold over all machines. An empty limit means the environment's value."""

    name = models.TextField(primary_key=True, choices=QueueName.choices)
    max_jobs = models.PositiveSmallIntegerField(null=True, blank=True)
    max_items = models.PositiveSmallIntegerField(null=True, blank=True)
    paused = models.BooleanField(default=False, db_default=False)
    version = models.PositiveBigIntegerField(default=0, db_default=0, editable=False)

    objects = QueueQuerySet.as_manager()

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
        from .. import admission, events

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
