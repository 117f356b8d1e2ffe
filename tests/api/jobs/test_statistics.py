"""GET statistics"""

from datetime import timedelta

import pytest
from django.db.models.functions import Now

from jobs.models import ClusterCanary, Job, JobItem, Lane
from tests.workbench.rows import make_job, work

pytestmark = pytest.mark.django_db

STATISTICS = "/api/perspectives/batch/statistics"


def test_jobs_are_counted_by_state(client, settings):
    settings.MAX_CONCURRENT_JOBS = 5
    make_job()
    make_job([{"do": "permanent"}])
    make_job([{}, {"do": "permanent"}])
    make_job().cancel(by=None)
    work()
    archived = make_job()
    archived.cancel(by=None)
    archived.archive(by=None)
    settings.MAX_CONCURRENT_JOBS = 1
    make_job()
    pending = make_job()
    make_job(dependencies=[pending.job_id])

    found = client.get(STATISTICS).json()

    assert {name: count for name, count in found.items() if name.endswith("Jobs")} == {
        "activeJobs": 3,
        "pendingJobs": 1,
        "runningJobs": 1,
        "completedJobs": 1,
        "failedJobs": 1,
        "partialJobs": 1,
        "cancelledJobs": 1,
        "archivedJobs": 1,
    }


def test_averages_and_usage_are_of_the_last_hours(client):
    job = make_job(4)
    work()
    old = make_job()
    work()
    Job.objects.filter(pk=job.pk).update(
        created_at=Now() - timedelta(seconds=90),
        started_at=Now() - timedelta(seconds=60),
        completed_at=Now() - timedelta(seconds=20),
    )
    JobItem.objects.filter(job=job).update(processing_time=500)
    long_ago = Now() - timedelta(hours=30)
    Job.objects.filter(pk=old.pk).update(created_at=long_ago, started_at=long_ago, completed_at=long_ago)
    JobItem.objects.filter(job=old).update(completed_at=long_ago)

    found = client.get(f"{STATISTICS}?hours=2").json()

    assert found["averageWaitTime"] == 30.0
    assert found["averageProcessingTime"] == 40.0
    assert found["perspectiveUsage"] == [{"perspective": "plain", "count": 4, "averageTime": 500.0}]
    assert found["itemsPerMinute"] == round(4 / 120, 3)
    assert found["historicalJobCounts"] == {"last24Hours": 1, "last7Days": 2, "last30Days": 2}
    assert client.get(f"{STATISTICS}?hours=48").json()["perspectiveUsage"][0]["count"] == 5


def test_an_empty_desk_has_no_averages(client):
    found = client.get(STATISTICS).json()

    assert found["averageWaitTime"] is None
    assert found["averageProcessingTime"] is None
    assert found["itemsPerMinute"] == 0
    assert found["perspectiveUsage"] == []


def test_workers_show_their_last_sign_of_life_and_what_they_hold(client):
    ClusterCanary.objects.create(cluster="default", host="here")
    ClusterCanary.objects.create(cluster="heavy", host="gone", beat_at=Now() - timedelta(days=1))
    job = make_job(3)
    Lane.objects.filter(job=job, n=0).update(
        owner="here:17", token="a" * 32, lease_expires_at=Now() + timedelta(seconds=30), renewed_at=Now()
    )

    workers = client.get(STATISTICS).json()["workers"]

    assert [(worker["name"], worker["host"], worker["running"]) for worker in workers] == [("default", "here", 1)]
    assert workers[0]["heartbeatAt"].endswith("Z")


def test_workers_elsewhere_are_listed_by_name(client, as_worker, settings):
    settings.API_ACCESS = "open"
    make_job(3, executor="external")
    as_worker.act("/api/perspectives/batch/items/claim", {"worker": "gpu-box", "limit": 2})

    workers = client.get(STATISTICS).json()["workers"]

    assert [(worker["name"], worker["running"]) for worker in workers] == [("gpu-box", 2)]


def test_people_see_figures_of_their_own_jobs(as_bob, ada):
    make_job(by=ada)

    assert as_bob.get(STATISTICS).json()["activeJobs"] == 0


@pytest.mark.parametrize("query", ["hours=0", "hours=x", "hours=99999", "days=1"])
def test_a_parameter_that_is_not_understood_is_refused(client, query):
    assert client.get(f"{STATISTICS}?{query}").status_code == 400


def test_statistics_are_read_not_posted(client):
    assert client.act(STATISTICS).status_code == 405


def test_unchanged_figures_are_answered_by_304(client):
    tag = client.get(STATISTICS).headers["ETag"]

    assert client.get(STATISTICS, headers={"If-None-Match": tag}).status_code == 304


def test_the_number_of_queries_does_not_grow(client, django_assert_max_num_queries):
    for _ in range(10):
        make_job(3)
    client.get(STATISTICS)

    with django_assert_max_num_queries(7):
        client.get(STATISTICS)
