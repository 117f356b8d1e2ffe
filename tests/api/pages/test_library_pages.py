"""Perspectives and providers: the editor, versions, uses, tests, limits and spend"""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from captioning import library
from captioning.models import Caption, ModelCall, Perspective, Provider
from jobs.models import Job
from orchestrator import roles
from tests.api.pages.conftest import browser_of
from tests.captions import document, make_caption, make_dataset, make_image, make_perspective, make_provider
from tests.workbench.rows import make_job, make_user

pytestmark = pytest.mark.django_db


def typed(**members) -> dict[str, str]:
    """A perspective as a browser sends it."""
    form = {**document("mine"), "enabled": "1", "priority": "100", **members}
    return {
        name: value
        if isinstance(value, str)
        else ", ".join(value)
        if name in ("tags", "builds_on")
        else json.dumps(value)
        for name, value in form.items()
    }


# --- The editor


def test_a_wording_is_tried_before_it_is_saved(ada_browses, bob_browses, staff_browses, ada):
    image = make_image(make_dataset(ada))
    make_provider()
    form = typed(sample_image=str(image.pk), sample_provider="remote")

    editor = ada_browses.get("/perspectives/new").content.decode()
    piece = ada_browses.post("/perspectives/check/sample", form, headers={"HX-Request": "true"}).content.decode()

    job = Job.objects.get()
    address = f"/perspectives/check/sample/{job.job_id}"
    assert f'name="sample_image" value="{image.pk}"' in editor
    assert f'hx-get="{address}" hx-trigger="every 1s"' in piece
    assert not Perspective.objects.filter(name="mine").exists()
    assert bob_browses.get(address).status_code == 404
    item = job.items.get()
    item.status, item.result = "completed", {"caption": "A <square>."}
    item.save(update_fields=["status", "result"])
    Job.objects.filter(pk=job.pk).update(status="completed")
    assert "A &lt;square&gt;." in staff_browses.get(address).content.decode()
    assert not Job.objects.get().archived
    over = ada_browses.get(address).content.decode()
    assert "every 1s" not in over
    assert "A &lt;square&gt;." in over
    assert Job.objects.get().archived


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"prompt": ""}, "Mend what is listed first."),
        ({"sample_image": "0"}, "Choose a picture"),
        ({"sample_provider": "nobody"}, "Choose a picture"),
    ],
)
def test_a_sample_run_that_cannot_start_says_why(ada_browses, ada, change, said):
    image = make_image(make_dataset(ada))
    make_provider()
    form = typed(sample_image=str(image.pk), sample_provider="remote") | change

    assert said in ada_browses.post("/perspectives/check/sample", form).content.decode()
    assert not Job.objects.exists()


def test_nobody_tries_a_wording_on_somebody_elses_picture(bob_browses, ada):
    image = make_image(make_dataset(ada))
    make_provider()

    answer = bob_browses.post("/perspectives/check/sample", typed(sample_image=str(image.pk), sample_provider="remote"))

    assert "Choose a picture" in answer.content.decode()
    assert not Job.objects.exists()


def test_a_perspective_is_written_in_the_browser(ada_browses, ada):
    response = ada_browses.post("/perspectives/new", typed(tags=["birds", "night"], prompt="Say\r\nmore."))

    made = Perspective.objects.get(name="mine")
    assert response.headers["Location"] == "/perspectives/mine"
    assert (made.owner, made.current.prompt, made.current.tags) == (ada, "Say\nmore.", ["birds", "night"])


