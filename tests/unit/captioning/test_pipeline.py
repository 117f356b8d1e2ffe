import json
import re
import threading
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from werkzeug import Request, Response

from captioning import batch, gateway, library, provider_forms, vision
from captioning.models import Caption, Image, ModelCall, Perspective, PerspectiveVersion, Provider
from captioning.pipeline import CaptioningPipeline
from jobs.clusters import Cluster
from jobs.creation import create
from jobs.models import Job, JobItem
from jobs.pipelines import Cancelled, Context, Finished, Outage, Permanent, Result, RetryLater, WorkItem
from tests.captions import (
    completion,
    document,
    make_caption,
    make_dataset,
    make_image,
    make_perspective,
    make_provider,
)
from tests.workbench.rows import make_user, statuses, work

committed = pytest.mark.django_db(transaction=True)
pytestmark = pytest.mark.django_db

DEMO = Path(library.__file__).parent / "demo"
ROUTE = "/v1/chat/completions"


@pytest.fixture(autouse=True)
def _settings(settings):
    settings.DEFAULT_PROVIDER = ""


@pytest.fixture
def ada():
    return make_user("ada")


@pytest.fixture
def image(ada):
    return make_image(make_dataset(ada))


def make_job(ada, **members):
    options = {"max_attempts": 1, **members.pop("options", {})}
    request = {
        "type": "MULTI_PERSPECTIVE",
        "dataset": "birds",
        "perspectives": ["plain"],
        "options": options,
        **members,
    }
    return create(batch.draft(request, ada).job, by=ada)


def answers(httpserver, *contents, **usage):
    for content in contents:
        httpserver.expect_ordered_request(ROUTE).respond_with_json(completion(content, **usage))


def claimed(job: Job, seq: int = 0) -> WorkItem:
    item = JobItem.objects.get(job=job, seq=seq)
    return WorkItem(item.pk, item.seq, 1, item.max_attempts, item.image_path, item.perspective, item.payload)


def run(job: Job, seq: int = 0, *, stopped=lambda: False) -> Result:
    return CaptioningPipeline().run(claimed(job, seq), Context(job.as_work_job(), 30.0, stopped))


def settle(job: Job, result: Result, seq: int = 0) -> Caption:
    CaptioningPipeline().store(job.as_work_job(), [Finished(claimed(job, seq), result)])
    return Caption.objects.get(item__job=job, item__seq=seq)


def fail(job: Job, kind: type[Exception]):
    with pytest.raises(kind) as failure:
        run(job)
    return failure.value


# --- A remote provider


@committed
def test_a_job_is_captioned_by_a_remote_provider_through_the_queue(ada, image, httpserver):
    make_perspective("plain")
    make_provider(httpserver.url_for("/v1"))
    answers(httpserver, {"caption": "A square."})

    job = make_job(ada, options={"temperature": 0.5, "max_tokens": 64})
    work()

    assert statuses(job) == ["completed"]
    assert JobItem.objects.get(job=job).result == {"caption": "A square."}
    caption = Caption.objects.get(image=image)
    assert (caption.source, caption.provider, caption.model) == ("model", "remote", "tiny-vlm")
    assert (caption.text, caption.review) == ("A square.", "proposed")
    assert caption.parameters == {"temperature": 0.5, "max_tokens": 64}
    call = ModelCall.objects.get()
    assert (call.tokens_in, call.tokens_out, call.status_code, call.item.job) == (1000, 100, 200, job)
    assert call.cost_usd == Decimal("0.0012")
    job.refresh_from_db()
    assert (job.status, job.cost_usd) == ("completed", Decimal("0.0012"))


def test_the_request_carries_picture_prompt_schema_and_context(ada, image, httpserver):
    make_perspective("plain")
    make_provider(httpserver.url_for("/v1"), kind="openai")
    answers(httpserver, {"caption": "A square."})

    run(make_job(ada, options={"global_context": "A zoo.", "top_p": 0.25}))

    sent = json.loads(httpserver.log[0][0].data)
    text, picture = (part for part in sent["messages"][-1]["content"])
    assert "Say what the picture shows." in text["text"]
    assert "A zoo." in text["text"]
    assert picture["image_url"]["url"].startswith("data:image/")
    assert sent["top_p"] == 0.25
    assert sent["response_format"]["json_schema"]["schema"]["required"] == ["caption"]


