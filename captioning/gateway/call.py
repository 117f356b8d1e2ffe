"""One model call from request to validated answer."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import httpx2

from captioning.gateway import openai
from captioning.gateway.answer import Answer, read_answer
from captioning.gateway.errors import Cancelled, GatewayError, Permanent, Retryable
from captioning.gateway.outbound import MAX_ANSWER_BYTES, MAX_REDIRECTS, Watch, check_url, client_for, watched
from captioning.gateway.picture import prepare, shrink
from captioning.gateway.pricing import cost_usd, total_usd
from captioning.gateway.prompt import repair_words
from captioning.gateway.request import (
    Attempt,
    CaptionReply,
    CaptionRequest,
    Endpoint,
    Memory,
    Mode,
    Usage,
    checked_key,
)
from captioning.gateway.retry import Patience, retry_after_seconds
from captioning.gateway.schema import InvalidSchema, check_schema
from orchestrator.texts import storable

MEMORY = Memory()
_MOST_KEPT = 20_000  # characters of an answer that was of no use


def caption(
    endpoint: Endpoint,
    request: CaptionRequest,
    *,
    stopped: Callable[[], bool] = lambda: False,
    client: httpx2.Client | None = None,
    memory: Memory = MEMORY,
    patience: Patience = Patience(),  # noqa: B008  # frozen
) -> CaptionReply:
    """Ask a vision model about one picture and return an answer that follows the request's schema.

    stopped: asked a few times a second while waiting or reading; True ends the call with Cancelled.
    client: only to share or replace connections; without it the process's own guarded client is used.
    memory: what was learned about this endpoint before, and will have been afterwards.
    Raises GatewayError; its `attempts` hold every HTTP call made, for the ledger.
    """
    call = _Call(endpoint, request, stopped=stopped, client=client, memory=memory, patience=patience)
    try:
        return call.run()
    except GatewayError as error:
        error.attempts = call.attempts
        raise


def preview(endpoint: Endpoint, request: CaptionRequest, *, memory: Memory = MEMORY) -> httpx2.Request:
    """Build the HTTP request that `caption` would send first, to the byte, and do not send it. Raises GatewayError.

    It holds the key: whoever shows it hides that.
    """
    return _Call(
        endpoint, request, stopped=lambda: False, client=None, memory=memory, patience=Patience()
    ).first_request()


class _Call:
    def __init__(
        self,
        endpoint: Endpoint,
        request: CaptionRequest,
        *,
        stopped: Callable[[], bool],
        client: httpx2.Client | None,
        memory: Memory,
        patience: Patience,
    ) -> None:
        self.endpoint = endpoint
        self.request = request
        self.client = client
        self.memory = memory
        self.patience = patience
        self.watch = Watch(time.monotonic() + request.deadline_seconds, stopped)
        self.attempts: list[Attempt] = []
        self.n_failures = 0
        self.n_bodies = 0
        self.was_shrunk = False

    def run(self) -> CaptionReply:
        self._prepare()
        first = self._ask()
        if self.request.schema is None:
            if not first.text.strip():
                raise self._fail("invalid_answer", "The model answered with nothing.")
            return self._reply(first, first, {"text": first.text.replace("\x00", "")}, repaired=False)
        answer = self._read(first)
        last = first
        if answer.result is None:
            self._step_down_if_ignored(first, answer)
            last = self._ask(repair_words(first.text, answer.errors, self.request.schema))
            answer = self._read(last)
        if answer.result is None:
            told = "; ".join(answer.errors[:3])
            raise self._fail(
                "invalid_answer", f"The answer does not follow the schema, also after one correction: {told}"
            )
        self.memory.put(self.endpoint, self.request.model, mode=self.mode)
        return self._reply(first, last, answer.result, repaired=answer.repaired or last is not first)

    def first_request(self) -> httpx2.Request:
        self._prepare()
        body, key = self._body(())
        return request_to(
            self.endpoint, "POST", openai.CHAT_ROUTE, client=self.client, json_body=body, headers=self._headers(key)
        )

    def _prepare(self) -> None:
        """Check what the caller gave, and decide in what form to ask first."""
        check_url(self.endpoint.base_url, allow_private=self.endpoint.allow_private)
        self.key = checked_key(self.endpoint)
        self._check_schema()
        habits = self.endpoint.habits
        self.picture = prepare(
            self.request.image,
            long_edge=habits.long_edge,
            byte_cap=habits.byte_cap,
            resize=self.request.resize,
        )
        self.mode = self._first_mode()

    def _check_schema(self) -> None:
        if self.request.schema is None:
            return
        try:
            check_schema(self.request.schema)
        except InvalidSchema as error:
            raise Permanent(str(error), code="bad_request") from None

    def _first_mode(self) -> Mode:
        if self.request.schema is None:
            return Mode.TEXT
        learned = self.memory.get(self.endpoint, self.request.model).mode
        rungs = self.endpoint.habits.modes
        return learned if learned in rungs else rungs[0]

    def _ask(self, extra: Sequence[Mapping[str, Any]] = ()) -> openai.Message:
        """Get the model's words for one turn: adapt to what the server refuses, try again what may pass."""
        body, key = self._body(extra)
        while True:
            try:
                payload = self._exchange(body, idempotency_key=key, repair_turn=bool(extra))
                return self._usable(openai.read_message(payload))
            except GatewayError as error:
                self.attempts[-1].error_class = error.code
                if self._adapted_to(error):
                    body, key = self._body(extra)
                else:
                    self._wait_or_raise(error)

    def _body(self, extra: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], str | None]:
        """Build a turn and its idempotency key; another body under the same key would be a conflict."""
        self.n_bodies += 1
        body = openai.request_body(
            self.request,
            self.picture,
            mode=self.mode,
            habits=self.endpoint.habits,
            refused=self.memory.get(self.endpoint, self.request.model).refused,
            extra=extra,
        )
        key = self.request.idempotency_key
        return body, f"{key}-{self.n_bodies}" if key else None

    def _usable(self, message: openai.Message) -> openai.Message:
        if message.refusal or message.finish_reason == "content_filter":
            why = openai.redact(message.refusal or "stopped by its content filter", self.key)[:300]
            raise Permanent(f"The model refused: {why}", code="refused")
        if message.finish_reason == "length":
            limit = self.request.parameters.max_tokens
            allowed = f"max_tokens is {limit}" if limit else "the server's own limit"
            raise Permanent(f"The answer was cut off ({allowed}); allow more tokens.", code="truncated")
        return message

    def _adapted_to(self, error: GatewayError) -> bool:
        """Change the next body so that this error goes away; False if there is nothing left to change."""
        if error.code == "too_large" and not self.was_shrunk:
            self.picture, self.was_shrunk = shrink(self.picture), True
            return True
        if openai.is_about_mode(error):
            return self._step_down()
        if error.code == "unsupported_parameter" and error.parameter:
            refused = self.memory.get(self.endpoint, self.request.model).refused
            if error.parameter in refused:
                return False
            self.memory.put(self.endpoint, self.request.model, refused=refused | {error.parameter})
            return True
        return False

    def _step_down(self) -> bool:
        rungs = self.endpoint.habits.modes
        if self.mode not in rungs or self.mode is rungs[-1]:
            return False
        self.mode = rungs[rungs.index(self.mode) + 1]
        return True

    def _step_down_if_ignored(self, message: openai.Message, answer: Answer) -> None:
        """Leave a mode that the server accepted and then did not follow.

        A server that constrains its decoding cannot miss the schema; one that forces a tool calls it; one in JSON mode
        writes JSON. Where that did not happen, the mode was only words to it.
        """
        ignored = {
            Mode.NATIVE: True,
            Mode.TOOL: not message.used_tool,
            Mode.JSON_OBJECT: not answer.is_json,
        }
        if ignored.get(self.mode, False):
            self._step_down()

    def _wait_or_raise(self, error: GatewayError) -> None:
        """Wait for another try of the same body, or hand the error up where it is not ours to wait."""
        if error.permanent or isinstance(error, Cancelled):
            raise error
        self.n_failures += 1
        wait = error.retry_after
        if wait is None:
            wait = self.patience.backoff_seconds(self.n_failures)
        is_too_long = wait > self.patience.longest_wait_seconds or wait >= self.watch.seconds_left
        if self.n_failures > self.patience.extra_tries or is_too_long:
            raise error
        self.watch.sleep(wait)

    def _exchange(self, body: Mapping[str, Any], *, idempotency_key: str | None, repair_turn: bool) -> Any:
        """Make one HTTP call, record it, and return the parsed body of a 2xx answer."""
        attempt = Attempt(mode=self.mode, repair_turn=repair_turn)
        self.attempts.append(attempt)
        started = time.monotonic()
        try:
            response = self._post(body, idempotency_key)
            attempt.status = response.status_code
            attempt.request_id = response.headers.get("x-request-id")
            return self._payload(response, attempt)
        finally:
            attempt.latency_ms = round((time.monotonic() - started) * 1000)

    def _post(self, body: Mapping[str, Any], idempotency_key: str | None) -> httpx2.Response:
        return send(
            self.endpoint,
            "POST",
            openai.CHAT_ROUTE,
            watch=self.watch,
            client=self.client,
            json_body=body,
            headers=self._headers(idempotency_key),
        )

    def _headers(self, idempotency_key: str | None) -> dict[str, str]:
        headers = {"Idempotency-Key": idempotency_key, "X-Request-ID": self.request.request_id}
        return {name: value for name, value in headers.items() if value}

    def _payload(self, response: httpx2.Response, attempt: Attempt) -> Any:
        payload = json_of(response)
        if not response.is_success or payload is None:
            attempt.unusable = self._kept(response.text)
        if not response.is_success:
            raise openai.error_from(
                response.status_code,
                payload,
                response.text,
                retry_after=retry_after_seconds(response.headers),
                api_key=self.key,
            )
        if payload is None:
            raise _no_json(response)
        attempt.usage = openai.read_usage(payload)
        attempt.cost_usd = cost_usd(self.endpoint, self.request.model, attempt.usage)
        if attempt.request_id is None and isinstance(payload, dict) and isinstance(payload.get("id"), str):
            attempt.request_id = payload["id"]
        return payload

    def _read(self, message: openai.Message) -> Answer:
        assert self.request.schema is not None  # its callers looked
        answer = read_answer(message.text, self.request.schema)
        self.attempts[-1].repaired = answer.repaired
        if answer.result is None:
            self.attempts[-1].error_class = "invalid_answer"
            self.attempts[-1].unusable = self._kept(message.text)
        return answer

    def _kept(self, text: str) -> str:
        return openai.redact(text, self.key)[:_MOST_KEPT]

    def _reply(
        self, first: openai.Message, last: openai.Message, result: dict[str, Any], *, repaired: bool
    ) -> CaptionReply:
        refused = self.memory.get(self.endpoint, self.request.model).refused
        return CaptionReply(
            result=result,
            text=last.text,
            raw_text=first.text,
            mode=self.attempts[-1].mode,
            repaired=repaired,
            attempts=self.attempts,
            usage=sum((attempt.usage for attempt in self.attempts), Usage()),
            cost_usd=total_usd(self.attempts),
            unsent_parameters=openai.unsent_parameters(self.request, self.endpoint.habits, refused),
            refused_parameters=tuple(sorted(refused)),
        )

    def _fail(self, code: str, message: str) -> Permanent:
        self.attempts[-1].error_class = code
        return Permanent(openai.redact(message, self.key), code=code)


