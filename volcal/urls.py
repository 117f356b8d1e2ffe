"""Routes of survey tasks: at the root, where their clients look for them."""

from django.urls import path

from . import api

urlpatterns = [
    path("create_task", api.CreateTask.as_view()),
    path("start_task/<str:task_id>", api.StartTask.as_view()),
    path("query_task/<str:task_id>", api.QueryTask.as_view()),
]