def test_own_instructions_take_their_place_in_the_prompt(ada, image, httpserver):
    make_perspective("plain", type="custom", prompt="Do this: {custom_instructions}.")
    make_provider(httpserver.url_for("/v1"))
    answers(httpserver, {"caption": "A square."})

    run(make_job(ada, options={"global_context": "count corners"}))

    text = json.loads(httpserver.log[0][0].data)["messages"][-1]["content"][0]["text"]
    assert "Do this: count corners." in text
    assert text.count("count corners") == 1


@committed
def test_a_synthesizer_runs_last_and_is_told_what_the_others_said(ada, image, httpserver):
    make_perspective("plain")
    make_perspective("sum", type="synthesizer", builds_on=["plain"])
    make_provider(httpserver.url_for("/v1"))
    answers(httpserver, {"caption": "A <red> square."}, {"caption": "All in all, a square."})

    job = make_job(ada, type="DEPENDENCY_CHAIN", perspectives=["sum"])
    work()

    assert statuses(job) == ["completed", "completed"]
    told = json.loads(httpserver.log[1][0].data)["messages"][-1]["content"][0]["text"]
    assert "Plain: A &lt;red&gt; square." in told


def test_a_synthesizer_without_anything_to_merge_fails_for_good(ada, image):
    perspective = make_perspective("plain")
    make_perspective("sum", type="synthesizer", builds_on=["plain"])
    make_provider()
    make_caption(image, perspective, review="rejected")

    assert fail(make_job(ada, perspectives=["sum"]), Permanent).code == "no_context"


# --- Local vision


def test_local_vision_looks_once_at_an_image_for_all_its_perspectives(ada, monkeypatch):
    owl = make_image(make_dataset(ada), "owl.jpg", content=(DEMO / "ural-owl-6676441_640.jpg").read_bytes())
    make_perspective("plain", local_vision={"caption": "caption.plain"})
    make_perspective(
        "colours",
        schema_fields=[{"name": "tags", "type": "str", "is_list": True}],
        context_template="{tags}",
        local_vision={"tags": "tags.plain"},
    )
    looks: list[str] = []
    look = vision.LocalVision.look
    monkeypatch.setattr(vision.LocalVision, "look", lambda self, picture: looks.append("look") or look(self, picture))

    job = make_job(ada, perspectives=["plain", "colours"], options={"provider": "local-vision"})
    captions = [settle(job, run(job, seq), seq) for seq in (0, 1)]

    assert job.cluster == Cluster.VISION
    assert looks == ["look"]
    assert "owl" in captions[0].text.lower()
    assert captions[0].provenance["versions"]["provider"].startswith("Local vision")
    assert captions[1].result["tags"]
    assert captions[0].text != captions[1].text
    assert owl.captions.count() == 2
    assert not ModelCall.objects.exists()


def test_local_vision_fails_for_good_what_it_cannot_follow(ada, image):
    make_perspective("plain", local_vision={"caption": "caption.plain"})
    job = make_job(ada, options={"provider": "local-vision"})
    # Written before its evidence was given another name, say.
    PerspectiveVersion.objects.update(local_vision={"caption": "caption.gone"})

    assert fail(job, Permanent).code == "needs_language_model"


# --- What goes wrong


@pytest.fixture
def job(ada, image, httpserver):
    make_perspective("plain")
    make_provider(httpserver.url_for("/v1"))
    return make_job(ada)


def test_a_permanent_fault_fails_the_item_for_good_and_is_on_the_books(job, httpserver):
    httpserver.expect_request(ROUTE).respond_with_json({"error": {"message": "no such model"}}, status=404)

    assert fail(job, Permanent).code
    assert ModelCall.objects.get().status_code == 404


def test_a_passing_fault_comes_back_later_as_long_as_the_server_says(job, httpserver):
    httpserver.expect_request(ROUTE).respond_with_json({}, status=503, headers={"Retry-After": "77"})

    assert fail(job, RetryLater).after_seconds == 77