def request_to(
    endpoint: Endpoint,
    method: str,
    route: str,
    *,
    client: httpx2.Client | None = None,
    json_body: Any = None,
    headers: Mapping[str, str] | None = None,
) -> httpx2.Request:
    """Build one request as it goes over the wire, key included. Raises Permanent (`auth_failed`) for a broken key."""
    habits = endpoint.habits
    key = checked_key(endpoint)
    return (client or client_for(allow_private=endpoint.allow_private)).build_request(
        method,
        endpoint.address(route),
        json=json_body,
        headers={**(headers or {}), **({"Authorization": f"Bearer {key}"} if key else {})},
        timeout=httpx2.Timeout(habits.read_seconds, connect=habits.connect_seconds),
    )


def send(
    endpoint: Endpoint,
    method: str,
    route: str,
    *,
    watch: Watch,
    client: httpx2.Client | None = None,
    json_body: Any = None,
    headers: Mapping[str, str] | None = None,
) -> httpx2.Response:
    """Send one request under the watch and return the answer, whatever its status, with its body read.

    Raises Retryable (`timeout`, `connection_failed`, `bad_response`), Permanent (`redirected`, `address_refused`,
    `bad_address`, `bad_certificate`, `bad_response`) and Cancelled. Their messages are ours: those of the HTTP library
    can quote a header, and with it the key.
    """
    connection = client or client_for(allow_private=endpoint.allow_private)
    try:
        request = request_to(endpoint, method, route, client=connection, json_body=json_body, headers=headers)
        with watched(watch):
            watch.raise_if_stopped()
            return _follow(connection, request)
    except httpx2.TimeoutException as error:
        spent = "The time for this call is over" if watch.seconds_left <= 0 else "The server did not answer in time"
        raise Retryable(f"{spent} ({type(error).__name__}).", code="timeout") from None
    except httpx2.InvalidURL:
        raise Permanent("The address cannot be read.", code="bad_address") from None
    except httpx2.TransportError as error:
        reason = _system_error(error)
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise Permanent(f"The certificate is not good: {reason.verify_message}", code="bad_certificate") from None
        words = f"{type(error).__name__}: {reason.strerror}" if reason else type(error).__name__
        raise Retryable(f"No connection to the server ({words}).", code="connection_failed") from None
    except httpx2.DecodingError:
        raise Retryable("The answer is compressed in a way that cannot be undone.", code="bad_response") from None


