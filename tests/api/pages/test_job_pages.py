"""The page of one job, its items and its clones"""

from __future__ import annotations

import re

import pytest
from django.db.models.functions import Now

from jobs import outbox
from jobs.models import Job, JobItem
from jobs.pages import items
from tests.api.pages.test_queue_pages import MOST_QUERIES
from tests.workbench.rows import make_job, statuses, work

pytestmark = pytest.mark.django_db


def test_a_job_page_asks_little_of_the_database(ada_browses, ada, django_assert_max_num_queries):
    job = make_job([{"do": "permanent"}, {}, {}] * 20, by=ada)
    work()
    outbox.publish(job.pk, force=True)

    for address in ("", "?tab=timeline", "?tab=configuration", "?item_status=failed", "?item_search=7", "/items/0"):
        with django_assert_max_num_queries(MOST_QUERIES):
            assert ada_browses.get(f"/jobs/{job.job_id}{address}").status_code == 200, address


def test_items_are_found_by_picture_and_by_state(ada_browses, ada):
    job = make_job([{}, {"do": "permanent"}, {}], by=ada)
    work()

    by_name = ada_browses.get(f"/jobs/{job.job_id}?item_search=2.jp").content.decode()
    failed = ada_browses.get(f"/jobs/{job.job_id}?item_status=failed").content.decode()
    none = ada_browses.get(f"/jobs/{job.job_id}?item_status=cancelled").content.decode()

    assert re.findall(r'id="item-(\d+)"', by_name) == ["2"]
    assert re.findall(r'id="item-(\d+)"', failed) == ["1"]
    assert "None of the items is cancelled" in none


def test_running_items_are_found_by_their_lanes(ada_browses, ada):
    job = make_job(5, by=ada)
    lane = job.lanes.order_by("n").first() or job.lanes.create(n=1)
    token = "c" * 32
    job.lanes.filter(pk=lane.pk).update(token=token)
    job.items.filter(seq=3).update(status="running", lane_token=token)

    page = ada_browses.get(f"/jobs/{job.job_id}?item_status=running").content.decode()

    assert re.findall(r'id="item-(\d+)"', page) == ["3"]


def test_a_search_walks_a_bounded_way_and_offers_to_go_on(ada_browses, ada, monkeypatch):
    monkeypatch.setattr(items, "WALK", 10)
    job = make_job(30, by=ada)

    nothing_yet = ada_browses.get(f"/jobs/{job.job_id}?item_search=25.jpg").content.decode()
    further = ada_browses.get(f"/jobs/{job.job_id}?item_search=25.jpg&after=19").content.decode()

    assert "Looked through up to item 9" in nothing_yet
    assert "after=9" in nothing_yet
    assert re.findall(r'id="item-(\d+)"', further) == ["25"]


@pytest.mark.parametrize("query", ["after=x", "after=-2", "after=99999999999", "item_status=odd", "item_search=%00"])
def test_a_page_of_items_that_cannot_be_is_refused(ada_browses, ada, query):
    assert ada_browses.get(f"/jobs/{make_job(by=ada).job_id}?{query}").status_code == 400


def test_an_item_shows_its_request_and_its_result_without_secrets(ada_browses, ada):
    job = make_job([{"api_key": "sk-very-secret", "note": "kept"}], by=ada)
    work()

    page = ada_browses.get(f"/jobs/{job.job_id}/items/0").content.decode()

    assert "do 0" in page
    assert "&quot;seq&quot;: 0" in page
    assert "kept" in page
    assert "sk-very-secret" not in page


def test_an_item_page_leads_to_its_neighbours_and_ends_at_the_ends(ada_browses, ada):
    job = make_job(3, by=ada)

    links = [
        re.findall(r'rel="(\w+)"', ada_browses.get(f"/jobs/{job.job_id}/items/{seq}").content.decode())
        for seq in range(3)
    ]

    assert [[name for name in found if name in ("prev", "next")] for found in links] == [
        ["next"],
        ["prev", "next"],
        ["prev"],
    ]


