"""Several at the same rows: moves into one gap, claims beside moves, and claims beside many that wait."""

import re
import threading
from collections.abc import Callable

import pytest
from django.db import connection

from jobs import lanes, ordering
from jobs.creation import JobDraft, create
from jobs.models import Job, JobItem, Queue
from jobs.pipelines import NewItem
from jobs.states import ItemStatus
from tests.workbench.rows import assert_counters_are_exact, make_job

pytestmark = pytest.mark.django_db(transaction=True)


def at_once(*actions: Callable[[], object]) -> None:
    """Run each action in a thread of its own, on its own connection, all let go together."""
    faults: list[BaseException] = []
    start = threading.Barrier(len(actions))

    def run(action: Callable[[], object]) -> None:
        try:
            start.wait()
            action()
        except BaseException as fault:
            faults.append(fault)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=[action]) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []


def test_two_users_who_move_into_the_same_gap_both_get_there():
    Queue.objects.filter(pk="default").update(max_jobs=0)
    first, second, *movers = [make_job(1) for _ in range(8)]

    at_once(*(lambda mover=mover: ordering.place(mover.job_id, after=first.job_id, by=None) for mover in movers))

    order = list(Job.objects.in_order().values_list("pk", flat=True))
    assert order[0] == first.pk
    assert order[-1] == second.pk
    assert len(set(Job.objects.values_list("rank", flat=True))) == 8
    assert ordering.queue_version() == len(movers)


def test_claims_and_moves_do_not_wait_for_each_other_in_a_circle():
    Queue.objects.filter(pk="default").update(max_jobs=1)
    running = make_job(60)
    a, b = make_job(1), make_job(1)

    def claim() -> None:
        lane = lanes.take(owner="me", cluster="default")
        assert lane is not None
        while items := lanes.step(lane, batch=1).items:
            lanes.step(lane, [lanes.Settlement(item, ItemStatus.COMPLETED) for item in items], batch=0)

    def move() -> None:
        for _ in range(20):
            ordering.place(b.job_id, before=a.job_id, by=None)
            ordering.place(a.job_id, before=b.job_id, by=None)

    at_once(claim, claim, claim, move, move)

    assert not JobItem.objects.filter(job=running).exclude(status="completed").exists()
    assert set(JobItem.objects.filter(job=running).values_list("attempts", flat=True)) == {1}
    assert_counters_are_exact(running)


def test_ten_thousand_that_wait_for_a_retry_are_not_looked_at_by_a_claim():
    job = create(
        JobDraft(type="BACKFILL", pipeline="workbench", items=(NewItem(f"{n}.jpg") for n in range(10_010))), by=None
    )
    JobItem.objects.filter(job=job, seq__lt=10_000).update(status="waiting", run_after="2999-01-01T00:00Z")
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE jobs_jobitem")
        cursor.execute(
            "EXPLAIN (ANALYZE, FORMAT JSON) SELECT id FROM jobs_jobitem WHERE job_id = %s AND status = 'pending'"
            " AND seq > -1 ORDER BY seq LIMIT 1 FOR UPDATE SKIP LOCKED",
            [job.pk],
        )
        plan = str(cursor.fetchone()[0])
    lane = lanes.take(owner="me", cluster="default")

    assert [item.seq for item in lanes.step(lane, batch=2).items] == [10_000, 10_001]
    assert "item_ready" in plan
    assert set(re.findall(r"'Rows Removed by Filter': (\d+)", plan)) <= {"0"}
