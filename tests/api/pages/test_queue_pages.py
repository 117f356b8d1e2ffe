"""The home and queue pages: filters, saved views, bulk actions, and what each costs"""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.staticfiles import finders
from django.db.models.functions import Now

from jobs import bulk, outbox
from jobs.models import BulkAction, ClusterCanary, Job, Queue, SavedView, Tally
from tests.api.pages.test_pages import Markup
from tests.workbench.rows import make_job, work

pytestmark = pytest.mark.django_db

MOST_QUERIES = 15
FIRST_LOAD = 300_000  # bytes, before any compression


def names(html):
    return re.findall(r'class="job-name break"[^>]*>([^<]*)</a>', html)


# --- The queue


def test_a_page_of_the_queue_asks_little_of_the_database(staff_browses, ada, django_assert_max_num_queries):
    for n in range(30):
        make_job(by=ada, name=f"job {n}")
    make_job([{"do": "permanent"}], by=ada)
    work()

    for address in ("/", "/queue", "/queue?status=failed", "/queue?search=job"):
        with django_assert_max_num_queries(MOST_QUERIES):
            assert staff_browses.get(address).status_code == 200, address


def test_filters_show_what_they_say(nothing_starts, ada_browses, ada):
    jobs = {name: make_job(by=ada, name=name) for name in ("waits", "rests", "ended", "away")}
    jobs["rests"].pause(by=ada)
    jobs["ended"].cancel(by=ada)
    jobs["away"].cancel(by=ada)
    jobs["away"].archive(by=ada)

    shown = {
        status: names(ada_browses.get(f"/queue?status={status}").content.decode())
        for status in ("active", "pending", "paused", "finished", "archived", "failed")
    }

    assert shown == {
        "active": ["waits", "rests"],
        "pending": ["waits", "rests"],
        "paused": ["rests"],
        "finished": ["ended"],
        "archived": ["away"],
        "failed": [],
    }


def test_rows_are_moved_only_where_they_stand_in_order(nothing_starts, ada_browses, ada):
    for name in ("heron one", "heron two"):
        make_job(by=ada, name=name)
    grips = {
        query: ada_browses.get(f"/queue?{query}").content.decode().count('class="grip"')
        for query in ("", "status=active&search=heron", "search=heron")
    }

    assert grips == {"": 2, "status=active&search=heron": 2, "search=heron": 0}


def test_a_search_that_is_too_long_or_cannot_be_stored_is_refused(ada_browses):
    assert ada_browses.get("/queue", {"search": "x" * 201}).status_code == 400
    assert ada_browses.get("/queue", {"search": "a\0b"}).status_code == 400


def test_a_running_job_shows_its_pace_and_the_time_left(ada_browses, ada):
    job = make_job(10, by=ada)
    Job.objects.filter(pk=job.pk).update(status="running")
    job.items.filter(seq__lt=4).update(status="completed", processing_time=2000)
    lane = job.lanes.order_by("n").first()
    lane.token, lane.cursor, lane.n_completed = "a" * 32, 3, 4
    lane.save(update_fields=["token", "cursor", "n_completed"])

    row = ada_browses.get("/queue").content.decode()
    page = ada_browses.get(f"/jobs/{job.job_id}").content.decode()

    assert "30/min" in row
    assert "12 s left" in row
    assert ">12 s<" in page


def test_a_priority_is_changed_in_place(nothing_starts, ada_browses, ada):
    first, second = make_job(by=ada, name="first"), make_job(by=ada, name="second")

    ada_browses.post(f"/jobs/{second.job_id}/priority", {"priority": "5"})
    refused = ada_browses.post(f"/jobs/{first.job_id}/priority", {"priority": "1001"}, follow=True).content.decode()

    assert names(ada_browses.get("/queue").content.decode()) == ["second", "first"]
    assert "from 0 to 1000" in refused


