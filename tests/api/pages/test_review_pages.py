"""Review: what waits, verdicts, edits, undo, history, and what becomes of two people at one caption"""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from captioning.models import Caption
from captioning.review_queue import ReviewFilter, progress
from tests.captions import make_caption, make_dataset, make_image, make_perspective

pytestmark = pytest.mark.django_db

SCRIPT = {"X-Requested-With": "fetch"}


@pytest.fixture
def captions(ada) -> list[Caption]:
    """Three pictures of Ada's with one proposal each."""
    dataset, perspective = make_dataset(ada), make_perspective()
    return [make_caption(make_image(dataset, f"{n}.png"), perspective, text=f"Picture {n}.") for n in range(3)]


def decide(browser, caption, verb, *, script=False, **fields):
    return browser.post(
        f"/review/captions/{caption.pk}/{verb}", {"back": "/review?at=1", **fields}, headers=SCRIPT if script else {}
    )


def now(caption: Caption) -> Caption:
    """The version of this picture's caption that is in force."""
    return Caption.objects.current().get(image=caption.image, perspective=caption.perspective)


def pictures_in(html: str) -> list[int]:
    return [int(pk) for pk in re.findall(r'data-image="(\d+)"', html)]


# --- Who did what


def test_a_history_tells_who_wrote_and_who_judged(ada_browses, staff_browses, captions):
    decide(ada_browses, captions[0], "edit", **{"field-caption": "Words of Ada."})
    decide(staff_browses, now(captions[0]), "reject", reason="too short")

    page = ada_browses.get(f"/review/captions/{captions[0].pk}/history").content.decode()

    newest, edited, first = re.findall(r'<li class="version">(.*?)</li>', page, re.DOTALL)
    assert "human · ada" in newest
    assert "<span>by grace</span>" in newest
    assert "human · ada" in edited
    assert "<span>by ada</span>" in edited
    assert "machine · remote" in first
    assert "<span>by" not in first
    shown = ada_browses.get(f"/images/{captions[0].image_id}").content.decode()
    assert "human · ada" in shown
    assert "<span>by grace</span>" in shown


# --- What waits


def test_review_begins_with_the_first_picture_that_waits_and_goes_on_by_links(ada_browses, captions):
    first, second, third = (caption.image_id for caption in captions)
    captions[0].revise(by=captions[0].image.dataset.owner, review="accepted")

    page = ada_browses.get("/review").content.decode()

    assert pictures_in(page) == [second]
    following = re.search(r'rel="next" href="([^"]+)"', page)[1].replace("&amp;", "&")
    assert pictures_in(ada_browses.get(following).content.decode()) == [third]
    assert pictures_in(ada_browses.get(f"/review?before={third}").content.decode()) == [second]
    assert pictures_in(ada_browses.get(f"/review?image={first}").content.decode()) == [first]


def test_the_next_pictures_can_be_fetched_ahead(ada_browses, captions):
    piece = ada_browses.get(f"/review/ahead?after={captions[0].image_id}&n=3", headers=SCRIPT).content.decode()

    assert pictures_in(piece) == [captions[1].image_id, captions[2].image_id]
    assert ada_browses.get(f"/review/ahead?after={captions[2].image_id}").content.decode().strip() == ""


@pytest.mark.parametrize(
    ("query", "n"),
    [
        ("dataset=birds", 3),
        ("dataset=nobody", 0),
        ("perspective=plain", 3),
        ("source=remote", 3),
        ("source=human", 0),
        ("state=rejected", 0),
    ],
)
def test_the_address_says_what_to_review(ada_browses, captions, query, n):
    piece = ada_browses.get(f"/review/ahead?{query}&n=8").content.decode()

    assert len(pictures_in(piece)) == n


@pytest.mark.parametrize("query", ["state=nonsense", "image=x"])
def test_a_filter_that_means_nothing_is_refused(ada_browses, query):
    assert ada_browses.get(f"/review?{query}").status_code == 400


def test_an_empty_review_says_where_to_go(ada_browses):
    page = ada_browses.get("/review").content.decode()

    assert "Nothing waits here" in page
    assert 'href="/jobs/new"' in page


def test_human_and_machine_are_told_apart(ada_browses, ada, captions):
    captions[0].revise(by=ada, result={"caption": "Mine."}, text="Mine.")

    page = ada_browses.get(f"/review?image={captions[0].image_id}").content.decode()
    machine = ada_browses.get(f"/review?image={captions[1].image_id}").content.decode()

    assert "human · ada" in page
    assert "machine · remote" not in page
    assert "machine · remote" in machine


