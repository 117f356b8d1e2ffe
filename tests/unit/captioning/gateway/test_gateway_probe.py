from __future__ import annotations

import base64
import io
import json
import re
from typing import Any

import pytest
from PIL import Image
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from captioning.gateway import Endpoint, Mode, probe

MODELS = {"object": "list", "data": [{"id": "peer-vision"}, {"id": "peer-text"}]}
NAMES = {
    (220, 20, 20): "red",
    (20, 160, 20): "green",
    (20, 40, 220): "blue",
    (250, 230, 20): "yellow",
    (0, 0, 0): "black",
    (255, 255, 255): "white",
}


def _seeing(request: Request) -> dict[str, Any]:
    """Look at the picture as a model would, and name both halves."""
    url = request.get_json()["messages"][0]["content"][1]["image_url"]["url"]
    picture = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB")
    middle = picture.height // 2
    left, right = (NAMES[picture.getpixel((picture.width * part // 4, middle))] for part in (1, 3))  # type: ignore[index]
    return {"left": left.capitalize(), "right": right}


def test_a_model_that_names_the_colours_sees(endpoint, completion, httpserver: HTTPServer, memory):
    httpserver.expect_request("/v1/models").respond_with_json(MODELS)
    _answer_with_sight(httpserver, completion)

    found = probe(endpoint, memory=memory)

    assert (found.success, found.connected, found.vision) == (True, True, True)
    assert (found.model, found.schema_mode, found.models) == ("peer-vision", "native", ["peer-vision", "peer-text"])
    assert found.latency_ms is not None
    assert memory.get(endpoint, "peer-vision").mode is Mode.NATIVE
    shown = found.as_dict()
    assert shown["diagnostics"]["config_summary"] == {
        "kind": "openai",
        "environment": "cloud",
        "base_url_valid": True,
        "api_key_provided": True,
        "models_count": 2,
    }
    steps = shown["diagnostics"]["connection_steps"]
    assert [step["step"] for step in steps] == ["initialize_client", "list_models", "vision"]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", step["timestamp"]) for step in steps)
    assert "error" not in shown


def test_a_model_without_sight_is_told_apart(endpoint, script, refusal, httpserver: HTTPServer, memory):
    httpserver.expect_request("/v1/models").respond_with_json(MODELS)
    script(refusal(500, "image input is not supported"))

    found = probe(endpoint, memory=memory)

    assert (found.vision, found.success, found.connected) == (False, False, True)
    assert found.steps[2].status == "failed"
    assert found.error_code == "UNKNOWN_ERROR"
    assert found.suggestions


@pytest.mark.parametrize(
    ("status", "error_code"),
    [(401, "AUTH_ERROR"), (403, "AUTH_ERROR"), (402, "QUOTA_EXCEEDED"), (429, "RATE_LIMIT"), (500, "UNKNOWN_ERROR")],
)
def test_a_failing_list_says_what_to_do(endpoint, refusal, httpserver: HTTPServer, memory, status, error_code):
    httpserver.expect_request("/v1/models").respond_with_response(refusal(status, "no"))

    shown = probe(endpoint, memory=memory).as_dict()

    assert (shown["success"], shown["connected"], shown["error_code"]) == (False, True, error_code)
    assert shown["suggestions"]
    assert [step["status"] for step in shown["diagnostics"]["connection_steps"]] == ["success", "failed", "pending"]
    assert len(httpserver.log) == 1


def test_a_missing_list_is_forgiven_when_the_model_answers(endpoint, completion, httpserver: HTTPServer, memory):
    httpserver.expect_request("/v1/models").respond_with_data("Not Found", status=404)
    _answer_with_sight(httpserver, completion)

    found = probe(endpoint, model="peer-vision", memory=memory)

    assert (found.success, found.vision, found.error_code) == (True, True, None)
    assert [warning["warning_type"] for warning in found.warnings] == ["no_model_list"]


def test_a_wrong_address_points_to_the_documentation(endpoint, httpserver: HTTPServer, memory):
    httpserver.expect_request(re.compile(".*")).respond_with_data("Not Found", status=404)

    found = probe(endpoint, model="peer-vision", memory=memory)

    assert (found.success, found.connected, found.error_code) == (False, True, "ENDPOINT_NOT_FOUND")


@pytest.mark.parametrize(
    ("base_url", "key", "error_code"),
    [
        ("ftp://host", "k", "ENDPOINT_NOT_FOUND"),
        ("https://host/v1", "line\nbreak", "AUTH_ERROR"),
        ("http://127.0.0.1/v1", "k", "CONNECTION_ERROR"),
    ],
)
def test_what_cannot_be_called_fails_in_its_first_step(base_url, key, error_code, memory):
    found = probe(Endpoint(base_url, key), memory=memory)

    assert (found.success, found.connected, found.error_code) == (False, False, error_code)
    assert found.steps[0].status == "failed"
    assert key not in json.dumps(found.as_dict()) or key == "k"


def test_nothing_is_asked_of_a_model_that_nobody_named(endpoint, httpserver: HTTPServer, memory):
    found = probe(Endpoint(endpoint.base_url, "", allow_private=True), fetch_models=False, memory=memory)

    assert [step.status for step in found.steps] == ["success", "skipped", "skipped"]
    assert found.connected is False
    assert [warning["warning_type"] for warning in found.warnings] == ["empty_api_key"]
    assert httpserver.log == []


def _answer_with_sight(httpserver: HTTPServer, completion: Any) -> None:
    def respond(request: Request) -> Response:
        return Response(json.dumps(completion(_seeing(request))), content_type="application/json")

    httpserver.expect_request("/v1/chat/completions").respond_with_handler(respond)
