"""Who may create uploads at /files/.

An upload's own address needs nothing more: whoever knows it may use it, and a token sent along changes nothing.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth.models import User
from django.http.request import validate_host

from orchestrator import access, roles
from orchestrator.problems import Invalid, Unauthenticated

from .intake import PATH
from .protocol import Headers


def authorize(headers: Headers, base: str) -> User:
    """Return the user that an upload created by this request belongs to.

    Raises Unauthenticated, Forbidden, NotInRole, Invalid.
    """
    text = access.bearer_of(headers.get("Authorization"))
    if text is not None:
        token = access.living_token(text)
        access.require_user_scope(token)
        roles.require(token.user, "uploads.add_upload")
        return token.user
    if not access.is_open():
        raise Unauthenticated("Creating an upload needs a token; send Authorization: Bearer.")
    _refuse_strangers(headers, base)
    return access.local_user()


def base_of(scope: dict[str, Any], headers: Headers) -> str:
    """Name scheme and host as the client sees them; addresses in replies begin with it."""
    if settings.TUS_ENDPOINT:
        return str(settings.TUS_ENDPOINT).removesuffix(PATH)
    if settings.PUBLIC_URL:
        return str(settings.PUBLIC_URL)
    host = headers.get("Host") or f"{settings.HOST}:{settings.TUS_PORT}"
    scheme = scope.get("scheme", "http")
    if settings.TRUSTED_PROXIES and headers.get("X-Forwarded-Proto") in {"http", "https"}:
        scheme = headers.get("X-Forwarded-Proto")
    return f"{scheme}://{host}"


def _refuse_strangers(headers: Headers, base: str) -> None:
    """In open mode, keep pages of other sites from creating uploads, and names that lead here by a trick of DNS."""
    host = urlsplit(base).hostname or ""
    if not settings.TUS_ENDPOINT and not settings.PUBLIC_URL:
        bracketed = f"[{host}]" if ":" in host else host
        if not validate_host(bracketed, settings.ALLOWED_HOSTS):
            raise Invalid(f"The host {host!r} is not one of ALLOWED_HOSTS.")
    origin = headers.get("Origin")
    if not origin:
        return
    ours = {f"http://{host}:{settings.PORT}", f"https://{host}:{settings.PORT}", base}
    own_names = {f"http://{name}:{settings.PORT}" for name in settings.LOOPBACK_HOSTS}
    if origin not in ours | own_names and not access.is_own_origin(
        origin, scheme=urlsplit(base).scheme, host=urlsplit(base).netloc
    ):
        raise access.ForeignOrigin("This desk takes new uploads only from its own pages and from programs.")
