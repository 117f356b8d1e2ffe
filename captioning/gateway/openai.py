"""The OpenAI chat-completions wire format, as OpenAI and the many servers that copied it speak it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from captioning.gateway.errors import GatewayError, Permanent, QuotaExhausted, Retryable
from captioning.gateway.picture import Picture
from captioning.gateway.prompt import assemble
from captioning.gateway.request import CaptionRequest, Mode, Profile, Usage
from captioning.gateway.retry import LONGEST_ASKED_SECONDS
from captioning.gateway.schema import is_strict
from orchestrator.texts import storable

CHAT_ROUTE = "chat/completions"
MODELS_ROUTE = "models"

_SAFE_NAME = re.compile(r"[^A-Za-z0-9_-]")
_MODE_PARAMETERS = ("response_format", "tool_choice", "tools")
_SAMPLING_PARAMETERS = (
    "max_completion_tokens",
    "max_tokens",
    "temperature",
    "top_p",
    "repetition_penalty",
    "repeat_penalty",
)
_QUOTA_WORDS = re.compile(
    r"insufficient_quota|insufficient[ _]balance|insufficient[ _]funds|billing|credit balance|out of credits"
    r"|exceeded your current quota",
    re.IGNORECASE,
)
_NO_VISION_WORDS = re.compile(
    r"image input is not supported|(does not|doesn't|do not|not) support (the )?(image|vision|multimodal)"
    r"|not a multimodal model|image_url is only supported|no (endpoints|providers) found that support image"
    r"|unsupported content type.{0,20}image|missing mmproj|multimodal data provided, but model",
    re.IGNORECASE,
)
_TOO_LARGE_WORDS = re.compile(
    r"(image|request|payload|entity|body)\b.{0,60}\b(too large|exceeds?)|image_too_large", re.IGNORECASE | re.DOTALL
)
_TOO_LONG_WORDS = re.compile(
    r"context_length_exceeded|maximum context length|context window|context size", re.IGNORECASE
)
_REFUSAL_WORDS = re.compile(r"content_filter|content_policy|content management policy|safety", re.IGNORECASE)
_MODE_WORDS = re.compile(
    r"response_format|json_schema|json_object|structured output|guided|grammar|tool_choice|tool[_ ](use|call)|\btools\b"
    r"|function[_ ]call|json mode",
    re.IGNORECASE,
)
_UNKNOWN_PARAMETER_CODES = frozenset({"unsupported_parameter", "unsupported_value", "unknown_parameter"})
_MOST_TOKENS = 100_000_000  # a hundred times the longest contexts; who counts more miscounts
_KEY_SHAPES = re.compile(r"\b(?:sk|pk|gsk|xai)[-_][\w*-]{6,}|\bBearer\s+\S+|\bAIza[\w-]{10,}")


@dataclass(frozen=True, slots=True)
class Message:
    """What the model said.

    text: the answer itself, from the forced tool's arguments or from the content.
    used_tool: it came as a tool call.
    """

    text: str
    finish_reason: str
    refusal: str
    used_tool: bool


def request_body(
    request: CaptionRequest,
    picture: Picture,
    *,
    mode: Mode,
    habits: Profile,
    refused: frozenset[str] = frozenset(),
    extra: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Build the JSON body of one turn.

    refused: parameters that this server answered 400 to. extra: messages after the first, for a repair turn.
    """
    image_url: dict[str, Any] = {"url": picture.data_url}
    if habits.image_detail:
        image_url["detail"] = habits.image_detail
    words = assemble(request, mode=mode, schema_in_prompt=habits.schema_in_prompt)
    first = {
        "role": "user",
        "content": [{"type": "text", "text": words}, {"type": "image_url", "image_url": image_url}],
    }
    return {
        "model": request.model,
        "messages": [first, *extra],
        **_sampling(request, habits, refused),
        **_schema_part(request, mode),
    }


def unsent_parameters(request: CaptionRequest, habits: Profile, refused: frozenset[str]) -> tuple[str, ...]:
    """Name the settings of the request that the body leaves out because this server does not know them."""
    sent = _sampling(request, habits, refused).keys()
    wanted = request.parameters
    missing = {
        "max_tokens": wanted.max_tokens is not None and not sent & {"max_tokens", "max_completion_tokens"},
        "temperature": wanted.temperature is not None and "temperature" not in sent,
        "top_p": wanted.top_p is not None and "top_p" not in sent,
        "repetition_penalty": wanted.repetition_penalty not in (None, 1.0)
        and habits.repetition_penalty_field not in sent,
    }
    return tuple(name for name, is_missing in missing.items() if is_missing)


