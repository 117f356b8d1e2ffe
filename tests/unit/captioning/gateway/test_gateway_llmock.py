"""Against `llmock`, a server that grades how its clients behave."""

from __future__ import annotations

from typing import Any

import pytest

from captioning.gateway import (
    Endpoint,
    GatewayError,
    Memory,
    Mode,
    Patience,
    Profile,
    QuotaExhausted,
    caption,
    probe,
    schema_from_fields,
)

NESTED = [
    {
        "name": "tags_list",
        "type": "dict",
        "is_list": True,
        "fields": [{"name": "tag", "type": "str"}, {"name": "confidence", "type": "float"}],
    },
    {"name": "short_caption", "type": "str"},
]


@pytest.fixture
def peer(llmock_url: str) -> Endpoint:
    return Endpoint(f"{llmock_url}/v1", "any", name="llmock", allow_private=True)


@pytest.mark.parametrize("mode", [Mode.NATIVE, Mode.TOOL])
def test_a_picture_and_a_strict_schema_give_a_valid_object(peer, make_request, llmock_peer, mode):
    asked = make_request(model="gpt-4o-mini", schema=schema_from_fields(NESTED))
    endpoint = Endpoint(peer.base_url, "any", allow_private=True, profile=Profile(modes=(mode,)))

    reply = caption(endpoint, asked, memory=Memory())

    assert reply.mode is mode
    assert not reply.repaired
    assert isinstance(reply.result["short_caption"], str)
    assert all(isinstance(entry["confidence"], (int, float)) for entry in reply.result["tags_list"])
    assert reply.usage.input_tokens is not None
    assert reply.attempts[0].request_id
    assert llmock_peer("verdict")["passed"] is True


def test_retry_after_is_waited_out_to_the_judge_s_content(peer, make_request, llmock_peer):
    llmock_peer("scenario", {"behaviors": [{"type": "fail", "status": 429, "retry_after": 1, "times": 2}]})

    reply = caption(peer, make_request(), memory=Memory())

    assert [attempt.status for attempt in reply.attempts] == [429, 429, 200]
    verdict = llmock_peer("verdict")
    assert verdict["passed"] is True
    assert verdict["findings"] == []


def test_a_server_fault_is_retried_with_backoff(peer, make_request, llmock_peer):
    llmock_peer("scenario", {"behaviors": [{"type": "fail", "status": 503, "retry_after": 1, "times": 1}]})

    reply = caption(peer, make_request(), memory=Memory())

    assert [attempt.status for attempt in reply.attempts] == [503, 200]
    assert llmock_peer("verdict")["passed"] is True


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_what_no_retry_can_fix_is_asked_once(peer, make_request, llmock_peer, status):
    llmock_peer("scenario", {"behaviors": [{"type": "fail", "status": status, "times": None}]})

    with pytest.raises(GatewayError) as caught:
        caption(peer, make_request(), memory=Memory())

    assert caught.value.permanent
    assert llmock_peer("requests")["count"] == 1
    assert llmock_peer("verdict")["passed"] is True


def test_a_long_wait_is_handed_to_the_queue(peer, make_request, llmock_peer):
    llmock_peer("scenario", {"behaviors": [{"type": "fail", "status": 429, "retry_after": 45, "times": None}]})

    with pytest.raises(GatewayError) as caught:
        caption(peer, make_request(), memory=Memory())

    assert (caught.value.code, caught.value.retry_after) == ("rate_limited", 45.0)
    assert llmock_peer("requests")["count"] == 1
    assert llmock_peer("verdict")["passed"] is True


def test_a_lasting_outage_ends_after_few_tries(peer, make_request, llmock_peer):
    llmock_peer("scenario", {"behaviors": [{"type": "fail", "status": 500, "times": None}]})

    with pytest.raises(GatewayError) as caught:
        caption(peer, make_request(), memory=Memory(), patience=Patience(first_seconds=0.2))

    assert (caught.value.code, caught.value.permanent) == ("provider_error", False)
    assert llmock_peer("requests")["count"] == 3
    assert llmock_peer("verdict")["passed"] is True


def test_an_empty_account_stops_at_once(peer, make_request, llmock_peer):
    fail: dict[str, Any] = {"type": "fail", "status": 429, "code": "insufficient_quota", "times": None}
    llmock_peer("scenario", {"behaviors": [fail]})

    with pytest.raises(QuotaExhausted):
        caption(peer, make_request(), memory=Memory())

    assert llmock_peer("requests")["count"] == 1


def test_a_tool_that_was_never_offered_or_broken_arguments_are_repaired(peer, make_request, llmock_peer):
    llmock_peer("scenario", {"behaviors": [{"type": "tool_fault", "kind": "malformed_arguments", "times": 1}]})
    endpoint = Endpoint(peer.base_url, "any", allow_private=True, profile=Profile(modes=(Mode.TOOL,)))

    reply = caption(endpoint, make_request(), memory=Memory())

    assert set(reply.result) == {"caption", "tags"}
    assert reply.repaired


def test_the_probe_finds_models_and_mode_and_does_not_take_a_parrot_for_sight(peer, llmock_peer):
    found = probe(peer, model="gpt-4o-mini", memory=Memory()).as_dict()

    assert (found["success"], found["connected"], found["client_initialized"]) == (True, True, True)
    assert found["details"]["models_count"] > 0
    assert found["details"]["schema_mode"] == "native"
    assert found["details"]["vision"] is None  # it answers without having looked
    assert [step["status"] for step in found["diagnostics"]["connection_steps"]] == ["success"] * 3