def test_saving_makes_a_new_version_and_the_same_wording_none(ada_browses, ada):
    make_perspective("mine", by=ada)
    form = typed(number="1")

    ada_browses.post("/perspectives/mine/edit", form)
    assert Perspective.objects.get(name="mine").versions.count() == 1
    ada_browses.post("/perspectives/mine/edit", {**form, "prompt": "Another question."})
    assert Perspective.objects.get(name="mine").current.number == 2


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"schema_fields": "[{"}, "not JSON"),
        ({"schema_fields": "[" * 100_000}, "nested deeper"),
        ({"schema_fields": '["\\u0000"]'}, "NUL characters"),
        ({"schema_fields": "[1e999]"}, "too large"),
        ({"local_vision": "[1]"}, "local_vision"),
        ({"local_vision": '{"tags": 5}'}, "local_vision"),
        ({"schema_fields": []}, "at least one field"),
        ({"context_template": "{nothing}"}, "not one of the fields"),
        ({"builds_on": ["nobody"]}, "no perspective"),
        ({"name": "has space"}, "letters, digits"),
        ({"name": "check"}, "name of a route"),
        ({"priority": "soon"}, "whole number"),
    ],
)
def test_what_is_wrong_is_told_while_typing_and_when_saving_and_nothing_typed_is_lost(ada_browses, members, said):
    form = typed(prompt="A prompt that took an hour.", **members)

    check = ada_browses.post("/perspectives/check", form)
    saved = ada_browses.post("/perspectives/new", form)

    assert said in check.content.decode()
    assert "to mend" in check.content.decode()
    assert saved.status_code == 400
    assert "A prompt that took an hour." in saved.content.decode()
    assert said in saved.content.decode()
    assert not Perspective.objects.filter(owner__isnull=False).exists()


def test_a_sound_wording_shows_its_schema_and_who_could_answer(ada_browses):
    check = ada_browses.post("/perspectives/check", typed()).content.decode()

    assert "Ready to save" in check
    assert "additionalProperties" in check
    assert "Local vision cannot answer it" in check


def test_who_edits_an_older_version_is_told_of_the_newer_one(ada_browses, ada):
    mine = make_perspective("mine", by=ada)
    library.write(mine, document("mine", prompt="Written meanwhile."), by=ada)

    refused = ada_browses.post("/perspectives/mine/edit", typed(number="1", prompt="My prompt."))
    again = ada_browses.post("/perspectives/mine/edit", typed(number="2", prompt="My prompt."))

    assert refused.status_code == 409
    assert "My prompt." in refused.content.decode()
    assert 'name="number" value="2"' in refused.content.decode()
    assert again.status_code == 302
    mine.refresh_from_db()
    assert (mine.current.number, mine.current.prompt) == (3, "My prompt.")


def test_somebody_elses_perspective_is_copied_and_not_changed(bob_browses, ada):
    make_perspective("mine", by=ada)

    page = bob_browses.get("/perspectives/mine").content.decode()
    copy = bob_browses.get("/perspectives/new?from=mine").content.decode()

    assert "/perspectives/mine/edit" not in page
    assert bob_browses.get("/perspectives/mine/edit").status_code == 403
    assert bob_browses.post("/perspectives/mine/edit", typed()).status_code == 403
    assert 'value="my_mine"' in copy
    assert "Say what the picture shows." in copy


# --- Versions and uses


def test_versions_show_what_changed_and_come_back(ada_browses, ada):
    mine = make_perspective("mine", by=ada)
    library.write(mine, document("mine", prompt="Say what the picture hides.", priority=5), by=ada)

    page = ada_browses.get("/perspectives/mine").content.decode()
    ada_browses.post("/perspectives/mine/restore", {"number": "1"})

    assert "<del>shows</del><ins>hides</ins>" in page
    assert "priority" in page
    mine.refresh_from_db()
    assert (mine.current.number, mine.current.prompt) == (3, "Say what the picture shows.")
    assert ada_browses.post("/perspectives/mine/restore", {"number": "9"}).status_code == 404