def read_message(payload: Any) -> Message:
    """Find the model's words in a 200 answer. Raises Retryable (`bad_response`) where there is no message."""
    try:
        choice = payload["choices"][0]
        message = choice["message"]
        content = message.get("content") or ""
        calls = message.get("tool_calls") or []
        refusal = message.get("refusal") or ""
        finish_reason = choice.get("finish_reason") or ""
        arguments = calls[0]["function"]["arguments"] if calls else None
    except (KeyError, IndexError, TypeError, AttributeError):
        raise Retryable("The server answered 200 without a message in it.", code="bad_response") from None
    if isinstance(content, list):  # some servers answer in parts, as the request does
        content = "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    text = str(content) if arguments is None else str(arguments)
    return Message(text, str(finish_reason), str(refusal), used_tool=arguments is not None)


def read_usage(payload: Any) -> Usage:
    """Read the token counts, None for each that is not there."""
    usage = payload.get("usage") if isinstance(payload, dict) else None
    if not isinstance(usage, dict):
        return Usage()
    details = usage.get("prompt_tokens_details")
    return Usage(
        _count(usage.get("prompt_tokens")),
        _count(usage.get("completion_tokens")),
        _count(details.get("cached_tokens")) if isinstance(details, dict) else None,
    )


def error_from(status: int, payload: Any, text: str, *, retry_after: float | None, api_key: str) -> GatewayError:
    """Judge an error answer: what happened, and whether another try can help.

    payload: the parsed body, None where it was no JSON; text: the body as sent.
    Words decide where the status lies: a llama.cpp without a vision model says 500, for ever.
    """
    detail = _detail(payload)
    spoken = detail["message"] or _plain(text)
    message = f"HTTP {status}" + (f": {redact(spoken, api_key)[:300]}" if spoken else "")
    searched = f"{detail['code']} {detail['type']} {spoken}"
    parameter = detail["param"] or None

    def permanent(code: str) -> Permanent:
        return Permanent(message, code=code, parameter=parameter)

    def retryable(code: str) -> Retryable:
        return Retryable(message, code=code, retry_after=retry_after, parameter=parameter)

    # Gemini speaks of an exceeded quota even where a minute's wait helps; then it says how long.
    if retry_after is None:
        retry_after = _hinted_seconds(payload)
    is_spent = "insufficient_quota" in searched or (retry_after is None and _QUOTA_WORDS.search(searched))
    if status == 402 or (status in (403, 429) and is_spent):
        return QuotaExhausted(message, parameter=parameter)
    if status == 429:
        return retryable("rate_limited")
    if status >= 400 and status not in (401, 408, 413) and _NO_VISION_WORDS.search(searched):
        return permanent("no_vision")
    if status in (400, 422) and _TOO_LONG_WORDS.search(searched):
        return permanent("too_long")
    if status == 413 or (status == 400 and _TOO_LARGE_WORDS.search(searched)):
        return permanent("too_large")
    if status in (408, 504):
        return retryable("timeout")
    if status in (400, 404, 422, 501) and (refused := _refused_parameter(detail, spoken)):
        return Permanent(message, code="unsupported_parameter", parameter=refused)
    if status in (401, 403):
        return permanent("refused" if _REFUSAL_WORDS.search(searched) else "auth_failed")
    if status in (404, 405):
        names_model = re.search(r"\bmodel\b", searched, re.IGNORECASE)
        return permanent("model_not_found" if names_model else "endpoint_not_found")
    if status == 409:
        return retryable("conflict")
    if status in (503, 529):
        return retryable("overloaded")
    if status >= 500 and status != 501:
        return retryable("provider_error")
    if _REFUSAL_WORDS.search(searched):
        return permanent("refused")
    return permanent("redirected" if status < 400 else "bad_request")


def is_about_mode(error: GatewayError) -> bool:
    """Tell whether the server refused the way of asking for a schema, so that the next rung may work."""
    return error.code == "unsupported_parameter" and error.parameter in _MODE_PARAMETERS


