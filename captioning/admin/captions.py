"""Captions, and who judged them."""

from __future__ import annotations

from django.contrib import admin
from django.utils.text import Truncator
from unfold.paginator import InfinitePaginator

from orchestrator.administration import KeptAdmin, display, preformatted

from ..models import Caption


@admin.register(Caption)
class CaptionAdmin(KeptAdmin):
    list_display = (
        "excerpt",
        "image",
        "perspective",
        "source",
        "provider",
        "model",
        "review",
        "is_current",
        "created_at",
    )
    list_filter = ("source", "provider", "review", "is_current", ("perspective", admin.RelatedOnlyFieldListFilter))
    list_select_related = ("image", "perspective")
    search_fields = ("text", "image__path")
    ordering = ("-pk",)
    paginator = InfinitePaginator
    fields = (
        "image",
        "perspective",
        "perspective_version",
        "text",
        "answer",
        "origin",
        "source",
        "provider",
        "model",
        "settings",
        "author",
        "reviewed_by",
        "review",
        "review_reason",
        "is_current",
        "supersedes",
        "created_at",
    )
    readonly_fields = fields

    @display(description="Caption")
    def excerpt(self, caption: Caption) -> str:
        return Truncator(caption.text).chars(90) or "(no words)"

    @display(description="Result")
    def answer(self, caption: Caption) -> str:
        return preformatted(caption.result)

    @display(description="Provenance")
    def origin(self, caption: Caption) -> str:
        return preformatted(caption.provenance)

    @display(description="Parameters")
    def settings(self, caption: Caption) -> str:
        return preformatted(caption.parameters)


# --- Providers
