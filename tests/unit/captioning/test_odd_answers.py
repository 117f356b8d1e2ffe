"""What servers answer that no database holds and no parser finishes: each ends its item, and none its worker"""

from __future__ import annotations

import json
from typing import Any

import pytest
from werkzeug import Response

from captioning import batch
from captioning.models import Caption, ModelCall
from captioning.wording import LONGEST_TEXT
from jobs.creation import create
from jobs.models import JobItem
from tests.captions import completion, make_dataset, make_image, make_perspective, make_provider
from tests.workbench.rows import work

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def item(ada, settings, httpserver):
    """An item that may be tried once, of a job that is yet to run."""
    settings.DEFAULT_PROVIDER = ""
    make_image(make_dataset(ada))
    make_perspective("plain")
    make_provider(httpserver.url_for("/v1"))
    request = {
        "type": "MULTI_PERSPECTIVE",
        "dataset": "birds",
        "perspectives": ["plain"],
        "options": {"max_attempts": 1},
    }
    return JobItem.objects.get(job=create(batch.draft(request, ada).job, by=ada))


def answered(text: str, *, status: int = 200, **headers: str) -> Response:
    return Response(text, status=status, content_type="application/json", headers=headers)


def said(content: str, **members: Any) -> Response:
    answer = completion({}) | members
    answer["choices"][0]["message"]["content"] = content
    return answered(json.dumps(answer))


def refused(message: str, status: int) -> Response:
    return answered(json.dumps({"error": {"message": message}}), status=status)


def run(item: JobItem, httpserver: Any, answer: Response) -> JobItem:
    httpserver.expect_request("/v1/chat/completions").respond_with_response(answer)
    work()
    item.refresh_from_db()
    return item


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(said('{"caption": "An owl."}\0'), id="NUL"),
        pytest.param(said('<think>\ud800</think>{"caption": "An owl."}'), id="half of a pair"),
        pytest.param(said('{"caption": "An owl."}', id="a\0\ud800"), id="in the id"),
        pytest.param(said('{"caption": "An owl."}', usage={"prompt_tokens": 10**30}), id="tokens"),
        pytest.param(answered(json.dumps(completion({"caption": "An owl."})), Server="Eulé"), id="header"),
    ],
)
def test_what_cannot_be_stored_is_left_out(item, httpserver, answer):
    assert run(item, httpserver, answer).status == "completed"
    assert Caption.objects.get().text == "An owl."
    assert ModelCall.objects.count() == 1


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        pytest.param(refused("no\0", 400), "bad_request", id="NUL"),
        pytest.param(refused("no\ud800", 400), "bad_request", id="half of a pair"),
        pytest.param(answered("no\0", status=400), "bad_request", id="no JSON"),
        pytest.param(said("[" * 100_000), "invalid_answer", id="nested words"),
        pytest.param(said('{"a": [' * 3_000), "invalid_answer", id="beyond repair"),
        pytest.param(said("{'a': 'it's', " * 10_000), "invalid_answer", id="long to repair"),
        pytest.param(answered("[" * 100_000), "bad_response", id="nested answer"),
        pytest.param(answered("{}", status=503, **{"Retry-After": "1e300"}), "overloaded", id="wait"),
    ],
)
def test_what_means_nothing_fails_its_item_alone(item, httpserver, answer, code):
    assert (run(item, httpserver, answer).status, item.error_code) == ("failed", code)
    assert ModelCall.objects.exists()


def test_a_flood_of_words_is_kept_whole_and_shown_in_part(item, httpserver):
    flood = " ".join(f"word{n}" for n in range(200_000))  # more than the index of words takes

    assert run(item, httpserver, said(json.dumps({"caption": flood}))).status == "completed"
    caption = Caption.objects.get()
    assert caption.result == {"caption": flood}
    assert caption.text == flood[:LONGEST_TEXT]
