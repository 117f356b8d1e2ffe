"""What happened, and who was told."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.paginator import InfinitePaginator

from orchestrator.administration import KeptAdmin, display, preformatted

from .. import broker
from ..models import BrokerDelivery, EventStream, JobEvent


@admin.register(JobEvent)
class JobEventAdmin(KeptAdmin):
    list_display = ("created_at", "type", "job", "sequence", "user", "request_id")
    list_filter = ("type",)
    list_select_related = ("job", "user")
    search_fields = ("request_id", "job__job_id")
    ordering = ("-pk",)
    paginator = InfinitePaginator
    fields = ("message_id", "created_at", "type", "job", "sequence", "user", "request_id", "content")
    readonly_fields = fields

    @display(description="Data")
    def content(self, event: JobEvent) -> str:
        return preformatted(event.data)


@admin.register(EventStream)
class EventStreamAdmin(KeptAdmin):
    list_display = ("__str__", "sequence", "published_at")
    ordering = ("-published_at", "-pk")


@admin.register(BrokerDelivery)
class BrokerDeliveryAdmin(KeptAdmin):
    list_display = (
        "stream",
        "delivered_sequence",
        "attempts",
        "failing_since",
        "next_attempt_at",
        "parked_at",
        "last_error",
    )
    list_filter = (("parked_at", admin.EmptyFieldListFilter),)
    list_select_related = ("stream",)
    ordering = ("-failing_since", "-pk")
    actions = ("replay",)

    @admin.action(description="Deliver again from where it stopped", permissions=["operate"])
    def replay(self, request: HttpRequest, deliveries: QuerySet[BrokerDelivery]) -> None:
        n_others = deliveries.filter(parked_at=None).count()
        parked = list(deliveries.exclude(parked_at=None))
        for delivery in parked:
            broker.replay(delivery)
        self.message_user(request, f"{len(parked)} go out again, {n_others} skipped (they are not parked).")

    def has_operate_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("jobs.change_brokerdelivery")
