"""What the pages of the queue have in common."""

from __future__ import annotations

from typing import cast

from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from orchestrator.administration import ON_ITS_PAGE, DeskAdmin

from ..states import JobStatus

LABELS = {
    JobStatus.WAITING: "default",
    JobStatus.PENDING: "default",
    JobStatus.RUNNING: "info",
    "paused": "warning",
    JobStatus.COMPLETED: "success",
    JobStatus.PARTIAL: "warning",
    JobStatus.FAILED: "danger",
    JobStatus.CANCELLED: "default",
}


def ask(
    page: DeskAdmin, request: HttpRequest, action: str, *, title: str, consequences: list[str], yes: str
) -> HttpResponse:
    """Ask before a dangerous action; the answer posts the same selection again."""
    context = {
        **page.admin_site.each_context(request),
        "title": title,
        "opts": page.opts,
        "consequences": consequences,
        "yes": yes,
        "action": action,
        "selected": request.POST.getlist(ACTION_CHECKBOX_NAME),
        "select_across": request.POST.get("select_across", "0"),
        "on_its_page": request.POST.get(ON_ITS_PAGE),
        "asks_reason": action == "cancel_jobs",
    }
    return TemplateResponse(request, "admin/jobs/ask.html", context)


def operator_of(request: HttpRequest) -> User:
    return cast(User, request.user)
