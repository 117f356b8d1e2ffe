"""Addresses of the queue's pages. Changes are POSTs below the page that they belong to."""

from django.urls import path

from . import bulk, items, job, queue

urlpatterns = [
    path("queue", queue.queue, name="queue"),
    path("queue/bulk", bulk.pending),
    path("queue/bulk/<int:action_id>/<slug:verb>", bulk.change),
    path("queue/bulk/<slug:verb>", bulk.preview),
    path("queue/bulk/<slug:verb>/begin", bulk.begin),
    path("queue/views", queue.save_view),
    path("queue/views/<int:view_id>/delete", queue.delete_view),
    path("queue/<slug:name>/<slug:verb>", queue.change_queue),
    path("jobs/<uuid:job_id>", job.job, name="job"),
    path("jobs/<uuid:job_id>/items/<int:seq>", items.item),
    path("jobs/<uuid:job_id>/pieces/<slug:name>", job.piece),
    path("jobs/<uuid:job_id>/<slug:verb>", job.change_job),
]
