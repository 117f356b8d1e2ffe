"""Routes of the queue."""

from django.urls import path

from . import api

_BASE = "api/perspectives/batch"

urlpatterns = [
    path(f"{_BASE}/list", api.JobList.as_view()),
    path(f"{_BASE}/status/<uuid:job_id>", api.JobDetail.as_view()),
    path(f"{_BASE}/cancel/<uuid:job_id>", api.Cancel.as_view()),
    path(f"{_BASE}/pause/<uuid:job_id>", api.Pause.as_view()),
    path(f"{_BASE}/resume/<uuid:job_id>", api.Resume.as_view()),
    path(f"{_BASE}/archive/<uuid:job_id>", api.Archive.as_view()),
    path(f"{_BASE}/restore/<uuid:job_id>", api.Restore.as_view()),
    path(f"{_BASE}/retry-failed/<uuid:job_id>", api.RetryFailed.as_view()),
    path(f"{_BASE}/reorder", api.Reorder.as_view()),
    path(f"{_BASE}/limits", api.Limits.as_view()),
    path(f"{_BASE}/statistics", api.Statistics.as_view()),
    path(f"{_BASE}/events/queue", api.QueueEvents.as_view()),
    path(f"{_BASE}/events/<uuid:job_id>", api.Events.as_view()),
    path(f"{_BASE}/items/claim", api.Claim.as_view()),
    path(f"{_BASE}/items/<int:item_id>", api.Settle.as_view()),
    path(f"{_BASE}/items/<int:item_id>/heartbeat", api.Heartbeat.as_view()),
    path(f"{_BASE}/items/<uuid:job_id>/list", api.ItemList.as_view()),
    path(f"{_BASE}/items/<uuid:job_id>/failed", api.FailedItemList.as_view()),
]
