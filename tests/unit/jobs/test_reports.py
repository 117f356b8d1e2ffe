"""What a running item says of its progress, on its way to those who watch."""

from __future__ import annotations

import pytest
from django.db import connection

from jobs import lanes, outbox, slices
from jobs.models import JobEvent, Lane
from jobs.pipelines import Result, WorkItem, registry
from jobs.slices import Reporter
from jobs.states import ItemStatus
from tests.workbench.rows import make_job, work

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def held():
    """A lane in hand with one running item."""
    job = make_job(2)
    lane = lanes.take(owner="test", cluster="default")
    (item,) = lanes.step(lane, batch=1).items
    outbox.publish(job.pk, force=True)
    return job, lane, item


def progress_events(job):
    return JobEvent.objects.filter(job=job, type="JOB_PROGRESS").order_by("pk")


def published(job):
    outbox.publish(job.pk, force=True)
    return progress_events(job).filter(sequence__isnull=False)


def test_a_report_reaches_viewers_with_the_counters(held):
    job, lane, item = held

    lanes.report(lane, item, 0.25, "Reading points")

    (event,) = published(job)
    assert event.data["running"] == [{"itemId": item.id, "name": "plain", "progress": 0.25, "detail": "Reading points"}]
    assert (event.data["totalImages"], event.data["processedImages"]) == (2, 0)


def test_reports_between_two_publications_become_one_message_with_the_last(held):
    job, lane, item = held

    for share in (0.1, 0.2, 0.3):
        lanes.report(lane, item, share, "Going on")

    (event,) = published(job)
    assert [entry["progress"] for entry in event.data["running"]] == [0.3]
    assert not JobEvent.objects.filter(job=job, sequence=None).exists()


def test_a_report_comes_before_the_closing_that_follows_it(held):
    job, lane, item = held

    lanes.report(lane, item, 0.9, "Nearly there")
    job.cancel(by=None)

    outbox.publish(job.pk, force=True)
    last = list(JobEvent.objects.filter(job=job).order_by("sequence").values_list("type", flat=True))[-2:]
    assert last == ["JOB_PROGRESS", "JOB_CANCELLED"]


def test_who_lost_the_lane_reports_in_vain(held):
    job, lane, item = held
    lanes.free(lane.token)

    lanes.report(lane, item, 0.5, "Too late")

    assert not progress_events(job).exists()


def test_a_settled_item_takes_its_report_along(held):
    _, lane, item = held
    lanes.report(lane, item, 0.5, "Half")

    done = lanes.Settlement(item, ItemStatus.COMPLETED, Result(None))
    lanes.step(lane, [done], batch=1)

    assert Lane.objects.get(token=lane.token).report is None


def test_reports_are_written_at_most_four_times_a_second_and_only_when_they_are_news(held, monkeypatch):
    _, lane, item = held
    now = [100.0]
    monkeypatch.setattr(slices.time, "monotonic", lambda: now[0])
    written = []
    monkeypatch.setattr(slices.lanes, "report", lambda lane, item, share, detail: written.append((share, detail)))
    reporter = Reporter(lane, item)

    reporter.report(0.1, "a")
    reporter.report(0.2, "a")  # too soon
    now[0] += 0.3
    reporter.report(0.1, "a")  # no news
    reporter.report(7.0, "b")  # clipped
    now[0] += 0.2
    reporter.report(0.5, "c")  # too soon
    now[0] += 0.1
    reporter.report(0.5, "c")

    assert written == [(0.1, "a"), (1.0, "b"), (0.5, "c")]


def test_a_pipeline_reports_through_its_context(monkeypatch):
    def run(item: WorkItem, context):
        context.report(0.5, f"half of {item.seq}")
        assert Lane.objects.get(job_id=context.job.id, token__isnull=False).report["detail"] == f"half of {item.seq}"
        return Result(None)

    monkeypatch.setattr(registry["workbench"], "run", run)
    job = make_job(1)

    work()

    job.refresh_from_db()
    assert job.status == "completed"


def test_a_report_while_the_database_is_away_harms_nothing(held):
    _, lane, item = held
    connection.close()
    settings_dict = dict(connection.settings_dict)
    connection.settings_dict["PORT"] = "1"
    try:
        Reporter(lane, item).report(0.5, "nobody hears")
    finally:
        connection.settings_dict.update(settings_dict)
        connection.close()

    assert Lane.objects.get(token=lane.token).report is None
