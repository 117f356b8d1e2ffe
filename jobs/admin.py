"""The operator's desk over the queue."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, cast
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.auth.models import User
from django.db.models import CharField, Count, F, OuterRef, QuerySet, Subquery
from django.db.models.functions import Substr
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from unfold.paginator import InfinitePaginator

from orchestrator.administration import DeskAdmin, KeptAdmin, display, preformatted
from orchestrator.problems import Problem, reply
from orchestrator.templatetags.desk import ago, duration

from . import broker, ordering, purging
from .models import (
    BrokerDelivery,
    ClusterCanary,
    EventStream,
    ItemEdge,
    Job,
    JobArchive,
    JobDependency,
    JobEvent,
    JobItem,
    Lane,
    Queue,
)
from .states import ACTIVE, FINAL, ItemStatus, JobStatus

_LABELS = {
    JobStatus.WAITING: "default",
    JobStatus.PENDING: "default",
    JobStatus.RUNNING: "info",
    "paused": "warning",
    JobStatus.COMPLETED: "success",
    JobStatus.PARTIAL: "warning",
    JobStatus.FAILED: "danger",
    JobStatus.CANCELLED: "default",
}


class StandingFilter(admin.SimpleListFilter):
    """Where a job stands; the queue unless another is chosen, because that is what an operator comes for."""

    title = "standing"
    parameter_name = "standing"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("finished", "Finished"), ("archived", "Archived"), ("all", "All")]

    def choices(self, changelist: Any) -> Any:
        choices = list(super().choices(changelist))
        choices[0]["display"] = "In the queue"
        return choices

    def queryset(self, request: HttpRequest, queryset: QuerySet[Job]) -> QuerySet[Job]:
        match self.value():
            case "finished":
                return queryset.filter(archived=False, status__in=FINAL)
            case "archived":
                return queryset.filter(archived=True)
            case "all":
                return queryset
        return queryset.filter(status__in=ACTIVE)


@admin.register(Job)
class JobAdmin(DeskAdmin):
    list_display = (
        "handle",
        "named",
        "state",
        "progress",
        "failed",
        "position",
        "priority",
        "age",
        "first_error",
        "pipeline",
        "user",
    )
    list_display_links = ("named",)
    list_filter = (
        StandingFilter,
        "status",
        "paused",
        "pipeline",
        "type",
        "queue",
        ("user", admin.RelatedOnlyFieldListFilter),
    )
    list_select_related = ("user",)
    search_fields = ("name", "type", "job_id", "user__username")
    search_help_text = "Name, type, owner or job id"
    actions = (
        "run_next",
        "pause_jobs",
        "resume_jobs",
        "retry_jobs",
        "cancel_jobs",
        "archive_jobs",
        "restore_jobs",
    )
    fields = (
        "name",
        "priority",
        "page",
        "state",
        "progress",
        "failed",
        "position",
        "user",
        "type",
        "pipeline",
        "executor",
        "cluster",
        "max_attempts",
        "on_failed_dependency",
        "created_at",
        "started_at",
        "completed_at",
        "cost",
        "request_id",
        "configuration",
        "outcome",
    )
    change_form_outer_after_template = "admin/jobs/job/_timeline.html"
    change_list_template = "admin/jobs/job/change_list.html"

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False  # a job is made of items; the pages and the API make both

    def has_delete_permission(self, request: HttpRequest, obj: Job | None = None) -> bool:
        return False  # archived, then purged from the archive

    def get_readonly_fields(self, request: HttpRequest, obj: Job | None = None) -> Sequence[str]:
        editable = {"name", "priority"} if obj is not None and obj.status in ordering.MOVABLE else {"name"}
        return [field for field in self.fields if field not in editable]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Job]:
        failed = JobItem.objects.filter(job=OuterRef("pk"), status=ItemStatus.FAILED).order_by("seq")
        return (
            super()
            .get_queryset(request)
            .with_counts()
            .with_position()
            .annotate(
                first_error=Subquery(
                    failed.annotate(said=Substr("error", 1, 120)).values("said")[:1], output_field=CharField()
                )
            )
        )

    def get_ordering(self, request: HttpRequest) -> Sequence[Any]:
        if request.GET.get("standing") in {"finished", "archived", "all"}:
            return ("-pk",)
        return ("priority", "rank", "pk")

    def save_model(self, request: HttpRequest, obj: Job, form: ModelForm, change: bool) -> None:
        if "name" in form.changed_data:
            obj.save(update_fields=["name"])
        if "priority" in form.changed_data:
            ordering.set_priority(obj.job_id, obj.priority, by=_operator(request))

    # --- columns

    @display(description="")
    def handle(self, job: Job) -> str:
        if job.status not in ordering.MOVABLE:
            return ""
        return format_html(
            '<button type="button" class="drag-handle" data-job="{}" aria-label="Move {}: arrow up or down">⠿</button>',
            job.job_id,
            job,
        )

    @display(description="Job", ordering="name")
    def named(self, job: Job) -> str:
        return str(job)

    @display(description="State", ordering="status", label=_LABELS)
    def state(self, job: Job) -> str:
        return "paused" if job.paused else job.status

    @display(description="Progress")
    def progress(self, job: Any) -> str:
        return format_html(
            '<span class="whitespace-nowrap"><progress max="100" value="{}" aria-label="{} %"></progress> {}/{}</span>',
            job.progress,
            job.progress,
            job.n_closed,
            job.total_images,
        )

    @display(description="Failed")
    def failed(self, job: Any) -> str:
        if not job.n_failed:
            return ""
        address = reverse("admin:jobs_jobitem_changelist")
        return format_html('<a href="{}?job__id__exact={}&status__exact=failed">{}</a>', address, job.pk, job.n_failed)

    @display(description="Position")
    def position(self, job: Any) -> str:
        return "" if job.position is None else str(job.position)

    @display(description="Age", ordering="created_at")
    def age(self, job: Job) -> str:
        return format_html('<span class="whitespace-nowrap">{}</span>', ago(job.created_at))

    @display(description="First error")
    def first_error(self, job: Any) -> str:
        return (job.first_error or "").split("\n")[0][:60]

    @display(description="Page")
    def page(self, job: Job) -> str:
        return format_html('<a href="/jobs/{}">/jobs/{}</a>', job.job_id, job.job_id)

    @display(description="Cost")
    def cost(self, job: Any) -> str:
        costs = [cost for cost in (job.cost_usd, job.lanes_cost_usd) if cost is not None]
        return f"${sum(costs):.6f}" if costs else "unknown"

    @display(description="Configuration")
    def configuration(self, job: Job) -> str:
        return preformatted(job.config)

    @display(description="Result")
    def outcome(self, job: Job) -> str:
        return preformatted(job.result)

    # --- pages

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return super().changelist_view(
            request, (extra_context or {}) | {"queue_version": ordering.queue_version(), "place": self._place_url()}
        )

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        events = JobEvent.objects.filter(job_id=object_id).select_related("user").order_by("-pk")
        lanes = Lane.objects.filter(job_id=object_id, retired=False).order_by("n")
        return super().change_view(
            request, object_id, form_url, (extra_context or {}) | {"events": events[:100], "lanes": lanes}
        )

    def get_urls(self) -> list[URLPattern]:
        return [
            path("place/", self.admin_site.admin_view(self.place), name="jobs_job_place"),
            *super().get_urls(),
        ]

    @staticmethod
    def _place_url() -> str:
        return reverse("admin:jobs_job_place")

    def place(self, request: HttpRequest) -> HttpResponse:
        """Move one job beside another: `{job, before | after, queueVersion}`, all from the dragged list."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not self.has_change_permission(request):
            return JsonResponse({"detail": "You may look at jobs but not move them."}, status=403)
        try:
            wish = json.loads(request.body)
            before, after = (UUID(wish[side]) if wish.get(side) else None for side in ("before", "after"))
            job_id, version = UUID(wish["job"]), int(wish["queueVersion"])
        except (ValueError, TypeError, KeyError, AttributeError):
            return JsonResponse({"detail": "Name the job, its neighbour and the queue version."}, status=400)
        try:
            moved = ordering.place(job_id, before=before, after=after, queue_version=version, by=_operator(request))
        except Problem as problem:
            return reply(problem, request)
        return JsonResponse({"updated": moved.updated, "queueVersion": moved.queue_version})

    # --- actions

    def _each(self, request: HttpRequest, jobs: QuerySet[Job], verb: Callable[[Job], object], done: str) -> None:
        # By key: the verb reads and locks the row itself, and a large selection need not be in memory.
        pks = list(jobs.order_by("priority", "rank", "pk").values_list("pk", flat=True))
        self.each(request, (Job(pk=pk) for pk in pks), verb, done)

    @admin.action(description="Run next", permissions=["change"])
    def run_next(self, request: HttpRequest, jobs: QuerySet[Job]) -> None:
        """Put these before all others, in the order that they have."""
        chosen = list(jobs.order_by("priority", "rank", "pk").values_list("job_id", flat=True))
        others = Job.objects.filter(status__in=ordering.MOVABLE).exclude(job_id__in=chosen)
        first = others.in_order().values_list("job_id", flat=True).first()
        if first is None:
            done = ordering.reorder(chosen, by=_operator(request))
            n_moved, n_skipped = done.updated, len(done.ignored)
        else:
            moves = [ordering.place(job_id, before=first, by=_operator(request)) for job_id in chosen]
            n_moved = sum(move.updated for move in moves)
            n_skipped = len(moves) - n_moved
        self.message_user(
            request,
            f"{n_moved} run next, {n_skipped} skipped (only jobs that have not started can be moved).",
            messages.SUCCESS if n_moved else messages.WARNING,
        )

    @admin.action(description="Pause", permissions=["change"])
    def pause_jobs(self, request: HttpRequest, jobs: QuerySet[Job]) -> None:
        self._each(request, jobs, lambda job: job.pause(by=_operator(request)), "paused")

    @admin.action(description="Resume", permissions=["change"])
    def resume_jobs(self, request: HttpRequest, jobs: QuerySet[Job]) -> None:
        self._each(request, jobs, lambda job: job.resume(by=_operator(request)), "resumed")

    @admin.action(description="Retry what failed", permissions=["change"])
    def retry_jobs(self, request: HttpRequest, jobs: QuerySet[Job]) -> None:
        self._each(request, jobs, lambda job: job.retry_failed(by=_operator(request)), "retried")

    @admin.action(description="Archive", permissions=["change"])
    def archive_jobs(self, request: HttpRequest, jobs: QuerySet[Job]) -> None:
        self._each(request, jobs, lambda job: job.archive(by=_operator(request), reason="from the admin"), "archived")

    @admin.action(description="Restore from the archive", permissions=["change"])
    def restore_jobs(self, request: HttpRequest, jobs: QuerySet[Job]) -> None:
        self._each(request, jobs, lambda job: job.restore(by=_operator(request)), "restored")

    @admin.action(description="Cancel …", permissions=["change"])
    def cancel_jobs(self, request: HttpRequest, jobs: QuerySet[Job]) -> HttpResponse | None:
        if "confirmed" not in request.POST:
            active = jobs.filter(status__in=ACTIVE)
            n_open = sum(active.values_list(F("total_images") - F("n_closed"), flat=True))
            n_jobs = active.count()
            return _ask(
                self,
                request,
                "cancel_jobs",
                title=f"Cancel {n_jobs} job{'' if n_jobs == 1 else 's'}?",
                consequences=[
                    f"{n_open} open items will not be done; finished ones keep their results.",
                    f"{jobs.count() - n_jobs} of the selection are final already and will be skipped.",
                    "A cancelled job cannot go on.",
                ],
                yes="Cancel these jobs",
            )
        reason = request.POST.get("reason", "")
        self._each(request, jobs, lambda job: job.cancel(by=_operator(request), reason=reason), "cancelled")
        return None


