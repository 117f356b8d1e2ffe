"""The page of one item of a captioning job: what was asked, each call, and the answer as it came"""

from __future__ import annotations

import html
import re

import pytest

from captioning import batch
from captioning.models import ModelCall
from jobs.creation import create
from tests.captions import completion, make_dataset, make_image, make_perspective, make_provider
from tests.workbench.rows import work

ROUTE = "/v1/chat/completions"


@pytest.fixture
def job(ada, httpserver, settings):
    settings.DEFAULT_PROVIDER = ""
    make_image(make_dataset(ada))
    make_perspective("plain")
    provider = make_provider(httpserver.url_for("/v1"))
    provider.api_key = "sk-very-secret"
    provider.save()
    asked = {"type": "MULTI_PERSPECTIVE", "dataset": "birds", "perspectives": ["plain"], "options": {"max_attempts": 1}}
    return create(batch.draft(asked, ada).job, by=ada)


def shown(browser, job) -> str:
    answer = browser.get(f"/jobs/{job.job_id}/items/0")
    assert answer.status_code == 200
    return html.unescape(answer.content.decode())


@pytest.mark.django_db
def test_an_item_that_waits_shows_what_would_be_sent(ada_browses, job, httpserver):
    page = shown(ada_browses, job)

    request = re.search(r'<pre tabindex="0" id="request">(.*?)</pre>', page, re.DOTALL)[1]
    assert httpserver.url_for(ROUTE) in request
    assert '"response_format"' in request
    assert "characters in all, not shown" in request
    assert "very-secret" not in page
    assert "Answer as received" not in page


@pytest.mark.django_db(transaction=True)
def test_an_answered_item_shows_its_calls_and_the_answer_as_it_came(
    ada_browses, job, httpserver, django_assert_max_num_queries
):
    answer = completion({})
    answer["choices"][0]["message"]["content"] = 'Gladly:\n```json\n{"caption": "A <b>square</b>.",}\n```'
    httpserver.expect_request(ROUTE).respond_with_json(answer)
    work()

    with django_assert_max_num_queries(15):
        page = shown(ada_browses, job)

    assert 'Gladly:\n```json\n{"caption": "A <b>square</b>.",}' in page
    assert "HTTP 200" in page
    assert "1000 / 100" in page
    assert "chatcmpl-1" in page
    assert "It had to be mended" in page


@pytest.mark.django_db(transaction=True)
def test_a_failed_item_shows_the_calls_that_failed(ada_browses, job, httpserver):
    httpserver.expect_request(ROUTE).respond_with_json({"error": {"message": "no such model"}}, status=404)
    work()

    page = shown(ada_browses, job)

    assert ModelCall.objects.count() == 1
    assert re.search(r"HTTP 404 · <span class=\"bad\">\w+<", page)
    assert '"model": "tiny-vlm"' in page


@pytest.mark.django_db
def test_a_request_that_cannot_be_made_any_more_says_why(ada_browses, job):
    job.config["provider"] = "gone"
    job.save(update_fields=["config"])

    assert "The provider 'gone' was deleted." in shown(ada_browses, job)
