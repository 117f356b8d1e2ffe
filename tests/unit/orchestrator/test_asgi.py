"""The web process: how it starts, and what it makes of a request before Django sees it."""

import gc
import io

import pytest

from orchestrator.asgi import MeasuredRequest, load_for_good

SCOPE = {"type": "http", "method": "POST", "path": "/", "query_string": b""}


@pytest.mark.parametrize("body", [b'{"a": 1}', b""])
def test_a_body_in_chunks_has_a_length(body):
    request = MeasuredRequest(SCOPE | {"headers": [(b"transfer-encoding", b"chunked")]}, io.BytesIO(body))

    assert request.META["CONTENT_LENGTH"] == str(len(body))
    assert request.body == body


def test_a_length_that_was_said_stays():
    request = MeasuredRequest(SCOPE | {"headers": [(b"content-length", b"3")]}, io.BytesIO(b"abc"))

    assert request.META["CONTENT_LENGTH"] == "3"


def test_what_is_loaded_at_the_start_is_left_out_of_garbage_collections():
    load_for_good()
    try:
        assert gc.get_freeze_count() > 50_000
        assert not any(one is MeasuredRequest for one in gc.get_objects())
    finally:
        gc.unfreeze()
