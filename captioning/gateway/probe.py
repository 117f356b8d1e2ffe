"""Trying out a provider before anybody relies on it."""

from __future__ import annotations

import io
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Literal

import httpx2
from PIL import Image

from captioning.gateway import openai
from captioning.gateway.call import MEMORY, caption, json_of, send
from captioning.gateway.errors import GatewayError, Permanent
from captioning.gateway.outbound import Watch, check_url
from captioning.gateway.request import Attempt, CaptionRequest, Endpoint, Memory, checked_key
from captioning.gateway.retry import Patience, retry_after_seconds
from captioning.gateway.schema import schema_from_fields

_ERROR_CODES = MappingProxyType(
    {
        "auth_failed": "AUTH_ERROR",
        "endpoint_not_found": "ENDPOINT_NOT_FOUND",
        "model_not_found": "ENDPOINT_NOT_FOUND",
        "redirected": "ENDPOINT_NOT_FOUND",
        "bad_address": "ENDPOINT_NOT_FOUND",
        "timeout": "TIMEOUT",
        "connection_failed": "CONNECTION_ERROR",
        "address_refused": "CONNECTION_ERROR",
        "bad_certificate": "CONNECTION_ERROR",
        "rate_limited": "RATE_LIMIT",
        "quota_exhausted": "QUOTA_EXCEEDED",
    }
)
_SUGGESTIONS = MappingProxyType(
    {
        "AUTH_ERROR": ("Enter the key again; look for spaces at its ends.", "See that the key may use this model."),
        "ENDPOINT_NOT_FOUND": (
            "Compare the base address with the provider's documentation; it usually ends in /v1.",
            "Choose a model from the list of this provider.",
        ),
        "TIMEOUT": (
            "A local server may still be loading its model; try again in a minute.",
            "See that no firewall swallows the connection.",
        ),
        "CONNECTION_ERROR": (
            "See that the server runs and listens on this host and port.",
            "From a container, the host's own services are not at localhost.",
        ),
        "RATE_LIMIT": ("Wait a minute.", "Lower the requests per minute of this provider."),
        "QUOTA_EXCEEDED": ("Add credit to the account, or raise its limit.", "Choose another provider meanwhile."),
        "UNKNOWN_ERROR": ("Read the error of the failed step; it repeats the server's own words.",),
    }
)
_COLOURS = MappingProxyType(
    {
        "red": (220, 20, 20),
        "green": (20, 160, 20),
        "blue": (20, 40, 220),
        "yellow": (250, 230, 20),
        "black": (0, 0, 0),
        "white": (255, 255, 255),
    }
)


@dataclass(slots=True)
class Step:
    """One step of a probe; a step that was never reached stays `pending`."""

    step: Literal["initialize_client", "list_models", "vision"]
    status: Literal["pending", "success", "failed", "skipped"] = "pending"
    timestamp: str = ""
    message: str | None = None
    error: str | None = None

    def close(
        self, status: Literal["success", "failed", "skipped"], *, message: str | None = None, error: str | None = None
    ) -> None:
        self.status, self.message, self.error = status, message, error
        self.timestamp = datetime.now(UTC).isoformat().replace("+00:00", "Z")


