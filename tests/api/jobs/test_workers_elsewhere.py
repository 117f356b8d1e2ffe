"""POST items/claim, items/{id}/heartbeat and items/{id}"""

from datetime import timedelta
from uuid import uuid4

import pytest
from django.db.models.functions import Now

from jobs.models import Lane
from tests.workbench.rows import make_job, statuses

pytestmark = pytest.mark.django_db

ITEMS = "/api/perspectives/batch/items"


def claim(worker, limit: int = 1, **more):
    return worker.act(f"{ITEMS}/claim", {"worker": "gpu-box", "limit": limit, **more})


def test_a_worker_claims_does_and_settles(as_worker):
    job = make_job(2, executor="external")

    taken = claim(as_worker).json()["items"]
    item = taken[0]
    settled = as_worker.act(
        f"{ITEMS}/{item['id']}",
        {"status": "completed", "leaseToken": item["leaseToken"], "result": {"text": "a cat"}, "processingTime": 12},
    )

    assert len(taken) == 1
    assert item["imagePath"] == "0.jpg"
    assert item["status"] == "running"
    assert item["prompt"] == "do 0"
    assert {"leaseUntil", "imageUrl", "schema"} <= set(item)
    assert settled.status_code == 200
    assert settled.json()["result"] == {"text": "a cat"}
    assert settled.json()["processingTime"] == 12
    assert statuses(job) == ["completed", "pending"]


def test_jobs_for_our_own_workers_are_not_claimed(as_worker):
    make_job(2)

    assert claim(as_worker).json() == {"items": []}


def test_claims_keep_to_the_limit_of_items(as_worker, settings):
    settings.MAX_CONCURRENT_ITEMS = 3
    make_job(9, executor="external")

    assert len(claim(as_worker, limit=64).json()["items"]) == 3
    assert claim(as_worker, limit=64).json()["items"] == []


def test_claims_can_be_for_some_perspectives(as_worker):
    make_job(2, executor="external")

    assert claim(as_worker, perspectives=["other"]).json()["items"] == []
    assert len(claim(as_worker, perspectives=["plain"]).json()["items"]) == 1


def test_a_heartbeat_prolongs_the_lease(as_worker):
    make_job(executor="external")
    item = claim(as_worker).json()["items"][0]
    before = Lane.objects.get(token=item["leaseToken"]).lease_expires_at

    response = as_worker.act(f"{ITEMS}/{item['id']}/heartbeat", {"leaseToken": item["leaseToken"]})

    assert response.status_code == 200
    assert set(response.json()) == {"leaseUntil"}
    assert Lane.objects.get(token=item["leaseToken"]).lease_expires_at >= before


def test_a_permanent_failure_closes_the_item(as_worker):
    job = make_job(executor="external")
    item = claim(as_worker).json()["items"][0]

    settled = as_worker.act(
        f"{ITEMS}/{item['id']}",
        {"status": "failed", "leaseToken": item["leaseToken"], "error": "unreadable", "permanent": True},
    ).json()

    assert settled["status"] == "failed"
    assert settled["error"] == "unreadable"
    assert settled["errorPermanent"] is True
    job.refresh_from_db()
    assert job.status == "failed"


def test_another_failure_is_tried_again(as_worker):
    make_job(executor="external")
    item = claim(as_worker).json()["items"][0]

    settled = as_worker.act(
        f"{ITEMS}/{item['id']}", {"status": "failed", "leaseToken": item["leaseToken"], "error": "busy"}
    ).json()

    assert settled["status"] == "waiting"


@pytest.mark.parametrize("path", ["{id}", "{id}/heartbeat"])
def test_another_token_is_a_lost_lease(as_worker, path):
    make_job(executor="external")
    item = claim(as_worker).json()["items"][0]

    response = as_worker.act(
        f"{ITEMS}/{path.format(**item)}", {"status": "completed", "leaseToken": str(uuid4()), "result": {}}
    )

    assert response.status_code == 409
    assert response.json()["error_code"] == "lease_lost"


def test_a_lease_that_ran_out_and_was_taken_is_lost(as_worker, settings):
    make_job(executor="external")
    item = claim(as_worker).json()["items"][0]
    settings.LEASE_SECONDS = 0.01  # leases count from the start of the server, which may be a moment ago
    Lane.objects.filter(token=item["leaseToken"]).update(lease_expires_at=Now() - timedelta(days=1))
    again = claim(as_worker).json()["items"][0]

    late = as_worker.act(
        f"{ITEMS}/{item['id']}", {"status": "completed", "leaseToken": item["leaseToken"], "result": {}}
    )

    assert again["id"] == item["id"]
    assert late.status_code == 409


def test_a_settled_item_is_not_settled_twice(as_worker):
    make_job(executor="external")
    item = claim(as_worker).json()["items"][0]
    body = {"status": "completed", "leaseToken": item["leaseToken"], "result": {}}

    assert as_worker.act(f"{ITEMS}/{item['id']}", body).status_code == 200
    assert as_worker.act(f"{ITEMS}/{item['id']}", body).status_code == 409
    assert as_worker.act(f"{ITEMS}/{item['id']}", {"status": "nonsense"}).status_code == 409


@pytest.mark.parametrize(
    "body",
    [None, {}, {"status": "completed"}, {"status": "running"}, {"leaseToken": "x"}, {"processingTime": -1}],
)
def test_an_invalid_report_keeps_the_lease(as_worker, body):
    job = make_job(executor="external")
    item = claim(as_worker).json()["items"][0]
    if body and "leaseToken" not in body and body != {"status": "completed"}:
        body = {"status": "completed", "leaseToken": item["leaseToken"], "result": {}} | body

    assert as_worker.act(f"{ITEMS}/{item['id']}", body).status_code == 400
    assert statuses(job) == ["running"]


def test_a_result_that_the_pipeline_refuses_keeps_the_lease(as_worker):
    job = make_job(executor="external")
    item = claim(as_worker).json()["items"][0]

    response = as_worker.act(
        f"{ITEMS}/{item['id']}", {"status": "completed", "leaseToken": item["leaseToken"], "result": "text"}
    )

    assert response.status_code == 400
    assert list(response.json()["errors"]) == ["result"]
    assert statuses(job) == ["running"]


@pytest.mark.parametrize("path", ["999999999", "9" * 30, "x", "999999999/heartbeat", "x/heartbeat"])
def test_missing_and_malformed_items_are_not_found(as_worker, path):
    assert as_worker.act(f"{ITEMS}/{path}", {"leaseToken": str(uuid4())}).status_code == 404


def test_an_item_of_our_own_workers_is_not_found(as_worker):
    item = make_job().items.get()

    assert as_worker.act(f"{ITEMS}/{item.pk}", {}).status_code == 404


@pytest.mark.parametrize("path", ["claim", "1", "1/heartbeat", "x"])
def test_people_are_no_workers(as_ada, path):
    assert as_ada.act(f"{ITEMS}/{path}", {}).status_code == (404 if path == "x" else 403)


@pytest.mark.parametrize(
    "body",
    [
        None, {}, {"worker": ""}, {"worker": "a", "limit": 0}, {"worker": "a", "limit": 65},
        {"worker": "a", "perspectives": "plain"}, {"worker": "x" * 201},
    ],
)  # fmt: skip
def test_an_invalid_claim_is_refused(as_worker, body):
    assert as_worker.act(f"{ITEMS}/claim", body).status_code == 400