def test_a_rate_limit_costs_no_attempt_and_holds_every_worker_back(job, httpserver):
    httpserver.expect_request(ROUTE).respond_with_json({}, status=429, headers={"Retry-After": "30"})

    first, second = fail(job, Outage), fail(job, Outage)

    assert (first.code, first.after_seconds) == ("rate_limited", 30)
    assert second.after_seconds > 20
    assert len(httpserver.log) == 1


def test_a_long_pause_is_said_with_its_end_and_a_new_key_lifts_it(job, httpserver):
    httpserver.expect_ordered_request(ROUTE).respond_with_json({}, status=429, headers={"Retry-After": "86400"})
    answers(httpserver, {"caption": "x"})

    first, second = fail(job, Outage), fail(job, Outage)

    for outage in (first, second):
        assert re.search(r"called again at \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC, or soon after its key", str(outage))
        assert outage.after_seconds == 300  # the item looks again whether the pause was lifted
    provider_forms.change(Provider.objects.get(name="remote"), {"apiKey": "sk-new"})
    assert run(job).value == {"caption": "x"}


def test_our_own_limit_sends_items_back_before_any_call(job, httpserver):
    Provider.objects.filter(name="remote").update(requests_per_minute=1)
    answers(httpserver, {"caption": "x"})

    run(job)

    assert fail(job, Outage).code == "rate_limited"
    assert len(httpserver.log) == 1


def test_an_empty_account_pauses_the_job_and_costs_no_attempt(job, httpserver):
    error = {"error": {"code": "insufficient_quota", "type": "insufficient_quota", "message": "no credit"}}
    httpserver.expect_request(ROUTE).respond_with_json(error, status=429)

    failure = fail(job, Outage)

    job.refresh_from_db()
    assert job.paused
    assert failure.code == "quota_exhausted"


def test_a_stopped_worker_ends_the_call(job, httpserver):
    asked, release = threading.Event(), threading.Event()

    def hang(request: Request) -> Response:
        asked.set()
        release.wait(30)
        return Response(json.dumps(completion({"caption": "late"})), content_type="application/json")

    httpserver.expect_request(ROUTE).respond_with_handler(hang)
    try:
        with pytest.raises(Cancelled):
            run(job, stopped=asked.is_set)
    finally:
        release.set()


def test_a_disabled_provider_makes_its_jobs_wait(job):
    Provider.objects.filter(name="remote").update(is_enabled=False)

    assert fail(job, Outage).code == "provider_disabled"


@pytest.mark.parametrize(
    ("vanish", "code"),
    [
        (lambda job: Provider.objects.all().delete(), "provider_gone"),
        (lambda job: Image.objects.all().delete(), "image_gone"),
    ],
)
def test_what_was_deleted_meanwhile_fails_the_item_for_good(job, vanish, code):
    vanish(job)

    assert fail(job, Permanent).code == code


def test_bytes_that_are_no_picture_fail_the_item_for_good(ada, job):
    image = make_image(make_dataset(ada, "odd"), "odd.png", content=b"not a picture at all")

    assert fail(make_job(ada, dataset=None, images=[image.pk]), Permanent).code == "bad_picture"


def test_an_answer_beside_the_schema_fails_the_item_and_tells_its_cost(job, httpserver):
    httpserver.expect_request(ROUTE).respond_with_json(completion({"wrong": 1}))

    failure = fail(job, Permanent)

    assert failure.code == "invalid_answer"
    assert failure.cost_usd == Decimal("0.0012") * ModelCall.objects.count()


@pytest.mark.parametrize("odd", ["\0", "\ud800"])
def test_what_a_model_says_beside_its_answer_may_hold_any_text(job, httpserver, odd):
    said = completion({})
    message = said["choices"][0]["message"]
    for content in ("none" + odd, '{"caption": "A square."}' + odd):
        message["content"] = content
        httpserver.expect_ordered_request(ROUTE).respond_with_json(said)

    caption = settle(job, run(job))

    assert (caption.text, caption.provenance["raw_text"]) == ("A square.", "none")
    assert ModelCall.objects.filter(unusable="none").count() == 1


