"""The order of the queue, and its limits."""

from __future__ import annotations

from drf_spectacular.utils import PolymorphicProxySerializer, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from orchestrator import bodies
from orchestrator.access import IsStaffOrReads
from orchestrator.problems import Invalid

from .. import ordering
from ..models import Queue
from ..serializers import (
    AfterSerializer,
    BeforeSerializer,
    ChangeLimitsSerializer,
    FollowSerializer,
    LimitsSerializer,
    PrioritySerializer,
    QueueSerializer,
    ReorderedSerializer,
    ReorderSerializer,
)
from .common import TAGS, QueueView

_REORDER = PolymorphicProxySerializer(
    "Reorder",
    [FollowSerializer, BeforeSerializer, AfterSerializer, PrioritySerializer],
    resource_type_field_name=None,
)


class Reorder(QueueView):
    needs = "jobs.change_queue"

    @extend_schema(request=_REORDER, responses=ReorderedSerializer, tags=TAGS)
    def post(self, request: Request) -> Response:
        """Change the order of waiting jobs: a list of them, one beside another, or one's priority."""
        body = bodies.read(request, ReorderSerializer)
        who = {"by": self.who, "among": self.jobs()}
        if "jobIds" in body:
            done = ordering.reorder(body["jobIds"], **who)
        elif "priority" in body:
            done = ordering.set_priority(body["jobId"], body["priority"], **who)
        else:
            done = ordering.place(
                body["jobId"],
                before=body.get("before"),
                after=body.get("after"),
                queue_version=body.get("queueVersion"),
                **who,
            )
        return Response(
            {
                "success": True,
                "updatedJobs": done.updated,
                "ignored": [str(job_id) for job_id in done.ignored],
                "queueVersion": done.queue_version,
            }
        )


class Limits(QueueView):
    permission_classes = (IsStaffOrReads,)
    needs = "jobs.change_queue"

    @extend_schema(responses=LimitsSerializer, tags=TAGS)
    def get(self, request: Request) -> Response:
        """Show how much of each queue runs at once, and whether it is paused."""
        return self._answer()

    @extend_schema(request=ChangeLimitsSerializer, responses=LimitsSerializer, tags=TAGS)
    def post(self, request: Request) -> Response:
        """Change the limits of a queue, or pause and resume it; it takes effect at once. Staff only."""
        body = bodies.read(request, ChangeLimitsSerializer)
        if not {"maxConcurrentJobs", "maxConcurrentItems", "paused"} & set(body):
            raise Invalid("Give at least one of maxConcurrentJobs, maxConcurrentItems and paused.")
        queue = Queue.objects.get(pk=body["queue"])
        if {"maxConcurrentJobs", "maxConcurrentItems"} & set(body):
            queue.set_limits(
                max_jobs=body.get("maxConcurrentJobs", queue.max_jobs),
                max_items=body.get("maxConcurrentItems", queue.max_items),
                by=self.who,
            )
        if "paused" in body:
            (queue.pause if body["paused"] else queue.resume)(by=self.who)
        return self._answer()

    def _answer(self) -> Response:
        queues = QueueSerializer(Queue.objects.order_by("name"), many=True).data
        return Response({"queues": queues, "queueVersion": ordering.queue_version()})
