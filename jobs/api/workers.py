"""What workers elsewhere claim, keep and settle."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from orchestrator import bodies
from orchestrator.access import IsService
from orchestrator.problems import NotFound

from .. import leases
from ..leases import LeaseLost
from ..models import Executor, JobItem
from ..serializers import (
    ClaimedItemSerializer,
    ClaimedSerializer,
    ClaimSerializer,
    HeartbeatSerializer,
    ItemSerializer,
    RenewedSerializer,
    SettleSerializer,
)
from ..states import ItemStatus
from .common import QueueView

_TAGS = ["Workers elsewhere"]


class Claim(QueueView):
    permission_classes = (IsService,)

    @extend_schema(request=ClaimSerializer, responses=ClaimedSerializer, tags=_TAGS)
    def post(self, request: Request) -> Response:
        """Take items of jobs with `executor: external`, in queue order and within the limits."""
        body = bodies.read(request, ClaimSerializer)
        claimed = leases.claim(body["worker"], body["limit"], body.get("perspectives"))
        return Response({"items": [_claimed(one) for one in claimed]})


def _claimed(claimed: leases.ClaimedItem) -> dict[str, Any]:
    item = claimed.item
    item.leaseToken = claimed.token  # type: ignore[attr-defined]
    item.leaseUntil = claimed.lease_expires_at  # type: ignore[attr-defined]
    for name in ("imageUrl", "prompt", "schema"):
        setattr(item, name, claimed.description.get(name))
    return dict(ClaimedItemSerializer(item).data)


class Heartbeat(QueueView):
    permission_classes = (IsService,)

    @extend_schema(request=HeartbeatSerializer, responses=RenewedSerializer, tags=_TAGS)
    def post(self, request: Request, item_id: int) -> Response:
        """Prolong the lease of an item that takes long."""
        _held_item(item_id)
        body = bodies.read(request, HeartbeatSerializer)
        return Response(RenewedSerializer({"leaseUntil": leases.renew(item_id, body["leaseToken"])}).data)


class Settle(QueueView):
    permission_classes = (IsService,)

    @extend_schema(request=SettleSerializer, responses=ItemSerializer, tags=_TAGS)
    def post(self, request: Request, item_id: int) -> Response:
        """Say how an item ended. A failure that is not permanent is tried again while attempts are left."""
        _held_item(item_id)
        body = bodies.read(request, SettleSerializer)
        item = leases.settle(
            item_id,
            body["leaseToken"],
            status=body["status"],
            result=body["result"],
            error=body["error"],
            permanent=body["permanent"],
            processing_time=body["processingTime"],
        )
        return Response(ItemSerializer(item).data)


def _held_item(item_id: int) -> None:
    """Refuse what no body could mend: an item that is not for workers elsewhere, or in nobody's hands."""
    status = (
        JobItem.objects.filter(pk=item_id, job__executor=Executor.EXTERNAL).values_list("status", flat=True).first()
    )
    if status is None:
        raise NotFound(f"No item for outside workers has the id {item_id}.")
    if status != ItemStatus.RUNNING:
        raise LeaseLost(f"The item is {status}; drop the result and claim anew.")
