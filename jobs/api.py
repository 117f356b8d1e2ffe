"""The queue over HTTP: /api/perspectives/batch/…"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast
from uuid import UUID

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import QuerySet
from drf_spectacular.utils import PolymorphicProxySerializer, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from orchestrator import bodies, etags, pages
from orchestrator.access import IsService, IsStaffOrReads
from orchestrator.etags import ConditionalView
from orchestrator.problems import Invalid, NotFound

from . import leases, ordering, outbox, statistics
from .leases import LeaseLost
from .models import EventStream, Executor, Job, JobEvent, JobItem, Queue
from .serializers import (
    AfterSerializer,
    ArchivedSerializer,
    BeforeSerializer,
    CancelledSerializer,
    ChangeLimitsSerializer,
    ClaimedItemSerializer,
    ClaimedSerializer,
    ClaimSerializer,
    EventPageSerializer,
    FollowSerializer,
    HeartbeatSerializer,
    ItemPageSerializer,
    ItemSerializer,
    JobListSerializer,
    JobStatusSerializer,
    LimitsSerializer,
    NothingSerializer,
    PausedSerializer,
    PrioritySerializer,
    QueueSerializer,
    ReasonSerializer,
    RenewedSerializer,
    ReorderedSerializer,
    ReorderSerializer,
    RetriedSerializer,
    RetrySerializer,
    SettleSerializer,
    StatisticsSerializer,
    for_clients,
    render_jobs,
)
from .states import ACTIVE, ItemStatus, JobStatus, JobType

FIRST_ITEMS = 500
_REORDER = PolymorphicProxySerializer(
    "Reorder",
    [FollowSerializer, BeforeSerializer, AfterSerializer, PrioritySerializer],
    resource_type_field_name=None,
)
_TAGS = ["Batch jobs"]
_WORKER_TAGS = ["Workers elsewhere"]
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


class QueueView(ConditionalView):
    """A view of the queue."""

    needs = "jobs.change_job"

    @property
    def who(self) -> User:
        """Whoever asks; nobody unknown comes past the permissions."""
        return cast(User, self.request.user)

    def jobs(self) -> Any:
        """Jobs that whoever asks may see."""
        return Job.objects.visible_to(self.request.user)

    def job(self, job_id: UUID) -> Job:
        """Find a job; somebody else's is as good as none."""
        job = self.jobs().filter(job_id=job_id).first()
        if job is None:
            raise NotFound(f"No job has the id {job_id}.")
        return job


# --- Reading


class JobList(QueueView):
    @extend_schema(parameters=[ListQuery], responses=JobListSerializer, tags=_TAGS)
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
        response["ETag"] = etags.of(response.data, without={"etaSeconds"})
        return response


class JobDetail(QueueView):
    @extend_schema(parameters=[StatusQuery], responses=JobStatusSerializer, tags=_TAGS)
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
        tag = etags.of({"version": job.version, "answer": answer}, without={"etaSeconds"})
        return Response(answer, headers={"ETag": tag})


class ItemList(QueueView):
    @extend_schema(parameters=[ItemQuery], responses=ItemPageSerializer, tags=_TAGS)
    def get(self, request: Request, job_id: UUID) -> Response:
        """List the items of a job in their order."""
        job = self.job(job_id)
        return _item_page(job, ItemQuery.of(request))


class FailedItemList(QueueView):
    @extend_schema(parameters=[FailedItemQuery], responses=ItemPageSerializer, tags=_TAGS)
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
    return list(ItemSerializer(page, many=True).data), str(page[-1].seq) if len(found) > limit else None


class Events(QueueView):
    @extend_schema(parameters=[EventQuery], responses=EventPageSerializer, tags=_TAGS)
    def get(self, request: Request, job_id: UUID) -> Response:
        """List what happened to a job after a sequence number: the polling twin of the socket."""
        job = self.job(job_id)
        return _event_page(job.pk, EventQuery.of(request))


class QueueEvents(QueueView):
    @extend_schema(parameters=[EventQuery], responses=EventPageSerializer, tags=_TAGS)
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
    @extend_schema(parameters=[StatisticsQuery], responses=StatisticsSerializer, tags=_TAGS)
    def get(self, request: Request) -> Response:
        """Sum up the queue."""
        query = StatisticsQuery.of(request)
        figures = statistics.of_jobs_visible_to(request.user, hours=query["hours"])
        return Response(StatisticsSerializer(figures).data)


# --- Steps of a job


