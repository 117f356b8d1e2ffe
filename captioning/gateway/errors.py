"""What can go wrong in a model call, sorted by whether another try can help."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from captioning.gateway.request import Attempt


class GatewayError(Exception):
    """A model call gave no usable answer.

    code: snake_case cause, stable, for grouping (`rate_limited`, `no_vision`).
    permanent: another try with the same input cannot help.
    retry_after: seconds that the provider asked us to wait, None where it did not say.
    parameter: the request parameter that the provider refused, where it named one.
    attempts: every HTTP call made for this request, in order.
    """

    permanent: ClassVar[bool]

    def __init__(
        self, message: str, *, code: str, retry_after: float | None = None, parameter: str | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.retry_after = retry_after
        self.parameter = parameter
        self.attempts: list[Attempt] = []


class Retryable(GatewayError):
    """The same request may succeed later."""

    permanent = False


class Permanent(GatewayError):
    """The same request will fail again until somebody changes something."""

    permanent = True


class QuotaExhausted(Permanent):
    """The account has no credit left; every other item of the job would fail the same way."""

    def __init__(self, message: str, *, parameter: str | None = None) -> None:
        super().__init__(message, code="quota_exhausted", parameter=parameter)


class Cancelled(GatewayError):
    """The caller asked the call to stop; the item itself is neither right nor wrong."""

    permanent = False

    def __init__(self) -> None:
        super().__init__("The call was stopped before it had an answer.", code="cancelled")
