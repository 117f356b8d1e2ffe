"""The page of a new job: what it offers, what it would take, a trial, and the start"""

from __future__ import annotations

import re

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from captioning import batch, library
from captioning.models import Caption, Provider
from captioning.provider_sources import LOCAL_VISION
from jobs.creation import create
from jobs.models import Job
from orchestrator import roles
from tests.api.pages.conftest import browser_of
from tests.captions import make_caption, make_dataset, make_image, make_perspective, make_provider, picture_bytes
from tests.workbench.rows import make_job, make_user, work

pytestmark = pytest.mark.django_db

HTMX = {"HX-Request": "true"}


@pytest.fixture
def birds(ada):
    """Five pictures, one of them captioned, a perspective, and a provider that can answer it."""
    dataset, perspective = make_dataset(ada), make_perspective()
    images = [make_image(dataset, f"{n}.png") for n in range(5)]
    make_caption(images[0], perspective)
    Provider.objects.all().update(is_enabled=False)
    make_provider()
    return images


def checked_in(html: str, name: str) -> list[str]:
    return re.findall(rf'name="{name}" value="([^"]+)" checked', html)


# --- What it offers


def test_the_page_is_filled_from_its_address(ada_browses, birds):
    page = ada_browses.get("/jobs/new?dataset=birds&state=none&perspectives=plain&only_missing=1").content.decode()

    assert checked_in(page, "perspectives") == ["plain"]
    assert checked_in(page, "only_missing") == ["1"]
    assert "4 pictures" in page
    assert '<input type="hidden" name="state" value="none">' in page


@pytest.mark.parametrize("query", ["", "&search=owl", "&lacks=plain", "&alike=1", "&state=captioned"])
def test_a_data_set_that_is_gone_leaves_nothing_to_choose_from(ada_browses, birds, query):
    answer = ada_browses.get(f"/jobs/new?dataset=gone{query}")

    assert answer.status_code == 200
    assert "0 pictures" in answer.content.decode()


def test_the_choice_is_evaluated_once_for_the_count_and_the_samples(ada_browses, birds):
    with CaptureQueriesContext(connection) as queries:
        page = ada_browses.get("/jobs/new?dataset=birds&search=png").content.decode()

    assert len([one for one in queries if "to_tsvector" in one["sql"]]) == 1
    assert "5 pictures" in page
    assert re.findall(r'alt="(\d\.png)"', page) == [f"{n}.png" for n in range(5)]


def test_the_page_is_filled_like_an_earlier_job(ada_browses, ada, birds):
    form = {"dataset": "birds", "perspectives": "plain", "name": "First", "max_tokens": "50", "state": "none"}
    ada_browses.post("/jobs/new", form)

    page = ada_browses.get(f"/jobs/new?from={Job.objects.get().job_id}").content.decode()

    assert checked_in(page, "perspectives") == ["plain"]
    assert 'name="max_tokens" min="1" max="32768" value="50"' in page
    assert 'value="First"' in page
    assert "4 pictures" in page


def test_a_job_whose_pictures_were_named_by_path_is_repeated_with_the_same_pictures(
    ada_browses, ada, birds, settings, tmp_path
):
    settings.WORKSPACE_PATH = tmp_path
    (tmp_path / "loose.png").write_bytes(picture_bytes("blue"))
    asked = {"type": "MULTI_PERSPECTIVE", "images": ["loose.png", birds[1].pk], "perspectives": ["plain"]}
    job = create(batch.draft({**asked, "options": {"resize": True}}, ada).job, by=ada)
    job.cancel(by=ada)

    page = ada_browses.get(f"/jobs/new?from={job.job_id}").content.decode()

    images = re.search(r'name="images" value="([^"]*)"', page)[1]
    assert {int(pk) for pk in images.split(",")} == set(job.items.values_list("payload__image", flat=True))
    assert "2 pictures that you picked" in page
    assert '<option value="HD_720P" selected>' in page


def test_a_finished_job_offers_to_be_changed_and_repeated(ada_browses, ada, birds):
    asked = {"type": "DATASET_PERSPECTIVE", "dataset": "birds", "perspectives": ["plain"]}
    ended, elsewhere, waiting, seen = (
        create(batch.draft({**asked, "options": options}, ada).job, by=ada)
        for options in ({}, {"executor": "external"}, {}, {})
    )
    no_captions = make_job(by=ada)
    for job in (ended, elsewhere, no_captions, seen):
        job.cancel(by=ada)
    viewer = make_user("vera")
    roles.give(viewer, roles.VIEWER)
    Job.objects.filter(pk=seen.pk).update(user=viewer)

    offers = {
        job: f'href="/jobs/new?from={job.job_id}"' in browser.get(f"/jobs/{job.job_id}").content.decode()
        for job, browser in (
            (ended, ada_browses),
            (elsewhere, ada_browses),
            (no_captions, ada_browses),
            (waiting, ada_browses),
            (seen, browser_of(viewer)),
        )
    }

    assert offers == {ended: True, elsewhere: False, no_captions: False, waiting: False, seen: False}


