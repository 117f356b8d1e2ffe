"""Who may do what: login sessions, bearer tokens, and the open mode of a desk on its own machine."""

from __future__ import annotations

import hashlib
import secrets
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.contrib.auth.views import redirect_to_login
from django.db.models import Q
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse
from django.utils.functional import SimpleLazyObject
from django.utils.translation import gettext as _
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.permissions import BasePermission

from . import answers, problems, roles
from .middleware import Middleware
from .models import ApiToken

if TYPE_CHECKING:
    from rest_framework.request import Request
    from rest_framework.views import APIView

LOCAL = "local"
PUBLIC = "public"
USER_SCOPE = "user"
SERVICE_SCOPE = "service"
SCOPES = (USER_SCOPE, SERVICE_SCOPE)
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_TOKEN_PREFIX = "desk_"  # noqa: S105  lets secret scanners recognise one


class ForeignOrigin(problems.Forbidden):
    """Request from a page of another site"""


def is_open() -> bool:
    return settings.API_ACCESS == "open"


def local_user() -> User:
    """Return the user that everybody is in open mode."""
    return _built_in(LOCAL, is_staff=True, is_superuser=True)


def public_user() -> User:
    """Return the user that owns what was made through a public family of routes."""
    return _built_in(PUBLIC, is_staff=False, is_superuser=False)


def _built_in(name: str, **rights: bool) -> User:
    users = get_user_model().objects
    try:
        return users.get(username=name)
    except users.model.DoesNotExist:
        # A password of random characters that nobody was told would be one; "!" is none at all.
        return users.get_or_create(username=name, defaults={"password": "!" + secrets.token_hex(20), **rights})[0]


# --- Tokens


def make_token(user: User, *, name: str, scopes: list[str], lifetime: timedelta | None = None) -> tuple[ApiToken, str]:
    """Create a token; its text is returned here and nowhere else."""
    text = _TOKEN_PREFIX + secrets.token_urlsafe(32)
    token = ApiToken.objects.create(
        name=name,
        user=user,
        digest=digest_of(text),
        prefix=text[:12],
        scopes=scopes,
        expires_at=Now() + lifetime if lifetime is not None else None,
    )
    return token, text


def digest_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def token_of(text: str) -> ApiToken | None:
    """Find the living token with this text, and note its use at most once a minute."""
    living = ApiToken.objects.filter(
        Q(expires_at=None) | Q(expires_at__gt=Now()), revoked_at=None, user__is_active=True
    )
    token = living.select_related("user").filter(digest=digest_of(text)).first()
    if token is not None:
        ApiToken.objects.filter(
            Q(last_used_at=None) | Q(last_used_at__lt=Now() - timedelta(minutes=1)), pk=token.pk
        ).update(last_used_at=Now())
    return token


def living_token(text: str) -> ApiToken:
    """Find the living token with this text. Raises Unauthenticated."""
    token = token_of(text)
    if token is None:
        raise problems.Unauthenticated("The token is unknown, expired or revoked.")
    return token


def require_user_scope(token: ApiToken) -> None:
    """Refuse a token that may not act as its user. Raises Forbidden."""
    if USER_SCOPE not in token.scopes:
        raise problems.Forbidden(f"This token may not be used here; it lacks the scope `{USER_SCOPE}`.")


def bearer_of(authorization: str) -> str | None:
    """Read the token of an Authorization header; None if the header is absent or of another kind."""
    kind, _, text = authorization.partition(" ")
    return text.strip() if kind.lower() == "bearer" else None


# --- Origins


def is_own_origin(origin: str, *, scheme: str, host: str) -> bool:
    """Tell whether a page of this origin is ours. scheme, host: of the request, the host with its port."""
    if origin == f"{scheme}://{host}" or origin in settings.CSRF_TRUSTED_ORIGINS:
        return True
    # Behind a proxy that ends TLS the scheme may be unknown here; the host alone decides then.
    return bool(settings.PUBLIC_URL) and origin == _origin_of(settings.PUBLIC_URL)