@dataclass(slots=True)
class Probe:
    """What a provider answered.

    success: address and key work, and nothing that was tried failed. connected: the server answered at all.
    vision: True if the model named both colours of a test picture, False if the server said that it takes no pictures,
    None if it was not asked or answered something else.
    schema_mode: rung of the ladder on which the answer came. latency_ms: of that answer.
    """

    provider: str
    config_summary: dict[str, Any]
    steps: list[Step] = field(default_factory=lambda: [Step("initialize_client"), Step("list_models"), Step("vision")])
    warnings: list[dict[str, str]] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    success: bool = False
    connected: bool = False
    message: str = ""
    error: str | None = None
    error_code: str | None = None
    models: list[str] = field(default_factory=list)
    model: str | None = None
    vision: bool | None = None
    schema_mode: str | None = None
    latency_ms: int | None = None

    @property
    def suggestions(self) -> list[str]:
        return list(_SUGGESTIONS[self.error_code]) if self.error_code else []

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON that clients of a connection test know, with our findings under `details`."""
        shown: dict[str, Any] = {
            "provider": self.provider,
            "success": self.success,
            "connected": self.connected,
            "message": self.message,
            "client_initialized": self.steps[0].status == "success",
            "details": {
                "method": "models.list" if self.steps[1].status == "success" else "chat.completions",
                "available_models": [{"id": name} for name in self.models],
                "models_count": len(self.models),
                "model": self.model,
                "vision": self.vision,
                "schema_mode": self.schema_mode,
                "latency_ms": self.latency_ms,
            },
            "diagnostics": {
                "config_summary": {**self.config_summary, "models_count": len(self.models)},
                "connection_steps": [
                    {name: value for name, value in asdict(step).items() if value is not None} for step in self.steps
                ],
                "warnings": self.warnings,
            },
        }
        if self.error_code:
            shown |= {"error": self.error, "error_code": self.error_code, "suggestions": self.suggestions}
        return shown


def probe(
    endpoint: Endpoint,
    *,
    model: str | None = None,
    models: Sequence[str] = (),
    environment: Literal["cloud", "local"] = "cloud",
    fetch_models: bool = True,
    deadline_seconds: float = 60.0,
    stopped: Callable[[], bool] = lambda: False,
    client: httpx2.Client | None = None,
    memory: Memory = MEMORY,
) -> Probe:
    """Test address, key, model list, sight and schema mode of a provider; never raises GatewayError.

    model: asked to describe a picture; without it the first of `models` or of the fetched list. What the ladder taught
    is put into `memory`, so that the first caption starts on the right rung.
    """
    found = Probe(
        provider=endpoint.name,
        config_summary={
            "kind": endpoint.kind,
            "environment": environment,
            "base_url_valid": _is_valid(endpoint),
            "api_key_provided": bool(endpoint.api_key.strip()),
        },
        models=list(models),
    )
    setup = _Setup(endpoint, model, fetch_models, Watch(time.monotonic() + deadline_seconds, stopped), client, memory)
    runs: tuple[_Run, ...] = (_initialize, _list_models, _look)
    for step, run in zip(found.steps, runs, strict=True):
        try:
            run(setup, found, step)
        except GatewayError as error:
            found.attempts += error.attempts
            step.close("failed", error=str(error))
            found.error, found.error_code = str(error), _ERROR_CODES.get(error.code, "UNKNOWN_ERROR")
            # A server without a model list may caption very well; every other failure would only repeat itself.
            if step.step != "list_models" or error.code not in ("endpoint_not_found", "bad_response"):
                break
    return _concluded(found)


@dataclass(frozen=True, slots=True)
class _Setup:
    endpoint: Endpoint
    model: str | None
    fetch_models: bool
    watch: Watch
    client: httpx2.Client | None
    memory: Memory


_Run = Callable[[_Setup, Probe, Step], None]


def _initialize(setup: _Setup, found: Probe, step: Step) -> None:
    if not found.config_summary["base_url_valid"]:
        found.warnings.append({"warning_type": "invalid_base_url", "message": "The base address cannot be called."})
    if not found.config_summary["api_key_provided"] and found.config_summary["environment"] == "cloud":
        found.warnings.append({"warning_type": "empty_api_key", "message": "No key; most cloud providers want one."})
    check_url(setup.endpoint.base_url, allow_private=setup.endpoint.allow_private)
    checked_key(setup.endpoint)
    step.close("success")


def _list_models(setup: _Setup, found: Probe, step: Step) -> None:
    if not setup.fetch_models:
        step.close("skipped", message="The models are listed by hand.")
        return
    response = send(setup.endpoint, "GET", openai.MODELS_ROUTE, watch=setup.watch, client=setup.client)
    found.connected = True
    payload = json_of(response)
    if not response.is_success:
        raise openai.error_from(
            response.status_code,
            payload,
            response.text,
            retry_after=retry_after_seconds(response.headers),
            api_key=checked_key(setup.endpoint),
        )
    entries = payload.get("data") if isinstance(payload, dict) else payload
    if not isinstance(entries, list):
        raise Permanent("The server answered without a list of models.", code="bad_response")
    found.models = [str(entry["id"]) for entry in entries if isinstance(entry, dict) and entry.get("id")]
    step.close("success", message=f"{len(found.models)} models")


def _look(setup: _Setup, found: Probe, step: Step) -> None:
    found.model = setup.model or next(iter(found.models), None)
    if found.model is None:
        step.close("skipped", message="No model to ask; name one.")
        return
    left, right = random.sample(sorted(_COLOURS), 2)  # drawn anew, so that a blind model cannot know the answer
    fresh = Memory()
    request = CaptionRequest(
        model=found.model,
        prompt="The left half of this picture has one colour and the right half another. "
        f"Name each with one word out of: {', '.join(_COLOURS)}.",
        image=_two_halves(left, right),
        schema=schema_from_fields(
            [
                {"name": "left", "type": "str", "description": "colour of the left half"},
                {"name": "right", "type": "str", "description": "colour of the right half"},
            ]
        ),
        schema_name="colours",
        deadline_seconds=max(setup.watch.seconds_left, 0.0),
    )
    try:
        reply = caption(
            setup.endpoint,
            request,
            stopped=setup.watch.stopped,
            client=setup.client,
            memory=fresh,
            patience=Patience(extra_tries=0),
        )
    except GatewayError as error:
        found.connected = found.connected or any(attempt.status is not None for attempt in error.attempts)
        found.vision = False if error.code == "no_vision" else None
        raise
    learned = fresh.get(setup.endpoint, found.model)
    setup.memory.put(setup.endpoint, found.model, mode=learned.mode, refused=learned.refused)
    said = {side: str(reply.result[side]).strip().lower().rstrip(".") for side in ("left", "right")}
    found.connected = True
    found.vision = True if said == {"left": left, "right": right} else None
    found.schema_mode = reply.mode.value
    found.latency_ms = reply.attempts[-1].latency_ms
    found.attempts += reply.attempts
    seen = "It sees." if found.vision else f"It answered, but did not name the colours ({left}, {right}) it was shown."
    step.close("success", message=seen)


def _concluded(found: Probe) -> Probe:
    failed = [step for step in found.steps if step.status == "failed"]
    # A missing model list is forgiven if the model then answered.
    is_forgiven = [step.step for step in failed] == ["list_models"] and found.steps[2].status == "success"
    if is_forgiven:
        found.warnings.append({"warning_type": "no_model_list", "message": failed[0].error or ""})
        found.error, found.error_code = None, None
    found.success = not failed or is_forgiven
    found.message = "The provider works." if found.success else found.error or "The provider did not answer."
    return found


def _is_valid(endpoint: Endpoint) -> bool:
    try:
        check_url(endpoint.base_url, allow_private=endpoint.allow_private)
    except GatewayError:
        return False
    return True


def _two_halves(left: str, right: str) -> bytes:
    picture = Image.new("RGB", (256, 128), _COLOURS[left])
    picture.paste(_COLOURS[right], (128, 0, 256, 128))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