def json_of(response: httpx2.Response) -> Any | None:
    """Parse the body whatever its content type says; None where it is no JSON object or list.

    Without NUL and halves of surrogate pairs, which fit neither into the books nor into a repair turn.
    """
    try:
        payload = storable(json.loads(response.content))
    except (ValueError, RecursionError):
        return None
    return payload if isinstance(payload, (dict, list)) else None


def _follow(client: httpx2.Client, request: httpx2.Request) -> httpx2.Response:
    for _ in range(MAX_REDIRECTS + 1):
        response = client.send(request, stream=True, follow_redirects=False)
        try:
            if response.next_request is None:
                return _read_within_bounds(response)
            # 301, 302 and 303 would turn the question into a GET without a body.
            if response.next_request.method != request.method:
                raise Permanent(
                    f"HTTP {response.status_code}: the address has moved; enter the new one.", code="redirected"
                )
            request = response.next_request
        finally:
            response.close()
    raise Permanent(f"The server redirected more than {MAX_REDIRECTS} times.", code="redirected")


def _read_within_bounds(response: httpx2.Response) -> httpx2.Response:
    content = bytearray()
    for part in response.iter_bytes():
        content += part
        if len(content) > MAX_ANSWER_BYTES:
            raise Permanent(f"The answer is larger than {MAX_ANSWER_BYTES} bytes.", code="bad_response")
    # The body is decoded by now; the headers that described its packing would unpack it twice.
    packing = (b"content-encoding", b"content-length", b"transfer-encoding")
    headers = [(name, value) for name, value in response.headers.raw if name.lower() not in packing]
    return httpx2.Response(response.status_code, headers=headers, content=bytes(content), request=response.request)


def _no_json(response: httpx2.Response) -> GatewayError:
    kind = response.headers.get("content-type", "no content type").split(";")[0].strip()
    if "json" in kind:
        return Retryable("The server sent broken JSON; the answer may have been cut.", code="bad_response")
    return Permanent(
        f"The server answered {response.status_code} with {kind[:60]} and not JSON; check the base address.",
        code="bad_response",
    )


def _system_error(error: BaseException | None) -> OSError | None:
    """Find the operating system's word under an HTTP library's error."""
    while error is not None:
        if isinstance(error, OSError) and error.strerror:
            return error
        error = error.__cause__ or error.__context__
    return None
