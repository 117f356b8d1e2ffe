"""Our bodies beside those of the official SDK, so that neither drifts unseen."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from pytest_httpserver import HTTPServer

from captioning.gateway import Endpoint, Mode, Profile
from captioning.gateway.picture import prepare

GOOD = {"caption": "A cat on a wall.", "tags": ["cat", "wall"]}


def _native(schema: dict[str, Any]) -> dict[str, Any]:
    declared = {"name": "caption", "strict": True, "schema": schema}
    return {"response_format": {"type": "json_schema", "json_schema": declared}}


def _tool(schema: dict[str, Any]) -> dict[str, Any]:
    function = {
        "name": "caption",
        "description": "Record what the picture shows.",
        "parameters": schema,
        "strict": True,
    }
    return {
        "tools": [{"type": "function", "function": function}],
        "tool_choice": {"type": "function", "function": {"name": "caption"}},
    }


@pytest.mark.parametrize(("mode", "arguments"), [(Mode.NATIVE, _native), (Mode.TOOL, _tool)], ids=["native", "tool"])
def test_our_request_is_the_one_that_the_sdk_sends(
    ask, script, completion, httpserver: HTTPServer, photograph, schema, mode, arguments
):
    received = script(completion(GOOD))
    base, key = httpserver.url_for("/v1"), "sk-test-5f0c9e7a1b"

    with openai.OpenAI(base_url=base, api_key=key, max_retries=0) as sdk:
        sdk.chat.completions.create(
            model="peer-vision",
            messages=[
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "Describe the picture."},
                        {
                            "type": "image_url",
                            "image_url": {"url": prepare(photograph).data_url, "detail": "low"},
                        },
                    ],
                }
            ],
            max_tokens=300,
            temperature=0.2,
            top_p=0.9,
            **arguments(schema),
        )
    ask(to=Endpoint(base, key, allow_private=True, profile=Profile(modes=(mode,), image_detail="low")))

    theirs, ours = received
    assert ours == theirs
    (their_request, _), (our_request, _) = httpserver.log
    for name in ("Authorization", "Content-Type", "Accept"):
        expected = their_request.headers[name]
        assert our_request.headers[name] in (expected, "*/*")
    assert our_request.path == their_request.path


def test_the_sdk_reads_the_answers_that_these_tests_are_made_of(script, completion, httpserver: HTTPServer):
    script(completion(GOOD))

    with openai.OpenAI(base_url=httpserver.url_for("/v1"), api_key="k", max_retries=0) as sdk:
        answer = sdk.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}])

    assert json.loads(answer.choices[0].message.content or "") == GOOD
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == 1000