def test_a_page_of_review_costs_the_same_however_much_waits(ada_browses, ada, captions):
    ada_browses.get("/review")
    with CaptureQueriesContext(connection) as few:
        ada_browses.get("/review")
    dataset, perspective = captions[0].image.dataset, captions[0].perspective
    for n in range(3, 12):
        make_caption(make_image(dataset, f"{n}.png"), perspective)

    with CaptureQueriesContext(connection) as many:
        ada_browses.get("/review")

    assert len(many) == len(few) <= 15


# --- Verdicts


def test_plain_forms_accept_reject_with_a_reason_and_reopen(ada_browses, captions):
    assert decide(ada_browses, captions[0], "accept").headers["Location"] == "/review?at=1"
    decide(ada_browses, captions[1], "reject", usual="too vague")
    decide(ada_browses, captions[2], "reject", usual="made up", reason="There is no owl.")

    found = [(now(caption).review, now(caption).review_reason, now(caption).source) for caption in captions]
    assert found == [
        ("accepted", "", "model"),
        ("rejected", "too vague", "model"),
        ("rejected", "There is no owl.", "model"),
    ]
    decide(ada_browses, now(captions[2]), "reopen")
    assert (now(captions[2]).review, now(captions[2]).review_reason) == ("proposed", "")


def test_to_a_script_a_verdict_answers_with_the_new_card_and_the_progress(ada_browses, captions):
    answer = decide(ada_browses, captions[0], "accept", script=True, since="0").json()

    assert answer["caption"] == now(captions[0]).pk
    assert f'data-caption="{answer["caption"]}"' in answer["card"]
    assert "2 of 3" in answer["progress"]


def test_an_edit_is_human_and_accepted(ada_browses, captions):
    decide(ada_browses, captions[0], "edit", **{"field-caption": "A blue square."})

    changed = now(captions[0])
    assert (changed.source, changed.review, changed.text) == ("human", "accepted", "A blue square.")


def test_saving_unchanged_words_does_not_make_them_human(ada_browses, captions):
    decide(ada_browses, captions[0], "edit", **{"field-caption": captions[0].result["caption"]})

    assert (now(captions[0]).source, now(captions[0]).review) == ("model", "accepted")


def test_an_edit_that_breaks_the_schema_keeps_what_was_typed(ada_browses, ada):
    fields = [{"name": "n", "type": "int", "description": "how many"}]
    perspective = make_perspective("count", schema_fields=fields, context_template="{n}", table_columns=[])
    caption = make_caption(make_image(make_dataset(ada)), perspective, result={"n": 1}, text="1")

    page = decide(ada_browses, caption, "edit", **{"field-n": "many owls"})
    told = decide(ada_browses, caption, "edit", script=True, **{"field-n": "2.5"})

    assert page.status_code == told.status_code == 400
    assert "many owls" in page.content.decode()
    assert "detail" in told.json()
    assert caption.is_current


def test_undo_brings_back_the_words_their_source_and_their_verdict(ada_browses, captions):
    decide(ada_browses, captions[0], "edit", **{"field-caption": "A blue square."})
    decide(ada_browses, now(captions[0]), "undo")

    back = now(captions[0])
    assert (back.text, back.source, back.provider, back.review) == ("Picture 0.", "model", "remote", "proposed")
    refused = decide(ada_browses, captions[1], "undo", script=True)
    assert refused.status_code == 400


def test_the_page_offers_to_undo_the_last_verdict(ada_browses, captions):
    decide(ada_browses, captions[0], "accept")

    page = ada_browses.get("/review?since=0").content.decode()

    assert f'action="/review/captions/{now(captions[0]).pk}/undo"' in page


def test_history_shows_what_changed_and_restores(ada_browses, captions):
    decide(ada_browses, captions[0], "edit", **{"field-caption": "Picture 0 and an owl."})
    current = now(captions[0])

    page = ada_browses.get(f"/review/captions/{current.pk}/history").content.decode()
    decide(ada_browses, current, "restore", version=captions[0].pk)

    assert "<ins> and an owl</ins>" in page
    assert now(captions[0]).text == "Picture 0."
    assert decide(ada_browses, now(captions[0]), "restore", version=captions[1].pk).status_code == 404


# --- Two at one caption


