"""Who is at the other end of a websocket: the same rules as for requests, told by close codes."""

from __future__ import annotations

from http.cookies import CookieError, SimpleCookie
from importlib import import_module
from typing import Any
from urllib.parse import parse_qs

from django.conf import settings
from django.contrib import auth
from django.contrib.auth.models import User
from django.http import HttpRequest
from django.http.request import split_domain_port, validate_host

from . import access

UNAUTHENTICATED = 4401
FORBIDDEN = 4403
NOT_FOUND = 4404


class SocketRefused(Exception):
    """The socket is closed with `close_code`, after a message that names `code` and says `detail`."""

    def __init__(self, close_code: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.close_code = close_code
        self.code = code
        self.detail = detail


def visitor(scope: dict[str, Any]) -> User:
    """Find out who opened a websocket. Touches the database. Raises SocketRefused.

    A browser sends cookies to us from every page of the web, so a cookie counts only beside an Origin of ours; programs
    send no Origin and show a token.
    """
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    host = headers.get("host", "")
    if not validate_host(split_domain_port(host)[0], settings.ALLOWED_HOSTS):
        raise SocketRefused(FORBIDDEN, "unknown_host", "This desk does not answer to that host name (ALLOWED_HOSTS).")
    origin = headers.get("origin")
    scheme = "https" if scope.get("scheme") in {"wss", "https"} else "http"
    if origin is not None and not access.is_own_origin(origin, scheme=scheme, host=host):
        raise SocketRefused(FORBIDDEN, "foreign_origin", "This desk opens websockets only for its own pages.")
    if token_text := query_of(scope).get("token"):
        return _bearer(token_text)
    user = _session_user(headers.get("cookie", "")) if origin is not None else None
    if user is not None:
        return user
    if access.is_open():
        return access.local_user()
    raise SocketRefused(UNAUTHENTICATED, "not_authenticated", "Log in, or connect with ?token=.")


def query_of(scope: dict[str, Any]) -> dict[str, str]:
    """Read the query of a socket's address; of a repeated name the last value counts."""
    fields = parse_qs(scope.get("query_string", b"").decode("utf-8", "replace"))
    return {name: values[-1] for name, values in fields.items()}


def _bearer(text: str) -> User:
    token = access.token_of(text)
    if token is None:
        raise SocketRefused(UNAUTHENTICATED, "not_authenticated", "The token is unknown, expired or revoked.")
    if access.USER_SCOPE not in token.scopes:
        raise SocketRefused(FORBIDDEN, "missing_scope", f"This token lacks the scope `{access.USER_SCOPE}`.")
    return token.user


def _session_user(cookies: str) -> User | None:
    try:
        morsel = SimpleCookie(cookies).get(settings.SESSION_COOKIE_NAME)
    except CookieError:
        return None
    if morsel is None:
        return None
    request = HttpRequest()
    request.session = import_module(settings.SESSION_ENGINE).SessionStore(morsel.value)
    user = auth.get_user(request)
    return user if isinstance(user, User) and user.is_active else None