def test_what_a_provider_cannot_answer_is_listed_with_the_reason(ada_browses, birds):
    Provider.objects.filter(name=LOCAL_VISION).update(is_enabled=True)
    library.load_shipped()

    page = ada_browses.get(f"/jobs/new?dataset=birds&provider={LOCAL_VISION}").content.decode()

    assert "cannot answer" in page
    assert "needs a language model" in page
    assert 'name="perspectives" value="plain"' not in page
    assert 'name="perspectives" value="objects"' in page


@pytest.mark.parametrize(("lacking", "said"), [("provider", "Nobody can answer yet"), ("pictures", "No pictures yet")])
def test_what_is_lacking_is_said_with_the_next_step(ada_browses, ada, lacking, said):
    Provider.objects.all().update(is_enabled=False)
    if lacking == "pictures":
        make_provider()

    assert said in ada_browses.get("/jobs/new").content.decode()


@pytest.mark.parametrize("query", ["from=nonsense", "state=nonsense&dataset=birds"])
def test_an_address_that_means_nothing_is_refused(ada_browses, birds, query):
    assert ada_browses.get(f"/jobs/new?{query}").status_code == 400


def test_somebody_elses_pictures_and_jobs_are_not_there(bob_browses, ada, birds):
    job = make_job(by=ada)

    assert "5 pictures" not in bob_browses.get("/jobs/new?dataset=birds").content.decode()
    assert bob_browses.get(f"/jobs/new?from={job.job_id}").status_code == 404
    assert bob_browses.get(f"/jobs/new/trial/{job.job_id}").status_code == 404
    assert bob_browses.post("/jobs/new", {"dataset": "birds", "perspectives": "plain"}).status_code == 400
    assert Job.objects.count() == 1


# --- Before the start


def test_a_dry_run_counts_and_makes_nothing(ada_browses, birds):
    form = {"dataset": "birds", "perspectives": "plain", "only_missing": "1"}

    piece = ada_browses.post("/jobs/new/check", form, headers=HTMX).content.decode()
    page = ada_browses.post("/jobs/new/check", form).content.decode()

    for shown in (piece, page):
        assert re.search(r"Captions</dt><dd[^>]*>4 ", shown)
        assert "not known" in shown
    assert not Job.objects.exists()


def test_time_is_estimated_from_what_the_provider_did_before(ada_browses, ada, birds):
    earlier = make_job(4, by=ada, config={"provider": "remote"})
    work()
    earlier.refresh_from_db()
    Job.objects.filter(pk=earlier.pk).update(
        pipeline="captioning", completed_at=earlier.started_at.replace(year=earlier.started_at.year + 1)
    )

    piece = ada_browses.post("/jobs/new/check", {"dataset": "birds", "perspectives": "plain"}, headers=HTMX)

    assert re.search(r"Time</dt><dd[^>]*>about \d+ d", piece.content.decode())


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"perspectives": []}, "at least one name"),
        ({"dataset": "nobody"}, "no data set"),
        ({"max_tokens": "0"}, "from 1 to 32768"),
        ({"temperature": "hot"}, "from 0 to 2"),
        ({"priority": "-1"}, "from 0 to 1000"),
        ({"dataset": ""}, "needs a data set"),
        ({"dependencies": "nonsense"}, "job ids"),
    ],
)
def test_errors_are_told_and_what_was_typed_stays(ada_browses, birds, fields, said):
    form = {"dataset": "birds", "perspectives": "plain", "name": "Typed", **fields}

    page = ada_browses.post("/jobs/new", form)
    piece = ada_browses.post("/jobs/new/check", form, headers=HTMX)

    assert page.status_code == 400
    assert said in page.content.decode()
    assert 'value="Typed"' in page.content.decode()
    assert said in piece.content.decode()
    assert not Job.objects.exists()


# --- Trial


