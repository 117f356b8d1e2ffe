"""Jobs, items, events and statistics, to be read."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from orchestrator import etags, pages

from .. import ordering, outbox, statistics
from ..models import EventStream, Job, JobEvent, JobItem
from ..serializers import (
    EventPageSerializer,
    ItemPageSerializer,
    JobListSerializer,
    JobStatusSerializer,
    StatisticsSerializer,
    for_clients,
    render_items,
    render_jobs,
)
from ..states import ACTIVE, ItemStatus, JobStatus, JobType
from .common import TAGS, QueueView

FIRST_ITEMS = 500
_MAX_SEQ = 2**31 - 1
_ORDERINGS = {
    "priority": ("priority", "rank", "id"),
    "-priority": ("-priority", "-rank", "-id"),
    "created_at": ("created_at", "id"),
    "-created_at": ("-created_at", "-id"),
    "started_at": ("started_at", "id"),
    "-started_at": ("-started_at", "-id"),
    "completed_at": ("completed_at", "id"),
    "-completed_at": ("-completed_at", "-id"),
    "type": ("type", "id"),
    "-type": ("-type", "-id"),
    "status": ("status", "priority", "rank", "id"),
    "-status": ("-status", "priority", "rank", "id"),
}
_CAMEL_ORDERINGS = {"createdAt": "created_at", "startedAt": "started_at", "completedAt": "completed_at"}


class OrderingField(serializers.ChoiceField):
    """One of the orderings, in either spelling."""

    def to_internal_value(self, value: Any) -> Any:
        sign, name = ("-", value[1:]) if str(value).startswith("-") else ("", value)
        return super().to_internal_value(sign + _CAMEL_ORDERINGS.get(name, name))


class ListQuery(pages.Window):
    status = serializers.ChoiceField(["all", "active", *JobStatus.values], default="all")
    type = serializers.ChoiceField(JobType.choices, required=False)
    include_archived = pages.FlagField(default=False)
    search = serializers.CharField(max_length=200, required=False, help_text="In name, type, user; or a job id")
    ordering = OrderingField(list(_ORDERINGS), default="priority")


class StatusQuery(pages.Query):
    include_items = pages.FlagField(default=True)


class ItemQuery(pages.Query):
    status = serializers.ChoiceField(ItemStatus.choices, required=False)
    perspective = serializers.CharField(max_length=200, required=False)
    limit = serializers.IntegerField(min_value=1, max_value=pages.MAX_LIMIT, default=pages.DEFAULT_LIMIT)
    cursor = serializers.IntegerField(min_value=-1, max_value=_MAX_SEQ, default=-1, help_text="`next` of a page")


class FailedItemQuery(pages.Query):
    perspective = serializers.CharField(max_length=200, required=False)
    limit = serializers.IntegerField(min_value=1, max_value=pages.MAX_LIMIT, default=pages.DEFAULT_LIMIT)
    cursor = serializers.IntegerField(min_value=-1, max_value=_MAX_SEQ, default=-1, help_text="`next` of a page")


class EventQuery(pages.Query):
    after = serializers.IntegerField(min_value=0, max_value=2**63 - 1, default=0)
    limit = serializers.IntegerField(min_value=1, max_value=pages.MAX_LIMIT, default=100)


class StatisticsQuery(pages.Query):
    hours = serializers.IntegerField(min_value=1, max_value=24 * 366, default=statistics.DEFAULT_HOURS)


class JobList(QueueView):
    @extend_schema(parameters=[ListQuery], responses=JobListSerializer, tags=TAGS)
    def get(self, request: Request) -> Response:
        """List jobs, in the order in which they run unless asked otherwise."""
        query = ListQuery.of(request)
        jobs = self.jobs()
        if not query["include_archived"]:
            jobs = jobs.filter(archived=False)
        if query["status"] == "active":
            jobs = jobs.filter(status__in=ACTIVE)
        elif query["status"] != "all":
            jobs = jobs.filter(status=query["status"])
        if "type" in query:
            jobs = jobs.filter(type=query["type"])
        if "search" in query:
            jobs = jobs.search(query["search"])
        response = pages.page(
            for_clients(jobs.order_by(*_ORDERINGS[query["ordering"]])),
            query,
            key="jobs",
            render=render_jobs,
            total=jobs.count(),
        )
        response.data["queueVersion"] = ordering.queue_version()
        response["ETag"] = etags.of({**response.data, "jobs": [_still(job) for job in response.data["jobs"]]})
        return response


class JobDetail(QueueView):
    @extend_schema(parameters=[StatusQuery], responses=JobStatusSerializer, tags=TAGS)
    def get(self, request: Request, job_id: UUID) -> Response:
        """Show a job, with its first items unless `includeItems=false`."""
        job = self.job(job_id)
        query = StatusQuery.of(request)
        job = for_clients(Job.objects.filter(pk=job.pk)).get()
        answer: dict[str, Any] = {"job": render_jobs([job])[0]}
        if query["include_items"]:
            answer["items"], answer["itemsNext"] = _items_after(job.items.all(), -1, FIRST_ITEMS, job)
        answer |= {"result": job.result, "queueVersion": ordering.queue_version()}
        # The version tells of changes that the counters do not show; the queue's, of the position.
        tag = etags.of({**answer, "job": _still(answer["job"]), "version": job.version})
        return Response(answer, headers={"ETag": tag})


def _still(job: dict[str, Any]) -> dict[str, Any]:
    """Leave out of a job what changes while nothing happens."""
    return {**job, "etaSeconds": None}


class ItemList(QueueView):
    @extend_schema(parameters=[ItemQuery], responses=ItemPageSerializer, tags=TAGS)
    def get(self, request: Request, job_id: UUID) -> Response:
        """List the items of a job in their order."""
        job = self.job(job_id)
        return _item_page(job, ItemQuery.of(request))


class FailedItemList(QueueView):
    @extend_schema(parameters=[FailedItemQuery], responses=ItemPageSerializer, tags=TAGS)
    def get(self, request: Request, job_id: UUID) -> Response:
        """List the failed items of a job in their order."""
        job = self.job(job_id)
        return _item_page(job, FailedItemQuery.of(request) | {"status": ItemStatus.FAILED})


def _item_page(job: Job, query: dict[str, Any]) -> Response:
    items = job.items.all()
    if "status" in query:
        items = items.filter(status=query["status"])
    if "perspective" in query:
        items = items.filter(perspective=query["perspective"])
    total = _n_items(job, query) if "perspective" not in query else items.count()
    # Without any there is nothing to look for, and looking would walk a million rows that do not match.
    rows, following = _items_after(items, query["cursor"], query["limit"], job) if total else ([], None)
    return Response({"items": rows, "total": total, "next": following})


def _n_items(job: Job, query: dict[str, Any]) -> int:
    """Count items by the counters where these know: a million rows are not counted one by one."""
    counted = Job.objects.with_counts().get(pk=job.pk)
    match query.get("status"):
        case None:
            return counted.total_images
        case ItemStatus.COMPLETED:
            return counted.n_completed
        case ItemStatus.FAILED:
            return counted.n_failed
        case ItemStatus.CANCELLED:
            return counted.n_cancelled
        case status:
            return job.items.filter(status=status).count()


def _items_after(items: QuerySet[JobItem], cursor: int, limit: int, job: Job) -> tuple[list[Any], str | None]:
    """Read one page behind a cursor, and the cursor of the next; keyset, so that the last page is as fast."""
    found = list(items.filter(seq__gt=cursor).order_by("seq")[: limit + 1])
    page = found[:limit]
    for item in page:
        item.job = job
    return render_items(page), str(page[-1].seq) if len(found) > limit else None


class Events(QueueView):
    @extend_schema(parameters=[EventQuery], responses=EventPageSerializer, tags=TAGS)
    def get(self, request: Request, job_id: UUID) -> Response:
        """List what happened to a job after a sequence number: the polling twin of the socket."""
        job = self.job(job_id)
        return _event_page(job.pk, EventQuery.of(request))


class QueueEvents(QueueView):
    @extend_schema(parameters=[EventQuery], responses=EventPageSerializer, tags=TAGS)
    def get(self, request: Request) -> Response:
        """List what happened to the queue itself: its order and its limits."""
        return _event_page(None, EventQuery.of(request))


def _event_page(job_pk: int | None, query: dict[str, Any]) -> Response:
    outbox.publish(job_pk)
    numbered = JobEvent.objects.filter(job=job_pk, sequence__gt=query["after"]).select_related("job")
    found = list(numbered.order_by("sequence")[: query["limit"] + 1])
    page = found[: query["limit"]]
    newest = EventStream.objects.filter(job=job_pk).values_list("sequence", flat=True).first() or 0
    return Response(
        {
            "events": [outbox.envelope(event) for event in page],
            "sequence": newest,
            "next": page[-1].sequence if len(found) > query["limit"] else None,
        }
    )


class Statistics(QueueView):
    @extend_schema(parameters=[StatisticsQuery], responses=StatisticsSerializer, tags=TAGS)
    def get(self, request: Request) -> Response:
        """Sum up the queue."""
        query = StatisticsQuery.of(request)
        figures = statistics.of_jobs_visible_to(request.user, hours=query["hours"])
        return Response(StatisticsSerializer(figures).data)
