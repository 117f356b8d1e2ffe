"""Jobs, items, events and limits as clients see them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from rest_framework import serializers

from .clusters import QueueName
from .models import Job, JobItem, OnFailedDependency
from .querysets import JobQuerySet
from .states import DONE, FINAL, EventType, ItemStatus, JobStatus

MAX_NAMED_JOBS = 10_000
_LONGEST_REASON = 2000


# --- Jobs


class JobSerializer(serializers.Serializer):
    """A job; fetch it through `for_clients` and render it through `render_jobs`."""

    id = serializers.IntegerField()
    jobId = serializers.UUIDField()
    type = serializers.CharField()
    status = serializers.ChoiceField(JobStatus.choices)
    priority = serializers.IntegerField(min_value=0, max_value=1000)
    position = serializers.IntegerField(allow_null=True, min_value=1)
    totalImages = serializers.IntegerField()
    processedImages = serializers.IntegerField()
    failedImages = serializers.IntegerField()
    cancelledImages = serializers.IntegerField()
    progress = serializers.IntegerField(min_value=0, max_value=100)
    config = serializers.DictField()
    userId = serializers.IntegerField(allow_null=True)
    createdAt = serializers.DateTimeField()
    startedAt = serializers.DateTimeField(allow_null=True)
    completedAt = serializers.DateTimeField(allow_null=True)
    archived = serializers.BooleanField()
    archiveDate = serializers.DateTimeField(allow_null=True)
    dependencies = serializers.ListField(child=serializers.UUIDField())
    dependentJobs = serializers.ListField(child=serializers.UUIDField())
    blockedBy = serializers.ListField(child=serializers.UUIDField())
    etaSeconds = serializers.FloatField(allow_null=True)
    costUsd = serializers.FloatField(allow_null=True)
    paused = serializers.BooleanField()

    def to_representation(self, job: Any) -> dict[str, Any]:
        """Write the members above directly: field by field, DRF takes three times as long."""
        return {
            "id": job.pk,
            "jobId": str(job.job_id),
            "type": job.type,
            "status": job.status,
            "priority": job.priority,
            "position": job.position,
            "totalImages": job.total_images,
            "processedImages": job.n_completed,
            "failedImages": job.n_failed,
            "cancelledImages": job.n_cancelled,
            "progress": job.progress,
            "config": job.config,
            "userId": job.user_id,
            "createdAt": _time(job.created_at),
            "startedAt": _time(job.started_at),
            "completedAt": _time(job.completed_at),
            "archived": job.archived,
            "archiveDate": _time(job.archive_date),
            "dependencies": [str(other.job_id) for other in job.waits_for],
            "dependentJobs": [str(other.job_id) for other in job.waited_for_by],
            "blockedBy": _blocking_ids(job),
            "etaSeconds": job.eta_seconds,
            "costUsd": None if job.total_cost_usd is None else float(job.total_cost_usd),
            "paused": job.paused,
        }


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def for_clients(jobs: JobQuerySet) -> JobQuerySet:
    """Fetch with the jobs what their JSON says of lanes and of other jobs: six queries, however many jobs."""
    return jobs.with_counts().with_position().with_pace().with_dependencies()


def render_jobs(jobs: Iterable[Job]) -> list[dict[str, Any]]:
    """Write jobs fetched through `for_clients`."""
    serializer = JobSerializer()
    return [serializer.to_representation(job) for job in jobs]


def _blocking_ids(job: Any) -> list[str]:
    if job.status != JobStatus.WAITING:
        return []
    enough = FINAL if job.on_failed_dependency == OnFailedDependency.RUN else DONE
    return [str(other.job_id) for other in job.waits_for if other.status not in enough]


# --- Items


class ItemSerializer(serializers.Serializer):
    """An item; fetch it with its job. processingTime is in milliseconds."""

    id = serializers.IntegerField()
    jobId = serializers.UUIDField()
    imagePath = serializers.CharField()
    imageId = serializers.IntegerField(allow_null=True)
    perspective = serializers.CharField()
    status = serializers.ChoiceField(ItemStatus.choices)
    attempts = serializers.IntegerField()
    result = serializers.JSONField()
    error = serializers.CharField(allow_null=True)
    errorCode = serializers.CharField(allow_null=True)
    errorPermanent = serializers.BooleanField()
    startedAt = serializers.DateTimeField(allow_null=True)
    completedAt = serializers.DateTimeField(allow_null=True)
    processingTime = serializers.IntegerField(allow_null=True)

    def to_representation(self, item: Any) -> dict[str, Any]:
        """Write the members above directly, as jobs do: pages hold 500 of them."""
        return {
            "id": item.pk,
            "jobId": str(item.job.job_id),
            "imagePath": item.image_path,
            "imageId": item.payload.get("image"),  # pipelines that work on a stored image name it so
            "perspective": item.perspective,
            "status": item.status,
            "attempts": item.attempts,
            "result": item.result,
            "error": item.error,
            "errorCode": item.error_code or None,
            "errorPermanent": item.error_permanent,
            "startedAt": _time(item.started_at),
            "completedAt": _time(item.completed_at),
            "processingTime": item.processing_time,
        }


def render_items(items: Iterable[JobItem]) -> list[dict[str, Any]]:
    """Write items fetched with their job."""
    serializer = ItemSerializer()
    return [serializer.to_representation(item) for item in items]


class ClaimedItemSerializer(ItemSerializer):
    """An item in the hands of a worker elsewhere, with what it needs to do it."""

    leaseToken = serializers.UUIDField()
    leaseUntil = serializers.DateTimeField()
    imageUrl = serializers.CharField(allow_null=True)
    prompt = serializers.CharField(allow_null=True)
    schema = serializers.JSONField()

    def to_representation(self, item: Any) -> dict[str, Any]:
        return super().to_representation(item) | {
            "leaseToken": str(item.leaseToken),
            "leaseUntil": _time(item.leaseUntil),
            "imageUrl": item.imageUrl,
            "prompt": item.prompt,
            "schema": item.schema,
        }


# --- Answers


class JobListSerializer(serializers.Serializer):
    jobs = JobSerializer(many=True)
    total = serializers.IntegerField()
    offset = serializers.IntegerField()
    limit = serializers.IntegerField()
    queueVersion = serializers.IntegerField()


class JobStatusSerializer(serializers.Serializer):
    job = JobSerializer()
    items = ItemSerializer(many=True, required=False, help_text="The first 500")
    itemsNext = serializers.CharField(
        allow_null=True, required=False, help_text="`cursor` for the rest under items/{jobId}/list"
    )
    result = serializers.JSONField(help_text="What the job as a whole brought, such as a report")
    queueVersion = serializers.IntegerField()


class ItemPageSerializer(serializers.Serializer):
    items = ItemSerializer(many=True)
    total = serializers.IntegerField()
    next = serializers.CharField(allow_null=True, help_text="`cursor` of the next page; null at the end")


class _DoneSerializer(serializers.Serializer):
    success = serializers.BooleanField()
    jobId = serializers.UUIDField()


class CancelledSerializer(_DoneSerializer):
    status = serializers.ChoiceField(JobStatus.choices)


class PausedSerializer(_DoneSerializer):
    paused = serializers.BooleanField()


class ArchivedSerializer(_DoneSerializer):
    archived = serializers.BooleanField()
    archiveDate = serializers.DateTimeField(allow_null=True)


class RetriedSerializer(_DoneSerializer):
    retriedItems = serializers.IntegerField()
    status = serializers.ChoiceField(JobStatus.choices)


class ReorderedSerializer(serializers.Serializer):
    success = serializers.BooleanField()
    updatedJobs = serializers.IntegerField()
    ignored = serializers.ListField(child=serializers.UUIDField(), help_text="Unknown, running or final")
    queueVersion = serializers.IntegerField()


class EventSerializer(serializers.Serializer):
    """The envelope of one event, the same for sockets, pollers and the message broker."""

    messageId = serializers.UUIDField()
    sequence = serializers.IntegerField()
    type = serializers.ChoiceField(EventType.choices)
    jobId = serializers.UUIDField(allow_null=True)
    timestamp = serializers.DateTimeField()
    data = serializers.DictField()  # type: ignore[assignment]  # the envelope's own word, not the serializer's


class EventPageSerializer(serializers.Serializer):
    events = EventSerializer(many=True)
    sequence = serializers.IntegerField(help_text="The newest number of the stream")
    next = serializers.IntegerField(allow_null=True, help_text="`after` of the next page; null at the end")


class ClaimedSerializer(serializers.Serializer):
    items = ClaimedItemSerializer(many=True)


class RenewedSerializer(serializers.Serializer):
    leaseUntil = serializers.DateTimeField()


class QueueSerializer(serializers.Serializer):
    name = serializers.ChoiceField(QueueName.choices)
    paused = serializers.BooleanField()
    maxConcurrentJobs = serializers.IntegerField(source="job_limit")
    maxConcurrentItems = serializers.IntegerField(source="item_limit")


class LimitsSerializer(serializers.Serializer):
    queues = QueueSerializer(many=True)
    queueVersion = serializers.IntegerField()


class JobCountsSerializer(serializers.Serializer):
    last24Hours = serializers.IntegerField()
    last7Days = serializers.IntegerField()
    last30Days = serializers.IntegerField()


class PerspectiveUsageSerializer(serializers.Serializer):
    perspective = serializers.CharField()
    count = serializers.IntegerField()
    averageTime = serializers.FloatField(allow_null=True, help_text="Milliseconds")


class WorkerSerializer(serializers.Serializer):
    name = serializers.CharField()
    host = serializers.CharField(allow_blank=True)
    heartbeatAt = serializers.DateTimeField()
    running = serializers.IntegerField(help_text="Lanes in its hands")


class StatisticsSerializer(serializers.Serializer):
    activeJobs = serializers.IntegerField()
    pendingJobs = serializers.IntegerField()
    runningJobs = serializers.IntegerField()
    completedJobs = serializers.IntegerField()
    failedJobs = serializers.IntegerField()
    partialJobs = serializers.IntegerField()
    cancelledJobs = serializers.IntegerField()
    archivedJobs = serializers.IntegerField()
    averageWaitTime = serializers.FloatField(allow_null=True, help_text="Seconds")
    averageProcessingTime = serializers.FloatField(allow_null=True, help_text="Seconds")
    itemsPerMinute = serializers.FloatField()
    historicalJobCounts = JobCountsSerializer()
    perspectiveUsage = PerspectiveUsageSerializer(many=True)
    workers = WorkerSerializer(many=True)


# --- Bodies


class ReasonSerializer(serializers.Serializer):
    reason = serializers.CharField(allow_blank=True, required=False, default="", max_length=_LONGEST_REASON)


class NothingSerializer(serializers.Serializer):
    """An action without parameters."""


class RetrySerializer(serializers.Serializer):
    itemIds = serializers.ListField(
        child=serializers.IntegerField(min_value=1, max_value=2**63 - 1),
        required=False,
        allow_empty=False,
        max_length=MAX_NAMED_JOBS,
        help_text="Only these failed items; without it, all",
    )


class FollowSerializer(serializers.Serializer):
    """These jobs follow each other in this order."""

    jobIds = serializers.ListField(child=serializers.UUIDField(), max_length=MAX_NAMED_JOBS)


class BeforeSerializer(serializers.Serializer):
    """One job goes directly before another."""

    jobId = serializers.UUIDField()
    before = serializers.UUIDField()
    queueVersion = serializers.IntegerField(required=False, min_value=0)


class AfterSerializer(serializers.Serializer):
    """One job goes directly behind another."""

    jobId = serializers.UUIDField()
    after = serializers.UUIDField()
    queueVersion = serializers.IntegerField(required=False, min_value=0)


class PrioritySerializer(serializers.Serializer):
    """One job gets another priority."""

    jobId = serializers.UUIDField()
    priority = serializers.IntegerField(min_value=0, max_value=1000)


class ReorderSerializer(serializers.Serializer):
    """One of three: `{jobIds}`, `{jobId, before | after, queueVersion?}`, `{jobId, priority}`."""

    jobIds = serializers.ListField(
        child=serializers.UUIDField(), required=False, allow_empty=False, max_length=MAX_NAMED_JOBS
    )
    jobId = serializers.UUIDField(required=False)
    before = serializers.UUIDField(required=False)
    after = serializers.UUIDField(required=False)
    queueVersion = serializers.IntegerField(required=False, min_value=0)
    priority = serializers.IntegerField(required=False, min_value=0, max_value=1000)

    def validate(self, body: dict[str, Any]) -> dict[str, Any]:
        given = set(body)
        if given in ({"jobIds"}, {"jobId", "priority"}) or given - {"queueVersion"} in (
            {"jobId", "before"},
            {"jobId", "after"},
        ):
            return body
        raise serializers.ValidationError(
            "Give one of: jobIds; jobId with before or after (and queueVersion); jobId with priority."
        )


class ClaimSerializer(serializers.Serializer):
    worker = serializers.CharField(max_length=200)
    limit = serializers.IntegerField(min_value=1, max_value=64, default=1)
    perspectives = serializers.ListField(child=serializers.CharField(), required=False, max_length=500)


class HeartbeatSerializer(serializers.Serializer):
    leaseToken = serializers.UUIDField()


class SettleSerializer(serializers.Serializer):
    status = serializers.ChoiceField([ItemStatus.COMPLETED.value, ItemStatus.FAILED.value])
    leaseToken = serializers.UUIDField()
    result = serializers.JSONField(required=False, allow_null=True, default=None)
    error = serializers.CharField(required=False, allow_null=True, default=None, max_length=20_000)
    permanent = serializers.BooleanField(required=False, default=False)
    processingTime = serializers.IntegerField(
        required=False, allow_null=True, default=None, min_value=0, max_value=2**31 - 1, help_text="Milliseconds"
    )


class ChangeLimitsSerializer(serializers.Serializer):
    queue = serializers.ChoiceField(QueueName.choices, default=QueueName.DEFAULT.value)
    maxConcurrentJobs = serializers.IntegerField(
        required=False, allow_null=True, min_value=0, max_value=64, help_text="null: as the environment says"
    )
    maxConcurrentItems = serializers.IntegerField(
        required=False, allow_null=True, min_value=1, max_value=64, help_text="null: as the environment says"
    )
    paused = serializers.BooleanField(required=False)