@admin.register(JobArchive)
class JobArchiveAdmin(KeptAdmin):
    """Who archived what, when and why; restoring, and purging for good."""

    list_display = ("job", "state", "counts", "archived_at", "archived_by", "reason", "restored_at", "restored_by")
    list_filter = (
        ("restored_at", admin.EmptyFieldListFilter),
        "status",
        ("archived_by", admin.RelatedOnlyFieldListFilter),
    )
    list_select_related = ("job", "archived_by", "restored_by")
    search_fields = ("job__name", "job__job_id", "reason")
    ordering = ("-archived_at", "-pk")
    actions = ("restore_jobs", "purge_jobs")

    @display(description="State", ordering="status", label=_LABELS)
    def state(self, archive: JobArchive) -> str:
        return archive.status

    @display(description="Done / failed / cancelled of all")
    def counts(self, archive: JobArchive) -> str:
        return (
            f"{archive.processed_images} / {archive.failed_images} / {archive.cancelled_images}"
            f" of {archive.total_images}"
        )

    @admin.action(description="Restore", permissions=["operate"])
    def restore_jobs(self, request: HttpRequest, archives: QuerySet[JobArchive]) -> None:
        jobs = Job.objects.filter(archives__in=archives.order_by()).distinct()
        self.each(request, jobs, lambda job: job.restore(by=_operator(request)), "restored")

    @admin.action(description="Purge for good …", permissions=["operate"])
    def purge_jobs(self, request: HttpRequest, archives: QuerySet[JobArchive]) -> HttpResponse | None:
        jobs = Job.objects.filter(archives__in=archives.order_by()).distinct()
        if "confirmed" not in request.POST:
            preview = purging.preview(Job.objects.filter(pk__in=jobs.values("pk")))
            return _ask(
                self,
                request,
                "purge_jobs",
                title=f"Purge {preview.n_jobs} job{'' if preview.n_jobs == 1 else 's'} for good?",
                consequences=[
                    f"{preview.n_items} items and {preview.n_events} events are deleted with them.",
                    "Captions and other results that the jobs brought stay.",
                    f"{preview.n_not_archived} of the selection were restored meanwhile and will be skipped.",
                    "This cannot be undone.",
                ],
                yes="Purge these jobs",
            )
        self.each(request, list(jobs), lambda job: purging.purge(job, by=_operator(request)), "purged")
        return None

    def has_operate_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("jobs.change_job")


