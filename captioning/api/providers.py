"""Providers over HTTP. A key goes in and never comes out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from orchestrator import health, pages
from orchestrator.access import IsStaff, IsStaffOrReads
from orchestrator.etags import ConditionalView
from orchestrator.idempotency import idempotent
from orchestrator.openapi import ANY_OBJECT
from orchestrator.problems import Invalid, NotFound

from .. import capabilities, probing, provider_forms
from ..models import Provider, ProviderKind
from .requests import body_of

_ORDERINGS = ("id", "-id", "name", "-name")


class ProviderModelSerializer(serializers.Serializer):
    id = serializers.IntegerField(read_only=True)
    providerId = serializers.IntegerField(read_only=True)
    name = serializers.CharField()
    isEnabled = serializers.BooleanField(required=False, default=True)
    createdAt = serializers.DateTimeField(read_only=True)
    updatedAt = serializers.DateTimeField(read_only=True)


class RateLimitsSerializer(serializers.Serializer):
    requestsPerMinute = serializers.IntegerField(allow_null=True, required=False, min_value=1)
    tokensPerMinute = serializers.IntegerField(allow_null=True, required=False, min_value=1)


class ProviderSerializer(serializers.Serializer):
    """Somebody who can answer. Prices are US dollars for a million tokens; null means the public price list."""

    id = serializers.IntegerField(read_only=True)
    name = serializers.CharField(min_length=3, max_length=64)
    kind = serializers.ChoiceField(choices=ProviderKind.choices)
    environment = serializers.ChoiceField(choices=provider_forms.ENVIRONMENTS)
    baseUrl = serializers.CharField(allow_blank=True)
    apiKey = serializers.CharField(write_only=True, required=False, allow_blank=True, allow_null=True)
    hasApiKey = serializers.BooleanField(read_only=True)
    isEnabled = serializers.BooleanField(required=False, default=True)
    defaultModel = serializers.CharField(required=False, allow_blank=True)
    models = ProviderModelSerializer(many=True, required=False)
    rateLimits = RateLimitsSerializer(required=False, allow_null=True)
    inputPriceUsd = serializers.FloatField(allow_null=True, required=False)
    outputPriceUsd = serializers.FloatField(allow_null=True, required=False)
    lastProbe = serializers.JSONField(read_only=True, allow_null=True)
    lastProbeAt = serializers.DateTimeField(read_only=True, allow_null=True)
    createdAt = serializers.DateTimeField(read_only=True)
    updatedAt = serializers.DateTimeField(read_only=True)


class ProviderListSerializer(serializers.Serializer):
    providers = ProviderSerializer(many=True)
    total = serializers.IntegerField()
    offset = serializers.IntegerField()
    limit = serializers.IntegerField()


class ProviderQuery(pages.Window):
    kind = serializers.CharField(required=False)
    enabled = pages.FlagField(required=False)
    ordering = serializers.ChoiceField(choices=_ORDERINGS, default="id")


class ProbeRequestSerializer(serializers.Serializer):
    model = serializers.CharField(required=False, help_text="The provider's own model where absent")


class Providers(ConditionalView):
    """Who can answer."""

    needs = "captioning.add_provider"
    permission_classes = [IsStaffOrReads]

    @extend_schema(parameters=[ProviderQuery], responses=ProviderListSerializer)
    def get(self, request: Request) -> Response:
        query = ProviderQuery.of(request)
        found = Provider.objects.prefetch_related("models").order_by(query["ordering"])
        if "kind" in query:
            found = found.filter(kind=query["kind"])
        if "enabled" in query:
            found = found.filter(is_enabled=query["enabled"])
        return pages.page(found, query, key="providers", render=_render)

    @extend_schema(request=ProviderSerializer, responses={201: ProviderSerializer})
    @idempotent
    def post(self, request: Request) -> Response:
        provider = provider_forms.create(body_of(request))
        return Response(shown(provider), status=201, headers={"Location": f"/api/providers/{provider.pk}"})


class ProviderDetail(ConditionalView):
    needs = "captioning.change_provider"
    permission_classes = [IsStaffOrReads]

    @extend_schema(responses=ProviderSerializer)
    def get(self, request: Request, provider_id: int) -> Response:
        return Response(shown(_provider(provider_id)))

    @extend_schema(request=ProviderSerializer(partial=True), responses=ProviderSerializer)
    def put(self, request: Request, provider_id: int) -> Response:
        """Write the fields that are given; `apiKey` absent keeps the key, empty or null clears it."""
        return Response(shown(provider_forms.change(_provider(provider_id), body_of(request))))

    @extend_schema(request=ProviderSerializer(partial=True), responses=ProviderSerializer)
    def patch(self, request: Request, provider_id: int) -> Response:
        """The same as PUT: both write what is given and keep the rest."""
        return Response(shown(provider_forms.change(_provider(provider_id), body_of(request))))

    @extend_schema(request=None, responses={204: None})
    def delete(self, request: Request, provider_id: int) -> Response:
        """Remove a provider; its captions keep its name."""
        provider = _provider(provider_id)
        if provider.is_local_vision:
            raise provider_forms.ProviderFixed("Local vision comes with the desk; disable it instead.")
        provider.delete()
        return Response(status=204)


class ProviderTest(ConditionalView):
    needs = "captioning.change_provider"
    permission_classes = [IsStaff]

    @extend_schema(request=ProbeRequestSerializer, responses=ANY_OBJECT)
    def post(self, request: Request, provider_id: int) -> Response:
        """Try a provider out, step by step; what was found is kept with it."""
        provider = _provider(provider_id)
        found = probing.probe(provider, model=_model(body_of(request).get("model")))
        return Response(
            {"status": "success" if found["success"] else "error", "message": found["message"], "result": found}
        )


def shown(provider: Provider) -> dict[str, Any]:
    return {
        "id": provider.pk,
        "name": provider.name,
        "kind": provider.kind,
        "environment": provider.environment,
        "baseUrl": provider.base_url,
        "hasApiKey": provider.has_api_key,
        "isEnabled": provider.is_enabled,
        "defaultModel": provider.default_model,
        "models": [
            {
                "id": model.pk,
                "providerId": provider.pk,
                "name": model.name,
                "isEnabled": model.is_enabled,
                "createdAt": model.created_at,
                "updatedAt": model.updated_at,
            }
            for model in sorted(provider.models.all(), key=lambda model: model.pk)
        ],
        "rateLimits": {
            "requestsPerMinute": provider.requests_per_minute,
            "tokensPerMinute": provider.tokens_per_minute,
        },
        "inputPriceUsd": _dollars(provider.input_price_usd),
        "outputPriceUsd": _dollars(provider.output_price_usd),
        "lastProbe": provider.last_probe,
        "lastProbeAt": provider.last_probe_at,
        "createdAt": provider.created_at,
        "updatedAt": provider.updated_at,
    }


def _model(value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise Invalid("The model is named by text.", errors={"model": ["Give text."]})
    return value or None


def _dollars(price: Any) -> float | None:
    return None if price is None else float(price)


def _render(providers: Iterable[Provider]) -> list[Any]:
    return [shown(provider) for provider in providers]


def _provider(provider_id: int) -> Provider:
    provider = Provider.objects.filter(pk=provider_id).first()
    if provider is None:
        raise NotFound(f"There is no provider {provider_id}.")
    return provider


def _providers_health() -> dict[str, Any]:
    """Tell whether anybody could answer; local vision counts, so a desk without keys is well."""
    n_ready, n_all = capabilities.n_ready()
    return {
        "status": health.HEALTHY if n_ready else health.DEGRADED,
        "active_providers": n_ready,
        "total_providers": n_all,
    }


health.register("dwa", _providers_health)