@committed
def test_a_spent_budget_fails_what_is_left_without_a_call(ada, httpserver):
    dataset = make_dataset(ada)
    for name in "abc":
        make_image(dataset, name)
    make_perspective("plain")
    make_provider(httpserver.url_for("/v1"))
    httpserver.expect_request(ROUTE).respond_with_json(completion({"caption": "x"}))  # 0.0012 each

    job = make_job(ada, options={"budget_usd": 0.002})
    Job.objects.filter(pk=job.pk).update(max_batch=1)
    work()

    codes = list(JobItem.objects.filter(job=job).order_by("seq").values_list("error_code", flat=True))
    job.refresh_from_db()
    assert codes == ["", "", "budget_exhausted"]
    assert len(httpserver.log) == 2
    assert job.status == "partial"


# --- What becomes of a result


def test_storing_an_item_twice_makes_one_caption(job, httpserver):
    answers(httpserver, {"caption": "x"})
    result = run(job)

    assert settle(job, result) == settle(job, result)
    assert Caption.objects.count() == 1


def test_a_rerun_takes_the_place_of_the_proposal_before(ada, image, job, httpserver):
    answers(httpserver, {"caption": "first"}, {"caption": "second"})
    first = settle(job, run(job))
    again = make_job(ada)
    second = settle(again, run(again))

    first.refresh_from_db()
    assert (first.is_current, second.is_current, second.supersedes) == (False, True, first)


@pytest.mark.parametrize("kept", [{"source": "human", "provider": ""}, {"review": "accepted"}, {"provider": "other"}])
def test_a_rerun_leaves_people_verdicts_and_other_providers_alone(image, job, httpserver, kept):
    earlier = make_caption(image, Perspective.objects.get(name="plain"), **kept)
    answers(httpserver, {"caption": "new"})

    new = settle(job, run(job))

    earlier.refresh_from_db()
    assert (earlier.is_current, new.is_current, new.supersedes) == (True, True, None)


def test_an_accepted_human_edit_of_a_machine_caption_survives_a_rerun(ada, job, httpserver):
    answers(httpserver, {"caption": "machine"}, {"caption": "machine again"})
    edited = settle(job, run(job)).revise(by=ada, text="mine", review="accepted")
    again = make_job(ada)

    settle(again, run(again))

    edited.refresh_from_db()
    assert edited.is_current
    assert Caption.objects.preferred().get().text == "mine"


def test_the_caption_of_an_image_that_was_deleted_meanwhile_is_dropped(job, httpserver):
    answers(httpserver, {"caption": "x"})
    result = run(job)
    Image.objects.all().delete()

    CaptioningPipeline().store(job.as_work_job(), [Finished(claimed(job), result)])

    assert not Caption.objects.exists()


def test_an_item_answers_to_the_wording_of_its_creation(ada, job, httpserver):
    staff = make_user("grace", is_staff=True)
    library.write(Perspective.objects.get(name="plain"), document("plain", prompt="New words."), by=staff)
    answers(httpserver, {"caption": "x"})

    caption = settle(job, run(job))

    assert caption.perspective_version.number == 1
    assert b"New words." not in httpserver.log[0][0].data


# --- What people are shown of a request


def shown(job: Job) -> dict[str, Any]:
    return dict(CaptioningPipeline().describe(claimed(job), job.as_work_job()))


def as_shown(body: dict[str, Any]) -> dict[str, Any]:
    """A body that was sent, with the picture's data cut as people see it."""
    part = body["messages"][0]["content"][1]["image_url"]
    part["url"] = f"{part['url'][:40]}… ({len(part['url']):,} characters in all, not shown)"
    return body


def test_the_request_that_is_shown_is_the_one_that_is_sent_but_for_the_key_and_the_picture(job, httpserver):
    gateway.MEMORY.__init__()  # what an earlier test's server would not take is no matter here
    provider = Provider.objects.get(name="remote")
    provider.api_key = "sk-very-secret"
    provider.save()
    answers(httpserver, {"caption": "x"})

    before = shown(job)
    run(job)

    request = httpserver.log[0][0]
    assert before["body"] == as_shown(json.loads(request.data))
    assert (before["method"], before["url"]) == ("POST", request.url)
    sent = {name.lower(): value for name, value in request.headers.items()}
    assert sent["authorization"] == "Bearer sk-very-secret"
    assert before["headers"] == sent | {"authorization": "Bearer ***"}
    assert "very-secret" not in json.dumps(before)


