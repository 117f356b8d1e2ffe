"""Ask a provider behind an HTTP API for one caption, within its limits and on the books."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from jobs.models import Job
from jobs.pipelines import Cancelled, Context, Outage, Permanent, RetryLater, WorkItem, WorkJob
from jobs.steps import TransitionRefused

from . import gateway, ledger, throttle
from .answers import Answer
from .gateway import pricing
from .models import Caption, ModelCall, PerspectiveVersion, Provider
from .options import Options
from .wording import text_of

# Tokens of a picture and of a typical answer, for the limit of tokens a minute until the true count is known.
_PICTURE_TOKENS = 1_000
_ANSWER_TOKENS = 500
_CHARACTERS_PER_TOKEN = 4
_RATE_LIMIT_SECONDS = 20.0  # to stay away where a provider does not say for how long
_LOOKS_AGAIN_SECONDS = 300.0  # after which an item sees that a provider has another key or limit
_ASK_FOR_STOP_SECONDS = 0.25
_LONGEST_DATA_SHOWN = 40  # characters of a picture's data URL


@dataclass(frozen=True)
class Question:
    """One image, one perspective. context: what other perspectives said of the image; image: encoded bytes."""

    version: PerspectiveVersion
    name: str
    image: bytes
    context: Sequence[str]
    options: Options
    model: str

    @property
    def prompt(self) -> str:
        # Perspectives of the user's own instructions have a place for them; elsewhere they are context.
        return self.version.prompt.replace("{custom_instructions}", self.options.global_context)

    @property
    def n_tokens(self) -> int:
        n_characters = len(self.prompt) + len(self.options.global_context) + sum(map(len, self.context))
        return n_characters // _CHARACTERS_PER_TOKEN + _PICTURE_TOKENS + _ANSWER_TOKENS


def ask(provider: Provider, question: Question, item: WorkItem, context: Context) -> Answer:
    """Put the question, keep the books, and translate what goes wrong into what the queue understands.

    Raises Permanent, RetryLater, Outage (rate limits: costs no attempt) and Cancelled.
    """
    ends_at = time.monotonic() + context.deadline_seconds
    _take_turn(provider, question.n_tokens, context.stopped)
    endpoint = endpoint_of(provider)
    if (mode := provider.modes.get(question.model)) and gateway.MEMORY.get(endpoint, question.model).mode is None:
        gateway.MEMORY.put(endpoint, question.model, mode=gateway.Mode(mode))  # what a probe found, in another process
    try:
        reply = gateway.caption(
            endpoint,
            _request(question, item, context.job, seconds=ends_at - time.monotonic()),
            stopped=context.stopped,
        )
    except gateway.GatewayError as error:
        _book(provider, question, error.attempts, item, context)
        raise _outcome(error, provider, context) from error
    _book(provider, question, reply.attempts, item, context)
    return Answer(
        result=reply.result,
        text=text_of(question.version.context_template, reply.result),
        provider=provider.name,
        model=question.model,
        parameters=question.options.sampling,
        provenance={
            "mode": reply.mode,
            "repaired": reply.repaired,
            "raw_text": reply.raw_text,
            "unsent_parameters": list(reply.unsent_parameters),
            "refused_parameters": list(reply.refused_parameters),
        },
        cost_usd=reply.cost_usd,
    )


def preview(provider: Provider, question: Question, item: WorkItem, job: WorkJob) -> dict[str, Any]:
    """Show the HTTP request of an item as the gateway builds it: `{method, url, headers, body}`.

    In the mode, and without the parameters, that this item's last call taught; else as a first call would go. The key
    is hidden and the picture's data are shortened, both saying so. Raises Permanent where nothing can be sent.
    """
    endpoint, memory = endpoint_of(provider), gateway.Memory()
    last = ModelCall.objects.filter(item=item.id).exclude(mode="").order_by("pk").last()
    said = Caption.objects.filter(item=item.id).first()
    if mode := last.mode if last else provider.modes.get(question.model):
        memory.put(endpoint, question.model, mode=gateway.Mode(mode))
    if said:
        memory.put(endpoint, question.model, refused=frozenset(said.provenance.get("refused_parameters", ())))
    try:
        request = gateway.preview(endpoint, _request(question, item, job, seconds=1), memory=memory)
    except gateway.GatewayError as error:
        raise Permanent(str(error), code=error.code) from error
    headers = dict(request.headers) | ({"authorization": "Bearer ***"} if endpoint.api_key else {})
    return {
        "method": request.method,
        "url": str(request.url),
        "headers": headers,
        "body": _shortened(json.loads(request.content)),
    }


def _shortened(value: Any) -> Any:
    """Cut the data of pictures out of a body, leaving word of how much there was."""
    if isinstance(value, str) and value.startswith("data:") and len(value) > _LONGEST_DATA_SHOWN:
        return f"{value[:_LONGEST_DATA_SHOWN]}… ({len(value):,} characters in all, not shown)"
    if isinstance(value, Mapping):
        return {name: _shortened(inner) for name, inner in value.items()}
    return [_shortened(inner) for inner in value] if isinstance(value, list) else value


def endpoint_of(provider: Provider) -> gateway.Endpoint:
    price = None
    if provider.input_price_usd is not None and provider.output_price_usd is not None:
        price = gateway.Price(provider.input_price_usd, provider.output_price_usd)
    return gateway.Endpoint(
        base_url=provider.base_url,
        api_key=provider.api_key,
        kind=provider.kind,
        name=provider.name,
        # Rows are written by staff alone, and a model server of one's own network is what local kinds are for.
        allow_private=True,
        price=price,
    )


def has_known_price(provider: Provider, model: str) -> bool:
    return pricing.cost_usd(endpoint_of(provider), model, gateway.Usage(1_000, 100, 0)) is not None


def _request(question: Question, item: WorkItem, job: WorkJob, *, seconds: float) -> gateway.CaptionRequest:
    is_custom = "{custom_instructions}" in question.version.prompt
    return gateway.CaptionRequest(
        model=question.model,
        prompt=question.prompt,
        image=question.image,
        schema=gateway.schema_from_fields(question.version.schema_fields, title=question.name),
        schema_name=question.name,
        parameters=gateway.Parameters(**question.options.sampling),
        context=list(question.context),
        global_context="" if is_custom else question.options.global_context,
        resize=question.options.preset,
        deadline_seconds=max(1.0, seconds),
        idempotency_key=f"{job.job_id}-{item.seq}-{max(item.attempts, 1)}",
        request_id=job.request_id or None,
    )


def _take_turn(provider: Provider, n_tokens: int, stopped: Callable[[], bool]) -> None:
    """Wait for a place within the provider's limits. Raises Outage where the wait is the queue's, Cancelled."""
    turn = throttle.reserve(provider, n_tokens=n_tokens)
    if not turn.taken:
        if turn.is_asked:
            raise _held_back(_left_alone(provider, turn.wait_seconds), turn.wait_seconds)
        raise _held_back(f"{provider.name!r} is at its limit of requests or tokens a minute.", turn.wait_seconds)
    ends_at = time.monotonic() + turn.wait_seconds
    while (left := ends_at - time.monotonic()) > 0:
        if stopped():
            raise Cancelled
        time.sleep(min(left, _ASK_FOR_STOP_SECONDS))


def _book(
    provider: Provider, question: Question, attempts: Sequence[gateway.Attempt], item: WorkItem, context: Context
) -> None:
    ledger.record(provider, question.model, attempts, job_id=context.job.id, item_id=item.id)
    counted = [attempt.usage for attempt in attempts if attempt.usage.input_tokens is not None]
    n_used = sum((usage.input_tokens or 0) + (usage.output_tokens or 0) for usage in counted)
    if counted:
        throttle.correct(provider, n_reserved=question.n_tokens, n_used=n_used)


def _outcome(error: gateway.GatewayError, provider: Provider, context: Context) -> Exception:
    """Translate a fault of the gateway; what was spent on the way travels with it."""
    outcome: Cancelled | Permanent | RetryLater
    if isinstance(error, gateway.Cancelled):
        outcome = Cancelled(str(error))
    elif isinstance(error, gateway.QuotaExhausted):
        _pause(context)
        outcome = Outage(f"{error} The job is paused; resume it when there is credit.", code=error.code)
    elif error.permanent:
        outcome = Permanent(str(error), code=error.code)
    elif error.code == "rate_limited":
        seconds = error.retry_after if error.retry_after is not None else _RATE_LIMIT_SECONDS
        throttle.hold_back(provider, seconds=seconds)
        outcome = _held_back(f"{str(error).rstrip('.')}. {_left_alone(provider, seconds)}", seconds)
    else:
        outcome = RetryLater(str(error), code=error.code, after_seconds=error.retry_after)
    outcome.cost_usd = _spent_usd(error.attempts)
    return outcome


def _held_back(said: str, seconds: float) -> Outage:
    return Outage(
        said, code="rate_limited", after_seconds=min(max(seconds, throttle.PATIENCE_SECONDS), _LOOKS_AGAIN_SECONDS)
    )


def _left_alone(provider: Provider, seconds: float) -> str:
    until = datetime.now(UTC) + timedelta(seconds=seconds)
    return (
        f"{provider.name!r} said that it is at its limit and is called again at {until:%Y-%m-%d %H:%M:%S} UTC, or soon"
        " after its key, address or limits change."
    )


def _pause(context: Context) -> None:
    """Stop the job from burning its items one by one against an empty account."""
    with suppress(TransitionRefused):  # cancelled or closed meanwhile: nothing is left to pause
        Job.objects.get(pk=context.job.id).pause(by=None)


def _spent_usd(attempts: Sequence[gateway.Attempt]) -> Decimal | None:
    known = [attempt.cost_usd for attempt in attempts if attempt.cost_usd is not None]
    return sum(known, Decimal(0)) if known else None
