"""The page of one item of a captioning job: what was asked, each call, and the answer as it came"""

from __future__ import annotations

import html
import re
from datetime import timedelta

import pytest
from django.utils import timezone

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


@pytest.mark.django_db(transaction=True)
def test_a_failed_item_shows_what_was_answered_without_the_key(ada_browses, job, httpserver):
    chat = completion({})
    chat["choices"][0]["message"]["content"] = "I'd rather write a poem about <i>owls</i>."
    httpserver.expect_ordered_request(ROUTE).respond_with_json(chat)
    httpserver.expect_ordered_request(ROUTE).respond_with_data(
        "sk-very-secret is not welcome" + "!" * 30_000, status=400
    )
    work()

    page = shown(ada_browses, job)

    assert "I'd rather write a poem about <i>owls</i>." in page
    assert "is not welcome!!!" in page
    assert "very-secret" not in page
    assert max(len(call.unusable) for call in ModelCall.objects.all()) <= 20_000


@pytest.mark.django_db
def test_an_item_that_is_tried_again_says_so_rather_than_that_it_failed(ada_browses, job):
    later = timezone.now() + timedelta(minutes=5)
    job.items.update(
        status="waiting", run_after=later, error="Too many requests.", error_code="rate_limited", attempts=1
    )

    page = shown(ada_browses, job)

    assert re.search(r'message warning stack"><p>Tried again <time[^>]*>in \d+', page)
    assert 'class="message error' not in page


@pytest.mark.django_db
def test_a_request_that_cannot_be_made_any_more_says_why(ada_browses, job):
    job.config["provider"] = "gone"
    job.save(update_fields=["config"])

    assert "The provider 'gone' was deleted." in shown(ada_browses, job)
