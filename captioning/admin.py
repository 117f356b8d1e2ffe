"""The operator's desk over data sets, perspectives, captions and providers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import get_object_or_404, redirect
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from unfold.admin import TabularInline
from unfold.paginator import InfinitePaginator
from unfold.widgets import UnfoldAdminPasswordWidget

from orchestrator.administration import DeskAdmin, KeptAdmin, display, preformatted
from orchestrator.templatetags.desk import ago

from . import provider_forms
from .models import (
    Caption,
    Dataset,
    Image,
    ModelCall,
    Perspective,
    PerspectiveVersion,
    Provider,
    ProviderModel,
    Throttle,
)


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
        return super().get_queryset(request).with_counts()

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
            '<a href="/images/{}"><img src="/api/images/{}/thumbnail?width=96" width="72" alt="" loading="lazy"></a>',
            image.pk,
            image.pk,
        )

    @display(description="EXIF")
    def camera(self, image: Image) -> str:
        return preformatted(image.exif)


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
        "review",
        "review_reason",
        "is_current",
        "supersedes",
        "created_at",
    )
    readonly_fields = fields

    @display(description="Caption")
    def excerpt(self, caption: Caption) -> str:
        return caption.text[:90] or "(no words)"

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


class ProviderForm(forms.ModelForm):
    """The key goes in and never comes out."""

    api_key = forms.CharField(
        required=False,
        label="API key",
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "off"}),
        help_text="Kept encrypted and never shown again. Empty keeps the present one.",
    )
    clears_api_key = forms.BooleanField(required=False, label="Forget the present key")

    # Form field -> the name under which the API knows it.
    NAMES = {
        "name": "name",
        "kind": "kind",
        "environment": "environment",
        "base_url": "baseUrl",
        "default_model": "defaultModel",
        "is_enabled": "isEnabled",
        "input_price_usd": "inputPriceUsd",
        "output_price_usd": "outputPriceUsd",
    }

    class Meta:
        model = Provider
        fields = [
            "name",
            "kind",
            "environment",
            "base_url",
            "default_model",
            "is_enabled",
            "requests_per_minute",
            "tokens_per_minute",
            "input_price_usd",
            "output_price_usd",
        ]

    def clean(self) -> dict[str, Any]:
        """Check the way the API does, so that both refuse the same."""
        cleaned = super().clean() or {}
        present = Provider.objects.filter(pk=self.instance.pk).first()
        if not self.errors and not (present and present.is_local_vision):
            fields = {name: field for field, name in self.NAMES.items()} | {"apiKey": "api_key"}
            for name, complaints in provider_forms.clean(self.document(), present=present)[1].items():
                for complaint in complaints:
                    self.add_error(fields.get(name.split(".")[0].split("[")[0]), complaint)
        return cleaned

    def document(self) -> dict[str, Any]:
        """Write the form as the API's document."""
        cleaned = self.cleaned_data
        document = {name: cleaned[field] for field, name in self.NAMES.items() if field in cleaned}
        for name in ("inputPriceUsd", "outputPriceUsd"):
            if document.get(name) is not None:
                document[name] = str(document[name])
        document["rateLimits"] = {
            "requestsPerMinute": cleaned.get("requests_per_minute"),
            "tokensPerMinute": cleaned.get("tokens_per_minute"),
        }
        if cleaned.get("clears_api_key"):
            document["apiKey"] = ""
        elif cleaned.get("api_key"):
            document["apiKey"] = cleaned["api_key"]
        return document


class ProviderModelInline(TabularInline):
    model = ProviderModel
    extra = 0
    fields = ("name", "is_enabled")


