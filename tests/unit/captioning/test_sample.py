"""Sample runs: one answer to a wording that nobody has saved"""

from __future__ import annotations

import json

import pytest

from captioning import sample
from captioning.models import Caption, Perspective, PerspectiveVersion
from orchestrator.problems import Invalid
from tests.captions import completion, document, make_dataset, make_image, make_provider
from tests.workbench.rows import make_user, work

ROUTE = "/v1/chat/completions"


@pytest.fixture
def ada(db):
    return make_user("ada")


@pytest.fixture
def image(ada):
    return make_image(make_dataset(ada))


@pytest.mark.django_db(transaction=True)
def test_an_unsaved_wording_is_answered_and_nothing_is_written_to_the_picture(ada, image, httpserver):
    provider = make_provider(httpserver.url_for("/v1"))
    httpserver.expect_request(ROUTE).respond_with_json(completion({"mood": "calm", "caption": "A square."}))
    fields = [{"name": "caption", "type": "str"}, {"name": "mood", "type": "str"}]
    wording = document("unsaved", prompt="Say how it feels.", schema_fields=fields, context_template="{caption} {mood}")

    job = sample.start(wording, image, provider, instructions="", by=ada)
    before = sample.said(job)
    work()

    asked = json.loads(httpserver.log[0][0].data)
    assert "Say how it feels." in asked["messages"][0]["content"][0]["text"]
    assert list(asked["response_format"]["json_schema"]["schema"]["properties"]) == ["caption", "mood"]
    assert (before.status, before.fields) == ("pending", [])
    said = sample.said(job)
    assert (said.status, said.text) == ("completed", "A square. calm")
    assert said.fields == [("caption", "A square."), ("mood", "calm")]
    assert not Caption.objects.exists()
    assert not Perspective.objects.filter(name="unsaved").exists()
    assert not PerspectiveVersion.objects.filter(display_name="Unsaved").exists()


@pytest.mark.django_db(transaction=True)
def test_a_sample_that_fails_says_why(ada, image, httpserver):
    httpserver.expect_request(ROUTE).respond_with_json({"error": {"message": "no such model"}}, status=404)

    job = sample.start(document(), image, make_provider(httpserver.url_for("/v1")), instructions="", by=ada)
    work()

    assert sample.said(job).status == "failed"
    assert "no such model" in sample.said(job).error


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("change", "provider", "said"),
    [
        ({}, {"is_enabled": False}, "disabled"),
        ({}, {"kind": "local-vision"}, "needs a language model"),
        ({"type": "custom", "prompt": "{custom_instructions}"}, {}, "write some for the sample"),
    ],
)
def test_what_cannot_be_answered_is_refused_before_anything_is_queued(ada, image, change, provider, said):
    who = make_provider(**{"default_model": "tiny-vlm", **provider})

    with pytest.raises(Invalid, match=said):
        sample.start(document(**change), image, who, instructions=" ", by=ada)

    assert not ada.jobs.exists()