def _origin_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


# --- Middleware, authentication, permission


class OpenAccessMiddleware(Middleware):
    """In open mode, let requests without a login act as `local`, and refuse what pages of other sites send."""

    def before(self, request: HttpRequest) -> HttpResponse | None:
        if not is_open():
            return None
        if self._is_foreign(request):
            return problems.reply(
                ForeignOrigin("This desk takes changes only from its own pages and from programs."), request
            )
        session_user = request.user
        request.user = SimpleLazyObject(  # type: ignore[assignment]
            lambda: session_user if session_user.is_authenticated else _as_local(request)
        )
        return None

    def _is_foreign(self, request: HttpRequest) -> bool:
        origin = request.headers.get("Origin")
        if request.method in SAFE_METHODS or bearer_of(request.headers.get("Authorization", "")) is not None:
            return False  # no foreign page knows a token
        if origin is None:
            # Browsers that leave Origin out still say this; programs say neither.
            return request.headers.get("Sec-Fetch-Site", "none") not in {"same-origin", "none"}
        return not is_own_origin(origin, scheme=request.scheme or "", host=request.get_host())


def _as_local(request: HttpRequest) -> User:
    user = local_user()
    request._acts_as_local = True  # type: ignore[attr-defined]
    return user


class LoginMiddleware(Middleware):
    """Ask for a login so that nothing is lost: a script is told, and a form comes back to the page that it stood on."""

    def after(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        if response.status_code != 302 or urlsplit(response["Location"]).path != settings.LOGIN_URL:
            return response
        if problems.is_for_program(request):
            return problems.reply(
                problems.Unauthenticated(_("You are logged out. Log in, then try it again.")), request
            )
        if request.method not in SAFE_METHODS:  # its own address answers no GET
            return redirect_to_login(answers.page_before(request))
        return response


class DeskAuthentication(BaseAuthentication):
    """A bearer token, else the login session (with its CSRF token), else `local` in open mode."""

    def authenticate(self, request: Request) -> tuple[Any, ApiToken | None] | None:
        text = bearer_of(request.headers.get("Authorization", ""))
        if text is not None:
            token = living_token(text)
            return token.user, token
        user = request._request.user
        if not user.is_authenticated or not user.is_active:
            return None
        if not getattr(request._request, "_acts_as_local", False):
            SessionAuthentication().enforce_csrf(request)
        return user, None

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="desk"'


class HasAccess(BasePermission):
    """Somebody known; with a token, one of scope `user`; staff change what their role includes (orchestrator/roles.py).

    A view says in `needs` which permission its changes take; one that says nothing is for administrators.
    """

    def has_permission(self, request: Request, view: APIView) -> bool:
        if not request.user.is_authenticated:
            return False
        if isinstance(request.auth, ApiToken):
            require_user_scope(request.auth)
        if request.method not in SAFE_METHODS and hasattr(view, str(request.method).lower()):
            roles.require(request.user, getattr(view, "needs", ""))
        return True


class IsStaffOrReads(HasAccess):
    """Everybody known may look; changes are for staff."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        if not super().has_permission(request, view):
            return False
        if request.method not in SAFE_METHODS and not request.user.is_staff:
            raise problems.Forbidden("This is for staff.")
        return True


class IsStaff(HasAccess):
    """Staff only."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        if not super().has_permission(request, view):
            return False
        if not request.user.is_staff:
            raise problems.Forbidden("This is for staff.")
        return True


class IsService(BasePermission):
    """A token of scope `service`; nobody else, also not in open mode."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        if not request.user.is_authenticated:
            return False
        if not isinstance(request.auth, ApiToken) or SERVICE_SCOPE not in request.auth.scopes:
            raise problems.Forbidden(f"This is for workers; send a token with the scope `{SERVICE_SCOPE}`.")
        return True
