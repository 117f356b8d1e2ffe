"""Addresses of the survey pages. Changes are POSTs below the page that they belong to."""

from django.urls import path

from . import products, surveys

urlpatterns = [
    path("surveys", surveys.surveys, name="surveys"),
    path("surveys/new", surveys.new),
    path("surveys/create", surveys.create),
    path("surveys/<uuid:task_id>", surveys.survey, name="survey"),
    path("surveys/<uuid:task_id>/state", surveys.state),
    path("surveys/<uuid:task_id>/files/<str:name>", products.product),
    path("surveys/<uuid:task_id>/<slug:verb>", surveys.change),
]
