"""The pages for people. Changes are POSTs below the page that they belong to."""

from django.contrib.auth.views import LoginView, LogoutView
from django.urls import path

from captioning.pages import urls as captioning
from jobs.pages import urls as jobs
from volcal.pages import urls as volcal

from . import views

urlpatterns = [
    path("", views.home, name="home"),
    path("pieces/counts", views.counts),
    path("login", LoginView.as_view(template_name="login.html"), name="login"),
    path("logout", LogoutView.as_view(), name="logout"),
    *jobs.urlpatterns,
    *captioning.urlpatterns,
    *volcal.urlpatterns,
]
