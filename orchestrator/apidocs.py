"""Where the description of the API is read: as JSON, and as pages to browse."""

from csp.decorators import csp_update
from django.utils.decorators import method_decorator
from drf_spectacular.renderers import OpenApiJsonRenderer, OpenApiJsonRenderer2, OpenApiYamlRenderer
from drf_spectacular.views import SpectacularAPIView, SpectacularRedocView, SpectacularSwaggerSplitView
from rest_framework.renderers import JSONRenderer


class _PlainJSON(JSONRenderer):
    """`application/json`, for clients that know no vendor types. The schema is made of plain values."""

    charset = None


class Schema(SpectacularAPIView):
    """OpenAPI 3.1 description of this API."""

    renderer_classes = [_PlainJSON, OpenApiJsonRenderer, OpenApiJsonRenderer2, OpenApiYamlRenderer]
    authentication_classes = ()


_with_styles = method_decorator(
    csp_update({"style-src": "'unsafe-inline'", "worker-src": ["'self'", "blob:"]}), "dispatch"
)


@_with_styles
class Docs(SpectacularSwaggerSplitView):
    authentication_classes = ()
    template_name = "orchestrator/swagger.html"
    url_name = "schema"


@_with_styles
class Redoc(SpectacularRedocView):
    authentication_classes = ()
    template_name = "orchestrator/redoc.html"
    url_name = "schema"
