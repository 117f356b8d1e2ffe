"""Steps of one job: cancel, pause, resume, archive, restore, retry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.db import transaction
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from orchestrator import bodies
from orchestrator.problems import Invalid

from ..models import Job
from ..serializers import (
    ArchivedSerializer,
    CancelledSerializer,
    NothingSerializer,
    PausedSerializer,
    ReasonSerializer,
    RetriedSerializer,
    RetrySerializer,
)
from .common import TAGS, QueueView


class JobAction(QueueView):
    """A step of one job. Checks come in this order: the job, its state, the body."""

    form: type[serializers.Serializer] = NothingSerializer

    def act(self, request: Request, job_id: UUID) -> Response:
        job = self.job(job_id)
        try:
            body = bodies.read(request, self.form)
        except Invalid as problem:
            _refuse(problem, lambda: self.step(job, self.form_defaults()))
        return Response(self.step(job, body))

    def step(self, job: Job, body: dict[str, Any]) -> dict[str, Any]:
        """Do it and say what came of it. Raises TransitionRefused if the job's state does not allow it."""
        raise NotImplementedError

    def form_defaults(self) -> dict[str, Any]:
        checked = self.form(data={})
        checked.is_valid()
        return dict(checked.validated_data)


def _refuse(problem: Invalid, step: Callable[[], Any]) -> None:
    """Refuse an invalid body, unless the state of the job refuses the step first; try it and take it back."""
    with transaction.atomic():
        step()
        raise problem


class Cancel(JobAction):
    form = ReasonSerializer

    @extend_schema(request=ReasonSerializer, responses=CancelledSerializer, tags=TAGS)
    def post(self, request: Request, job_id: UUID) -> Response:
        """Stop a job for good: its open items close at once, and late results are refused."""
        return self.act(request, job_id)

    def step(self, job: Job, body: dict[str, Any]) -> dict[str, Any]:
        job.cancel(by=self.who, reason=body["reason"])
        return {"success": True, "jobId": str(job.job_id), "status": job.status}


class Pause(JobAction):
    @extend_schema(request=NothingSerializer, responses=PausedSerializer, tags=TAGS)
    def post(self, request: Request, job_id: UUID) -> Response:
        """Start no more items of a job; running ones finish."""
        return self.act(request, job_id)

    def step(self, job: Job, body: dict[str, Any]) -> dict[str, Any]:
        job.pause(by=self.who)
        return {"success": True, "jobId": str(job.job_id), "paused": job.paused}


class Resume(JobAction):
    @extend_schema(request=NothingSerializer, responses=PausedSerializer, tags=TAGS)
    def post(self, request: Request, job_id: UUID) -> Response:
        """Let a paused job go on."""
        return self.act(request, job_id)

    def step(self, job: Job, body: dict[str, Any]) -> dict[str, Any]:
        job.resume(by=self.who)
        return {"success": True, "jobId": str(job.job_id), "paused": job.paused}


class Archive(JobAction):
    form = ReasonSerializer

    @extend_schema(request=ReasonSerializer, responses=ArchivedSerializer, tags=TAGS)
    def post(self, request: Request, job_id: UUID) -> Response:
        """Put a finished job out of sight; who, when, why and its counters are kept."""
        return self.act(request, job_id)

    def step(self, job: Job, body: dict[str, Any]) -> dict[str, Any]:
        job.archive(by=self.who, reason=body["reason"])
        return _archived(job)


class Restore(JobAction):
    form = ReasonSerializer

    @extend_schema(request=ReasonSerializer, responses=ArchivedSerializer, tags=TAGS)
    def post(self, request: Request, job_id: UUID) -> Response:
        """Bring an archived job back."""
        return self.act(request, job_id)

    def step(self, job: Job, body: dict[str, Any]) -> dict[str, Any]:
        job.restore(by=self.who, reason=body["reason"])
        return _archived(job)


def _archived(job: Job) -> dict[str, Any]:
    return dict(
        ArchivedSerializer(
            {"success": True, "jobId": job.job_id, "archived": job.archived, "archiveDate": job.archive_date}
        ).data
    )


class RetryFailed(JobAction):
    form = RetrySerializer

    @extend_schema(request=RetrySerializer, responses=RetriedSerializer, tags=TAGS)
    def post(self, request: Request, job_id: UUID) -> Response:
        """Give failed items a new budget of attempts."""
        return self.act(request, job_id)

    def step(self, job: Job, body: dict[str, Any]) -> dict[str, Any]:
        n_retried = job.retry_failed(by=self.who, item_ids=body.get("itemIds"))
        return {"success": True, "jobId": str(job.job_id), "retriedItems": n_retried, "status": job.status}
