"""GET list"""

import pytest

from jobs.models import Job
from jobs.states import JobStatus
from tests.workbench.rows import make_job

pytestmark = pytest.mark.django_db

LIST = "/api/perspectives/batch/list"
JOB_FIELDS = {
    "id", "jobId", "type", "status", "priority", "position", "totalImages", "processedImages", "failedImages",
    "cancelledImages", "progress", "config", "userId", "createdAt", "startedAt", "completedAt", "archived",
    "archiveDate", "dependencies", "dependentJobs", "blockedBy", "etaSeconds", "costUsd", "paused",
}  # fmt: skip


def ids(response) -> list[str]:
    assert response.status_code == 200, response.content
    return [job["jobId"] for job in response.json()["jobs"]]


def test_a_job_has_exactly_the_documented_fields(client):
    make_job(3, config={"a": 1})

    answer = client.get(LIST).json()

    assert set(answer) == {"jobs", "total", "offset", "limit", "queueVersion"}
    job = answer["jobs"][0]
    assert set(job) == JOB_FIELDS
    assert job["totalImages"] == 3
    assert job["config"] == {"a": 1}
    assert job["costUsd"] is None
    assert job["createdAt"].endswith("Z")


def test_jobs_come_by_priority_then_rank(client):
    late, urgent, later = make_job(), make_job(priority=5), make_job()

    assert ids(client.get(LIST)) == [str(job.job_id) for job in (urgent, late, later)]


def test_positions_count_the_jobs_that_wait(client, settings):
    settings.MAX_CONCURRENT_JOBS = 1
    running, second, first = make_job(), make_job(), make_job(priority=1)

    positions = {job["jobId"]: job["position"] for job in client.get(LIST).json()["jobs"]}

    assert positions == {str(running.job_id): None, str(first.job_id): 1, str(second.job_id): 2}


def test_a_page_says_how_many_there_are(client):
    jobs = [make_job() for _ in range(5)]

    answer = client.get(f"{LIST}?limit=2&offset=3").json()

    assert [job["jobId"] for job in answer["jobs"]] == [str(job.job_id) for job in jobs[3:]]
    assert (answer["total"], answer["offset"], answer["limit"]) == (5, 3, 2)


def test_a_page_beyond_the_end_is_empty(client):
    make_job()

    assert client.get(f"{LIST}?offset=7").json()["total"] == 1
    assert ids(client.get(f"{LIST}?offset=7")) == []


def test_the_status_filter_knows_every_state_and_active(client, settings):
    settings.MAX_CONCURRENT_JOBS = 1
    running, pending = make_job(), make_job()
    waiting = make_job(dependencies=[pending.job_id])
    cancelled = make_job()
    cancelled.cancel(by=None)

    assert ids(client.get(f"{LIST}?status=active")) == [str(job.job_id) for job in (running, pending, waiting)]
    assert ids(client.get(f"{LIST}?status=pending")) == [str(pending.job_id)]
    assert ids(client.get(f"{LIST}?status=cancelled")) == [str(cancelled.job_id)]
    for status in JobStatus.values:
        assert client.get(f"{LIST}?status={status}").status_code == 200


def test_archived_jobs_show_only_when_asked_for_in_either_spelling(client):
    job = make_job()
    job.cancel(by=None)
    job.archive(by=None)

    assert ids(client.get(LIST)) == []
    assert ids(client.get(f"{LIST}?include_archived=true")) == [str(job.job_id)]
    assert ids(client.get(f"{LIST}?includeArchived=true")) == [str(job.job_id)]


def test_the_type_filter(client):
    make_job()
    chain = make_job(type="DEPENDENCY_CHAIN")

    assert ids(client.get(f"{LIST}?type=DEPENDENCY_CHAIN")) == [str(chain.job_id)]


def test_search_finds_names_types_and_ids(client):
    cats, dogs = make_job(name="All the Cats"), make_job(name="dogs")

    assert ids(client.get(f"{LIST}?search=cats")) == [str(cats.job_id)]
    assert ids(client.get(f"{LIST}?search={dogs.job_id}")) == [str(dogs.job_id)]
    assert ids(client.get(f"{LIST}?search=100%25")) == []


def test_ordering_goes_both_ways_in_both_spellings(client):
    first, second = make_job(), make_job()

    assert ids(client.get(f"{LIST}?ordering=-createdAt")) == [str(second.job_id), str(first.job_id)]
    assert ids(client.get(f"{LIST}?ordering=created_at")) == [str(first.job_id), str(second.job_id)]


@pytest.mark.parametrize(
    "query",
    [
        "limit=0", "limit=501", "limit=x", "limit=", "offset=-1", "offset=99999999999", "status=open", "type=NEW",
        "ordering=user", "ordering=--priority", "include_archived=maybe", "unknown=1", "search=%00",
        "limit=1&limit=2", "include_archived=true&includeArchived=true",
    ],
)  # fmt: skip
def test_a_parameter_that_is_not_understood_is_refused(client, query):
    response = client.get(f"{LIST}?{query}")

    assert response.status_code == 400
    assert list(response.json()["errors"]) == [query.split("&")[-1].split("=")[0]] or "&" in query


def test_people_see_their_own_jobs_and_staff_all(as_ada, as_bob, as_staff, ada, bob):
    of_ada, of_bob = make_job(by=ada), make_job(by=bob)

    assert ids(as_ada.get(LIST)) == [str(of_ada.job_id)]
    assert ids(as_bob.get(LIST)) == [str(of_bob.job_id)]
    assert set(ids(as_staff.get(LIST))) == {str(of_ada.job_id), str(of_bob.job_id)}


def test_dependencies_name_what_blocks_a_job(client):
    first = make_job()
    second = make_job(dependencies=[first.job_id])

    by_id = {job["jobId"]: job for job in client.get(LIST).json()["jobs"]}

    assert by_id[str(second.job_id)]["dependencies"] == [str(first.job_id)]
    assert by_id[str(second.job_id)]["blockedBy"] == [str(first.job_id)]
    assert by_id[str(first.job_id)]["dependentJobs"] == [str(second.job_id)]


def test_the_number_of_queries_does_not_grow_with_the_jobs(client, django_assert_max_num_queries):
    make_job()
    client.get(LIST)  # makes the local user
    for _ in range(12):
        make_job()

    with django_assert_max_num_queries(8):
        client.get(LIST)


def test_an_unchanged_list_is_answered_by_304(client):
    job = make_job()
    tag = client.get(LIST).headers["ETag"]

    assert client.get(LIST, headers={"If-None-Match": tag}).status_code == 304
    assert client.head(LIST, headers={"If-None-Match": tag}).status_code == 304
    job.pause(by=None)
    assert client.get(LIST, headers={"If-None-Match": tag}).status_code == 200


def test_a_running_job_tells_when_it_will_be_done(client):
    job = make_job(10)
    Job.objects.filter(pk=job.pk).update(status=JobStatus.RUNNING)
    job.items.filter(seq__lt=4).update(status="completed", processing_time=2000)
    lanes = list(job.lanes.order_by("n"))
    for lane, token in zip(lanes[:2], ("a" * 32, "b" * 32), strict=True):
        lane.token, lane.cursor, lane.n_completed = token, 3, 2
        lane.save(update_fields=["token", "cursor", "n_completed"])

    found = client.get(LIST).json()["jobs"][0]

    assert found["progress"] == 40
    assert found["etaSeconds"] == 6.0  # six items, two at a time, two seconds each
