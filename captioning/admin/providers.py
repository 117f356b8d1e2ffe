"""Model providers, what was asked of them, and how fast they may be asked."""

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

from .. import provider_forms
from ..models import ModelCall, Provider, ProviderModel, Throttle


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
        from .. import probing  # it brings the vision libraries, which no other page of the administration needs

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
