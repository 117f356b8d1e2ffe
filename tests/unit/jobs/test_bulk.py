"""Bulk actions: one verb for many jobs, held back so that it can be taken back"""

from __future__ import annotations

from datetime import timedelta
from unittest import mock

import pytest
from django.db.models import F
from django.db.models.functions import Now
from django_q.models import OrmQ

from jobs import bulk
from jobs.models import BulkAction, Job, Queue
from jobs.reconcile import reconcile
from orchestrator.problems import Invalid
from tests.workbench.rows import make_job, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def nothing_starts(db):
    Queue.objects.update(max_jobs=0)


@pytest.fixture
def ada():
    return make_user("ada")


def announced(verb, by, **parameters):
    jobs = Job.objects.visible_to(by)
    return bulk.announce(
        verb, jobs, by=by, expected=jobs.filter(bulk.VERBS[verb].applies).count(), parameters=parameters
    )


def make_due(action):
    BulkAction.objects.filter(pk=action.pk).update(starts_at=Now() - timedelta(seconds=1))


def test_nothing_happens_before_the_time_to_take_it_back_is_over(ada):
    job = make_job(by=ada)
    action = announced("cancel", ada)

    bulk.run(action.pk)

    job.refresh_from_db()
    assert not job.is_final


def test_the_task_waits_as_long_as_the_action(ada):
    make_job(by=ada)
    before = set(OrmQ.objects.values_list("pk", flat=True))
    action = announced("cancel", ada)

    task = OrmQ.objects.exclude(pk__in=before).get()

    assert abs((task.lock - action.starts_at).total_seconds()) < 5


def test_it_is_done_to_every_job_that_it_applies_to_and_to_no_other(ada):
    jobs = [make_job(by=ada) for _ in range(3)]
    other = make_job(by=make_user("bob"))
    jobs[0].cancel(by=ada)
    action = announced("cancel", ada)
    make_due(action)

    bulk.run(action.pk)

    action.refresh_from_db()
    assert (action.n_jobs, action.n_done, action.n_skipped, action.is_over) == (2, 2, 0, True)
    assert set(Job.objects.filter(status="cancelled")) == set(jobs)
    other.refresh_from_db()
    assert not other.is_final
    assert action.says == "2 jobs cancelled"


def test_what_was_taken_back_never_happens(ada):
    job = make_job(by=ada)
    action = announced("cancel", ada)
    action.stop()
    make_due(action)

    bulk.run(action.pk)

    job.refresh_from_db()
    assert not job.is_final
    with pytest.raises(bulk.TooLate):
        action.stop()


def test_a_job_that_moved_on_meanwhile_is_left_out_and_counted(ada):
    first, second = make_job(by=ada), make_job(by=ada)
    action = announced("pause", ada)
    first.cancel(by=ada)
    make_due(action)

    bulk.run(action.pk)

    action.refresh_from_db()
    second.refresh_from_db()
    assert (action.n_done, action.n_skipped, second.paused) == (1, 1, True)


def test_a_stop_half_way_leaves_the_rest_undone(ada):
    for _ in range(3):
        make_job(by=ada)
    action = announced("cancel", ada)
    make_due(action)
    cancel = bulk.VERBS["cancel"].act

    def cancel_and_stop(job, by, given):
        cancel(job, by, given)
        BulkAction.objects.get(pk=action.pk).stop()

    with mock.patch.dict(bulk.VERBS, {"cancel": mock.Mock(act=cancel_and_stop)}):
        bulk.run(action.pk)

    assert Job.objects.filter(status="cancelled").count() == 1


def test_two_runners_do_it_once(ada):
    for _ in range(3):
        make_job(by=ada)
    action = announced("priority", ada, priority=7)
    make_due(action)
    act = bulk.VERBS["priority"].act
    calls = []

    def race(job, by, given):
        calls.append(job.pk)
        act(job, by, given)
        if len(calls) == 1:
            bulk.run(action.pk)  # a copy of the task overtakes this one

    with mock.patch.dict(bulk.VERBS, {"priority": mock.Mock(act=race)}):
        bulk.run(action.pk)

    action.refresh_from_db()
    assert (action.n_done, action.n_skipped, action.completed_at is not None) == (3, 0, True)
    assert set(Job.objects.values_list("priority", flat=True)) == {7}


def test_a_lost_task_is_found_and_goes_on_where_it_stood(ada):
    jobs = [make_job(by=ada) for _ in range(3)]
    action = announced("pause", ada)
    make_due(action)
    jobs[0].pause(by=ada)
    BulkAction.objects.filter(pk=action.pk).update(n_done=F("n_done") + 1)
    OrmQ.objects.all().delete()

    with mock.patch("jobs.wake.bulk_action", side_effect=lambda pk: bulk.run(pk)):
        reconcile()

    action.refresh_from_db()
    assert (action.n_done, action.n_skipped, action.is_over) == (3, 0, True)


def test_a_number_that_changed_since_the_preview_is_refused(ada):
    make_job(by=ada)

    with pytest.raises(bulk.NumberChanged, match="5 jobs when you looked and is 1 now"):
        bulk.announce("cancel", Job.objects.visible_to(ada), by=ada, expected=5)


def test_an_action_for_no_job_is_refused(ada):
    with pytest.raises(Invalid):
        bulk.announce("restore", Job.objects.visible_to(ada), by=ada, expected=0)


@pytest.mark.parametrize("text", ["", "high", "1001", "-1"])
def test_a_priority_out_of_bounds_is_refused(text):
    with pytest.raises(Invalid, match="0 to 1000"):
        bulk.read_parameters(bulk.VERBS["priority"], {"priority": text})


@pytest.mark.parametrize("verb", list(bulk.VERBS))
def test_every_verb_leaves_its_jobs_where_it_no_longer_applies(ada, verb):
    waiting, final = make_job(by=ada), make_job(by=ada)
    final.cancel(by=ada)
    if verb == "resume":
        waiting.pause(by=ada)
    if verb == "restore":
        final.archive(by=ada)
    if verb == "retry":
        final.items.update(status="failed")
        Job.objects.filter(pk=final.pk).update(status="failed", failed_images=1, cancelled_images=0)
    action = announced(verb, ada, priority=3)
    make_due(action)

    bulk.run(action.pk)

    action.refresh_from_db()
    assert action.n_done == 1
    if verb != "priority":
        assert not Job.objects.filter(bulk.VERBS[verb].applies, pk__in=action.job_pks).exists()
