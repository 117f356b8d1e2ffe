"""Captions over HTTP: lists, versions, and what people say of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from orchestrator import pages
from orchestrator.etags import ConditionalView
from orchestrator.idempotency import idempotent
from orchestrator.problems import NotFound

from .. import review
from ..models import Caption, CaptionSource, Review
from .requests import body_of, user_of

_ORDERINGS = {"createdAt": "id", "-createdAt": "-id"}  # ids are given in the order of creation
_RELATED = ("perspective", "perspective_version", "author", "reviewed_by")


class CaptionSerializer(serializers.Serializer):
    """What somebody or something said of an image. Immutable: a change is a new version with an id of its own."""

    id = serializers.IntegerField(read_only=True)
    image = serializers.IntegerField()
    perspective = serializers.CharField()
    perspectiveVersion = serializers.CharField(read_only=True)
    source = serializers.ChoiceField(choices=CaptionSource.choices, read_only=True)  # type: ignore[assignment]
    provider = serializers.CharField(read_only=True, allow_blank=True)
    model = serializers.CharField(read_only=True, allow_blank=True)
    parameters = serializers.DictField(read_only=True)
    result = serializers.DictField()
    text = serializers.CharField(required=False, allow_blank=True)
    provenance = serializers.DictField(read_only=True)
    review = serializers.ChoiceField(choices=Review.choices, required=False)
    reviewReason = serializers.CharField(required=False, allow_blank=True)
    author = serializers.CharField(read_only=True, allow_null=True, help_text="Who wrote the words; null: a machine")
    reviewedBy = serializers.CharField(
        read_only=True, allow_null=True, help_text="Who made this version of the one before; null for a first one"
    )
    isCurrent = serializers.BooleanField(read_only=True)
    createdAt = serializers.DateTimeField(read_only=True)
    supersedes = serializers.IntegerField(read_only=True, allow_null=True)


class CaptionChangeSerializer(serializers.Serializer):
    result = serializers.DictField(required=False)
    text = serializers.CharField(required=False, allow_blank=True)
    review = serializers.ChoiceField(choices=Review.choices, required=False)
    reviewReason = serializers.CharField(required=False, allow_blank=True)


class CaptionListSerializer(serializers.Serializer):
    captions = CaptionSerializer(many=True)
    total = serializers.IntegerField()
    offset = serializers.IntegerField()
    limit = serializers.IntegerField()


class CaptionFilterSerializer(serializers.Serializer):
    dataset = serializers.CharField(required=False)
    image = serializers.IntegerField(required=False, min_value=1, max_value=2**63 - 1)
    perspective = serializers.CharField(required=False)
    source = serializers.ChoiceField(choices=CaptionSource.choices, required=False)  # type: ignore[assignment]
    review = serializers.ChoiceField(choices=Review.choices, required=False)
    provider = serializers.CharField(required=False)
    search = serializers.CharField(required=False)


class VerdictSerializer(serializers.Serializer):
    ids = serializers.ListField(child=serializers.IntegerField(), required=False)
    filter = CaptionFilterSerializer(required=False)
    review = serializers.ChoiceField(choices=Review.choices)
    reason = serializers.CharField(required=False, allow_blank=True)


class VerdictAnswerSerializer(serializers.Serializer):
    updated = serializers.IntegerField()
    unchanged = serializers.IntegerField()
    ignored = serializers.ListField(child=serializers.IntegerField())


class CaptionQuery(pages.Window):
    dataset = serializers.CharField(required=False)
    image = serializers.IntegerField(required=False, min_value=1, max_value=2**63 - 1)
    perspective = serializers.CharField(required=False)
    source = serializers.ChoiceField(choices=CaptionSource.choices, required=False)  # type: ignore[assignment]
    review = serializers.ChoiceField(choices=Review.choices, required=False)
    provider = serializers.CharField(required=False)
    search = serializers.CharField(required=False, help_text='Words, "a phrase", -without, one or another')
    ordering = serializers.ChoiceField(choices=list(_ORDERINGS), default="-createdAt")


class Captions(ConditionalView):
    """Current captions of the images one may see."""

    needs = "captioning.add_caption"

    @extend_schema(parameters=[CaptionQuery], responses=CaptionListSerializer)
    def get(self, request: Request) -> Response:
        query = CaptionQuery.of(request)
        found = review.narrowed(Caption.objects.current().visible_to(user_of(request)), query, user_of(request))
        found = found.select_related(*_RELATED).order_by(_ORDERINGS[query["ordering"]])
        return pages.page(found, query, key="captions", render=_render)

    @extend_schema(request=CaptionSerializer, responses={201: CaptionSerializer})
    @idempotent
    def post(self, request: Request) -> Response:
        """Write a caption in one's own words."""
        caption = review.write(body_of(request), user_of(request))
        return Response(
            shown(_caption(request, caption.pk)), status=201, headers={"Location": f"/api/captions/{caption.pk}"}
        )


class CaptionDetail(ConditionalView):
    needs = "captioning.change_caption"

    @extend_schema(responses=CaptionSerializer)
    def get(self, request: Request, caption_id: int) -> Response:
        return Response(shown(_caption(request, caption_id)))

    @extend_schema(request=CaptionChangeSerializer, responses=CaptionSerializer)
    def patch(self, request: Request, caption_id: int) -> Response:
        """Make a new version; the answer has its own id. New words make it human, a verdict alone does not."""
        changed = review.change(_caption(request, caption_id), body_of(request), user_of(request))
        return Response(shown(_caption(request, changed.pk)))


class CaptionHistory(ConditionalView):
    """All versions of a caption, the newest first."""

    @extend_schema(parameters=[pages.Window], responses=CaptionListSerializer)
    def get(self, request: Request, caption_id: int) -> Response:
        query = pages.Window.of(request)
        versions = review.history(_caption(request, caption_id)).select_related(*_RELATED)
        return pages.page(versions, query, key="captions", render=_render)


class CaptionsBulk(ConditionalView):
    needs = "captioning.change_caption"

    @extend_schema(request=VerdictSerializer, responses=VerdictAnswerSerializer)
    def post(self, request: Request) -> Response:
        """Accept, reject or reopen many captions at once, by their ids or by a filter."""
        return Response(review.judge(body_of(request), user_of(request)))


def shown(caption: Caption) -> dict[str, Any]:
    return {
        "id": caption.pk,
        "image": caption.image_id,
        "perspective": caption.perspective.name,
        "perspectiveVersion": str(caption.perspective_version.number),
        "source": caption.source,
        "provider": caption.provider,
        "model": caption.model,
        "parameters": caption.parameters,
        "result": caption.result,
        "text": caption.text,
        "provenance": caption.provenance,
        "review": caption.review,
        "reviewReason": caption.review_reason,
        "author": caption.author.get_username() if caption.author else None,
        "reviewedBy": caption.reviewed_by.get_username() if caption.reviewed_by else None,
        "isCurrent": caption.is_current,
        "createdAt": caption.created_at,
        "supersedes": caption.supersedes_id,
    }


def _render(captions: Iterable[Caption]) -> list[Any]:
    return [shown(caption) for caption in captions]


def _caption(request: Request, caption_id: int) -> Caption:
    visible = Caption.objects.visible_to(user_of(request)).select_related(*_RELATED)
    caption: Caption | None = visible.filter(pk=caption_id).first()
    if caption is None:
        raise NotFound(f"There is no caption {caption_id}.")
    return caption
