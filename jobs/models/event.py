"""What happened, in the order in which it was published, and who was told."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.db.models.functions import Now

from ..states import EventType
from .columns import RandomUUID
from .job import Job


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
