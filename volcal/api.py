"""Survey tasks over HTTP, at the root and in the words that phone clients know: create, start, query."""

from __future__ import annotations

from typing import cast

from django.conf import settings
from django.contrib.auth.models import User
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from orchestrator import bodies
from orchestrator.access import HasAccess, public_user
from orchestrator.etags import ConditionalView
from orchestrator.idempotency import idempotent

from . import allowance, intake
from .models import Survey
from .serializers import (
    NewTaskSerializer,
    StartedSerializer,
    TaskSerializer,
    TaskStateSerializer,
    render_state,
    render_task,
)

FAMILY = "surveys"
_TAGS = ["Surveys"]


def is_public(request: Request) -> bool:
    return getattr(request._request, "_acts_as_public", False)


class SurveyAccess(HasAccess):
    """Whoever has access; those without a login only as often as they may."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        if not super().has_permission(request, view):
            return False
        if is_public(request):
            if request.method == "POST":
                allowance.spend(request._request, "change", per_minute=settings.SURVEY_TASKS_PER_MINUTE)
            else:
                allowance.spend(request._request, "query", per_minute=settings.SURVEY_QUERIES_PER_MINUTE)
        return True


class TaskView(ConditionalView):
    permission_classes = [SurveyAccess]
    needs = "volcal.add_survey"

    def perform_authentication(self, request: Request) -> None:
        """As everywhere; and where the family is public, whoever says nothing acts as the built-in user `public`."""
        super().perform_authentication(request)
        if not request.user.is_authenticated and FAMILY in settings.PUBLIC_FAMILIES:
            request._request._acts_as_public = True  # type: ignore[attr-defined]
            request.user = public_user()

    @property
    def who(self) -> User:
        return cast(User, self.request.user)

    def task(self, task_id: str) -> Survey:
        """Find a task. The id is enough for one that was made without a login; others are their owners'."""
        shown = Survey.objects.visible_to(self.who)
        if FAMILY in settings.PUBLIC_FAMILIES:
            shown = shown | Survey.objects.filter(user=public_user())
        return intake.find(task_id, shown)


class CreateTask(TaskView):
    @extend_schema(request=NewTaskSerializer, responses={200: TaskSerializer}, tags=_TAGS)
    def post(self, request: Request) -> Response:
        """Create a task and get an upload address for each of its four files. A body is optional."""
        # Without a login all clients are one user, and a key that two of them choose would give one the other's task.
        return self._create(request) if is_public(request) else self._create_once(request)

    @idempotent
    def _create_once(self, request: Request) -> Response:
        return self._create(request)

    def _create(self, request: Request) -> Response:
        body = bodies.read(request, NewTaskSerializer)
        survey = intake.create(
            by=self.who, crs=body.get("crs"), parameters=body.get("parameters"), name=body.get("name") or ""
        )
        return Response(render_task(survey, request._request))


class StartTask(TaskView):
    needs = "volcal.change_survey"

    @extend_schema(request=None, responses={200: StartedSerializer}, tags=_TAGS)
    def post(self, request: Request, task_id: str) -> Response:
        """Start a task, or run it again after an error. It also starts by itself with its last file."""
        intake.start(self.task(task_id), by=self.who)
        return Response({"started": True})


class QueryTask(TaskView):
    @extend_schema(responses={200: TaskStateSerializer}, tags=_TAGS)
    def get(self, request: Request, task_id: str) -> Response:
        """Tell how a task stands, and once it is done, what was measured."""
        return Response(render_state(self.task(task_id), request._request))