def test_the_menu_of_a_row_offers_what_its_job_can_do(nothing_starts, ada_browses, bob_browses, ada):
    waiting, ended = make_job(by=ada), make_job(by=ada)
    ended.cancel(by=ada)

    menu = ada_browses.get(f"/jobs/{waiting.job_id}/pieces/menu").content.decode()
    late = ada_browses.get(f"/jobs/{ended.job_id}/pieces/menu").content.decode()

    assert {"first", "up", "down", "priority", "cancel"} <= set(re.findall(r'hx-post="/jobs/[^/]*/(\w+)"', menu))
    assert "hx-post" not in late
    assert bob_browses.get(f"/jobs/{waiting.job_id}/pieces/menu").status_code == 404


def test_a_first_look_loads_little(ada_browses, ada):
    job = make_job([{"do": "permanent"}, {}] * 30, by=ada)
    work()
    outbox.publish(job.pk, force=True)

    for address in ("/", "/queue", f"/jobs/{job.job_id}"):
        page = ada_browses.get(address).content
        loaded = [name for name in Markup(page.decode()).loaded if name.startswith("/static/")]
        files = [finders.find(name.removeprefix("/static/")) for name in set(loaded)]

        assert None not in files, loaded
        assert len(page) + sum(Path(file).stat().st_size for file in files) < FIRST_LOAD, address


# --- Saved views


def test_a_view_is_saved_found_again_and_deleted(ada_browses, bob_browses, ada):
    saved = ada_browses.post("/queue/views", {"name": "Owls", "status": "failed", "search": "owl"})
    view = SavedView.objects.get()

    assert saved.headers["Location"] == "/queue?status=failed&search=owl"
    assert 'href="/queue?status=failed&amp;search=owl"' in ada_browses.get("/queue").content.decode()
    assert "Owls" not in bob_browses.get("/queue").content.decode()
    assert bob_browses.post(f"/queue/views/{view.pk}/delete").status_code == 404
    ada_browses.post(f"/queue/views/{view.pk}/delete")
    assert not SavedView.objects.exists()


def test_a_view_of_the_same_name_is_replaced(ada_browses):
    for status in ("failed", "paused"):
        ada_browses.post("/queue/views", {"name": "Mine", "status": status})

    assert SavedView.objects.get().query == "status=paused"


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"name": "", "status": "failed"}, "Give the view a name"),
        ({"name": "x" * 61, "status": "failed"}, "Give the view a name"),
        ({"name": "All"}, "Choose a filter"),
        ({"name": "Odd", "status": "odd"}, "There is no status"),
    ],
)
def test_a_view_that_makes_no_sense_is_refused_in_words(ada_browses, form, said):
    assert said in ada_browses.post("/queue/views", form, follow=True).content.decode()
    assert not SavedView.objects.exists()


# --- Bulk actions


def test_a_preview_says_how_many_jobs_it_means_and_changes_nothing(nothing_starts, ada_browses, ada):
    for n in range(25):
        make_job(by=ada, name=f"owl {n}")
    make_job(by=ada, name="owl at rest").pause(by=ada)
    make_job(by=ada, name="cow")

    page = ada_browses.get("/queue/bulk/pause?status=active&search=owl").content.decode()

    assert "25 jobs are in a state for this" in page
    assert "1 is left alone" in page
    assert "and 5 more" in page
    assert not BulkAction.objects.exists()


def test_a_confirmed_action_is_announced_with_the_way_back_and_then_done(nothing_starts, ada_browses, ada):
    jobs = [make_job(by=ada, name=f"owl {n}") for n in range(3)]
    other = make_job(by=ada, name="cow")

    begun = ada_browses.post("/queue/bulk/cancel/begin", {"status": "active", "search": "owl", "n": "3"})
    page = ada_browses.get("/queue").content.decode()
    action = BulkAction.objects.get()
    BulkAction.objects.update(starts_at=Now() - timedelta(seconds=1))
    bulk.run(action.pk)
    after = ada_browses.get("/queue/bulk").content.decode()

    assert begun.headers["Location"] == "/queue?status=active&search=owl"
    assert "Cancelling 3 jobs" in page
    assert f"/queue/bulk/{action.pk}/stop" in page
    assert "3 jobs cancelled" in after
    assert set(Job.objects.filter(status="cancelled")) == set(jobs)
    other.refresh_from_db()
    assert not other.is_final


