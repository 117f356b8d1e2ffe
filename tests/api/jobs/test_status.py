"""GET status/{jobId}"""

from uuid import uuid4

import pytest

from jobs.models import JobItem
from tests.workbench.rows import make_job, work

pytestmark = pytest.mark.django_db

STATUS = "/api/perspectives/batch/status"
ITEM_FIELDS = {
    "id", "jobId", "imagePath", "imageId", "perspective", "status", "attempts", "result", "error", "errorCode",
    "errorPermanent", "startedAt", "completedAt", "processingTime",
}  # fmt: skip


def test_status_shows_the_job_and_its_items(client):
    job = make_job([{}, {"do": "permanent"}])
    work()

    answer = client.get(f"{STATUS}/{job.job_id}").json()

    assert answer["job"]["status"] == "partial"
    assert answer["job"]["progress"] == 100
    assert (answer["job"]["processedImages"], answer["job"]["failedImages"]) == (1, 1)
    done, failed = answer["items"]
    assert set(done) == ITEM_FIELDS
    assert done["status"] == "completed"
    assert done["error"] is None
    assert done["jobId"] == str(job.job_id)
    assert failed["error"] == "It will never do."
    assert failed["errorCode"] == "never"
    assert failed["errorPermanent"] is True
    assert answer["itemsNext"] is None


def test_costs_are_the_sum_of_what_is_known(client):
    job = make_job([{"cost_usd": "0.25"}, {"cost_usd": "0.5"}])
    work()

    assert client.get(f"{STATUS}/{job.job_id}").json()["job"]["costUsd"] == 0.75


@pytest.mark.parametrize("query", ["includeItems=false", "include_items=false"])
def test_items_can_be_left_out(client, query):
    job = make_job()

    assert "items" not in client.get(f"{STATUS}/{job.job_id}?{query}").json()


def test_beyond_five_hundred_items_the_rest_is_under_a_cursor(client):
    job = make_job(502)

    answer = client.get(f"{STATUS}/{job.job_id}").json()
    rest = client.get(f"/api/perspectives/batch/items/{job.job_id}/list?cursor={answer['itemsNext']}").json()

    assert len(answer["items"]) == 500
    assert [item["imagePath"] for item in rest["items"]] == ["500.jpg", "501.jpg"]
    assert rest["total"] == 502
    assert rest["next"] is None


@pytest.mark.parametrize(
    "job_id", ["00000000-0000-4000-8000-000000000000", "1", "nonsense", "00000000-0000-0000-0000-00000000000g"]
)
def test_a_missing_or_malformed_id_is_not_found(client, job_id):
    response = client.get(f"{STATUS}/{job_id}")

    assert response.status_code == 404
    assert response.headers["Content-Type"] == "application/problem+json"


def test_somebody_elses_job_is_not_found(as_bob, as_staff, ada):
    job = make_job(by=ada)

    assert as_bob.get(f"{STATUS}/{job.job_id}").status_code == 404
    assert as_staff.get(f"{STATUS}/{job.job_id}").status_code == 200


def test_a_missing_job_comes_before_a_bad_parameter(client):
    assert client.get(f"{STATUS}/{uuid4()}?includeItems=perhaps").status_code == 404


def test_the_tag_changes_with_the_items_and_not_by_itself(client):
    job = make_job(2)
    path = f"{STATUS}/{job.job_id}"
    tag = client.get(path).headers["ETag"]

    assert client.get(path, headers={"If-None-Match": tag}).status_code == 304
    JobItem.objects.filter(job=job, seq=0).update(error="Not yet.")
    assert client.get(path, headers={"If-None-Match": tag}).status_code == 200


def test_the_number_of_queries_does_not_grow_with_the_items(client, django_assert_max_num_queries):
    job = make_job(200)
    client.get(f"{STATUS}/{job.job_id}")

    with django_assert_max_num_queries(8):
        client.get(f"{STATUS}/{job.job_id}")
