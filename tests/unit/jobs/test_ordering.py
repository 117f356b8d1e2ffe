"""The order of the queue, and what a move writes."""

import uuid
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from jobs import ordering
from jobs.models import Job, JobEvent, Queue
from orchestrator.problems import Invalid, NotFound
from tests.workbench.rows import make_job

pytestmark = pytest.mark.django_db


@pytest.fixture
def queued():
    """Five pending jobs; nothing runs."""
    Queue.objects.filter(pk="default").update(max_jobs=0)
    return [make_job(1, name=name) for name in "abcde"]


def order():
    return "".join(Job.objects.in_order().values_list("name", flat=True))


def test_new_jobs_go_last(queued):
    assert order() == "abcde"


def test_place_before_and_after(queued):
    a, b, _, d, e = queued

    ordering.place(e.job_id, before=b.job_id, by=None)
    assert order() == "aebcd"

    ordering.place(a.job_id, after=d.job_id, by=None)
    assert order() == "ebcda"

    make_job(1, name="f")
    assert order() == "ebcdaf"


def test_a_move_writes_one_job_row(queued):
    with CaptureQueriesContext(
        connection,
    ) as queries:
        ordering.place(queued[4].job_id, before=queued[1].job_id, by=None)

    assert sum(query["sql"].startswith('UPDATE "jobs_job"') for query in queries) == 1


def test_hundreds_of_moves_into_the_same_gap_keep_the_order(queued):
    a, _, c, d, _ = queued
    for turn in range(200):
        mover = (c, d)[turn % 2]
        ordering.place(mover.job_id, after=a.job_id, by=None)

    assert order() == "adcbe"
    ranks = list(Job.objects.in_order().values_list("rank", flat=True))
    assert len(set(ranks)) == 5


def test_ranks_too_close_are_numbered_anew(queued):
    a, b, c, *_ = queued
    Job.objects.filter(pk=b.pk).update(rank=Job.objects.get(pk=a.pk).rank + Decimal("1e-21"))

    ordering.place(c.job_id, after=a.job_id, by=None)

    assert order() == "acbde"


def test_reorder_puts_the_list_where_its_first_stood(queued):
    _, b, _, d, _ = queued

    found = ordering.reorder([d.job_id, b.job_id, uuid.uuid4()], by=None)

    assert order() == "adbce"
    assert (found.updated, len(found.ignored)) == (2, 1)


def test_reorder_gives_all_the_smallest_priority(queued):
    _, _, c, _, e = queued
    ordering.set_priority(e.job_id, 50, by=None)

    ordering.reorder([c.job_id, e.job_id], by=None)

    assert order() == "ceabd"
    assert set(Job.objects.filter(name__in="ce").values_list("priority", flat=True)) == {50}


def test_reorder_ignores_jobs_that_run_or_are_final(queued):
    a, b, *_ = queued
    Job.objects.filter(pk=a.pk).update(status="running")

    found = ordering.reorder([a.job_id, b.job_id], by=None)

    assert (found.updated, found.ignored) == (1, [a.job_id])


@pytest.mark.parametrize("ids", [[], "twice"])
def test_reorder_refuses_empty_and_double_lists(queued, ids):
    with pytest.raises(Invalid):
        ordering.reorder([queued[0].job_id] * 2 if ids else [], by=None)


def test_the_queue_version_guards_against_a_stale_page(queued):
    a, b, *_ = queued
    version = ordering.queue_version()

    moved = ordering.place(b.job_id, before=a.job_id, queue_version=version, by=None)

    assert moved.queue_version == version + 1
    with pytest.raises(ordering.QueueChanged) as refused:
        ordering.place(b.job_id, after=a.job_id, queue_version=version, by=None)
    assert refused.value.members == {"queueVersion": version + 1}


def test_a_move_is_told_on_the_queues_own_stream(queued):
    ordering.place(queued[1].job_id, before=queued[0].job_id, by=None)

    event = JobEvent.objects.get(type="QUEUE_REORDERED")
    assert event.job is None
    assert event.data["jobIds"] == [str(queued[1].job_id)]


def test_place_refuses_what_makes_no_sense(queued):
    a, *_ = queued
    with pytest.raises(Invalid):
        ordering.place(a.job_id, by=None)
    with pytest.raises(Invalid):
        ordering.place(a.job_id, before=a.job_id, by=None)
    with pytest.raises(NotFound):
        ordering.place(uuid.uuid4(), before=a.job_id, by=None)
