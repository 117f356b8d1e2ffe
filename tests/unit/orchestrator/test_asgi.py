"""What the web process makes of a request before Django sees it."""

import io

import pytest

from orchestrator.asgi import MeasuredRequest

SCOPE = {"type": "http", "method": "POST", "path": "/", "query_string": b""}


@pytest.mark.parametrize("body", [b'{"a": 1}', b""])
def test_a_body_in_chunks_has_a_length(body):
    request = MeasuredRequest(SCOPE | {"headers": [(b"transfer-encoding", b"chunked")]}, io.BytesIO(body))

    assert request.META["CONTENT_LENGTH"] == str(len(body))
    assert request.body == body


def test_a_length_that_was_said_stays():
    request = MeasuredRequest(SCOPE | {"headers": [(b"content-length", b"3")]}, io.BytesIO(b"abc"))

    assert request.META["CONTENT_LENGTH"] == "3"