class JobAction(QueueView):
    """A step of one job. Checks come in this order: the job, its state, the body."""

    form: type[serializers.Serializer] = NothingSerializer

    def act(self, request: Request, job_id: UUID) -> Response:
        job = self.job(job_id)
        try:
            body = bodies.read(request, self.form)
        except Invalid as problem:
            _refuse(problem, lambda: self.step(job, self.form_defaults()))
        return Response(self.step(job, body))

    def step(self, job: Job, body: dict[str, Any]) -> dict[str, Any]:
        """Do it and say what came of it. Raises TransitionRefused if the job's state does not allow it."""
        raise NotImplementedError

    def form_defaults(self) -> dict[str, Any]:
        checked = self.form(data={})
        checked.is_valid()
        return dict(checked.validated_data)


def _refuse(problem: Invalid, step: Callable[[], Any]) -> None:
    """Refuse an invalid body, unless the state of the job refuses the step first; try it and take it back."""
    with transaction.atomic():
        step()
        raise problem


class Cancel(JobAction):
    form = ReasonSerializer

    @extend_schema(request=ReasonSerializer, responses=CancelledSerializer, tags=_TAGS)
    def post(self, request: Request, job_id: UUID) -> Response:
        """Stop a job for good: its open items close at once, and late results are refused."""
        return self.act(request, job_id)

    def step(self, job: Job, body: dict[str, Any]) -> dict[str, Any]:
        job.cancel(by=self.who, reason=body["reason"])
        return {"success": True, "jobId": str(job.job_id), "status": job.status}


class Pause(JobAction):
    @extend_schema(request=NothingSerializer, responses=PausedSerializer, tags=_TAGS)
    def post(self, request: Request, job_id: UUID) -> Response:
        """Start no more items of a job; running ones finish."""
        return self.act(request, job_id)

    def step(self, job: Job, body: dict[str, Any]) -> dict[str, Any]:
        job.pause(by=self.who)
        return {"success": True, "jobId": str(job.job_id), "paused": job.paused}


class Resume(JobAction):
    @extend_schema(request=NothingSerializer, responses=PausedSerializer, tags=_TAGS)
    def post(self, request: Request, job_id: UUID) -> Response:
        """Let a paused job go on."""
        return self.act(request, job_id)

    def step(self, job: Job, body: dict[str, Any]) -> dict[str, Any]:
        job.resume(by=self.who)
        return {"success": True, "jobId": str(job.job_id), "paused": job.paused}


class Archive(JobAction):
    form = ReasonSerializer

    @extend_schema(request=ReasonSerializer, responses=ArchivedSerializer, tags=_TAGS)
    def post(self, request: Request, job_id: UUID) -> Response:
        """Put a finished job out of sight; who, when, why and its counters are kept."""
        return self.act(request, job_id)

    def step(self, job: Job, body: dict[str, Any]) -> dict[str, Any]:
        job.archive(by=self.who, reason=body["reason"])
        return _archived(job)


class Restore(JobAction):
    form = ReasonSerializer

    @extend_schema(request=ReasonSerializer, responses=ArchivedSerializer, tags=_TAGS)
    def post(self, request: Request, job_id: UUID) -> Response:
        """Bring an archived job back."""
        return self.act(request, job_id)

    def step(self, job: Job, body: dict[str, Any]) -> dict[str, Any]:
        job.restore(by=self.who, reason=body["reason"])
        return _archived(job)


def _archived(job: Job) -> dict[str, Any]:
    return dict(
        ArchivedSerializer(
            {"success": True, "jobId": job.job_id, "archived": job.archived, "archiveDate": job.archive_date}
        ).data
    )


class RetryFailed(JobAction):
    form = RetrySerializer

    @extend_schema(request=RetrySerializer, responses=RetriedSerializer, tags=_TAGS)
    def post(self, request: Request, job_id: UUID) -> Response:
        """Give failed items a new budget of attempts."""
        return self.act(request, job_id)

    def step(self, job: Job, body: dict[str, Any]) -> dict[str, Any]:
        n_retried = job.retry_failed(by=self.who, item_ids=body.get("itemIds"))
        return {"success": True, "jobId": str(job.job_id), "retriedItems": n_retried, "status": job.status}


# --- The order and the limits


