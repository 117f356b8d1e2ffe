"""Routes of the queue."""

from django.urls import path

from .api import order, reading, steps, workers

_BASE = "api/perspectives/batch"

urlpatterns = [
    path(f"{_BASE}/list", reading.JobList.as_view()),
    path(f"{_BASE}/status/<uuid:job_id>", reading.JobDetail.as_view()),
    path(f"{_BASE}/cancel/<uuid:job_id>", steps.Cancel.as_view()),
    path(f"{_BASE}/pause/<uuid:job_id>", steps.Pause.as_view()),
    path(f"{_BASE}/resume/<uuid:job_id>", steps.Resume.as_view()),
    path(f"{_BASE}/archive/<uuid:job_id>", steps.Archive.as_view()),
    path(f"{_BASE}/restore/<uuid:job_id>", steps.Restore.as_view()),
    path(f"{_BASE}/retry-failed/<uuid:job_id>", steps.RetryFailed.as_view()),
    path(f"{_BASE}/reorder", order.Reorder.as_view()),
    path(f"{_BASE}/limits", order.Limits.as_view()),
    path(f"{_BASE}/statistics", reading.Statistics.as_view()),
    path(f"{_BASE}/events/queue", reading.QueueEvents.as_view()),
    path(f"{_BASE}/events/<uuid:job_id>", reading.Events.as_view()),
    path(f"{_BASE}/items/claim", workers.Claim.as_view()),
    path(f"{_BASE}/items/<int:item_id>", workers.Settle.as_view()),
    path(f"{_BASE}/items/<int:item_id>/heartbeat", workers.Heartbeat.as_view()),
    path(f"{_BASE}/items/<uuid:job_id>/list", reading.ItemList.as_view()),
    path(f"{_BASE}/items/<uuid:job_id>/failed", reading.FailedItemList.as_view()),
]
