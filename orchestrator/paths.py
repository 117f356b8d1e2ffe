"""One path rewrite before routing: a path answers with and without a trailing slash, never by a redirect."""

from django.http import HttpRequest, HttpResponse

from .middleware import Middleware

# Names under which other clients look for the same things.
_ALIASES = {
    "/health": "/api/health",
    "/health/db": "/api/health/db",
    "/docs": "/api/docs",
    "/redoc": "/api/redoc",
    "/openapi.json": "/api/schema",
    "/admin": "/admin/",
}
_KEEP_THEIR_SLASH = ("/admin/", "/static/")


def canonical(path: str) -> str:
    """Give the one form under which a path is routed."""
    if path.startswith(_KEEP_THEIR_SLASH) and path != "/admin/":
        return path
    path = path.rstrip("/") or "/"
    path = _ALIASES.get(path, path)
    if path.startswith("/api/v1/"):
        return "/api/" + path.removeprefix("/api/v1/")
    return path


class SlashMiddleware(Middleware):
    """Route by the canonical path; `request.path` stays what the client asked for."""

    def before(self, request: HttpRequest) -> HttpResponse | None:
        request.path_info = canonical(request.path_info)
        return None
