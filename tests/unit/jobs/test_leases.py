"""Workers elsewhere: same lanes, same limits, same fences."""

import uuid

import pytest

from jobs import leases
from jobs.models import JobItem, Queue
from jobs.states import JobStatus
from orchestrator.problems import Invalid, NotFound
from tests.workbench.rows import assert_counters_are_exact, counted, expire_leases, make_job, statuses, work

pytestmark = pytest.mark.django_db(transaction=True)


def make_external(n=3, **draft):
    return make_job(n, executor="external", **draft)


def test_an_outside_worker_claims_settles_and_the_job_completes():
    job = make_external(2)

    while claimed := leases.claim("gpu-1", 10):
        for one in claimed:
            settled = leases.settle(one.item.pk, one.token, status="completed", result={"ok": 1}, processing_time=7)
            assert (settled.status, settled.result, settled.processing_time) == ("completed", {"ok": 1}, 7)

    assert counted(job).status == JobStatus.COMPLETED
    assert_counters_are_exact(job)


def test_claims_keep_within_the_limit_of_items():
    Queue.objects.filter(pk="default").update(max_items=2)
    make_external(5)

    assert len(leases.claim("gpu-1", 10)) == 2
    assert leases.claim("gpu-2", 10) == []


def test_own_workers_leave_external_jobs_alone():
    job = make_external(2)
    work()
    assert statuses(job) == ["pending", "pending"]


def test_a_claim_may_ask_for_certain_perspectives():
    make_external(2)
    assert leases.claim("gpu-1", 5, ["other"]) == []
    assert len(leases.claim("gpu-1", 1, ["plain"])) == 1


def test_a_failure_goes_back_for_another_attempt_unless_it_is_permanent():
    job = make_external(2)
    first, second = leases.claim("gpu-1", 2)

    leases.settle(first.item.pk, first.token, status="failed", error="out of memory")
    leases.settle(second.item.pk, second.token, status="failed", error="not a picture", permanent=True)

    assert statuses(job) == ["waiting", "failed"]
    assert JobItem.objects.get(pk=second.item.pk).error == "not a picture"


def test_a_renewed_lease_ends_later_and_a_lost_one_is_refused(settings):
    make_external(1)
    claimed = leases.claim("gpu-1", 1)[0]
    assert leases.renew(claimed.item.pk, claimed.token) > claimed.lease_expires_at

    settings.LEASE_SECONDS = 0.01
    expire_leases()
    again = leases.claim("gpu-2", 1)[0]

    assert again.item.pk == claimed.item.pk
    with pytest.raises(leases.LeaseLost):
        leases.settle(claimed.item.pk, claimed.token, status="completed", result={})
    with pytest.raises(leases.LeaseLost):
        leases.renew(claimed.item.pk, claimed.token)


def test_settling_twice_is_refused():
    make_external(1)
    claimed = leases.claim("gpu-1", 1)[0]
    leases.settle(claimed.item.pk, claimed.token, status="completed", result={})

    with pytest.raises(leases.LeaseLost):
        leases.settle(claimed.item.pk, claimed.token, status="completed", result={})


def test_a_result_of_the_wrong_form_is_refused_and_the_lease_goes_on():
    job = make_external(1)
    claimed = leases.claim("gpu-1", 1)[0]

    with pytest.raises(Invalid, match="must be an object"):
        leases.settle(claimed.item.pk, claimed.token, status="completed", result="text")

    leases.settle(claimed.item.pk, claimed.token, status="completed", result={})
    assert counted(job).status == JobStatus.COMPLETED


def test_an_unknown_item_is_not_found():
    with pytest.raises(NotFound):
        leases.renew(999_999, uuid.uuid4())


def make_external_of(perspective):
    job = make_external(2)
    JobItem.objects.filter(job=job).update(perspective=perspective)
    return job


def test_jobs_that_nobody_claims_take_no_place_of_our_own_and_keep_a_limit_of_theirs():
    Queue.objects.filter(pk="default").update(max_jobs=1)
    elsewhere = [make_external(1), make_external(1)]
    ours = [make_job(1), make_job(1)]
    assert [counted(job).status for job in (*elsewhere, *ours)] == ["running", "pending", "running", "pending"]

    work()

    assert [counted(job).status for job in (*elsewhere, *ours)] == ["running", "pending", "completed", "completed"]
    assert len(leases.claim("gpu-1", 10)) == 1


def test_a_job_that_nobody_works_on_makes_room_for_one_that_a_worker_asks_for():
    Queue.objects.filter(pk="default").update(max_jobs=1)
    first, second = make_external_of("plain"), make_external_of("tags")

    assert leases.claim("gpu-1", 1, ["colours"]) == []
    assert [counted(job).status for job in (first, second)] == ["running", "pending"]
    asked = leases.claim("gpu-1", 1, ["tags"])

    assert [one.item.job_id for one in asked] == [second.pk]
    assert [counted(job).status for job in (first, second)] == ["pending", "running"]
    assert leases.claim("gpu-2", 1, ["plain"]) == []  # the only place is held by who works in it

    leases.settle(asked[0].item.pk, asked[0].token, status="completed", result={})
    assert len(leases.claim("gpu-2", 1, ["plain"])) == 1
    assert [counted(job).status for job in (first, second)] == ["running", "pending"]
