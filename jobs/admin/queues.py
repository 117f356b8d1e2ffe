"""The queues with their limits, and the workers on them."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Count, F, QuerySet
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse

from orchestrator.administration import DeskAdmin, KeptAdmin, display

from ..models import ClusterCanary, Lane, Queue
from .common import operator_of


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
        return super().get_queryset(request).with_load()

    @display(description="Running jobs")
    def running(self, queue: Any) -> int:
        return queue.n_running

    @display(description="Waiting jobs")
    def waiting(self, queue: Any) -> int:
        return queue.n_waiting

    def save_model(self, request: HttpRequest, obj: Queue, form: ModelForm, change: bool) -> None:
        obj.set_limits(max_jobs=obj.max_jobs, max_items=obj.max_items, by=operator_of(request))

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
        self.each(request, queues.filter(paused=False), lambda queue: queue.pause(by=operator_of(request)), "paused")

    @admin.action(description="Resume", permissions=["change"])
    def resume_queues(self, request: HttpRequest, queues: QuerySet[Queue]) -> None:
        self.each(request, queues.filter(paused=True), lambda queue: queue.resume(by=operator_of(request)), "resumed")


@admin.register(ClusterCanary)
class ClusterCanaryAdmin(KeptAdmin):
    list_display = ("cluster", "host", "beat_at")
    ordering = ("cluster", "host")


@admin.register(Lane)
class LaneAdmin(KeptAdmin):
    list_display = ("job", "n", "owner", "renewed_at", "lease_expires_at", "n_completed", "n_failed", "retired")
    list_filter = ("retired", ("token", admin.EmptyFieldListFilter))
    list_select_related = ("job",)
    ordering = ("-pk",)
