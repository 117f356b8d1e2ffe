"""The options of a captioning job: which there are, and their bounds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from jobs.models import Executor, OnFailedDependency

from .gateway.picture import PRESETS

Errors = dict[str, list[str]]
Check = Callable[[Any], str | None]


def _number(low: float, high: float) -> Check:
    def check(value: Any) -> str | None:
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return None if is_number and low <= value <= high else f"Give a number from {low:g} to {high:g}."

    return check


def _whole(low: int, high: int) -> Check:
    def check(value: Any) -> str | None:
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        return None if is_whole and low <= value <= high else f"Give a whole number from {low} to {high}."

    return check


def _text(longest: int) -> Check:
    def check(value: Any) -> str | None:
        return (
            None if isinstance(value, str) and len(value) <= longest else f"Give text of at most {longest} characters."
        )

    return check


def _one_of(*allowed: str) -> Check:
    def check(value: Any) -> str | None:
        return None if value in allowed else f"Give one of {', '.join(allowed)}."

    return check


def _truth(value: Any) -> str | None:
    return None if isinstance(value, bool) else "Give true or false."


def _budget(value: Any) -> str | None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return None if is_number and 0 < value <= 1_000_000 else "Give US dollars, more than 0 and at most 1000000."


SAMPLING = ("max_tokens", "temperature", "top_p", "repetition_penalty")
CHECKS: Mapping[str, Check] = {
    "max_tokens": _whole(1, 32_768),
    "temperature": _number(0, 2),
    "top_p": _number(0, 1),
    "repetition_penalty": _number(0, 2),
    "provider": _text(64),
    "model": _text(200),
    "global_context": _text(20_000),
    "resize": _truth,
    "resize_resolution": _one_of("NONE", *PRESETS),
    "only_missing": _truth,
    "budget_usd": _budget,
    "max_attempts": _whole(1, 10),
    "executor": _one_of(*Executor.values),
    "on_failed_dependency": _one_of(*OnFailedDependency.values),
}


@dataclass(frozen=True)
class Options:
    """Options as given, an option that is null left out. Everything absent has its default here."""

    given: Mapping[str, Any]

    @property
    def max_attempts(self) -> int:
        return int(self.given.get("max_attempts", 3))

    @property
    def executor(self) -> str:
        return str(self.given.get("executor", Executor.INTERNAL.value))

    @property
    def on_failed_dependency(self) -> str:
        return str(self.given.get("on_failed_dependency", OnFailedDependency.WAIT.value))

    @property
    def only_missing(self) -> bool:
        return bool(self.given.get("only_missing", False))

    @property
    def provider(self) -> str:
        return str(self.given.get("provider", ""))

    @property
    def model(self) -> str:
        return str(self.given.get("model", ""))

    @property
    def global_context(self) -> str:
        return str(self.given.get("global_context", ""))

    @property
    def budget_usd(self) -> Decimal | None:
        return Decimal(str(self.given["budget_usd"])) if "budget_usd" in self.given else None

    @property
    def sampling(self) -> dict[str, Any]:
        return {name: self.given[name] for name in SAMPLING if name in self.given}

    @property
    def preset(self) -> str | None:
        """Name of the size to send pictures in; None leaves it to the provider's profile."""
        resolution = self.given.get("resize_resolution", "NONE")
        if self.given.get("resize") is False or (resolution == "NONE" and not self.given.get("resize")):
            return None
        return "HD_720P" if resolution == "NONE" else str(resolution)


def read(value: Any) -> tuple[Options, Errors]:
    """Check the `options` of a request; errors are named by `options.<name>`."""
    if value is None:
        return Options({}), {}
    if not isinstance(value, dict):
        return Options({}), {"options": ["Give an object."]}
    errors: Errors = {}
    given: dict[str, Any] = {}
    for name, option in value.items():
        if name not in CHECKS:
            errors[f"options.{name}"] = [f"There is no such option; there are {', '.join(CHECKS)}."]
        elif option is not None:
            if message := CHECKS[name](option):
                errors[f"options.{name}"] = [message]
            given[name] = option
    return Options({} if errors else given), errors
