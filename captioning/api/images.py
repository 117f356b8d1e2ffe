"""Images over HTTP: lists, uploads, thumbnails and originals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.db import connection
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.urls import path
from django.utils.cache import get_conditional_response
from django.utils.http import content_disposition_header
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from orchestrator import pages, problems
from orchestrator.etags import ConditionalView
from orchestrator.idempotency import idempotent
from orchestrator.openapi import DeskSchema
from orchestrator.parsers import LenientJSONParser
from orchestrator.problems import Invalid, NotFound
from uploads import storage

from .. import pictures, thumbnails
from ..intake import intake, lock
from ..models import Image
from ..pictures import PictureRefused
from ..querysets import in_path
from .datasets import DatasetView

_TAGS = ["Images"]
_ORDERINGS = {
    "id": ("id",),
    "-id": ("-id",),
    "path": ("path", "id"),
    "-path": ("-path", "-id"),
    "createdAt": ("created_at", "id"),
    "-createdAt": ("-created_at", "-id"),
    "takenAt": ("taken_at", "id"),
    "-takenAt": ("-taken_at", "-id"),
    "size": ("size", "id"),
    "-size": ("-size", "-id"),
}
_MAX_ID = 2**63 - 1
# The bytes behind an id never change; private, because not everybody may see them.
_FOR_EVER = "private, max-age=31536000, immutable"


# --- Shapes


class ImageSerializer(serializers.Serializer):
    id = serializers.IntegerField()
    dataset = serializers.CharField(source="dataset.name")
    path = serializers.CharField(help_text="As its bringer called it")
    sha256 = serializers.CharField()
    width = serializers.IntegerField(help_text="Pixels, after EXIF orientation")
    height = serializers.IntegerField(help_text="Pixels, after EXIF orientation")
    format = serializers.CharField(help_text="What the bytes are, whatever the name says")
    size = serializers.IntegerField(help_text="Bytes")
    takenAt = serializers.DateTimeField(source="taken_at", allow_null=True)
    createdAt = serializers.DateTimeField(source="created_at")
    url = serializers.SerializerMethodField()
    thumbnailUrl = serializers.SerializerMethodField()
    captionCount = serializers.IntegerField(source="n_captions", help_text="Current captions")

    def get_url(self, image: Image) -> str:
        return f"/api/images/{image.pk}/view"

    def get_thumbnailUrl(self, image: Image) -> str:  # noqa: N802
        return f"/api/images/{image.pk}/thumbnail"


class ImageListSerializer(serializers.Serializer):
    images = ImageSerializer(many=True)
    total = serializers.IntegerField()
    offset = serializers.IntegerField()
    limit = serializers.IntegerField()
    next = serializers.CharField(allow_null=True, help_text="`cursor` of the next page; only in the order of ids")


class UploadSerializer(serializers.Serializer):
    images = serializers.ListField(child=serializers.FileField(), help_text="Pictures, one part each")


class RefusedSerializer(serializers.Serializer):
    name = serializers.CharField()
    reason = serializers.CharField()


class UploadedSerializer(serializers.Serializer):
    images = ImageSerializer(many=True)
    refused = RefusedSerializer(many=True)


class ImageIdsSerializer(serializers.Serializer):
    ids = serializers.ListField(
        child=serializers.IntegerField(min_value=1, max_value=_MAX_ID), allow_empty=False, max_length=10_000
    )


class DeletedSerializer(serializers.Serializer):
    deleted = serializers.ListField(child=serializers.IntegerField())
    missing = serializers.ListField(child=serializers.IntegerField(), help_text="Not in this data set")


class ImageQuery(pages.Window):
    search = serializers.CharField(max_length=200, required=False, help_text="In the path")
    ordering = serializers.ChoiceField(list(_ORDERINGS), default="id")
    cursor = serializers.IntegerField(
        min_value=0, max_value=_MAX_ID, required=False, help_text="`next` of a page; instead of `offset`"
    )


class ThumbnailQuery(pages.Query):
    width = serializers.IntegerField(
        min_value=thumbnails.SMALLEST,
        max_value=thumbnails.LARGEST,
        default=thumbnails.DEFAULT_WIDTH,
        help_text="Pixels; the next larger of a few widths is sent",
    )


# --- Images of a data set


class _DeleteWithBody(DeskSchema):
    """Describe the body of a DELETE too; OpenAPI 3.1 allows it and the generator leaves it out."""

    def _get_request_body(self, direction: Any = "request") -> Any:
        if self.method != "DELETE":
            return super()._get_request_body(direction)  # type: ignore[no-untyped-call]
        self.method = "POST"
        try:
            return super()._get_request_body(direction)  # type: ignore[no-untyped-call]
        finally:
            self.method = "DELETE"


class DatasetImages(DatasetView):
    needs = "captioning.change_dataset"
    parser_classes = [MultiPartParser, LenientJSONParser]
    schema = _DeleteWithBody()

    @extend_schema(parameters=[ImageQuery], responses=ImageListSerializer, tags=_TAGS)
    def get(self, request: Request, name: str) -> Response:
        """List the images of a data set."""
        dataset = self.dataset(name)
        query = ImageQuery.of(request)
        images = dataset.images.all()
        if "search" in query:
            images = images.filter(in_path(query["search"]))
        total = images.count()
        if "cursor" in query:
            if query["ordering"] != "id" or query["offset"]:
                message = "A cursor goes with the order of ids and without an offset."
                raise Invalid(message, errors={"cursor": [message]})
            images = images.filter(pk__gt=query["cursor"])
        window = images.select_related("dataset").order_by(*_ORDERINGS[query["ordering"]])
        # One more than is shown tells whether there is a next page.
        rows = list(window[query["offset"] : query["offset"] + query["limit"] + 1])
        shown = rows[: query["limit"]]
        following = str(shown[-1].pk) if query["ordering"] == "id" and len(rows) > len(shown) else None
        answer = {"images": _render(shown), "total": total, "offset": query["offset"], "limit": query["limit"]}
        return Response(answer | {"next": following})

    @extend_schema(
        request={"multipart/form-data": UploadSerializer},
        responses={201: UploadedSerializer},
        tags=_TAGS,
    )
    @idempotent
    def post(self, request: Request, name: str) -> Response:
        """Take pictures into a data set. What is no picture is refused with the reason; the others are taken."""
        dataset = self.dataset(name)
        files = request.FILES.getlist("images") if request.FILES else []
        if not files:
            message = "Send at least one picture as a file in the multipart field `images`."
            raise Invalid(message, errors={"images": [message]})
        taken: dict[int, None] = {}  # in the order of the request, each once
        refused = []
        if connection.in_atomic_block:  # under an Idempotency-Key
            lock(file.file for file in files)
        for file in files:
            try:
                taken[intake(dataset, file.name, file.file).image.pk] = None
            except PictureRefused as refusal:
                refused.append({"name": file.name, "reason": refusal.detail})
        return Response({"images": _by_id(list(taken)), "refused": refused}, status=201)

    @extend_schema(
        request={"application/json": ImageIdsSerializer},
        responses={200: DeletedSerializer, (415, problems.MEDIA_TYPE): {"$ref": "#/components/schemas/Problem"}},
        tags=_TAGS,
    )
    def delete(self, request: Request, name: str) -> Response:
        """Delete images with their captions. Items of jobs that still wait for them fail."""
        dataset = self.dataset(name)
        form = ImageIdsSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        wanted = dict.fromkeys(form.validated_data["ids"])
        found = set(dataset.images.filter(pk__in=wanted).values_list("pk", flat=True))
        dataset.images.filter(pk__in=found).delete()
        return Response(
            {"deleted": [pk for pk in wanted if pk in found], "missing": [pk for pk in wanted if pk not in found]}
        )


# --- One image


class ImageDetail(ConditionalView):
    needs = "captioning.delete_image"

    @extend_schema(responses=ImageSerializer, tags=_TAGS)
    def get(self, request: Request, image_id: int) -> Response:
        """Show what is known of an image."""
        return Response(_by_id([_image(request, image_id).pk])[0])

    @extend_schema(responses={204: None}, tags=_TAGS)
    def delete(self, request: Request, image_id: int) -> Response:
        """Delete an image with its captions. Items of jobs that still wait for it fail."""
        Image.objects.filter(pk=_image(request, image_id).pk).delete()
        return Response(status=204)


class _AnyForm(BaseContentNegotiation):
    """Pictures come in the form they have, whatever `Accept` says; refusals are problems."""

    def select_parser(self, request: Request, parsers: Any) -> Any:
        return parsers[0]

    def select_renderer(self, request: Request, renderers: Any, format_suffix: str | None = None) -> Any:
        return renderers[0], renderers[0].media_type


class ImageThumbnail(APIView):
    content_negotiation_class = _AnyForm

    @extend_schema(
        parameters=[ThumbnailQuery],
        responses={(200, thumbnails.MEDIA_TYPE): OpenApiTypes.BINARY, 304: None},
        tags=_TAGS,
    )
    def get(self, request: Request, image_id: int) -> HttpResponseBase:
        """Show a small WebP picture: the first frame, upright, at least as wide as asked where the original is."""
        image = _image(request, image_id)
        width = thumbnails.snap(ThumbnailQuery.of(request)["width"])
        headers = _kept_for_ever(f"{image.sha256}-{width}")
        if unchanged := _unchanged(request._request, headers):
            return unchanged
        content = thumbnails.thumbnail(image.sha256, image.stored_as, width).read_bytes()
        return HttpResponse(content, content_type=thumbnails.MEDIA_TYPE, headers=headers)


class ImageOriginal(APIView):
    content_negotiation_class = _AnyForm

    @extend_schema(
        responses={(200, "image/*"): OpenApiTypes.BINARY, 304: None},
        tags=_TAGS,
    )
    def get(self, request: Request, image_id: int) -> HttpResponseBase:
        """Send the original bytes."""
        image = _image(request, image_id)
        headers = _kept_for_ever(image.sha256) | {
            "Content-Length": str(image.size),
            "Content-Disposition": _file_name(image),
        }
        if unchanged := _unchanged(request._request, headers):
            return unchanged
        media_type = pictures.FORMATS[image.format][1]
        if request.method == "HEAD":
            return HttpResponse(content_type=media_type, headers=headers)
        return StreamingHttpResponse(storage.Stream(image.stored_as), content_type=media_type, headers=headers)


def _image(request: Request, image_id: int) -> Image:
    """Find an image; one of somebody else's data set is as good as none."""
    image: Image | None = Image.objects.visible_to(request.user).filter(pk=image_id).first()
    if image is None:
        raise NotFound(f"No image has the id {image_id}.")
    return image


