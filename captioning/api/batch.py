"""Captioning jobs over HTTP: create, look at what is missing, and one caption at once."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from drf_spectacular.utils import OpenApiResponse, extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from jobs import creation
from jobs.creation import JobDraft, UnknownDependency
from jobs.models import Executor, Job, OnFailedDependency
from jobs.states import JobStatus
from orchestrator.idempotency import idempotent
from orchestrator.problems import Invalid

from .. import batch, direct, selection
from ..gateway.picture import PRESETS
from ..models import Dataset, Perspective
from .requests import body_of, user_of

MAX_ANALYZED = 10_000  # images in one answer

_IMAGES = {
    "type": "array",
    "items": {"oneOf": [{"type": "string"}, {"type": "integer"}]},
    "description": "Paths below the workspace, or image ids",
}


@extend_schema_field(_IMAGES)
class ImageNamesField(serializers.JSONField):
    """Paths below the workspace (text) or image ids (whole numbers)."""


@extend_schema_field({"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}, {"type": "null"}]})
class TextsField(serializers.JSONField):
    """One text or several."""


class OptionsSerializer(serializers.Serializer):
    max_tokens = serializers.IntegerField(required=False, allow_null=True, min_value=1, max_value=32_768)
    temperature = serializers.FloatField(required=False, allow_null=True, min_value=0, max_value=2)
    top_p = serializers.FloatField(required=False, allow_null=True, min_value=0, max_value=1)
    repetition_penalty = serializers.FloatField(required=False, allow_null=True, min_value=0, max_value=2)
    provider = serializers.CharField(required=False, allow_null=True)
    model = serializers.CharField(required=False, allow_null=True)
    global_context = serializers.CharField(required=False, allow_null=True)
    resize = serializers.BooleanField(required=False, allow_null=True)
    resize_resolution = serializers.ChoiceField(required=False, allow_null=True, choices=["NONE", *PRESETS])
    only_missing = serializers.BooleanField(required=False, allow_null=True)
    budget_usd = serializers.FloatField(required=False, allow_null=True, max_value=1_000_000)
    max_attempts = serializers.IntegerField(required=False, allow_null=True, min_value=1, max_value=10)
    executor = serializers.ChoiceField(required=False, allow_null=True, choices=Executor.choices)
    on_failed_dependency = serializers.ChoiceField(required=False, allow_null=True, choices=OnFailedDependency.choices)


class CreateSerializer(serializers.Serializer):
    type = serializers.ChoiceField(choices=[(type_.value, type_.value) for type_ in batch.TYPES])
    name = serializers.CharField(required=False, max_length=200, allow_blank=True)
    images = ImageNamesField(required=False, allow_null=True)
    dataset = serializers.CharField(required=False, allow_null=True)
    perspectives = serializers.ListField(child=serializers.CharField(), min_length=1)
    options = OptionsSerializer(required=False, allow_null=True)
    priority = serializers.IntegerField(required=False, allow_null=True, min_value=0, max_value=1000, default=100)
    dependencies = serializers.ListField(child=serializers.UUIDField(), required=False, allow_null=True)
    dry_run = serializers.BooleanField(required=False, default=False)


class CreatedSerializer(serializers.Serializer):
    jobId = serializers.UUIDField(allow_null=True)
    status = serializers.ChoiceField(choices=JobStatus.choices)
    createdAt = serializers.DateTimeField(allow_null=True)
    position = serializers.IntegerField(allow_null=True)
    totalImages = serializers.IntegerField()
    estimatedStartTime = serializers.DateTimeField(allow_null=True)
    estimatedCostUsd = serializers.FloatField(allow_null=True)


class AnalyzeSerializer(serializers.Serializer):
    images = ImageNamesField(required=False, allow_null=True)
    dataset = serializers.CharField(required=False, allow_null=True)
    perspectives = serializers.ListField(child=serializers.CharField(), required=False, allow_null=True)
    cursor = serializers.IntegerField(required=False, allow_null=True, help_text="`next` of the answer before")


class AnalysisSerializer(serializers.Serializer):
    imagePath = serializers.CharField()
    imageId = serializers.IntegerField()
    existingPerspectives = serializers.ListField(child=serializers.CharField())
    missingPerspectives = serializers.ListField(child=serializers.CharField())


class AnalysesSerializer(serializers.Serializer):
    results = AnalysisSerializer(many=True)
    next = serializers.IntegerField(allow_null=True)


class CaptionNowSerializer(serializers.Serializer):
    perspective = serializers.CharField()
    image_path = serializers.CharField(required=False)
    image = serializers.IntegerField(required=False)
    provider = serializers.CharField(required=False)
    model = serializers.CharField(required=False)
    max_tokens = serializers.IntegerField(required=False)
    temperature = serializers.FloatField(required=False)
    top_p = serializers.FloatField(required=False)
    repetition_penalty = serializers.FloatField(required=False)
    context = TextsField(required=False)  # type: ignore[assignment]
    global_context = serializers.CharField(required=False)
    resize_resolution = serializers.ChoiceField(required=False, choices=["NONE", *PRESETS])


class CaptionedSerializer(serializers.Serializer):
    perspective = serializers.CharField()
    provider = serializers.CharField()
    model = serializers.CharField(allow_blank=True)
    result = serializers.DictField()
    raw_text = serializers.CharField(allow_null=True)
    text = serializers.CharField(allow_blank=True)
    imageId = serializers.IntegerField()
    captionId = serializers.IntegerField()
    jobId = serializers.UUIDField()


class Create(APIView):
    needs = "jobs.add_job"

    @extend_schema(request=CreateSerializer, responses={201: CreatedSerializer, 200: CreatedSerializer})
    @idempotent
    def post(self, request: Request) -> Response:
        """Queue a captioning job (201), or with `dry_run` only say what it would be (200)."""
        user = user_of(request)
        drafted = batch.draft(body_of(request), user)
        cost = None if drafted.estimated_cost_usd is None else float(drafted.estimated_cost_usd)
        if body_of(request).get("dry_run"):
            return Response(_forecast(drafted.job, user) | {"estimatedCostUsd": cost})
        starts_at = creation.estimated_start(drafted.job.priority)
        created = creation.create(drafted.job, by=user)
        job = Job.objects.with_position().get(pk=created.pk)
        return Response(
            {
                "jobId": str(job.job_id),
                "status": job.status,
                "createdAt": job.created_at,
                "position": job.position,
                "totalImages": job.total_images,
                "estimatedStartTime": None if job.status == JobStatus.WAITING else starts_at,
                "estimatedCostUsd": cost,
            },
            status=201,
            headers={"Location": f"/api/perspectives/batch/status/{job.job_id}"},
        )


class AnalyzeImages(APIView):
    needs = "captioning.view_image"

    @extend_schema(request=AnalyzeSerializer, responses=AnalysesSerializer)
    def post(self, request: Request) -> Response:
        """Tell for each image which perspectives have a current caption and which lack one.

        A large data set comes in parts: send `next` as `cursor` for the following one.
        """
        user = user_of(request)
        body = body_of(request)
        errors: batch.Errors = {
            name: ["There is no such member."]
            for name in sorted(set(body) - {"images", "dataset", "perspectives", "cursor"})
        }
        named = batch.named_images(body.get("images"), user, errors)
        dataset = batch.dataset_named(body.get("dataset"), user, errors)
        perspectives = _perspectives(body.get("perspectives"), errors)
        after = body.get("cursor") or 0
        if not isinstance(after, int) or isinstance(after, bool) or not 0 <= after < 2**63:
            errors["cursor"] = ["Give `next` of the answer before."]
        if not named and dataset is None and not errors.keys() & {"images", "dataset"}:
            errors["images"] = ["Name images, a data set, or both."]
        if errors:
            raise Invalid("The request has errors.", errors=errors)
        return Response(_analysis([] if after else named, dataset, perspectives, after))


class CaptionFromPath(APIView):
    needs = "captioning.add_caption"

    @extend_schema(
        request=CaptionNowSerializer,
        responses={200: CaptionedSerializer, 502: OpenApiResponse(description="The provider gave no caption")},
    )
    def post(self, request: Request) -> Response:
        """Caption one image while the caller waits."""
        return Response(direct.caption_now(body_of(request), user_of(request)))


def _forecast(draft: JobDraft, user: User) -> dict[str, Any]:
    known = set(Job.objects.visible_to(user).filter(job_id__in=draft.dependencies).values_list("job_id", flat=True))
    if unknown := [str(job_id) for job_id in draft.dependencies if job_id not in known]:
        raise UnknownDependency(f"No job has the id {', '.join(unknown)}.", unknown=unknown)
    forecast = creation.forecast(draft)
    return {
        "jobId": None,
        "status": JobStatus.WAITING if draft.dependencies else JobStatus.PENDING,
        "createdAt": None,
        "position": forecast.position,
        "totalImages": forecast.n_items,
        "estimatedStartTime": None if draft.dependencies else forecast.estimated_start_at,
    }


def _perspectives(value: Any, errors: batch.Errors) -> list[Perspective]:
    if value is None:
        return list(Perspective.objects.usable().order_by("current__priority", "name"))
    return batch.perspectives_named(value, errors)


def _analysis(
    named: list[tuple[int, str]], dataset: Dataset | None, perspectives: list[Perspective], after: int
) -> dict[str, Any]:
    """Look at the named images and at as many of the data set's as fit in one answer."""
    entries: list[tuple[int, str]] = []
    n_named = len(named)
    for page in selection.pages(named=named, dataset_id=dataset.pk if dataset else None, after=after):
        entries += page
        if len(entries) > max(MAX_ANALYZED, n_named):
            break
    shown = entries[: max(MAX_ANALYZED, n_named)]
    have = selection.present([image_id for image_id, _ in shown], [perspective.pk for perspective in perspectives])
    results = [
        {
            "imagePath": path,
            "imageId": image_id,
            "existingPerspectives": [one.name for one in perspectives if (image_id, one.pk) in have],
            "missingPerspectives": [one.name for one in perspectives if (image_id, one.pk) not in have],
        }
        for image_id, path in shown
    ]
    return {"results": results, "next": shown[-1][0] if len(entries) > len(shown) else None}
