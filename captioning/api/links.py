"""Images by signed link."""

from __future__ import annotations

from django.http import StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.views import APIView

from uploads import storage

from .. import links, pictures


class LinkedImage(APIView):
    """The link is the permission: whoever may claim an item is given one."""

    authentication_classes = ()
    permission_classes = [AllowAny]

    @extend_schema(responses={(200, "image/*"): OpenApiTypes.BINARY})
    def get(self, request: Request, token: str) -> StreamingHttpResponse:
        """Send the original bytes of an image to a worker elsewhere."""
        image = links.image_behind(token)
        return StreamingHttpResponse(
            storage.Stream(image.stored_as),
            content_type=pictures.FORMATS[image.format][1],
            headers={
                "Content-Length": str(image.size),
                "X-Content-Type-Options": "nosniff",
                "Cache-Control": "private, no-store",
            },
        )