def _ask(
    page: DeskAdmin, request: HttpRequest, action: str, *, title: str, consequences: list[str], yes: str
) -> HttpResponse:
    """Ask before a dangerous action; the answer posts the same selection again."""
    context = {
        **page.admin_site.each_context(request),
        "title": title,
        "opts": page.opts,
        "consequences": consequences,
        "yes": yes,
        "action": action,
        "selected": request.POST.getlist(ACTION_CHECKBOX_NAME),
        "select_across": request.POST.get("select_across", "0"),
        "asks_reason": action == "cancel_jobs",
    }
    return TemplateResponse(request, "admin/jobs/ask.html", context)


@admin.register(JobItem)
class JobItemAdmin(KeptAdmin):
    list_display = ("seq", "job", "image_path", "perspective", "state", "attempts", "took", "said", "completed_at")
    list_filter = ("status", "error_code", "perspective")
    list_select_related = ("job",)
    search_fields = ("image_path",)
    search_help_text = "Path of the picture"
    ordering = ("-pk",)
    paginator = InfinitePaginator
    fields = (
        "job",
        "seq",
        "image_path",
        "perspective",
        "state",
        "attempts",
        "max_attempts",
        "blocked_by",
        "run_after",
        "error_code",
        "error_permanent",
        "error_text",
        "started_at",
        "completed_at",
        "took",
        "task",
        "answer",
    )
    readonly_fields = fields

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        return lookup == "job__id__exact" or super().lookup_allowed(lookup, value, request)

    def get_queryset(self, request: HttpRequest) -> QuerySet[JobItem]:
        items = super().get_queryset(request)
        return (
            items
            if request.resolver_match and "object_id" in request.resolver_match.kwargs
            else items.defer("payload", "result")
        )

    @display(description="State", ordering="status", label=_LABELS)
    def state(self, item: JobItem) -> str:
        return item.status

    @display(description="Took", ordering="processing_time")
    def took(self, item: JobItem) -> str:
        return "" if item.processing_time is None else duration(item.processing_time / 1000)

    @display(description="Error")
    def said(self, item: JobItem) -> str:
        return (item.error or "")[:120]

    @display(description="Error")
    def error_text(self, item: JobItem) -> str:
        return preformatted(item.error)

    @display(description="Payload")
    def task(self, item: JobItem) -> str:
        return preformatted(item.payload)

    @display(description="Result")
    def answer(self, item: JobItem) -> str:
        return preformatted(item.result)


