"""Perspectives, each with its wordings."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from unfold.admin import TabularInline

from orchestrator.administration import DeskAdmin, KeptAdmin, display, preformatted

from ..models import Perspective, PerspectiveVersion


class PerspectiveVersionInline(TabularInline):
    model = PerspectiveVersion
    fk_name = "perspective"
    extra = 0
    can_delete = False
    fields = ("number", "display_name", "type", "deprecated", "created_by", "created_at")
    readonly_fields = fields
    ordering = ("-number",)
    show_change_link = True

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Perspective)
class PerspectiveAdmin(DeskAdmin):
    """Switching perspectives on and off; their wording is written as a document through the API."""

    list_display = ("name", "title", "module", "enabled", "version", "owner")
    list_editable = ("enabled",)
    list_filter = ("enabled", "module", "current__type")
    list_select_related = ("current", "owner")
    search_fields = ("name", "current__display_name", "current__description")
    ordering = ("name",)
    fields = ("name", "module", "enabled", "owner", "created_at")
    readonly_fields = ("name", "created_at")
    autocomplete_fields = ("owner",)
    inlines = (PerspectiveVersionInline,)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Perspective | None = None) -> bool:
        return False  # captions name it

    @display(description="Title", ordering="current__display_name")
    def title(self, perspective: Perspective) -> str:
        return perspective.current.display_name if perspective.current else ""

    @display(description="Version", ordering="current__number")
    def version(self, perspective: Perspective) -> str:
        return f"v{perspective.current.number}" if perspective.current else ""


@admin.register(PerspectiveVersion)
class PerspectiveVersionAdmin(KeptAdmin):
    list_display = ("display_name", "perspective", "number", "type", "deprecated", "created_by", "created_at")
    list_filter = ("type", "deprecated")
    list_select_related = ("perspective", "created_by")
    search_fields = ("display_name", "perspective__name")
    ordering = ("perspective__name", "-number")
    fields = (
        "perspective",
        "number",
        "type",
        "display_name",
        "description",
        "asks",
        "answers",
        "context_template",
        "builds_on",
        "tags",
        "priority",
        "deprecated",
        "replacement",
        "created_by",
        "created_at",
    )
    readonly_fields = fields

    @display(description="Prompt")
    def asks(self, version: PerspectiveVersion) -> str:
        return preformatted(version.prompt)

    @display(description="Fields")
    def answers(self, version: PerspectiveVersion) -> str:
        return preformatted(version.schema_fields)
