from django.urls import path

from . import api, views

urlpatterns = [
    path("stored/<str:token>/<str:filename>", views.stored, name="stored"),
    path("tusd_hook", api.TusdHook.as_view(), name="tusd-hook"),
]
