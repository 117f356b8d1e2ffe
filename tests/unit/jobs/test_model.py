"""Random commands against the queue; after each, what must always hold is counted on the rows."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
from django.db.models import F
from django.test import override_settings
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from jobs import lanes, ordering
from jobs.lanes import LaneLost, Settlement
from jobs.models import ItemEdge, Job, JobItem, Lane, Queue
from jobs.pipelines import Permanent, RetryLater
from jobs.reconcile import reconcile
from jobs.slices import later
from jobs.states import FINAL, ItemStatus, JobStatus
from jobs.steps import TransitionRefused
from tests.workbench import database
from tests.workbench.rows import assert_counters_are_exact, make_due, make_job, work

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]


class QueueMachine(RuleBasedStateMachine):
    """The reference is small: which jobs were cancelled or archived, and how often each item was claimed."""

    jobs = Bundle("jobs")
    held = Bundle("held")

    def __init__(self) -> None:
        super().__init__()
        database.restore()
        self.cancelled: set[int] = set()
        self.archived: set[int] = set()
        self.max_jobs = 2

    def teardown(self) -> None:
        """Whatever happened, the queue can always be worked empty."""
        Lane.objects.filter(token__isnull=False).update(lease_expires_at="2000-01-01T00:00Z")
        with _short_leases():
            lanes.recover()
        Queue.objects.update(max_jobs=8, paused=False)
        self.max_jobs = 8
        for job in Job.objects.filter(paused=True):
            job.resume(by=None)
        for _ in range(12):
            make_due()
            reconcile()
            work()
            self.everything_adds_up()
            if not Job.objects.exclude(status__in=FINAL).exists():
                return
        assert not Job.objects.exclude(status__in=FINAL).exclude(status=JobStatus.WAITING).exists()

    @rule(
        target=jobs,
        n=st.integers(1, 4),
        priority=st.sampled_from([50, 100]),
        policy=st.sampled_from(["wait", "run"]),
        data=st.data(),
    )
    def create(self, n, priority, policy, data):
        edges = [data.draw(st.sets(st.integers(0, seq - 1), max_size=2)) if seq else set() for seq in range(n)]
        items = [{"depends_on": sorted(sources)} for sources in edges]
        return make_job(items, priority=priority, max_attempts=2, on_failed_dependency=policy).pk

    @rule(target=jobs, first=jobs)
    def create_dependent(self, first):
        return make_job(1, dependencies=[Job.objects.get(pk=first).job_id]).pk

    @rule(target=held, batch=st.integers(1, 3))
    def claim(self, batch):
        lane = lanes.take(owner="model", cluster="default")
        if lane is None:
            return multiple()
        return lane, lanes.step(lane, batch=batch).items

    @rule(taken=consumes(held), outcome=st.sampled_from(["complete", "fail", "retry", "give back"]))
    def settle(self, taken, outcome):
        lane, items = taken
        made = {
            "complete": lambda item: Settlement(item, ItemStatus.COMPLETED),
            "fail": lambda item: later(item, Permanent("no"), 1),
            "retry": lambda item: later(item, RetryLater("not yet"), 1),
            "give back": lambda item: Settlement(item, ItemStatus.PENDING, refund=True),
        }[outcome]
        with suppress(LaneLost):
            lanes.step(lane, [made(item) for item in items], batch=0)
        lanes.free(lane.token)
        job = Job.objects.get(pk=lane.job.id)
        if not job.is_final:
            job.settle()

    @rule(taken=consumes(held))
    def die(self, taken):
        Lane.objects.filter(token=taken[0].token).update(lease_expires_at="2000-01-01T00:00Z")
        with _short_leases():
            for pk in lanes.recover():
                Job.objects.get(pk=pk).settle()

    @rule(job=jobs, verb=st.sampled_from(["cancel", "pause", "resume", "archive", "restore", "retry_failed"]))
    def act(self, job, verb):
        row = Job.objects.get(pk=job)
        was = row.status, row.archived
        try:
            getattr(row, verb)(by=None)
        except TransitionRefused:
            row.refresh_from_db()
            assert (row.status, row.archived) == was
            return
        if verb == "cancel":
            assert row.status == JobStatus.CANCELLED
            self.cancelled.add(job)
        if verb == "archive":
            self.archived.add(job)
        if verb == "restore":
            self.archived.remove(job)

    @rule(mover=jobs, neighbour=jobs, side=st.sampled_from(["before", "after"]))
    def move(self, mover, neighbour, side):
        first, second = Job.objects.get(pk=mover), Job.objects.get(pk=neighbour)
        if first == second:
            return
        moved = ordering.place(first.job_id, **{side: second.job_id}, by=None)
        if moved.updated:
            order = list(Job.objects.filter(status__in=ordering.MOVABLE).in_order().values_list("pk", flat=True))
            assert order.index(mover) - order.index(neighbour) == (-1 if side == "before" else 1)

    @rule(max_jobs=st.integers(0, 3), max_items=st.integers(1, 3))
    def limit(self, max_jobs, max_items):
        Queue.objects.get(pk="default").set_limits(max_jobs=max_jobs, max_items=max_items, by=None)
        self.max_jobs = max(max_jobs, Job.objects.filter(status=JobStatus.RUNNING).count())

    @rule()
    def repair(self):
        reconcile()

    @precondition(lambda self: JobItem.objects.filter(run_after__isnull=False).exists())
    @rule()
    def wait(self):
        make_due()
        reconcile()

    @invariant()
    def everything_adds_up(self):
        for job in Job.objects.all():
            assert_counters_are_exact(job)
            open_items = job.items.open().exists()
            assert not (job.is_final and open_items), job.status
        assert set(Job.objects.filter(status=JobStatus.CANCELLED).values_list("pk", flat=True)) == self.cancelled
        assert set(Job.objects.filter(archived=True).values_list("pk", flat=True)) == self.archived
        tokens = set(Lane.objects.filter(token__isnull=False).values_list("token", flat=True))
        assert set(JobItem.objects.filter(status="running").values_list("lane_token", flat=True)) <= tokens
        assert Job.objects.filter(status=JobStatus.RUNNING).count() <= self.max_jobs
        assert not JobItem.objects.filter(attempts__gt=F("max_attempts")).exists()
        for item in JobItem.objects.open():
            sources = ItemEdge.objects.filter(job=item.job_id, seq=item.seq).values("depends_on_seq")
            assert item.blocked_by == JobItem.objects.open().filter(job=item.job_id, seq__in=sources).count()


@contextmanager
def _short_leases() -> Iterator[None]:
    """Let leases run out: they count from the server's start, and that is not long ago in a test."""
    with override_settings(LEASE_SECONDS=0.001):
        yield


def test_the_queue_keeps_its_promises_whatever_happens():
    run_state_machine_as_test(
        QueueMachine,
        settings=settings(
            max_examples=12,
            stateful_step_count=30,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
