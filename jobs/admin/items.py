"""Items of all jobs."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.text import Truncator
from unfold.paginator import InfinitePaginator

from orchestrator.administration import KeptAdmin, display, preformatted
from orchestrator.templatetags.desk import duration

from ..models import JobItem
from .common import LABELS


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

    @display(description="State", ordering="status", label=LABELS)
    def state(self, item: JobItem) -> str:
        return item.status

    @display(description="Took", ordering="processing_time")
    def took(self, item: JobItem) -> str:
        return "" if item.processing_time is None else duration(item.processing_time / 1000)

    @display(description="Error")
    def said(self, item: JobItem) -> str:
        return Truncator(item.error or "").chars(120)

    @display(description="Error")
    def error_text(self, item: JobItem) -> str:
        return preformatted(item.error)

    @display(description="Payload")
    def task(self, item: JobItem) -> str:
        return preformatted(item.payload)

    @display(description="Result")
    def answer(self, item: JobItem) -> str:
        return preformatted(item.result)
