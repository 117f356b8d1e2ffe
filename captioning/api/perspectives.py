"""Perspectives over HTTP: the library, its versions and modules."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db.models import Count
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from orchestrator import pages
from orchestrator.etags import ConditionalView
from orchestrator.idempotency import idempotent
from orchestrator.problems import Invalid, NotFound

from .. import documents, library
from ..capabilities import answerable
from ..models import Perspective, PerspectiveType, PerspectiveVersion, Provider
from .requests import body_of, user_of

_ORDERINGS = {
    "name": ("name",),
    "-name": ("-name",),
    "priority": ("current__priority", "name"),
    "-priority": ("-current__priority", "name"),
    "createdAt": ("current__created_at", "name"),
    "-createdAt": ("-current__created_at", "name"),
}


class SchemaFieldSerializer(serializers.Serializer):
    name = serializers.CharField()
    type = serializers.ChoiceField(
        choices=documents.TYPES, required=False, help_text="May be left out where `fields` make it a dict"
    )
    description = serializers.CharField(required=False, allow_blank=True)
    is_list = serializers.BooleanField(required=False, default=False)
    is_complex = serializers.BooleanField(required=False, default=False)
    fields_ = serializers.ListField(
        child=serializers.DictField(), required=False, source="fields", help_text="Fields of the same form, nested"
    )

    def get_fields(self) -> dict[str, serializers.Field]:
        # A serializer has an attribute `fields` of its own.
        declared = super().get_fields()
        declared["fields"] = declared.pop("fields_")
        declared["fields"].source = None
        return declared


class TableColumnSerializer(serializers.Serializer):
    name = serializers.CharField()
    style = serializers.CharField()  # type: ignore[assignment]


class PerspectiveSerializer(serializers.Serializer):
    """A way of describing an image. `version` counts its wordings."""

    id = serializers.IntegerField(read_only=True)
    name = serializers.CharField()
    display_name = serializers.CharField()
    version = serializers.CharField(read_only=True)
    prompt = serializers.CharField()
    schema_fields = SchemaFieldSerializer(many=True)
    table_columns = TableColumnSerializer(many=True, required=False)
    context_template = serializers.CharField(required=False, allow_blank=True)
    module = serializers.CharField(required=False, default="default")
    tags = serializers.ListField(child=serializers.CharField(), required=False)
    description = serializers.CharField(required=False, allow_blank=True)
    deprecated = serializers.BooleanField(required=False, default=False)
    replacement = serializers.CharField(required=False, allow_null=True)
    priority = serializers.IntegerField(required=False, default=100)
    type = serializers.ChoiceField(choices=PerspectiveType.choices, required=False)
    builds_on = serializers.ListField(child=serializers.CharField(), required=False)
    local_vision = serializers.DictField(required=False)
    enabled = serializers.BooleanField(required=False, default=True)
    createdAt = serializers.DateTimeField(read_only=True)


class PerspectiveListSerializer(serializers.Serializer):
    perspectives = PerspectiveSerializer(many=True)
    total = serializers.IntegerField()
    offset = serializers.IntegerField()
    limit = serializers.IntegerField()


class ModuleSerializer(serializers.Serializer):
    name = serializers.CharField()
    display_name = serializers.CharField()
    description = serializers.CharField()
    enabled = serializers.BooleanField()
    perspective_count = serializers.IntegerField()


class ModuleListSerializer(serializers.Serializer):
    modules = ModuleSerializer(many=True)


class PerspectiveQuery(pages.Window):
    provider = serializers.CharField(required=False, help_text="Only those that this provider can answer")
    module = serializers.CharField(required=False)
    tag = serializers.CharField(required=False)
    search = serializers.CharField(required=False)
    enabled = pages.FlagField(default=True)
    ordering = serializers.ChoiceField(choices=list(_ORDERINGS), default="priority")


class Perspectives(ConditionalView):
    """The library of perspectives."""

    needs = "captioning.add_perspective"

    @extend_schema(parameters=[PerspectiveQuery], responses=PerspectiveListSerializer)
    def get(self, request: Request) -> Response:
        query = PerspectiveQuery.of(request)
        found = Perspective.objects.filter(enabled=query["enabled"], current__isnull=False).select_related("current")
        if "module" in query:
            found = found.filter(module=query["module"])
        if "tag" in query:
            found = found.filter(current__tags__contains=[query["tag"]])
        if "search" in query:
            found = found.filter(name__icontains=query["search"]) | found.filter(
                current__display_name__icontains=query["search"]
            )
        found = found.order_by(*_ORDERINGS[query["ordering"]])
        if "provider" in query:
            return pages.page(
                answerable(_provider(query["provider"]), found), query, key="perspectives", render=_render
            )
        return pages.page(found, query, key="perspectives", render=_render)

    @extend_schema(request=PerspectiveSerializer, responses={201: PerspectiveSerializer})
    @idempotent
    def post(self, request: Request) -> Response:
        perspective = library.create(body_of(request), by=user_of(request))
        return Response(
            library.document_of(perspective), status=201, headers={"Location": f"/api/perspectives/{perspective.name}"}
        )


class PerspectiveDetail(ConditionalView):
    """One perspective in its current wording."""

    needs = "captioning.change_perspective"

    @extend_schema(responses=PerspectiveSerializer)
    def get(self, request: Request, name: str) -> Response:
        return Response(library.document_of(_perspective(name)))

    @extend_schema(request=PerspectiveSerializer, responses=PerspectiveSerializer)
    def put(self, request: Request, name: str) -> Response:
        """Write a new version; the same wording again makes none."""
        perspective = _perspective(name)
        library.write(perspective, body_of(request), by=user_of(request))
        return Response(library.document_of(perspective))

    @extend_schema(request=PerspectiveSerializer(partial=True), responses=PerspectiveSerializer)
    def patch(self, request: Request, name: str) -> Response:
        """Write a new version that differs from the current one in the members given."""
        perspective = _perspective(name)
        library.write(perspective, {**library.document_of(perspective), **body_of(request)}, by=user_of(request))
        return Response(library.document_of(perspective))

    @extend_schema(request=None, responses={200: PerspectiveSerializer, 204: None})
    def delete(self, request: Request, name: str) -> Response:
        """Remove a perspective (204), or only disable it (200) if it is shipped or captions name it."""
        perspective = _perspective(name)
        if library.remove(perspective, by=user_of(request)):
            return Response(status=204)
        return Response(library.document_of(perspective))


class PerspectiveVersions(ConditionalView):
    """All wordings of a perspective, the newest first."""

    @extend_schema(parameters=[pages.Window], responses=PerspectiveListSerializer)
    def get(self, request: Request, name: str) -> Response:
        query = pages.Window.of(request)
        perspective = _perspective(name)

        def render(versions: Iterable[PerspectiveVersion]) -> list[Any]:
            return [library.document_of(perspective, version) for version in versions]

        return pages.page(perspective.versions.order_by("-number"), query, key="perspectives", render=render)


class Modules(ConditionalView):
    """The modules that perspectives are sorted into."""

    @extend_schema(responses=ModuleListSerializer)
    def get(self, request: Request) -> Response:
        pages.Query.of(request)
        counted = (
            Perspective.objects.usable().order_by("module").values_list("module").annotate(n_perspectives=Count("pk"))
        )
        return Response(
            {
                "modules": [
                    {
                        "name": module,
                        "display_name": module.replace("_", " ").capitalize(),
                        "description": f"{n} perspective{'s' if n != 1 else ''}",
                        "enabled": True,
                        "perspective_count": n,
                    }
                    for module, n in counted
                ]
            }
        )


def _render(perspectives: Iterable[Perspective]) -> list[Any]:
    return [library.document_of(perspective) for perspective in perspectives]


def _perspective(name: str) -> Perspective:
    found = Perspective.objects.filter(name=name, current__isnull=False).select_related("current").first()
    if found is None:
        raise NotFound(f"There is no perspective {name!r}.")
    return found


def _provider(name: str) -> Provider:
    provider = Provider.objects.filter(name=name).first()
    if provider is None:
        raise Invalid(f"There is no provider {name!r}.", errors={"provider": [f"There is no provider {name!r}."]})
    return provider