@admin.register(Queue)
class QueueAdmin(DeskAdmin):
    """Workers and limits."""

    list_display = ("name", "paused", "job_limit", "item_limit", "running", "waiting")
    fields = ("name", "max_jobs", "max_items")
    readonly_fields = ("name",)
    actions = ("pause_queues", "resume_queues")
    list_after_template = "admin/jobs/queue/_workers.html"
    ordering = ("name",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Queue | None = None) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Queue]:
        def jobs(*statuses: str) -> Subquery:
            found = Job.objects.filter(queue=OuterRef("pk"), status__in=statuses).order_by().values("queue")
            return Subquery(found.annotate(n=Count("pk")).values("n"))

        return (
            super()
            .get_queryset(request)
            .annotate(n_running=jobs(JobStatus.RUNNING), n_waiting=jobs(JobStatus.PENDING, JobStatus.WAITING))
        )

    @display(description="Running jobs")
    def running(self, queue: Any) -> int:
        return queue.n_running or 0

    @display(description="Waiting jobs")
    def waiting(self, queue: Any) -> int:
        return queue.n_waiting or 0

    def save_model(self, request: HttpRequest, obj: Queue, form: ModelForm, change: bool) -> None:
        obj.set_limits(max_jobs=obj.max_jobs, max_items=obj.max_items, by=_operator(request))

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        context = {
            "canaries": ClusterCanary.objects.order_by("cluster", "host"),
            "held": Lane.objects.filter(token__isnull=False)
            .values("owner")
            .annotate(n=Count("pk"), cluster=F("job__cluster"))
            .order_by("cluster", "owner"),
        }
        return super().changelist_view(request, (extra_context or {}) | context)

    @admin.action(description="Pause", permissions=["change"])
    def pause_queues(self, request: HttpRequest, queues: QuerySet[Queue]) -> None:
        self.each(request, queues.filter(paused=False), lambda queue: queue.pause(by=_operator(request)), "paused")

    @admin.action(description="Resume", permissions=["change"])
    def resume_queues(self, request: HttpRequest, queues: QuerySet[Queue]) -> None:
        self.each(request, queues.filter(paused=True), lambda queue: queue.resume(by=_operator(request)), "resumed")


