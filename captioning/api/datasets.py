"""Data sets over HTTP, and imports into them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

from django.db import IntegrityError, transaction
from django.db.models import Count, Q
from django.urls import path
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from orchestrator import bodies, pages
from orchestrator.etags import ConditionalView
from orchestrator.idempotency import idempotent
from orchestrator.parsers import LenientJSONParser
from orchestrator.problems import Conflict, Invalid, NotFound

from .. import importing
from ..models import NAME_PATTERN, Dataset

if TYPE_CHECKING:
    from django.contrib.auth.models import User

_TAGS = ["Data sets"]
_ORDERINGS = {
    "name": ("name",),
    "-name": ("-name",),
    "createdAt": ("created_at", "id"),
    "-createdAt": ("-created_at", "-id"),
    "updatedAt": ("updated_at", "id"),
    "-updatedAt": ("-updated_at", "-id"),
    "imageCount": ("size", "name"),
    "-imageCount": ("-size", "name"),
}


class NameTaken(Conflict):
    """The name is taken"""


# --- Shapes


class DatasetSerializer(serializers.Serializer):
    id = serializers.IntegerField()
    name = serializers.CharField()
    description = serializers.CharField(allow_blank=True)
    imageCount = serializers.IntegerField(source="n_images")
    captionCount = serializers.IntegerField(source="n_captions", help_text="Current captions")
    createdAt = serializers.DateTimeField(source="created_at")
    updatedAt = serializers.DateTimeField(source="updated_at")


class DatasetListSerializer(serializers.Serializer):
    datasets = DatasetSerializer(many=True)
    total = serializers.IntegerField()
    offset = serializers.IntegerField()
    limit = serializers.IntegerField()


class DatasetFormSerializer(serializers.Serializer):
    name = serializers.RegexField(
        NAME_PATTERN, error_messages={"invalid": "Use 1 to 64 letters, digits, _ or -."}, max_length=64
    )
    description = serializers.CharField(required=False, allow_blank=True, max_length=10_000, trim_whitespace=False)


class ImportFormSerializer(serializers.Serializer):
    format = serializers.CharField(max_length=64, help_text="`folder`: every picture below a folder of the workspace")
    source = serializers.CharField(  # type: ignore[assignment]  # a field, as the contract names it
        max_length=4096, trim_whitespace=False, help_text="Path of the folder below WORKSPACE_PATH"
    )


class ImportStartedSerializer(serializers.Serializer):
    jobId = serializers.UUIDField()


class DatasetQuery(pages.Window):
    search = serializers.CharField(max_length=200, required=False, help_text="In name and description")
    ordering = serializers.ChoiceField(list(_ORDERINGS), default="name")


class ImportQuery(pages.Query):
    format = serializers.CharField(max_length=64, required=False)


# --- Views


class DatasetView(ConditionalView):
    """A view of data sets."""

    def dataset(self, name: str) -> Dataset:
        """Find a data set; somebody else's is as good as none."""
        found: Dataset | None = Dataset.objects.visible_to(self.request.user).filter(name=name).first()
        if found is None:
            raise NotFound(f"No data set is called {name!r}.")
        return found


class DatasetList(DatasetView):
    needs = "captioning.add_dataset"

    @extend_schema(parameters=[DatasetQuery], responses=DatasetListSerializer, tags=_TAGS)
    def get(self, request: Request) -> Response:
        """List data sets."""
        query = DatasetQuery.of(request)
        datasets = Dataset.objects.visible_to(request.user)
        if "search" in query:
            datasets = datasets.filter(Q(name__icontains=query["search"]) | Q(description__icontains=query["search"]))
        ordered = datasets.alias(size=Count("images")) if "imageCount" in query["ordering"] else datasets
        return pages.page(
            ordered.with_counts().order_by(*_ORDERINGS[query["ordering"]]),
            query,
            key="datasets",
            render=_render,
            total=datasets.count(),
        )

    @extend_schema(request=DatasetFormSerializer, responses={201: DatasetSerializer}, tags=_TAGS)
    @idempotent
    def post(self, request: Request) -> Response:
        """Make an empty data set."""
        given = bodies.read(request, DatasetFormSerializer)
        try:
            with transaction.atomic():
                dataset = Dataset.objects.create(owner_id=request.user.pk, **given)
        except IntegrityError:
            raise _taken(given["name"]) from None
        return Response(_one(dataset.pk), status=201, headers={"Location": f"/api/datasets/{dataset.name}"})


class DatasetDetail(DatasetView):
    needs = "captioning.change_dataset"

    @extend_schema(responses=DatasetSerializer, tags=_TAGS)
    def get(self, request: Request, name: str) -> Response:
        """Show a data set."""
        return Response(_one(self.dataset(name).pk))

    @extend_schema(request=DatasetFormSerializer, responses=DatasetSerializer, tags=_TAGS)
    def patch(self, request: Request, name: str) -> Response:
        """Change the name or the description; what is not named stays."""
        dataset = self.dataset(name)
        given = bodies.read(request, DatasetFormSerializer, partial=True)
        for field, value in given.items():
            setattr(dataset, field, value)
        try:
            with transaction.atomic():
                dataset.save(update_fields=[*given, "updated_at"])
        except IntegrityError:
            raise _taken(dataset.name) from None
        return Response(_one(dataset.pk))

    @extend_schema(responses={204: None}, tags=_TAGS)
    def delete(self, request: Request, name: str) -> Response:
        """Delete a data set with its images and captions, for good. Items of jobs that wait for its images fail.

        Nothing asks back here, so nothing is kept: only what people delete on the pages can be undone for an hour.
        """
        Dataset.objects.filter(pk=self.dataset(name).pk).delete()
        return Response(status=204)


class DatasetImport(DatasetView):
    needs = "captioning.add_image"
    parser_classes = [LenientJSONParser, MultiPartParser]

    @extend_schema(
        parameters=[ImportQuery],
        request={"application/json": ImportFormSerializer},
        responses={202: ImportStartedSerializer},
        tags=_TAGS,
    )
    @idempotent
    def post(self, request: Request, name: str) -> Response:
        """Import from the server as a job.

        Its result is the report `{taken, present, nRefused, refused: [{name, reason}]}`.
        """
        dataset = self.dataset(name)
        query = ImportQuery.of(request)
        if request.FILES:
            raise Invalid(
                f"Files cannot be imported yet. Send pictures to /api/datasets/{name}/images, or name a folder of the "
                'server: {"format": "folder", "source": "..."}.'
            )
        form = ImportFormSerializer(data=query | dict(request.data))
        form.is_valid(raise_exception=True)
        user = cast("User", request.user)  # HasAccess lets nobody else come here
        job = importing.start(
            dataset, format_name=form.validated_data["format"], source=form.validated_data["source"], by=user
        )
        return Response(
            {"jobId": str(job.job_id)},
            status=202,
            headers={"Location": f"/api/perspectives/batch/status/{job.job_id}"},
        )


def _taken(name: str) -> NameTaken:
    return NameTaken(f"A data set {name!r} exists already; choose another name.")


def _one(pk: int) -> Any:
    return DatasetSerializer(Dataset.objects.with_counts().get(pk=pk)).data


def _render(datasets: Iterable[Dataset]) -> list[Any]:
    return list(DatasetSerializer(datasets, many=True).data)


urlpatterns = [
    path("api/datasets", DatasetList.as_view()),
    path("api/datasets/<slug:name>", DatasetDetail.as_view()),
    path("api/datasets/<slug:name>/import", DatasetImport.as_view()),
]
