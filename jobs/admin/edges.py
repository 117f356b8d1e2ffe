"""What waits for what."""

from __future__ import annotations

from django.contrib import admin
from unfold.paginator import InfinitePaginator

from orchestrator.administration import KeptAdmin

from ..models import ItemEdge, JobDependency


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
