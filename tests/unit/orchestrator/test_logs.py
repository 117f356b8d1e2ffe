"""Log lines: one JSON object each, without secrets."""

import json
import logging

import pytest

from orchestrator import requestids
from orchestrator.logs import JsonFormatter


def line(message: str, *args: object, exc_info: object = None, **fields: object) -> dict:
    record = logging.LogRecord("desk", logging.INFO, __file__, 1, message, args, exc_info)
    vars(record).update(fields)
    return json.loads(JsonFormatter().format(record))


def test_a_line_says_when_where_and_what():
    assert {"time", "level", "logger", "message"} <= set(line("job started"))
    assert line("job %s", "started")["message"] == "job started"


def test_a_line_carries_the_request_and_its_fields():
    with requestids.carrying("request-1"):
        found = line("item failed", job="j", item=7)

    assert (found["request_id"], found["job"], found["item"]) == ("request-1", "j", 7)


@pytest.mark.parametrize("name", ["token", "lease_token", "leaseToken", "api_key", "apiKey", "Authorization", "cookie"])
def test_fields_named_like_secrets_lose_their_value(name):
    assert "s3cret" not in json.dumps(line("x", **{name: "s3cret"}))
    assert "s3cret" not in json.dumps(line("x", inner={"deep": [{name: "s3cret"}]}))


@pytest.mark.parametrize("name", ["max_tokens", "n_tokens", "keyboard", "secretary"])
def test_fields_that_only_sound_alike_keep_it(name):
    assert line("x", **{name: 42})[name] == 42


@pytest.mark.parametrize(
    "text",
    [
        "GET /api/ws/jobs/1?token=s3cret&x=1",
        "Authorization: Bearer s3cret",
        "postgresql://desk:s3cret@db/desk",
        "https://store/file?X-Amz-Signature=s3cret",
        "api_key=s3cret",
    ],
)
def test_secrets_inside_texts_are_hidden(text):
    def fail() -> None:
        raise ValueError(text)

    assert "s3cret" not in line(text)["message"]
    assert "s3cret" not in line("x", detail=text)["detail"]
    with pytest.raises(ValueError, match="s3cret") as caught:
        fail()
    trace = line("x", exc_info=(caught.type, caught.value, caught.tb))["trace"]
    assert "ValueError" in trace
    assert "s3cret" not in trace


def test_what_is_no_json_is_written_as_text():
    assert line("x", error=ValueError("token=abc"))["error"] == "token=***"