def _kept_for_ever(tag: str) -> dict[str, str]:
    return {"ETag": f'"{tag}"', "Cache-Control": _FOR_EVER, "X-Content-Type-Options": "nosniff"}


def _unchanged(request: HttpRequest, headers: dict[str, str]) -> HttpResponse | None:
    response = get_conditional_response(request, etag=headers["ETag"])
    if response is not None:
        response["ETag"], response["Cache-Control"] = headers["ETag"], headers["Cache-Control"]
    return response


def _file_name(image: Image) -> str:
    name = "".join(character for character in image.path.rsplit("/", 1)[-1] if character.isprintable())
    return content_disposition_header(as_attachment=False, filename=name or "picture") or "inline"


def _by_id(pks: Sequence[int]) -> list[Any]:
    """Render images in the order of their ids given."""
    found = Image.objects.filter(pk__in=pks).select_related("dataset").in_bulk()
    return _render(found[pk] for pk in pks if pk in found)


def _render(images: Iterable[Image]) -> list[Any]:
    return list(ImageSerializer(images, many=True).data)


urlpatterns = [
    path("api/datasets/<slug:name>/images", DatasetImages.as_view()),
    path("api/images/<int:image_id>", ImageDetail.as_view()),
    path("api/images/<int:image_id>/thumbnail", ImageThumbnail.as_view()),
    path("api/images/<int:image_id>/view", ImageOriginal.as_view()),
]
