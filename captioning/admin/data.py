"""Data sets and their images."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from unfold.paginator import InfinitePaginator

from orchestrator.administration import DeskAdmin, KeptAdmin, display, preformatted

from ..models import Dataset, Image


@admin.register(Dataset)
class DatasetAdmin(DeskAdmin):
    list_display = ("name", "description", "owner", "n_images", "n_captions", "page", "updated_at")
    list_filter = (("owner", admin.RelatedOnlyFieldListFilter),)
    list_select_related = ("owner",)
    search_fields = ("name", "description")
    ordering = ("name",)
    fields = ("name", "description", "owner")
    autocomplete_fields = ("owner",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Dataset]:
        return super().get_queryset(request).filter(thrown_at=None).with_counts()  # what was deleted is nobody's

    @display(description="Images")
    def n_images(self, dataset: Any) -> int:
        return dataset.n_images

    @display(description="Captions")
    def n_captions(self, dataset: Any) -> int:
        return dataset.n_captions

    @display(description="Page")
    def page(self, dataset: Dataset) -> str:
        return format_html('<a href="/datasets/{}">open</a>', dataset.name)


@admin.register(Image)
class ImageAdmin(KeptAdmin):
    list_display = ("thumbnail", "path", "dataset", "format", "width", "height", "size", "created_at")
    list_display_links = ("path",)
    list_filter = ("format", ("dataset", admin.RelatedOnlyFieldListFilter))
    list_select_related = ("dataset",)
    search_fields = ("path", "sha256")
    ordering = ("-pk",)
    paginator = InfinitePaginator
    fields = (
        "thumbnail",
        "path",
        "dataset",
        "sha256",
        "stored_as",
        "format",
        "size",
        "width",
        "height",
        "n_frames",
        "taken_at",
        "camera",
        "created_at",
    )
    readonly_fields = fields

    @display(description="Picture")
    def thumbnail(self, image: Image) -> str:
        return format_html(
            '<a href="/images/{}"><img src="/api/images/{}/thumbnail?width=96" width="72" alt="{}" loading="lazy"></a>',
            image.pk,
            image.pk,
            image.path,
        )

    @display(description="EXIF")
    def camera(self, image: Image) -> str:
        return preformatted(image.exif)
