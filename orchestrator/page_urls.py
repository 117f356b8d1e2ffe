"""The pages for people. Changes are POSTs below the page that they belong to."""

from django.contrib.auth.views import LoginView, LogoutView
from django.urls import path

from captioning import views as captioning
from jobs import views as jobs

from . import views

urlpatterns = [
    path("", views.home, name="home"),
    path("pieces/counts", views.counts),
    path("login", LoginView.as_view(template_name="login.html"), name="login"),
    path("logout", LogoutView.as_view(), name="logout"),
    path("queue", jobs.queue, name="queue"),
    path("queue/<slug:name>/<slug:verb>", jobs.change_queue),
    path("jobs/<uuid:job_id>", jobs.job, name="job"),
    path("jobs/<uuid:job_id>/pieces/<slug:name>", jobs.piece),
    path("jobs/<uuid:job_id>/<slug:verb>", jobs.change_job),
    path("datasets", captioning.datasets, name="datasets"),
    path("datasets/create", captioning.create_dataset),
    path("datasets/<slug:name>", captioning.dataset, name="dataset"),
    path("datasets/<slug:name>/upload", captioning.upload),
    path("datasets/<slug:name>/jobs", captioning.caption_dataset),
    path("datasets/<slug:name>/delete", captioning.delete_dataset),
    path("images/<int:image_id>", captioning.image, name="image"),
    path("images/<int:image_id>/delete", captioning.delete_image),
    path("perspectives", captioning.perspectives, name="perspectives"),
    path("perspectives/<slug:name>", captioning.perspective, name="perspective"),
    path("providers", captioning.providers, name="providers"),
]