class Reorder(QueueView):
    needs = "jobs.change_queue"

    @extend_schema(request=_REORDER, responses=ReorderedSerializer, tags=_TAGS)
    def post(self, request: Request) -> Response:
        """Change the order of waiting jobs: a list of them, one beside another, or one's priority."""
        body = bodies.read(request, ReorderSerializer)
        who = {"by": self.who, "among": self.jobs()}
        if "jobIds" in body:
            done = ordering.reorder(body["jobIds"], **who)
        elif "priority" in body:
            done = ordering.set_priority(body["jobId"], body["priority"], **who)
        else:
            done = ordering.place(
                body["jobId"],
                before=body.get("before"),
                after=body.get("after"),
                queue_version=body.get("queueVersion"),
                **who,
            )
        return Response(
            {
                "success": True,
                "updatedJobs": done.updated,
                "ignored": [str(job_id) for job_id in done.ignored],
                "queueVersion": done.queue_version,
            }
        )


class Limits(QueueView):
    permission_classes = (IsStaffOrReads,)
    needs = "jobs.change_queue"

    @extend_schema(responses=LimitsSerializer, tags=_TAGS)
    def get(self, request: Request) -> Response:
        """Show how much of each queue runs at once, and whether it is paused."""
        return self._answer()

    @extend_schema(request=ChangeLimitsSerializer, responses=LimitsSerializer, tags=_TAGS)
    def post(self, request: Request) -> Response:
        """Change the limits of a queue, or pause and resume it; it takes effect at once. Staff only."""
        body = bodies.read(request, ChangeLimitsSerializer)
        if not {"maxConcurrentJobs", "maxConcurrentItems", "paused"} & set(body):
            raise Invalid("Give at least one of maxConcurrentJobs, maxConcurrentItems and paused.")
        queue = Queue.objects.get(pk=body["queue"])
        if {"maxConcurrentJobs", "maxConcurrentItems"} & set(body):
            queue.set_limits(
                max_jobs=body.get("maxConcurrentJobs", queue.max_jobs),
                max_items=body.get("maxConcurrentItems", queue.max_items),
                by=self.who,
            )
        if "paused" in body:
            (queue.pause if body["paused"] else queue.resume)(by=self.who)
        return self._answer()

    def _answer(self) -> Response:
        queues = QueueSerializer(Queue.objects.order_by("name"), many=True).data
        return Response({"queues": queues, "queueVersion": ordering.queue_version()})


# --- Workers elsewhere


class Claim(QueueView):
    permission_classes = (IsService,)

    @extend_schema(request=ClaimSerializer, responses=ClaimedSerializer, tags=_WORKER_TAGS)
    def post(self, request: Request) -> Response:
        """Take items of jobs with `executor: external`, in queue order and within the limits."""
        body = bodies.read(request, ClaimSerializer)
        claimed = leases.claim(body["worker"], body["limit"], body.get("perspectives"))
        return Response({"items": [_claimed(one) for one in claimed]})


def _claimed(claimed: leases.ClaimedItem) -> dict[str, Any]:
    item = claimed.item
    item.leaseToken = claimed.token  # type: ignore[attr-defined]
    item.leaseUntil = claimed.lease_expires_at  # type: ignore[attr-defined]
    for name in ("imageUrl", "prompt", "schema"):
        setattr(item, name, claimed.description.get(name))
    return dict(ClaimedItemSerializer(item).data)


class Heartbeat(QueueView):
    permission_classes = (IsService,)

    @extend_schema(request=HeartbeatSerializer, responses=RenewedSerializer, tags=_WORKER_TAGS)
    def post(self, request: Request, item_id: int) -> Response:
        """Prolong the lease of an item that takes long."""
        _held_item(item_id)
        body = bodies.read(request, HeartbeatSerializer)
        return Response(RenewedSerializer({"leaseUntil": leases.renew(item_id, body["leaseToken"])}).data)


class Settle(QueueView):
    permission_classes = (IsService,)

    @extend_schema(request=SettleSerializer, responses=ItemSerializer, tags=_WORKER_TAGS)
    def post(self, request: Request, item_id: int) -> Response:
        """Say how an item ended. A failure that is not permanent is tried again while attempts are left."""
        _held_item(item_id)
        body = bodies.read(request, SettleSerializer)
        item = leases.settle(
            item_id,
            body["leaseToken"],
            status=body["status"],
            result=body["result"],
            error=body["error"],
            permanent=body["permanent"],
            processing_time=body["processingTime"],
        )
        return Response(ItemSerializer(item).data)


def _held_item(item_id: int) -> None:
    """Refuse what no body could mend: an item that is not for workers elsewhere, or in nobody's hands."""
    status = (
        JobItem.objects.filter(pk=item_id, job__executor=Executor.EXTERNAL).values_list("status", flat=True).first()
    )
    if status is None:
        raise NotFound(f"No item for outside workers has the id {item_id}.")
    if status != ItemStatus.RUNNING:
        raise LeaseLost(f"The item is {status}; drop the result and claim anew.")
