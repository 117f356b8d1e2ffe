"""Expected refusals, and how they and every other fault become RFC 9457 replies."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation, TooManyFilesSent
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.template import TemplateDoesNotExist
from django.template.loader import select_template
from rest_framework import exceptions as drf

from . import requestids
from .middleware import Middleware

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"


class Problem(Exception):
    """Bad request

    A refusal that the caller can act on. Subclass it beside the code that raises it: the first line of the docstring
    is the title, the class name in kebab-case its type.

    detail: says what to do. errors: `{field: [messages]}` for invalid input. Everything else rides along as a member.
    """

    status = 400

    def __init__(
        self,
        detail: str,
        *,
        errors: Mapping[str, Sequence[str]] | None = None,
        retry_after: float | None = None,
        **members: Any,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = errors
        self.retry_after = retry_after
        self.members = members

    @property
    def title(self) -> str:
        return (type(self).__doc__ or type(self).__name__).strip().splitlines()[0]

    @property
    def code(self) -> str:
        """The kind of refusal in snake_case, for programs."""
        return re.sub(r"(?<!^)(?=[A-Z])", "_", type(self).__name__).lower()

    @property
    def headers(self) -> dict[str, str]:
        return {} if self.retry_after is None else {"Retry-After": str(math.ceil(self.retry_after))}


class Invalid(Problem):
    """Invalid input"""

    status = 400


class NotFound(Problem):
    """Not found"""

    status = 404


class MethodNotAllowed(Problem):
    """Method not allowed here"""

    status = 405

    def __init__(self, detail: str, *, allowed: str = "", **members: Any) -> None:
        super().__init__(detail, **members)
        self.allowed = allowed

    @property
    def headers(self) -> dict[str, str]:
        return super().headers | {"Allow": self.allowed}


class NotAcceptable(Problem):
    """No form of the answer that the client accepts"""

    status = 406


class Conflict(Problem):
    """Conflict with the present state"""

    status = 409


class Forbidden(Problem):
    """Not allowed"""

    status = 403


class Unauthenticated(Problem):
    """Not logged in"""

    status = 401

    @property
    def headers(self) -> dict[str, str]:
        return super().headers | {"WWW-Authenticate": 'Bearer realm="desk"'}


class TooLarge(Problem):
    """Too large"""

    status = 413


class UnsupportedMediaType(Problem):
    """Unsupported media type"""

    status = 415


class TooManyRequests(Problem):
    """Too many requests"""

    status = 429


class InternalError(Problem):
    """Unexpected fault"""

    status = 500


class Unavailable(Problem):
    """Not available at the moment"""

    status = 503


def reply(problem: Problem, request: HttpRequest) -> JsonResponse:
    """Write a problem as `application/problem+json`."""
    body: dict[str, Any] = {
        "type": f"/problems/{problem.code.replace('_', '-')}",
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
        "instance": request.path,
        "request_id": requestids.current(),
        "error": problem.detail,  # where older clients look for the text
        "error_code": problem.code,
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    }
    if problem.errors is not None:
        body["errors"] = problem.errors
    response = JsonResponse(
        problem.members | body, status=problem.status, headers=problem.headers, content_type=MEDIA_TYPE
    )
    # A refusal is the caller's to read, and a fault was logged where it was caught: Django need not say it again.
    response._has_been_logged = True  # type: ignore[attr-defined]
    return response


def exception_handler(exception: Exception, context: Mapping[str, Any]) -> HttpResponse | None:
    """Turn what an API view raised into a reply; None for a bug, which ProblemMiddleware then answers."""
    problem = _problem_of(exception)
    if problem is None:
        return None
    from rest_framework.views import set_rollback  # at the top it would load views while models load

    set_rollback()
    return reply(problem, context["request"])


class ProblemMiddleware(Middleware):
    """Answer whatever a view raised: problems for programs, pages for people."""

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        problem = _problem_of(exception)
        if problem is None:
            if not is_for_program(request):
                return None  # Django logs it and calls `page_500`
            problem = _unexpected(exception)
        if is_for_program(request):
            return reply(problem, request)
        return _page(problem, request)

    def after(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        """Give refusals that Django words as HTML (405, CSRF) to programs in their own form, to people an empty 405."""
        if response.status_code < 400 or not response.get("Content-Type", "").startswith("text/html"):
            return response
        problem = of_status(response.status_code, response.get("Allow", ""), request)
        if is_for_program(request):
            return reply(problem, request)
        return _page(problem, request) if response.status_code == 405 and not response.content else response


def is_for_program(request: HttpRequest) -> bool:
    """Tell whether the answer is read by a program: everything under /api, and whoever does not ask for HTML."""
    return request.path_info.startswith("/api/") or "text/html" not in request.headers.get("Accept", "")


def of_status(status: int, allowed: str, request: HttpRequest) -> Problem:
    """Word a refusal of which only the status is known."""
    match status:
        case 404:
            return NotFound(f"There is nothing at {request.path}.")
        case 405:
            return MethodNotAllowed(f"{request.method} is not possible here; try {allowed}.", allowed=allowed)
        case 403:
            return Forbidden("This is not allowed; a page that was open for long must be loaded again.")
        case 413:
            return TooLarge("The request is too large.")
        case _ if status >= 500:
            return InternalError(f"Something went wrong here; the log has it under {requestids.current()}.")
    problem = Problem(HTTPStatus(status).phrase + ".")
    problem.status = status
    return problem


def page_400(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _for_reader(_problem_of(exception) or Problem("The request cannot be understood."), request)


def page_403(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _for_reader(_problem_of(exception) or of_status(403, "", request), request)


def page_404(request: HttpRequest, exception: Exception) -> HttpResponse:
    return _for_reader(of_status(404, "", request), request)


def page_500(request: HttpRequest) -> HttpResponse:
    """Answer a fault that Django has just logged."""
    return _for_reader(of_status(500, "", request), request)


def _for_reader(problem: Problem, request: HttpRequest) -> HttpResponse:
    return reply(problem, request) if is_for_program(request) else _page(problem, request)


def _page(problem: Problem, request: HttpRequest) -> HttpResponse:
    try:
        template = select_template([f"errors/{problem.status}.html", "errors/error.html"])
    except TemplateDoesNotExist:
        return reply(problem, request)  # a page about an error must not become a second one
    return HttpResponse(
        template.render({"problem": problem, "request_id": requestids.current()}, request),
        status=problem.status,
        headers=problem.headers,
    )


def _unexpected(exception: Exception) -> Problem:
    logger.error("unexpected fault", exc_info=exception)
    return InternalError(f"Something went wrong here; the log has it under {requestids.current()}.")


def _problem_of(exception: Exception) -> Problem | None:
    """Translate an exception that means a refusal; None for everything that is a bug."""
    match exception:
        case Problem():
            return exception
        case drf.ValidationError():
            errors = flatten(exception.detail)
            return Invalid(_summary(errors), errors=errors)
        case drf.ParseError():
            return Invalid(str(exception.detail))
        case drf.NotAuthenticated() | drf.AuthenticationFailed():
            return Unauthenticated(str(exception.detail))
        case drf.PermissionDenied():
            return Forbidden(str(exception.detail))
        case PermissionDenied():
            return Forbidden(str(exception) or "This is not allowed.")
        case drf.NotFound():
            return NotFound(str(exception.detail))
        case Http404():
            return NotFound("There is nothing here, or it is not yours.")
        case drf.MethodNotAllowed():
            return MethodNotAllowed(str(exception.detail))
        case drf.NotAcceptable():
            return NotAcceptable("Answers are application/json; ask for that in Accept.")
        case drf.UnsupportedMediaType():
            return UnsupportedMediaType(str(exception.detail))
        case drf.Throttled():
            return TooManyRequests(str(exception.detail), retry_after=getattr(exception, "wait", None))
        case RequestDataTooBig() | TooManyFilesSent():
            return TooLarge("The request is larger than this desk accepts.")
        case SuspiciousOperation():
            return Problem("The request cannot be accepted: " + (str(exception) or type(exception).__name__))
        case OperationalError() | InterfaceError():
            logger.error("database away", exc_info=exception)
            return Unavailable("The database does not answer; try again.", retry_after=2)
    return None


def flatten(detail: object, name: str = "") -> dict[str, list[str]]:
    """Flatten nested messages: `{"options": {"top_p": ["…"]}}` becomes `{"options.top_p": ["…"]}`."""
    if isinstance(detail, Mapping):
        errors: dict[str, list[str]] = {}
        for key, value in detail.items():
            inner = "" if key == "non_field_errors" else str(key)
            errors |= flatten(value, ".".join(part for part in (name, inner) if part))
        return errors
    if isinstance(detail, list) and any(isinstance(entry, Mapping) for entry in detail):
        return flatten({number: entry for number, entry in enumerate(detail) if entry}, name)
    return {name or "body": [str(entry) for entry in detail] if isinstance(detail, list) else [str(detail)]}


def _summary(errors: Mapping[str, Sequence[str]]) -> str:
    return " ".join(f"{field}: {' '.join(messages)}" for field, messages in errors.items())