def test_a_trial_runs_three_pictures_first_and_shows_how_they_fared(ada_browses, ada, birds):
    form = {"dataset": "birds", "perspectives": "plain", "only_missing": "1", "name": "Birds"}

    piece = ada_browses.post("/jobs/new/trial", form, headers=HTMX).content.decode()

    job = Job.objects.get()
    assert (job.priority, job.total_images, job.name) == (0, 3, "Trial: Birds")
    assert [item.payload["image"] for item in job.items.order_by("seq")] == [birds[n].pk for n in (0, 2, 4)]
    assert f'hx-get="/jobs/new/trial/{job.job_id}" hx-trigger="every 1s"' in piece
    item = job.items.order_by("seq").first()
    make_caption(birds[0], birds[0].captions.get().perspective, item=item, text="A trial owl.")
    assert "A trial owl." in ada_browses.get(f"/jobs/new/trial/{job.job_id}").content.decode()


def test_a_trial_that_is_over_says_what_failed_and_asks_no_more(ada_browses, ada, birds):
    ada_browses.post("/jobs/new/trial", {"dataset": "birds", "perspectives": "plain"}, headers=HTMX)
    work()  # the provider's address answers nothing

    piece = ada_browses.get(f"/jobs/new/trial/{Job.objects.get().job_id}").content.decode()

    assert "every 1s" not in piece
    assert "3 failed" in piece


def test_a_trial_that_went_well_is_put_away_when_its_owner_looks_and_by_nobody_else(ada_browses, staff_browses, birds):
    ada_browses.post("/jobs/new/trial", {"dataset": "birds", "perspectives": "plain"}, headers=HTMX)
    job = Job.objects.get()
    job.cancel(by=None)

    assert staff_browses.get(f"/jobs/new/trial/{job.job_id}").status_code == 200
    assert not Job.objects.get().archived
    assert ada_browses.get(f"/jobs/new/trial/{job.job_id}").status_code == 200
    assert Job.objects.get().archived


def test_a_job_that_is_no_trial_is_not_put_away_by_looking(ada_browses, ada, birds):
    asked = {"type": "DATASET_PERSPECTIVE", "dataset": "birds", "perspectives": ["plain"]}
    job = create(batch.draft(asked, ada).job, by=ada)
    job.cancel(by=ada)

    assert ada_browses.get(f"/jobs/new/trial/{job.job_id}").status_code == 404
    assert not Job.objects.get().archived


def test_a_trial_of_nothing_is_refused(ada_browses, birds):
    form = {"dataset": "birds", "state": "rejected", "perspectives": "plain"}

    assert "nothing to try it on" in ada_browses.post("/jobs/new/trial", form, headers=HTMX).content.decode()
    assert ada_browses.post("/jobs/new/trial", form).status_code == 400
    assert not Job.objects.exists()


def test_without_scripts_a_trial_leads_to_its_job(ada_browses, birds):
    response = ada_browses.post("/jobs/new/trial", {"dataset": "birds", "perspectives": "plain"})

    assert response.headers["Location"] == f"/jobs/{Job.objects.get().job_id}"


# --- Start


def test_a_filtered_data_set_becomes_a_job_of_its_matches(ada_browses, ada, birds):
    other = make_job(by=ada)

    response = ada_browses.post(
        "/jobs/new",
        {
            "dataset": "birds",
            "lacks": "plain",
            "perspectives": "plain",
            "temperature": "0.5",
            "resize_resolution": "NONE",
            "on_failed_dependency": "wait",
            "dependencies": str(other.job_id),
        },
    )

    job = Job.objects.latest("pk")
    assert response.headers["Location"] == f"/jobs/{job.job_id}"
    assert (job.type, job.total_images, job.status) == ("DATASET_PERSPECTIVE", 4, "waiting")
    assert job.config["filter"] == {"lacks": "plain"}
    assert job.config["options"] == {"temperature": 0.5, "only_missing": False}


def test_picked_pictures_become_a_job(ada_browses, birds):
    ada_browses.post(
        "/jobs/new", {"dataset": "birds", "images": f"{birds[1].pk},{birds[3].pk}", "perspectives": "plain"}
    )

    job = Job.objects.get()
    assert (job.type, job.total_images) == ("MULTI_PERSPECTIVE", 2)
    assert Caption.objects.count() == 1


def test_what_perspectives_build_on_can_come_first(ada_browses, birds):
    make_perspective("story", builds_on=["plain"])

    ada_browses.post("/jobs/new", {"dataset": "birds", "perspectives": "story", "with_needed": "1"})

    job = Job.objects.get()
    assert job.type == "DEPENDENCY_CHAIN"
    assert job.total_images == 9  # the captioned picture lacks only the story