def test_an_item_of_somebody_else_or_of_nobody_is_not_there(ada_browses, bob_browses, ada):
    job = make_job(by=ada)

    assert bob_browses.get(f"/jobs/{job.job_id}/items/0").status_code == 404
    assert ada_browses.get(f"/jobs/{job.job_id}/items/1").status_code == 404
    assert ada_browses.get(f"/jobs/{job.job_id}/items/99999999999").status_code == 400


def test_the_timeline_is_paged_by_number(ada_browses, ada, nothing_starts, monkeypatch):
    monkeypatch.setattr("jobs.pages.job.EVENTS_A_PAGE", 2)
    job = make_job(by=ada)
    for _ in range(2):
        job.pause(by=ada)
        job.resume(by=ada)
    outbox.publish(job.pk, force=True)

    newest = ada_browses.get(f"/jobs/{job.job_id}?tab=timeline").content.decode()
    older = ada_browses.get(f"/jobs/{job.job_id}?tab=timeline&before=4").content.decode()

    assert re.findall(r"#(\d+)</span>", newest) == ["5", "4"]
    assert re.findall(r"#(\d+)</span>", older) == ["3", "2"]
    assert ada_browses.get(f"/jobs/{job.job_id}?tab=timeline&before=x").status_code == 400


def test_a_clone_does_the_same_once_more(nothing_starts, ada_browses, ada):
    job = make_job([{"n": 1}, {"n": 2, "depends_on": [0]}], by=ada, name="Owls", priority=7, config={"provider": "x"})
    job.cancel(by=ada)

    response = ada_browses.post(f"/jobs/{job.job_id}/clone")

    copy = Job.objects.exclude(pk=job.pk).get()
    assert response.headers["Location"] == f"/jobs/{copy.job_id}"
    assert (copy.name, copy.priority, copy.config, copy.user) == ("Owls", 7, {"provider": "x"}, ada)
    assert (copy.total_images, copy.status) == (2, "pending")
    assert statuses(copy) == ["pending", "waiting"]
    assert list(copy.items.order_by("seq").values_list("payload__n", "blocked_by")) == [(1, 0), (2, 1)]


def test_a_script_is_told_where_a_clone_is_instead_of_being_sent_there(nothing_starts, ada_browses, ada):
    job = make_job([{"n": 1}], by=ada)

    response = ada_browses.post(f"/jobs/{job.job_id}/clone", headers={"HX-Request": "true"})

    copy = Job.objects.exclude(pk=job.pk).get()
    assert (response.status_code, response.headers["HX-Redirect"]) == (200, f"/jobs/{copy.job_id}")


def test_a_clone_is_worked_to_its_end(ada_browses, ada):
    job = make_job([{}, {"depends_on": [0]}], by=ada)
    work()

    ada_browses.post(f"/jobs/{job.job_id}/clone")
    work()

    copy = Job.objects.exclude(pk=job.pk).get()
    assert copy.status == "completed"
    assert JobItem.objects.filter(job=copy, status="completed").count() == 2


def test_work_that_cannot_be_repeated_from_its_items_is_not_cloned(ada_browses, ada):
    job = make_job(by=ada, type="IMPORT")

    page = ada_browses.get(f"/jobs/{job.job_id}").content.decode()
    refused = ada_browses.post(f"/jobs/{job.job_id}/clone", follow=True).content.decode()

    assert "/clone" not in page
    assert "repeated where it was started" in refused
    assert Job.objects.count() == 1


def test_a_job_shows_how_long_its_attempts_take_once_one_has_ended(ada_browses, ada):
    job = make_job(20, by=ada)
    before = ada_browses.get(f"/jobs/{job.job_id}").content.decode()
    Job.objects.filter(pk=job.pk).update(status="running", started_at=Now())
    job.items.filter(seq__lt=10).update(status="completed", processing_time=2000)
    job.items.filter(seq=9).update(processing_time=40_000)
    job.lanes.filter(n=0).update(cursor=9)

    page = ada_browses.get(f"/jobs/{job.job_id}").content.decode()

    assert "Latency" not in before
    assert re.search(r'Latency p50 / p95</dt><dd class="number">2 s <span class="muted">/ \d\d s<', page)
    assert "Half of the last 10 attempts" in page
