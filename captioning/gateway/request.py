"""What goes into a model call and what comes out: plain values, no Django, no HTTP."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from captioning.gateway.errors import Permanent


class Mode(StrEnum):
    """Ways to ask for an answer that follows a schema, the most binding first."""

    NATIVE = "native"  # response_format: json_schema; the server constrains its decoding
    TOOL = "tool"  # one forced function whose arguments are the answer
    JSON_OBJECT = "json_object"  # any JSON object; the schema stands in the prompt
    PROMPT = "prompt"  # nothing but words in the prompt
    TEXT = "text"  # no schema asked for: plain prose


LADDER = (Mode.NATIVE, Mode.TOOL, Mode.JSON_OBJECT, Mode.PROMPT)


@dataclass(frozen=True, slots=True)
class Profile:
    """What we assume about a kind of server until it tells otherwise.

    modes: rungs of the ladder worth trying, best first.
    schema_in_prompt: repeat the schema in words even where the server takes it natively.
    repetition_penalty_field: name of the field for a multiplicative penalty, None where the server has none.
    long_edge: pixels; larger pictures are shrunk before sending.
    byte_cap: largest picture in bytes, before base64.
    read_seconds: longest silence while the model thinks.
    """

    modes: tuple[Mode, ...] = LADDER
    schema_in_prompt: bool = False
    repetition_penalty_field: str | None = None
    image_detail: str | None = None
    long_edge: int = 1568
    byte_cap: int = 3_500_000
    connect_seconds: float = 10.0
    read_seconds: float = 120.0


# Local servers load models on first use and run on slow hardware, hence their long silence.
PROFILES = MappingProxyType(
    {
        "openai": Profile(),
        "gemini": Profile(),
        "openrouter": Profile(repetition_penalty_field="repetition_penalty"),
        "vllm": Profile(repetition_penalty_field="repetition_penalty", read_seconds=600.0),
        "llamacpp": Profile(repetition_penalty_field="repeat_penalty", read_seconds=600.0),
        "lmstudio": Profile(repetition_penalty_field="repeat_penalty", read_seconds=600.0),
        # Its /v1 has been seen to accept response_format and ignore it, so the words say it as well.
        "ollama": Profile(schema_in_prompt=True, read_seconds=600.0),
    }
)

# These publish their root address; the OpenAI routes live one level below. Gemini's live below its version.
_SERVED_UNDER_V1 = frozenset({"openrouter", "vllm", "llamacpp", "lmstudio", "ollama"})
_VERSION_SUFFIX = re.compile(r"/v\d+(?:alpha|beta)?$")


@dataclass(frozen=True, slots=True)
class Price:
    """What the owner of an account pays, in US dollars for a million tokens."""

    input_usd: Decimal
    output_usd: Decimal
    cached_input_usd: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a model is served and with which rights we call it.

    kind: name of the profile; an unknown kind counts as a plain OpenAI-compatible server.
    allow_private: the address was entered by staff and may lie in the own network.
    price: overrides the public price list.
    profile: overrides that of the kind.
    """

    base_url: str
    api_key: str = field(default="", repr=False)
    kind: str = "openai"
    name: str = ""
    allow_private: bool = False
    price: Price | None = None
    profile: Profile | None = None

    @property
    def habits(self) -> Profile:
        """The profile given, else that of the kind."""
        return self.profile or PROFILES.get(self.kind, Profile())

    def address(self, route: str) -> str:
        """Return the URL of one OpenAI route, such as `chat/completions`."""
        base = self.base_url.strip().rstrip("/")
        has_version = _VERSION_SUFFIX.search(urlsplit(base).path) is not None
        if self.kind in _SERVED_UNDER_V1 and not has_version:
            base += "/v1"
        elif self.kind == "gemini" and has_version:
            base += "/openai"
        return f"{base}/{route}"


@dataclass(frozen=True, slots=True)
class Parameters:
    """Sampling settings; None leaves the choice to the server."""

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    repetition_penalty: float | None = None  # 1.0 = off, multiplicative


