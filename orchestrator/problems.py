"""Expected refusals, and how they and every other fault become RFC 9457 replies."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any


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


class Invalid(Problem):
    """Invalid input"""

    status = 400


class NotFound(Problem):
    """Not found"""

    status = 404


class Conflict(Problem):
    """Conflict with the present state"""

    status = 409


class Forbidden(Problem):
    """Not allowed"""

    status = 403


class Unauthenticated(Problem):
    """Not logged in"""

    status = 401


class TooLarge(Problem):
    """Too large"""

    status = 413


class Unavailable(Problem):
    """Not available at the moment"""

    status = 503
