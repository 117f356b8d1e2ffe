"""What an item brings or says goes into the database, whatever is in it, and never takes other items with it."""

import json

import pytest

from jobs import lanes, leases
from jobs.models import JobItem, Lane
from jobs.pipelines import Outage, Permanent, Result, RetryLater, registry
from jobs.slices import later
from jobs.states import JobStatus
from tests.workbench.rows import assert_counters_are_exact, counted, make_job, statuses, work

pytestmark = pytest.mark.django_db(transaction=True)

BACKSLASH = "a sign that says \\u0000"  # six characters, and none of them is NUL


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        ("\0ok", "ok"),
        ("half \ud83d of a pair", "half  of a pair"),
        ("\U0001f600", "\U0001f600"),
        (BACKSLASH, BACKSLASH),
        ({"a\0": [{"b": "c\0"}, ("\udfff",), 1, None, True]}, {"a": [{"b": "c"}, [""], 1, None, True]}),
    ],
)
def test_a_result_loses_what_no_text_column_takes_and_nothing_else(monkeypatch, value, stored):
    monkeypatch.setattr(registry["workbench"], "run", lambda item, context: Result(value))
    job = make_job(1)

    work()

    assert JobItem.objects.get(job=job).result == stored
    assert json.loads(lanes.dump(value)) == stored


def test_a_result_that_is_no_json_fails_its_item_alone(monkeypatch):
    monkeypatch.setattr(registry["workbench"], "run", lambda item, context: Result(float("nan") if item.seq else "ok"))
    job = make_job(2)

    work()

    assert statuses(job) == ["completed", "failed"]


def test_an_error_may_hold_any_text(monkeypatch):
    def refuse(item, context):
        raise Permanent("refused: a\0b\ud800", code="never\0")

    monkeypatch.setattr(registry["workbench"], "run", refuse)
    job = make_job(1)

    work()

    item = JobItem.objects.get(job=job)
    assert (item.status, item.attempts, item.error, item.error_code) == ("failed", 1, "refused: ab", "never")
    assert counted(job).status == JobStatus.FAILED


def test_a_report_may_hold_any_text():
    make_job(1)
    lane = lanes.take(owner="me", cluster="default")
    item = lanes.step(lane, batch=1).items[0]

    lanes.report(lane, item, 0.5, "half\0\ud800")

    assert Lane.objects.get(token=lane.token).report["detail"] == "half"


def test_what_a_pipeline_cannot_store_fails_its_item_alone_and_is_paid_for_once(tmp_path):
    log = tmp_path / "log"
    items = [{"cost_usd": "0.25"}, {"do": "unstorable", "cost_usd": "0.5"}, {}]
    job = make_job(items, config={"log": str(log), "together": 3})

    work()

    assert statuses(job) == ["completed", "failed", "completed"]
    bad = JobItem.objects.get(job=job, seq=1)
    assert (bad.attempts, bad.error_code, bad.result) == (1, "unstorable", None)
    assert "cannot be stored: DataError" in bad.error
    assert len(log.read_text().splitlines()) == 3
    assert (counted(job).status, float(counted(job).total_cost_usd)) == (JobStatus.PARTIAL, 0.75)
    assert_counters_are_exact(job)


def test_items_of_a_batch_may_wait_for_whole_and_for_broken_seconds():
    job = make_job(3)
    lane = lanes.take(owner="me", cluster="default")
    items = lanes.step(lane, batch=3).items
    outcomes = [Outage("no", after_seconds=0), RetryLater("no"), Permanent("no")]

    lanes.step(lane, [later(item, outcome, 1) for item, outcome in zip(items, outcomes, strict=True)], batch=0)

    assert statuses(job) == ["waiting", "waiting", "failed"]


def test_a_backslash_from_an_outside_worker_is_stored_as_it_is():
    make_job(1, executor="external")
    claimed = leases.claim("gpu-1", 1)[0]

    settled = leases.settle(claimed.item.pk, claimed.token, status="completed", result={"text": BACKSLASH})

    assert settled.result == {"text": BACKSLASH}