def test_a_perspective_tells_where_it_is_used(ada_browses, bob_browses, ada):
    mine = make_perspective("mine", by=ada)
    make_perspective("story", by=ada, builds_on=["mine"])
    make_caption(make_image(make_dataset(ada)), mine, review="accepted")
    job = make_job(by=ada, name="Owls at night", config={"perspectives": ["mine"]})

    page = ada_browses.get("/perspectives/mine").content.decode()
    others = bob_browses.get("/perspectives/mine").content.decode()

    assert "/review?perspective=mine&amp;state=accepted" in page
    assert str(job.job_id) in page
    assert 'href="/perspectives/story"' in page
    assert "Owls at night" not in others
    assert "No caption yet" in others


# --- Providers


def test_a_provider_tells_what_it_cost_and_what_its_last_test_found(ada_browses):
    who = make_provider()
    for cost, code in ((Decimal("0.25"), ""), (Decimal("0.50"), ""), (None, ""), (None, "timeout")):
        ModelCall.objects.create(provider=who, model="tiny-vlm", latency_ms=1200, cost_usd=cost, error_code=code)
    Provider.objects.filter(pk=who.pk).update(
        last_probe={
            "success": False,
            "suggestions": ["Enter the key again."],
            "diagnostics": {"connection_steps": [{"step": "list_models", "status": "failed", "error": "401"}]},
        }
    )

    page = ada_browses.get("/providers").content.decode()

    for said in ("$0.75", "1 failed", "1 call of unknown price", "list_models", "401", "Enter the key again."):
        assert said in page


def test_staff_sets_limits_and_tests(staff_browses):
    who = make_provider()

    staff_browses.post(f"/providers/{who.pk}/limit", {"requestsPerMinute": "30", "tokensPerMinute": ""})
    page = staff_browses.post(f"/providers/{who.pk}/test", follow=True).content.decode()

    who.refresh_from_db()
    assert (who.requests_per_minute, who.tokens_per_minute) == (30, None)
    assert who.last_probe["success"] is False
    assert "message error" in page
    refused = staff_browses.post(f"/providers/{who.pk}/limit", {"requestsPerMinute": "-3"}, follow=True)
    assert "at least 1" in refused.content.decode()


def test_others_neither_test_nor_limit(ada_browses, ada):
    who = make_provider()

    page = ada_browses.get("/providers").content.decode()

    assert "Test it now" not in page
    for verb in ("test", "limit"):
        assert ada_browses.post(f"/providers/{who.pk}/{verb}").status_code == 403


# --- Roles


def test_a_viewer_may_look_at_everything_and_change_nothing(closed_desk, ada):
    viewer = make_user("vera")
    roles.give(viewer, roles.VIEWER)
    browser = browser_of(viewer)
    perspective, who = make_perspective("mine", by=ada), make_provider()
    image = make_image(make_dataset(ada))
    caption = make_caption(image, perspective)

    for address in (
        "/datasets/birds",
        f"/images/{image.pk}",
        "/review",
        "/perspectives/mine",
        "/providers",
    ):
        assert browser.get(address).status_code == 200, address
    for address, fields in (
        ("/datasets/birds/selection", {"verb": "delete", "all": "1"}),
        ("/datasets/birds/delete", {}),
        ("/datasets/birds/take", {}),
        ("/datasets/birds/upload", {}),
        ("/datasets/create", {"name": "mine"}),
        (f"/images/{image.pk}/delete", {}),
        (f"/review/captions/{caption.pk}/accept", {}),
        ("/jobs/new", {"dataset": "birds", "perspectives": "mine"}),
        ("/jobs/new/trial", {"dataset": "birds", "perspectives": "mine"}),
        ("/perspectives/new", typed(name="other")),
        ("/perspectives/mine/edit", typed(prompt="Changed.")),
        ("/perspectives/mine/restore", {"number": "1"}),
        (f"/providers/{who.pk}/limit", {"requestsPerMinute": "1"}),
    ):
        answer = browser.post(address, fields, follow=True)
        assert "Your role may look at this but not do it" in answer.content.decode(), address
    caption.refresh_from_db()
    assert (caption.is_current, Perspective.objects.filter(name="other").exists()) == (True, False)
    assert Caption.objects.count() == image.dataset.images.count() == 1
