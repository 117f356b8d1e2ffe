"""Routes of captioning's pages. Changes are POSTs below the page that they belong to."""

from django.urls import path

from . import datasets, images, new_job, perspectives, providers, review

urlpatterns = [
    path("datasets", datasets.datasets, name="datasets"),
    path("datasets/create", datasets.create_dataset),
    path("datasets/undo/<int:trash_id>", datasets.restore_dataset),
    path("datasets/<slug:name>", datasets.dataset, name="dataset"),
    path("datasets/<slug:name>/tiles", datasets.tiles),
    path("datasets/<slug:name>/counts", datasets.counts),
    path("datasets/<slug:name>/upload", datasets.upload),
    path("datasets/<slug:name>/take", datasets.take),
    path("datasets/<slug:name>/jobs", datasets.caption_dataset),
    path("datasets/<slug:name>/selection", datasets.selection),
    path("datasets/<slug:name>/undo/<int:trash_id>", datasets.undo),
    path("datasets/<slug:name>/delete", datasets.delete_dataset),
    path("images/<int:image_id>", images.image, name="image"),
    path("images/<int:image_id>/delete", images.delete_image),
    path("jobs/new", new_job.page, name="new-job"),
    path("jobs/new/check", new_job.check),
    path("jobs/new/trial", new_job.start_trial),
    path("jobs/new/trial/<uuid:job_id>", new_job.trial),
    path("review", review.page, name="review"),
    path("review/ahead", review.ahead),
    path("review/captions/<int:caption_id>/history", review.history),
    path("review/captions/<int:caption_id>/form", review.edit_form),
    path("review/captions/<int:caption_id>/<slug:verb>", review.change),
    path("perspectives", perspectives.perspectives, name="perspectives"),
    path("perspectives/new", perspectives.edit),
    path("perspectives/check", perspectives.check),
    path("perspectives/check/sample", perspectives.start_sample),
    path("perspectives/check/sample/<uuid:job_id>", perspectives.sample_of),
    path("perspectives/<slug:name>", perspectives.perspective, name="perspective"),
    path("perspectives/<slug:name>/edit", perspectives.edit),
    path("perspectives/<slug:name>/restore", perspectives.restore),
    path("providers", providers.providers, name="providers"),
    path("providers/<int:provider_id>/test", providers.test),
    path("providers/<int:provider_id>/limit", providers.limit),
]
