"""What clients of survey tasks send and read."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from uploads.intake import address_of
from uploads.links import signed_url

from .models import Label, ProductKind, Region, Survey, results_of
from .states import TaskStatus, current_of, percent_of, stages_of

_LABELS = [label.value for label in Label]
_NUMBER = {"type": "number"}
_TEXT = {"type": "string"}
_URL = {"type": "string", "format": "uri", "description": "Signed when read; works for PRESIGN_SECONDS"}


class NewTaskSerializer(serializers.Serializer):
    crs = serializers.CharField(
        required=False, allow_null=True, max_length=100, help_text="EPSG code of clouds that carry none: EPSG:32633"
    )
    parameters = serializers.DictField(
        required=False, allow_null=True, help_text="Choices of the engine by name; docs/reference/surveys.md lists them"
    )
    name = serializers.CharField(required=False, allow_null=True, allow_blank=True, max_length=200)


class UploadUrlsSerializer(serializers.Serializer):
    pre = serializers.URLField(help_text="Point cloud before, LAS or LAZ")
    post = serializers.URLField(help_text="Point cloud after, LAS or LAZ")
    shp = serializers.URLField(help_text="Stable ground, polygons of a shapefile")
    shx = serializers.URLField(help_text="Index of that shapefile")


class TaskSerializer(serializers.Serializer):
    id = serializers.UUIDField()
    task_id = serializers.UUIDField(help_text="The same as id")
    upload_urls = UploadUrlsSerializer(help_text="A tus address for each file")


class StartedSerializer(serializers.Serializer):
    started = serializers.BooleanField()


@extend_schema_field(
    {
        "oneOf": [
            {
                "type": "object",
                "description": "What was measured, once the task is done",
                "required": ["hulls", "summary", "downloads"],
                "properties": {
                    "hulls": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "description": "A region that changed. Metres, square metres, cubic metres",
                            "required": [
                                "id", "score", "area", "cut_volume", "fill_volume", "net_volume",
                                "volume_uncertainty", "image_key", "image_url", "polygon",
                            ],
                            "properties": {
                                "id": _TEXT,
                                "score": {"type": "number", "minimum": 0, "maximum": 1},
                                "area": _NUMBER,
                                "cut_volume": _NUMBER,
                                "fill_volume": _NUMBER,
                                "net_volume": {"type": "number", "description": "fill - cut"},
                                "volume_uncertainty": {"type": "number", "description": "Half the 95 % interval"},
                                "image_key": {"type": ["string", "null"]},
                                "image_url": {"type": ["string", "null"], "description": _URL["description"]},
                                "polygon": {"type": "object", "description": "GeoJSON in coordinates of the site"},
                            },
                        },
                    },
                    "summary": {"type": "object"},
                    "downloads": {"type": "object", "additionalProperties": _URL},
                },
            },
            {"type": "string", "description": "Why the task came to an error or was killed"},
        ]
    }
)  # fmt: skip
class ResultsField(serializers.Field):
    """Results of a finished task, or the reason of a failed one."""

    def to_representation(self, value: Any) -> Any:
        return value


class TaskStateSerializer(serializers.Serializer):
    status = serializers.ChoiceField(choices=[status.value for status in TaskStatus])
    missing = serializers.ListField(child=serializers.ChoiceField(choices=_LABELS))
    progress = serializers.IntegerField(min_value=0, max_value=100, help_text="Percent")
    stage = serializers.CharField(allow_null=True, help_text="The stage that runs, failed, or comes next")
    results = ResultsField(required=False)


def render_task(survey: Survey, request: HttpRequest) -> dict[str, Any]:
    """Write what the creator of a task is told."""
    uploads = {file.label: file.upload for file in survey.files.select_related("upload")}
    return {
        "id": str(survey.task_id),
        "task_id": str(survey.task_id),
        "upload_urls": {label: address_of(uploads[label], request) for label in _LABELS},
    }


def render_state(survey: Survey, request: HttpRequest) -> dict[str, Any]:
    """Write how a task stands; results and reasons only once there are any."""
    missing = survey.missing()
    status = survey.status(missing)
    stages = stages_of(survey.job)
    answer: dict[str, Any] = {
        "status": status.value,
        "missing": missing,
        "progress": 100 if status == TaskStatus.DONE else percent_of(stages),
        "stage": None if status == TaskStatus.DONE else current_of(stages),
    }
    if status == TaskStatus.DONE:
        answer["results"] = render_results(survey, request)
    elif status in (TaskStatus.ERROR, TaskStatus.KILLED):
        answer["results"] = survey.reason(missing)
    return answer


def render_results(survey: Survey, request: HttpRequest) -> dict[str, Any]:
    results = results_of(survey)
    return {
        "hulls": [_hull(region, request) for region in results["regions"]],
        "summary": survey.summary or {},
        "downloads": {
            product.name: signed_url(product.key, product.filename, request)
            for product in results["products"]
            if product.kind == ProductKind.DOWNLOAD
        },
    }


def _hull(region: Region, request: HttpRequest) -> dict[str, Any]:
    picture = region.picture
    return {
        "id": region.region_id,
        "score": region.score,
        "area": region.area_m2,
        "cut_volume": region.cut_volume_m3,
        "fill_volume": region.fill_volume_m3,
        "net_volume": region.net_volume_m3,
        "volume_uncertainty": region.volume_uncertainty_m3,
        "image_key": picture.key if picture is not None else None,
        "image_url": signed_url(picture.key, picture.filename, request) if picture is not None else None,
        "polygon": region.polygon,
    }
