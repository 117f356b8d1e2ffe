"""GET items/{jobId}/list and items/{jobId}/failed"""

from uuid import uuid4

import pytest

from tests.workbench.rows import make_job, work

pytestmark = pytest.mark.django_db

ITEMS = "/api/perspectives/batch/items"
LISTS = ["list", "failed"]


def pages_of(client, path: str) -> list[list[str]]:
    """Follow `next` to the end."""
    pages, cursor = [], ""
    while True:
        answer = client.get(path + cursor).json()
        pages.append([item["imagePath"] for item in answer["items"]])
        if answer["next"] is None:
            return pages
        cursor = f"&cursor={answer['next']}"


def test_the_cursor_leads_through_every_item_once(client):
    job = make_job(7)

    assert pages_of(client, f"{ITEMS}/{job.job_id}/list?limit=3") == [
        ["0.jpg", "1.jpg", "2.jpg"],
        ["3.jpg", "4.jpg", "5.jpg"],
        ["6.jpg"],
    ]


def test_failed_items_are_listed_with_their_reasons(client):
    job = make_job([{"do": "permanent"}, {}, {"do": "permanent"}])
    work()

    answer = client.get(f"{ITEMS}/{job.job_id}/failed").json()

    assert set(answer) == {"items", "total", "next"}
    assert [item["imagePath"] for item in answer["items"]] == ["0.jpg", "2.jpg"]
    assert answer["total"] == 2
    assert {item["errorCode"] for item in answer["items"]} == {"never"}


@pytest.mark.parametrize(
    ("status", "n"),
    [("completed", 2), ("failed", 1), ("cancelled", 0), ("pending", 0), ("running", 0), ("waiting", 0)],
)
def test_totals_by_status_are_true(client, status, n):
    job = make_job([{}, {}, {"do": "permanent"}])
    work()

    answer = client.get(f"{ITEMS}/{job.job_id}/list?status={status}").json()

    assert answer["total"] == n == len(answer["items"])


def test_items_are_filtered_by_perspective(client):
    job = make_job(3)
    job.items.filter(seq=1).update(perspective="colours")

    answer = client.get(f"{ITEMS}/{job.job_id}/list?perspective=colours").json()

    assert [item["imagePath"] for item in answer["items"]] == ["1.jpg"]
    assert answer["total"] == 1
    assert client.get(f"{ITEMS}/{job.job_id}/list?perspective=none").json()["items"] == []


@pytest.mark.parametrize("which", LISTS)
@pytest.mark.parametrize("query", ["limit=0", "limit=501", "cursor=x", "cursor=-2", "cursor=9999999999", "offset=1"])
def test_a_parameter_that_is_not_understood_is_refused(client, which, query):
    assert client.get(f"{ITEMS}/{make_job().job_id}/{which}?{query}").status_code == 400


def test_an_unknown_status_is_refused_and_failed_takes_none(client):
    job = make_job()

    assert client.get(f"{ITEMS}/{job.job_id}/list?status=done").status_code == 400
    assert client.get(f"{ITEMS}/{job.job_id}/failed?status=failed").status_code == 400


@pytest.mark.parametrize("which", LISTS)
def test_missing_malformed_and_foreign_jobs_are_not_found(as_bob, ada, which):
    for job_id in (uuid4(), "nonsense", make_job(by=ada).job_id):
        assert as_bob.get(f"{ITEMS}/{job_id}/{which}").status_code == 404


@pytest.mark.parametrize("which", LISTS)
def test_items_are_read_not_posted(client, which):
    assert client.act(f"{ITEMS}/{make_job().job_id}/{which}").status_code == 405


@pytest.mark.parametrize("which", LISTS)
def test_the_number_of_queries_does_not_grow(client, django_assert_max_num_queries, which):
    job = make_job([{"do": "permanent"}] * 60)
    work()
    client.get(f"{ITEMS}/{job.job_id}/{which}")

    with django_assert_max_num_queries(4):
        assert len(client.get(f"{ITEMS}/{job.job_id}/{which}?limit=50").json()["items"]) == 50


def test_unchanged_items_are_answered_by_304(client):
    path = f"{ITEMS}/{make_job(2).job_id}/list"

    assert client.get(path, headers={"If-None-Match": client.get(path).headers["ETag"]}).status_code == 304