@admin.register(Provider)
class ProviderAdmin(DeskAdmin):
    form = ProviderForm
    list_display = ("name", "kind", "environment", "default_model", "is_enabled", "has_key", "health", "n_calls")
    list_filter = ("kind", "environment", "is_enabled")
    search_fields = ("name", "base_url", "default_model")
    ordering = ("name",)
    inlines = (ProviderModelInline,)
    change_form_outer_after_template = "admin/captioning/provider/_probe.html"
    readonly_fields = ("has_key", "health", "last_found")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Provider]:
        calls = ModelCall.objects.filter(provider=OuterRef("pk")).order_by().values("provider")
        return super().get_queryset(request).annotate(n_calls=Subquery(calls.annotate(n=Count("pk")).values("n")))

    def get_fields(self, request: HttpRequest, obj: Provider | None = None) -> Sequence[str]:
        if obj is not None and obj.is_local_vision:
            return ("name", "kind", "is_enabled", "health", "last_found")
        written = [*ProviderForm.Meta.fields, "api_key"]
        return written if obj is None else [*written, "clears_api_key", *self.readonly_fields]

    def get_readonly_fields(self, request: HttpRequest, obj: Provider | None = None) -> Sequence[str]:
        if obj is not None and obj.is_local_vision:
            return ("name", "kind", *self.readonly_fields)  # it can only be switched on and off
        return self.readonly_fields

    def get_inlines(self, request: HttpRequest, obj: Provider | None) -> Sequence[type[TabularInline]]:
        return () if obj is None or obj.is_local_vision else self.inlines

    def has_delete_permission(self, request: HttpRequest, obj: Provider | None = None) -> bool:
        return super().has_delete_permission(request, obj) and not (obj is not None and obj.is_local_vision)

    def save_model(self, request: HttpRequest, obj: Provider, form: ProviderForm, change: bool) -> None:
        if not change:
            obj.pk = provider_forms.create(form.document()).pk
            return
        present = Provider.objects.get(pk=obj.pk)
        document = {"isEnabled": obj.is_enabled} if present.is_local_vision else form.document()
        provider_forms.change(present, document)

    @display(description="Key", boolean=True)
    def has_key(self, provider: Provider) -> bool:
        return provider.has_api_key

    @display(description="Last probe", ordering="last_probe_at")
    def health(self, provider: Provider) -> str:
        if provider.last_probe is None:
            return "never probed"
        verdict = "answered" if provider.last_probe.get("success") else "failed"
        return format_html("{} {}", verdict, ago(provider.last_probe_at))

    @display(description="What the probe found")
    def last_found(self, provider: Provider) -> str:
        return preformatted(provider.last_probe)

    @display(description="Calls")
    def n_calls(self, provider: Any) -> int:
        return provider.n_calls or 0

    def get_urls(self) -> list[URLPattern]:
        return [
            path("<int:pk>/probe/", self.admin_site.admin_view(self.probe), name="captioning_provider_probe"),
            *super().get_urls(),
        ]

    def probe(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Ask the provider, and say what it answered. Only by POST: a page that is looked at must call nobody."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        provider = get_object_or_404(Provider, pk=pk)
        if not self.has_change_permission(request, provider):
            raise PermissionDenied("You may look at providers but not call them.")
        from . import probing  # it brings the vision libraries, which no other page of the administration needs

        found = probing.probe(provider)
        level = messages.SUCCESS if found["success"] else messages.ERROR
        self.message_user(request, f"{provider.name}: {found['message']}", level)
        return redirect(reverse("admin:captioning_provider_change", args=[pk]))


@admin.register(ModelCall)
class ModelCallAdmin(KeptAdmin):
    list_display = (
        "created_at",
        "provider",
        "model",
        "status_code",
        "latency_ms",
        "tokens_in",
        "tokens_out",
        "cost_usd",
        "repaired",
        "error_code",
    )
    list_filter = ("provider", "error_code", "repaired")
    list_select_related = ("provider",)
    ordering = ("-pk",)
    paginator = InfinitePaginator


@admin.register(Throttle)
class ThrottleAdmin(KeptAdmin):
    list_display = ("provider", "requests_free_at", "tokens_free_at")
    list_select_related = ("provider",)
    ordering = ("provider__name",)
