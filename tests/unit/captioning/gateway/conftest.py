from __future__ import annotations

import io
import json
import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from PIL import Image
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from captioning.gateway import (
    CaptionReply,
    CaptionRequest,
    Endpoint,
    Memory,
    Parameters,
    Patience,
    caption,
    schema_from_fields,
)

KEY = "sk-test-5f0c9e7a1b"
CHAT = "/v1/chat/completions"


@pytest.fixture(scope="session")
def photograph() -> bytes:
    """A JPEG with more than 256 colours, 320 x 240."""
    picture = Image.frombytes("RGB", (320, 240), random.Random(7).randbytes(320 * 240 * 3)).resize((320, 240))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


@pytest.fixture
def schema() -> dict[str, Any]:
    return schema_from_fields(
        [
            {"name": "caption", "type": "str", "description": "one sentence"},
            {"name": "tags", "type": "str", "is_list": True},
        ]
    )


@pytest.fixture
def endpoint(httpserver: HTTPServer) -> Endpoint:
    return Endpoint(httpserver.url_for("/v1"), KEY, name="peer", allow_private=True)


@pytest.fixture
def memory() -> Memory:
    return Memory()


@pytest.fixture
def make_request(photograph: bytes, schema: dict[str, Any]) -> Callable[..., CaptionRequest]:
    def make(**changes: Any) -> CaptionRequest:
        defaults: dict[str, Any] = {
            "model": "peer-vision",
            "prompt": "Describe the picture.",
            "image": photograph,
            "schema": schema,
            "parameters": Parameters(max_tokens=300, temperature=0.2, top_p=0.9),
            "deadline_seconds": 20.0,
        }
        return CaptionRequest(**(defaults | changes))

    return make


@pytest.fixture
def ask(endpoint: Endpoint, memory: Memory, make_request: Callable[..., CaptionRequest]) -> Callable[..., CaptionReply]:
    """Caption with waits too short to notice; keywords change the request, `to` the endpoint."""

    def call(
        *,
        to: Endpoint = endpoint,
        stopped: Callable[[], bool] = lambda: False,
        patience: Patience | None = None,
        client: httpx2.Client | None = None,
        **changes: Any,
    ) -> CaptionReply:
        return caption(
            to,
            make_request(**changes),
            stopped=stopped,
            patience=patience or Patience(first_seconds=0.01),
            memory=memory,
            client=client,
        )

    return call


@pytest.fixture
def completion() -> Callable[..., dict[str, Any]]:
    """Build the JSON of a 200 answer; content may be text or an object."""

    def build(content: Any, *, finish_reason: str = "stop", usage: Any = None, **message: Any) -> dict[str, Any]:
        text = content if content is None or isinstance(content, str) else json.dumps(content)
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "choices": [
                {
                    "index": 0,
                    "finish_reason": finish_reason,
                    "message": {"role": "assistant", "content": text, **message},
                }
            ],
            "usage": usage or {"prompt_tokens": 1000, "completion_tokens": 300},
        }

    return build


@pytest.fixture
def script(httpserver: HTTPServer) -> Callable[..., list[dict[str, Any]]]:
    """Let the server give these answers in turn, the last one again and again; returns the bodies it received.

    An answer is a dict (200, JSON), a werkzeug Response, or a function of the request.
    """

    def play(*answers: Any) -> list[dict[str, Any]]:
        received: list[dict[str, Any]] = []

        def respond(request: Request) -> Response:
            answer = answers[min(len(received), len(answers) - 1)]
            received.append(request.get_json(silent=True) or {})
            if callable(answer) and not isinstance(answer, Response):
                answer = answer(request)
            if isinstance(answer, Response):
                return answer
            return Response(json.dumps(answer), content_type="application/json")

        httpserver.expect_request(CHAT, method="POST").respond_with_handler(respond)
        return received

    return play


@pytest.fixture
def refusal() -> Callable[..., Response]:
    """Build an error answer in OpenAI's shape."""

    def build(status: int, message: str = "no", *, headers: dict[str, str] | None = None, **error: Any) -> Response:
        body = json.dumps({"error": {"message": message, **error}})
        return Response(body, status=status, headers=headers, content_type="application/json")

    return build


@pytest.fixture(scope="session")
def llmock_url() -> Iterator[str]:
    """Root address of an `llmock` server in its own process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = Path(sys.executable).with_name("llmock")
    server = subprocess.Popen(
        [program, "serve", "--host", "127.0.0.1", "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_until_healthy(url, server)
        yield url
    finally:
        server.terminate()
        server.wait(timeout=10)


def _wait_until_healthy(url: str, server: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        assert server.poll() is None, "llmock ended before it answered"
        try:
            if httpx2.get(f"{url}/health", timeout=1).status_code == 200:
                return
        except httpx2.TransportError:
            time.sleep(0.1)
    raise AssertionError("llmock did not answer within 30 s")


@pytest.fixture
def llmock_peer(llmock_url: str) -> Iterator[Callable[[str], Any]]:
    """Forget earlier requests and return a function that reads and writes its control routes."""

    def control(route: str, body: dict[str, Any] | None = None) -> Any:
        address = f"{llmock_url}/_llmock/{route}"
        answer = httpx2.get(address) if body is None else httpx2.post(address, json=body)
        return answer.raise_for_status().json()

    control("reset", {})
    yield control
    control("reset", {})
