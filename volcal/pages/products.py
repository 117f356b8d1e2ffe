"""Files of a survey for its own page: by the page's login and from its own origin, whichever store they lie in."""

from __future__ import annotations

from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, StreamingHttpResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.http import require_safe

from uploads import storage
from uploads.links import presentation

from ..models import Product, Survey


@login_required
@require_safe
def product(request: HttpRequest, task_id: UUID, name: str) -> StreamingHttpResponse:
    """Send one product in pieces."""
    survey = get_object_or_404(Survey.objects.visible_to(request.user), task_id=task_id)
    found: Product = get_object_or_404(survey.products.order_by("kind", "pk"), filename=name)
    media_type, disposition = presentation(found.filename)
    response = StreamingHttpResponse(storage.Stream(found.key), content_type=media_type)
    response["Content-Disposition"] = disposition
    response["Content-Length"] = str(found.size)
    response["Cache-Control"] = "private, max-age=3600"
    return response
