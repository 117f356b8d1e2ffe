"""Jobs: the queue in its order, and what an operator does to it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.db.models import CharField, OuterRef, QuerySet, Subquery
from django.db.models.functions import Substr
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.text import Truncator

from orchestrator.administration import DeskAdmin, display, preformatted
from orchestrator.problems import Problem, reply
from orchestrator.templatetags.desk import ago

from .. import ordering
from ..models import Job, JobEvent, JobItem, Lane
from ..states import ACTIVE, FINAL, RETRYABLE, ItemStatus
from .common import LABELS, ask, operator_of


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
    whole_list = "standing=all"
    change_form_outer_after_template = "admin/jobs/job/_timeline.html"
    change_list_template = "admin/jobs/job/change_list.html"

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False  # a job is made of items; the pages and the API make both

    def has_delete_permission(self, request: HttpRequest, obj: Job | None = None) -> bool:
        return False  # archived, then purged from the archive

    def object_actions(self, request: HttpRequest, obj: Any) -> list[tuple[str, str]]:
        makes_sense = {
            "run_next": obj.status in ordering.MOVABLE,
            "pause_jobs": not obj.is_final and not obj.paused,
            "resume_jobs": not obj.is_final and obj.paused,
            "retry_jobs": obj.status in RETRYABLE and obj.n_failed > 0 and not obj.archived,
            "cancel_jobs": not obj.is_final,
            "archive_jobs": obj.is_final and not obj.archived,
            "restore_jobs": obj.archived,
        }
        return [(name, words) for name, words in super().object_actions(request, obj) if makes_sense[name]]

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
            ordering.set_priority(obj.job_id, obj.priority, by=operator_of(request))

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

    @display(description="State", ordering="status", label=LABELS)
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
        return Truncator((job.first_error or "").split("\n")[0]).chars(60)

    @display(description="Page")
    def page(self, job: Job) -> str:
        return format_html('<a href="/jobs/{}">/jobs/{}</a>', job.job_id, job.job_id)

    @display(description="Cost")
    def cost(self, job: Any) -> str:
        return "unknown" if job.total_cost_usd is None else f"${job.total_cost_usd:.6f}"

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
            moved = ordering.place(job_id, before=before, after=after, queue_version=version, by=operator_of(request))
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
            done = ordering.reorder(chosen, by=operator_of(request))
            n_moved, n_skipped = done.updated, len(done.ignored)
        else:
            moves = [ordering.place(job_id, before=first, by=operator_of(request)) for job_id in chosen]
            n_moved = sum(move.updated for move in moves)
            n_skipped = len(moves) - n_moved
        self.message_user(
            request,
            f"{n_moved} run next, {n_skipped} skipped (only jobs that have not started can be moved).",
            messages.SUCCESS if n_moved else messages.WARNING,
        )

    @admin.action(description="Pause", permissions=["change"])
    def pause_jobs(self, request: HttpRequest, jobs: QuerySet[Job]) -> None:
        self._each(request, jobs, lambda job: job.pause(by=operator_of(request)), "paused")

    @admin.action(description="Resume", permissions=["change"])
    def resume_jobs(self, request: HttpRequest, jobs: QuerySet[Job]) -> None:
        self._each(request, jobs, lambda job: job.resume(by=operator_of(request)), "resumed")

    @admin.action(description="Retry what failed", permissions=["change"])
    def retry_jobs(self, request: HttpRequest, jobs: QuerySet[Job]) -> None:
        self._each(request, jobs, lambda job: job.retry_failed(by=operator_of(request)), "retried")

    @admin.action(description="Archive", permissions=["change"])
    def archive_jobs(self, request: HttpRequest, jobs: QuerySet[Job]) -> None:
        self._each(request, jobs, lambda job: job.archive(by=operator_of(request), reason="from the admin"), "archived")

    @admin.action(description="Restore from the archive", permissions=["change"])
    def restore_jobs(self, request: HttpRequest, jobs: QuerySet[Job]) -> None:
        self._each(request, jobs, lambda job: job.restore(by=operator_of(request)), "restored")

    @admin.action(description="Cancel …", permissions=["change"])
    def cancel_jobs(self, request: HttpRequest, jobs: QuerySet[Job]) -> HttpResponse | None:
        if "confirmed" not in request.POST:
            active: list[Any] = list(jobs.filter(status__in=ACTIVE))
            n_open = sum(job.n_open for job in active)
            n_jobs = len(active)
            return ask(
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
        self._each(request, jobs, lambda job: job.cancel(by=operator_of(request), reason=reason), "cancelled")
        return None