@dataclass(frozen=True, slots=True)
class CaptionRequest:
    """One picture, one perspective.

    schema: JSON Schema of the answer; None asks for plain text.
    image: encoded bytes of any format that Pillow reads; mime: what the caller believes they are, for its own records:
    the bytes decide, and what is sent was encoded anew.
    context: rendered results of other perspectives; global_context: words that hold for the whole job.
    resize: name of a preset of `picture.PRESETS`, None for the profile's long edge.
    deadline_seconds: for everything together, waits and repair included.
    """

    model: str
    prompt: str
    image: bytes = field(repr=False)
    mime: str = ""
    schema: dict[str, Any] | None = None
    schema_name: str = "caption"
    parameters: Parameters = Parameters()
    context: tuple[str, ...] | list[str] = ()
    global_context: str = ""
    resize: str | None = None
    deadline_seconds: float = 120.0
    idempotency_key: str | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as counted by the provider; None where it did not say."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None  # part of input_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            _sum(self.input_tokens, other.input_tokens),
            _sum(self.output_tokens, other.output_tokens),
            _sum(self.cached_tokens, other.cached_tokens),
        )


@dataclass(slots=True)
class Attempt:
    """One HTTP call, answered or not.

    status: HTTP status, None where no answer came.
    request_id: the provider's own id, for a question to its support.
    cost_usd: None where price or usage is unknown, never 0 for unknown.
    repaired: its answer became JSON only after mending.
    repair_turn: it asked the model to correct an earlier answer.
    error_class: code of the error, None for an answer we could use.
    unusable: the beginning of an answer that was of no use; empty for all others.
    """

    mode: Mode
    status: int | None = None
    latency_ms: int = 0
    request_id: str | None = None
    usage: Usage = Usage()
    cost_usd: Decimal | None = None
    repaired: bool = False
    repair_turn: bool = False
    error_class: str | None = None
    unusable: str = ""


@dataclass(frozen=True, slots=True)
class CaptionReply:
    """A validated answer with everything the ledger wants to know.

    result: follows the request's schema; `{"text": ...}` where none was asked for.
    text: the answer as the model wrote it in the turn that was accepted; raw_text: its first answer.
    unsent_parameters: settings that this server does not know and therefore did not get.
    refused_parameters: names in the body that it answered 400 to, now or earlier.
    cost_usd: over all answered attempts; None as soon as one of them is unknown.
    """

    result: dict[str, Any]
    text: str
    raw_text: str
    mode: Mode
    repaired: bool
    attempts: list[Attempt]
    usage: Usage
    cost_usd: Decimal | None
    unsent_parameters: tuple[str, ...] = ()
    refused_parameters: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Learned:
    """What one endpoint taught us about one model.

    refused: parameters it answered 400 to.
    """

    mode: Mode | None = None
    refused: frozenset[str] = frozenset()


class Memory:
    """What worked, per endpoint and model, so that the ladder is climbed down once and not for every picture.

    Lives as long as the process; the probe's finding can be put in beforehand with `put`.
    """

    def __init__(self) -> None:
        self._learned: dict[tuple[str, str], Learned] = {}

    def get(self, endpoint: Endpoint, model: str) -> Learned:
        return self._learned.get((endpoint.base_url, model), Learned())

    def put(self, endpoint: Endpoint, model: str, **changes: Any) -> Learned:
        learned = replace(self.get(endpoint, model), **changes)
        self._learned[(endpoint.base_url, model)] = learned
        return learned


def checked_key(endpoint: Endpoint) -> str:
    """Return the key in a form that a header can carry.

    Raises Permanent (`auth_failed`) before an HTTP library can quote a broken key in its own error.
    """
    key = endpoint.api_key.strip()
    if not key.isascii() or any(not 33 <= ord(character) <= 126 for character in key):
        raise Permanent(
            "The key holds spaces, line breaks or letters that a header cannot carry; enter it again.",
            code="auth_failed",
        )
    return key


def _sum(first: int | None, second: int | None) -> int | None:
    return second if first is None else first if second is None else first + second
