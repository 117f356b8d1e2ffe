from django.urls import path

from . import views

urlpatterns = [path("stored/<str:token>/<str:filename>", views.stored, name="stored")]
