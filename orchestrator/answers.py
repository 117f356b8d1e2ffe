"""How a page answers a form: with a message, on the page it came from."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, cast

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST
from django_htmx.http import HttpResponseClientRedirect, trigger_client_event

from . import roles
from .problems import Problem

P = ParamSpec("P")


def id_from(text: str | None) -> int:
    """Read an id that a page sends; 0, which nothing has, for whatever is none."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 19 else 0


def action(verb: Callable[Concatenate[HttpRequest, P], str]) -> Callable[Concatenate[HttpRequest, P], HttpResponse]:
    """Make a view of a verb that returns what it did, or the address to go to, and raises Problem when it may not.

    A refusal is shown where the button stands; a missing object stays a 404.
    """

    @wraps(verb)
    def view(request: HttpRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
        try:
            said = verb(request, *args, **kwargs)
        except Problem as problem:
            if problem.status == 404:
                raise
            messages.error(request, problem.detail)
            said = ""
        if said.startswith("/"):
            # htmx would follow a redirect itself and put the whole page where a message belongs.
            return HttpResponseClientRedirect(said) if is_htmx(request) else redirect(said)
        if said:
            messages.success(request, said)
        if is_htmx(request):
            return trigger_client_event(render(request, "_messages.html"), "desk-changed", {})
        return redirect(page_before(request))

    return login_required(require_POST(view))  # type: ignore[return-value]  # wraps() loses the first argument's name


def is_htmx(request: HttpRequest) -> bool:
    """Whether htmx asks, which takes a piece of a page instead of all of it."""
    return bool(request.htmx)  # type: ignore[attr-defined]  # its middleware adds it, which Django's stubs cannot know


def user_of(request: HttpRequest) -> User:
    """The logged-in user of a request that a login was asked of."""
    return cast(User, request.user)


def staff_only(request: HttpRequest, permission: str) -> None:
    """Refuse whoever is not staff, and staff whose role does not include this."""
    if not request.user.is_staff:
        raise PermissionDenied(_("This is for staff."))
    roles.require(request.user, permission)


def page_before(request: HttpRequest) -> str:
    """The page of the desk that a form was sent from; home if none is told."""
    before = request.headers.get("Referer", "")
    if url_has_allowed_host_and_scheme(before, {request.get_host()}, require_https=request.is_secure()):
        return before
    return "/"