def redact(text: str, api_key: str) -> str:
    """Take the key, and what looks like one, out of words that will be stored and shown."""
    text = storable(text)
    if len(api_key) >= 4:
        text = text.replace(api_key, "[key]")
    return _KEY_SHAPES.sub("[key]", text)


def _sampling(request: CaptionRequest, habits: Profile, refused: frozenset[str]) -> dict[str, Any]:
    wanted = request.parameters
    # Newer OpenAI models renamed the limit and refuse the old name; most other servers only know the old one.
    limit = "max_completion_tokens" if "max_tokens" in refused else "max_tokens"
    fields = {limit: wanted.max_tokens, "temperature": wanted.temperature, "top_p": wanted.top_p}
    if habits.repetition_penalty_field and wanted.repetition_penalty != 1.0:
        fields[habits.repetition_penalty_field] = wanted.repetition_penalty
    return {name: value for name, value in fields.items() if value is not None and name not in refused}


def _schema_part(request: CaptionRequest, mode: Mode) -> dict[str, Any]:
    if request.schema is None:
        return {}
    name = _SAFE_NAME.sub("_", request.schema_name)[:64] or "caption"
    if mode is Mode.NATIVE:
        declared = {"name": name, "strict": is_strict(request.schema), "schema": request.schema}
        return {"response_format": {"type": "json_schema", "json_schema": declared}}
    if mode is Mode.TOOL:
        function = {
            "name": name,
            "description": "Record what the picture shows.",
            "parameters": request.schema,
            "strict": is_strict(request.schema),
        }
        return {
            "tools": [{"type": "function", "function": function}],
            "tool_choice": {"type": "function", "function": {"name": name}},
        }
    return {"response_format": {"type": "json_object"}} if mode is Mode.JSON_OBJECT else {}


def _detail(payload: Any) -> dict[str, str]:
    """Flatten the shapes in which servers put an error: an object, a string, a list with one of them."""
    if isinstance(payload, list) and payload:  # Gemini's OpenAI routes
        payload = payload[0]
    error = payload.get("error", payload) if isinstance(payload, dict) else {}
    if isinstance(error, str):
        error = {"message": error}
    if not isinstance(error, dict):
        error = {}
    message = error.get("message") or error.get("detail") or ""
    return {
        "message": message if isinstance(message, str) else str(message),
        "code": str(error.get("code") or ""),
        "type": str(error.get("type") or ""),
        "param": str(error.get("param") or ""),
    }


def _hinted_seconds(payload: Any) -> float | None:
    """Read Google's wait, which stands in the body: `{"error": {"details": [{"retryDelay": "34s"}]}}`."""
    if isinstance(payload, list) and payload:
        payload = payload[0]
    error = payload.get("error") if isinstance(payload, dict) else None
    details = error.get("details") if isinstance(error, dict) else None
    for entry in details if isinstance(details, list) else ():
        delay = entry.get("retryDelay") if isinstance(entry, dict) else None
        if isinstance(delay, str) and re.fullmatch(r"\d+(\.\d+)?s", delay):
            return min(float(delay[:-1]), LONGEST_ASKED_SECONDS)
    return None


def _refused_parameter(detail: Mapping[str, str], spoken: str) -> str | None:
    """Name the parameter of ours that the server cannot take, None if the error is about something else."""
    root = re.split(r"[.\[]", detail["param"])[0]
    if root in _MODE_PARAMETERS:
        return root
    if root in _SAMPLING_PARAMETERS and (
        detail["code"] in _UNKNOWN_PARAMETER_CODES
        or re.search(r"unsupported|not support|unknown|unrecognized", spoken, re.I)
    ):
        return root
    if root:
        return None
    if _MODE_WORDS.search(spoken):
        return next((name for name in _MODE_PARAMETERS if name in spoken), _MODE_PARAMETERS[0])
    if re.search(r"unsupported|not support|unknown|unrecognized|not permitted|extra inputs", spoken, re.IGNORECASE):
        return next((name for name in _SAMPLING_PARAMETERS if re.search(rf"\b{name}\b", spoken)), None)
    return None


def _plain(text: str) -> str:
    """Reduce an HTML error page to its words."""
    without_blocks = re.sub(r"(?is)<(script|style)\b.*?</\1>", " ", text[:20_000])
    return " ".join(re.sub(r"<[^>]*>", " ", without_blocks).split())


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_TOKENS else None
