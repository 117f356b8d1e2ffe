"""Every address of the desk. Routes are written without a trailing slash; orchestrator/paths.py serves both forms."""

from django.contrib import admin
from django.urls import include, path

from . import apidocs, health, metrics

handler400 = "orchestrator.problems.page_400"
handler403 = "orchestrator.problems.page_403"
handler404 = "orchestrator.problems.page_404"
handler500 = "orchestrator.problems.page_500"

urlpatterns = [
    path("admin/", admin.site.urls),
    path("metrics", metrics.metrics),
    path("api/health", health.Health.as_view()),
    path("api/health/live", health.HealthLive.as_view()),
    path("api/health/ready", health.HealthReady.as_view()),
    path("api/health/db", health.HealthDatabase.as_view()),
    path("api/health/detailed", health.HealthDetailed.as_view()),
    path("api/health/service/<str:name>", health.HealthService.as_view()),
    path("api/schema", apidocs.Schema.as_view(), name="schema"),
    path("api/docs", apidocs.Docs.as_view(), name="docs"),
    path("api/redoc", apidocs.Redoc.as_view(), name="redoc"),
    path("", include("jobs.urls")),
    path("", include("captioning.urls")),
    path("", include("uploads.urls")),
    path("", include("volcal.urls")),
    path("", include("orchestrator.page_urls")),
]