def test_an_item_that_was_answered_shows_the_form_that_the_server_took(job, httpserver):
    gateway.MEMORY.__init__()  # as in a fresh worker
    refusals = [
        {"error": {"message": "response_format json_schema is not supported", "param": "response_format"}},
        {"error": {"message": "no", "code": "unsupported_parameter", "param": "temperature"}},
    ]
    for refusal in refusals:
        httpserver.expect_ordered_request(ROUTE).respond_with_json(refusal, status=400)
    answers(httpserver, {"caption": "x"})
    Job.objects.filter(pk=job.pk).update(config=job.config | {"options": {**job.config["options"], "temperature": 0.5}})
    job.refresh_from_db()
    settle(job, run(job))
    gateway.MEMORY.__init__()  # as in the web process

    last = shown(job)

    assert last["body"] == as_shown(json.loads(httpserver.log[-1][0].data))
    assert "response_format" not in last["body"]
    assert "temperature" not in last["body"]


def test_a_request_is_shown_also_while_its_provider_is_disabled(job):
    Provider.objects.filter(name="remote").update(is_enabled=False)

    assert shown(job)["body"]["model"] == "tiny-vlm"


def test_a_request_that_cannot_be_made_says_why(ada, job):
    image = make_image(make_dataset(ada, "odd"), "odd.png", content=b"not a picture at all")

    with pytest.raises(Permanent) as refusal:
        shown(make_job(ada, dataset=None, images=[image.pk]))

    assert refusal.value.code == "bad_picture"


def test_what_local_vision_is_asked_are_the_fields_and_what_fills_them(ada, image):
    make_perspective("plain", local_vision={"caption": "caption.plain"})

    asked = shown(make_job(ada, options={"provider": "local-vision"}))

    assert asked["fields"] == {"caption": "caption.plain"}
    assert (asked["picture"]["path"], asked["picture"]["sha256"]) == ("a.png", image.sha256)
    assert asked["schema"]["required"] == ["caption"]


# --- Workers elsewhere


@pytest.fixture
def external_job(ada, image):
    make_perspective("plain")
    return make_job(ada, options={"executor": "external", "max_tokens": 9, "model": "theirs"})


def test_a_worker_elsewhere_is_told_what_it_needs(external_job, client):
    told = CaptioningPipeline().describe(claimed(external_job), external_job.as_work_job())

    assert told["prompt"] == "Say what the picture shows."
    assert told["schema"]["required"] == ["caption"]
    assert (told["parameters"], told["model"]) == ({"max_tokens": 9}, "theirs")
    behind = client.get(told["imageUrl"])
    assert (behind.status_code, behind.headers["Content-Type"]) == (200, "image/png")


def test_a_forged_link_leads_nowhere(external_job, client):
    url = CaptioningPipeline().describe(claimed(external_job), external_job.as_work_job())["imageUrl"]

    assert client.get(url[:-3] + "xyz").status_code == 404


def test_a_result_from_elsewhere_becomes_a_caption(external_job):
    result = CaptioningPipeline().accept(claimed(external_job), external_job.as_work_job(), {"caption": "From afar."})

    caption = settle(external_job, result)

    assert (caption.text, caption.provider, caption.model) == ("From afar.", "external", "theirs")


@pytest.mark.parametrize("value", [{"caption": 5}, {}, {"caption": "x", "more": 1}, "text", None])
def test_a_result_from_elsewhere_must_follow_the_schema(external_job, value):
    with pytest.raises(Permanent) as refusal:
        CaptioningPipeline().accept(claimed(external_job), external_job.as_work_job(), value)

    assert refusal.value.code == "invalid_result"


def test_jobs_run_where_their_models_may_live():
    pipeline = CaptioningPipeline()

    assert pipeline.cluster_of({"providerKind": "local-vision"}) == Cluster.VISION
    assert pipeline.cluster_of({"providerKind": "openai"}) == Cluster.DEFAULT
    assert pipeline.cluster_of({"providerKind": ""}) == Cluster.DEFAULT