@admin.register(JobEvent)
class JobEventAdmin(KeptAdmin):
    list_display = ("created_at", "type", "job", "sequence", "user", "request_id")
    list_filter = ("type",)
    list_select_related = ("job", "user")
    search_fields = ("request_id", "job__job_id")
    ordering = ("-pk",)
    paginator = InfinitePaginator
    fields = ("message_id", "created_at", "type", "job", "sequence", "user", "request_id", "content")
    readonly_fields = fields

    @display(description="Data")
    def content(self, event: JobEvent) -> str:
        return preformatted(event.data)


@admin.register(BrokerDelivery)
class BrokerDeliveryAdmin(KeptAdmin):
    list_display = (
        "stream",
        "delivered_sequence",
        "attempts",
        "failing_since",
        "next_attempt_at",
        "parked_at",
        "last_error",
    )
    list_filter = (("parked_at", admin.EmptyFieldListFilter),)
    list_select_related = ("stream",)
    ordering = ("-failing_since", "-pk")
    actions = ("replay",)

    @admin.action(description="Deliver again from where it stopped", permissions=["operate"])
    def replay(self, request: HttpRequest, deliveries: QuerySet[BrokerDelivery]) -> None:
        n_others = deliveries.filter(parked_at=None).count()
        parked = list(deliveries.exclude(parked_at=None))
        for delivery in parked:
            broker.replay(delivery)
        self.message_user(request, f"{len(parked)} go out again, {n_others} skipped (they are not parked).")

    def has_operate_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("jobs.change_brokerdelivery")


@admin.register(Lane)
class LaneAdmin(KeptAdmin):
    list_display = ("job", "n", "owner", "renewed_at", "lease_expires_at", "n_completed", "n_failed", "retired")
    list_filter = ("retired", ("token", admin.EmptyFieldListFilter))
    list_select_related = ("job",)
    ordering = ("-pk",)


@admin.register(ClusterCanary)
class ClusterCanaryAdmin(KeptAdmin):
    list_display = ("cluster", "host", "beat_at")
    ordering = ("cluster", "host")


@admin.register(EventStream)
class EventStreamAdmin(KeptAdmin):
    list_display = ("__str__", "sequence", "published_at")
    ordering = ("-published_at", "-pk")


@admin.register(JobDependency)
class JobDependencyAdmin(KeptAdmin):
    list_display = ("job", "depends_on")
    list_select_related = ("job", "depends_on")
    ordering = ("-pk",)


@admin.register(ItemEdge)
class ItemEdgeAdmin(KeptAdmin):
    list_display = ("job", "seq", "depends_on_seq")
    list_select_related = ("job",)
    ordering = ("-pk",)
    paginator = InfinitePaginator


def _operator(request: HttpRequest) -> User:
    return cast(User, request.user)