def test_a_stale_edit_is_shown_beside_what_others_made_and_can_still_be_kept(ada_browses, staff, captions):
    captions[0].revise(by=staff, result={"caption": "Grace's words."}, text="Grace's words.", review="accepted")

    page = decide(ada_browses, captions[0], "edit", **{"field-caption": "Ada's words."})

    html = page.content.decode()
    assert page.status_code == 409
    assert now(captions[0]).text == "Grace's words."
    assert "Grace&#x27;s words." in html
    assert 'value="Ada&#x27;s words."' in html
    address = re.search(r'action="(/review/captions/\d+/edit)"', html)[1]
    ada_browses.post(address, {"field-caption": "Ada's words."})
    assert now(captions[0]).text == "Ada's words."


def test_a_stale_verdict_is_refused_and_shown(ada_browses, staff, captions):
    captions[0].revise(by=staff, review="rejected", review_reason="No.")

    told = decide(ada_browses, captions[0], "accept", script=True)

    assert told.status_code == 409
    assert "accept it all the same" in told.json()["conflict"]
    assert now(captions[0]).review == "rejected"


@pytest.mark.parametrize(
    ("verb", "fields"),
    [
        ("accept", {}),
        ("reject", {"reason": "made up"}),
        ("edit", {"field-caption": "Better words."}),
        ("edit", {"field-caption": "Picture 0."}),
        ("reopen", {}),
        ("undo", {}),
    ],
)
def test_a_verdict_whose_answer_was_lost_is_sent_again_in_peace(ada_browses, ada, captions, verb, fields):
    caption = captions[0].revise(by=ada, review="rejected", review_reason="too vague")
    first = decide(ada_browses, caption, verb, script=True, **fields)

    again = decide(ada_browses, caption, verb, script=True, **fields)

    assert (first.status_code, again.status_code) == (200, 200)
    assert again.json()["caption"] == first.json()["caption"]
    assert Caption.objects.filter(supersedes=caption).count() == 1


# --- Who may, and how


def test_nobody_judges_somebody_elses_captions(bob_browses, captions):
    for verb in ("accept", "reject", "edit", "undo", "restore"):
        assert decide(bob_browses, captions[0], verb).status_code == 404
    for page in ("history", "form"):
        assert bob_browses.get(f"/review/captions/{captions[0].pk}/{page}").status_code == 404
    assert pictures_in(bob_browses.get("/review").content.decode()) == []
    assert pictures_in(bob_browses.get(f"/review?image={captions[0].image_id}").content.decode()) == []


def test_an_unknown_verb_and_a_link_change_nothing(ada_browses, captions):
    assert decide(ada_browses, captions[0], "explode").status_code == 404
    assert ada_browses.get(f"/review/captions/{captions[0].pk}/accept").status_code == 405
    assert now(captions[0]).review == "proposed"


@pytest.mark.parametrize("back", ["https://evil.example/", "/review//evil.example", "/\\evil.example", "javascript:1"])
def test_a_form_never_leads_to_another_site(ada_browses, captions, back):
    assert decide(ada_browses, captions[0], "accept", back=back).headers["Location"] == "/review"


# --- How far


def test_progress_counts_what_one_has_settled_and_how_long_the_rest_will_take(ada, bob, captions):
    dataset, perspective = captions[0].image.dataset, captions[0].perspective
    since = captions[0].created_at
    for n in range(4):
        made = make_caption(make_image(dataset, f"more {n}.png"), perspective)
        settled = made.revise(by=ada, review="rejected" if n == 0 else "accepted")
        Caption.objects.filter(pk=settled.pk).update(created_at=since + timedelta(seconds=10 * (n + 1)))
    make_caption(make_image(dataset, "bob's.png"), perspective).revise(by=bob, review="accepted")

    found = progress(ReviewFilter(), ada, since)

    assert (found.n_accepted, found.n_rejected, found.n_open, found.n_all) == (3, 1, 3, 7)
    assert found.seconds_left == pytest.approx(30)


def test_a_pause_does_not_count_as_thinking(ada, captions):
    since = captions[0].created_at
    for n, caption in enumerate(captions):
        settled = caption.revise(by=ada, review="accepted")
        Caption.objects.filter(pk=settled.pk).update(created_at=since + timedelta(hours=n))
    make_caption(make_image(captions[0].image.dataset, "left.png"), captions[0].perspective)

    assert progress(ReviewFilter(), ada, since).seconds_left <= 90


def test_an_undone_verdict_is_not_counted(ada_browses, ada, captions):
    decide(ada_browses, captions[0], "accept")
    decide(ada_browses, now(captions[0]), "undo")
    Caption.objects.filter(pk=now(captions[0]).pk).update(created_at=Now())

    assert progress(ReviewFilter(), ada, captions[0].created_at).n_done == 0