def test_ticked_jobs_alone_are_meant(nothing_starts, ada_browses, ada):
    first, second = make_job(by=ada, name="first"), make_job(by=ada, name="second")

    preview = ada_browses.get(f"/queue/bulk/priority?job={second.pk}").content.decode()
    ada_browses.post("/queue/bulk/priority/begin", {"job": [second.pk], "n": "1", "priority": "9"})

    assert ">second<" in preview
    assert ">first<" not in preview
    assert (BulkAction.objects.get().job_pks, BulkAction.objects.get().parameters) == ([second.pk], {"priority": 9})
    assert first.pk not in BulkAction.objects.get().job_pks


def test_an_action_is_taken_back(nothing_starts, ada_browses, ada):
    make_job(by=ada)
    ada_browses.post("/queue/bulk/cancel/begin", {"status": "active", "n": "1"})
    action = BulkAction.objects.get()

    said = ada_browses.post(f"/queue/bulk/{action.pk}/stop", follow=True).content.decode()
    late = ada_browses.post(f"/queue/bulk/{action.pk}/now", follow=True).content.decode()

    action.refresh_from_db()
    assert "nothing was changed" in said
    assert "message error" in late
    assert action.stopped_at is not None


def test_a_preview_that_has_aged_is_not_carried_out(nothing_starts, ada_browses, ada):
    make_job(by=ada)

    page = ada_browses.post(
        "/queue/bulk/cancel/begin", {"status": "active", "n": "4"}, follow=True, headers={"Referer": "/queue"}
    ).content.decode()

    assert "It was 4 jobs when you looked and is 1 now" in page
    assert not BulkAction.objects.exists()


def test_nobody_acts_on_somebody_elses_jobs_or_actions(nothing_starts, ada_browses, bob_browses, ada):
    job = make_job(by=ada, name="secret owl")
    ada_browses.post("/queue/bulk/cancel/begin", {"status": "active", "n": "1"})
    action = BulkAction.objects.get()

    assert "secret owl" not in bob_browses.get(f"/queue/bulk/cancel?job={job.pk}").content.decode()
    assert "Cancelling" not in bob_browses.get("/queue").content.decode()
    assert bob_browses.post(f"/queue/bulk/{action.pk}/stop").status_code == 404
    bob_browses.post("/queue/bulk/cancel/begin", {"job": [job.pk], "n": "1"})
    assert BulkAction.objects.count() == 1


@pytest.mark.parametrize(
    "address", ["/queue/bulk/explode", "/queue/bulk/cancel?job=x", "/queue/bulk/cancel?status=odd"]
)
def test_a_preview_of_nonsense_is_an_error_page(ada_browses, address):
    assert ada_browses.get(address).status_code in (400, 404)


# --- Home


def test_home_tells_what_runs_what_waits_what_failed_and_what_it_cost(staff_browses, ada):
    make_job([{"cost_usd": "0.25"}, {"do": "permanent"}], by=ada, name="partly")
    work()
    Queue.objects.update(max_jobs=0)
    make_job(by=ada, name="waits")
    ClusterCanary.objects.create(cluster="default", host="here")
    ClusterCanary.objects.create(cluster="heavy", host="there", beat_at=Now() - timedelta(days=1))

    page = staff_browses.get("/").content.decode()

    figures = dict(re.findall(r"<dt>(?:<a [^>]*>)?([\w ]+)(?:</a>)?</dt><dd class=\"number[^\"]*\">([^<]*)</dd>", page))
    assert (figures["Running"], figures["Waiting"], figures["With failures"]) == ("0", "1", "1")
    assert figures["Spent"] == "$0.25"
    assert "free" in page
    assert "silent since" in page


def test_home_draws_the_throughput_of_the_last_hour(ada_browses, bob_browses, ada):
    job = make_job(3, by=ada)
    work()
    outbox.publish(job.pk, force=True)

    drawn = ada_browses.get("/").content.decode()

    assert Tally.objects.get(job=job).n_completed == 3
    assert "at most 3 items a minute" in drawn
    assert "data-chart" not in bob_browses.get("/").content.decode()


def test_the_disk_concerns_the_staff_alone(ada_browses, staff_browses):
    assert ">Disk<" not in ada_browses.get("/").content.decode()
    assert ">Disk<" in staff_browses.get("/").content.decode()
