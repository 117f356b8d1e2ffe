import threading
from uuid import uuid4

import pytest
from django.db import connection

from captioning import direct
from captioning.models import Caption
from jobs.models import Job, JobItem
from jobs.states import FINAL
from tests.captions import (
    client_of,
    completion,
    make_caption,
    make_dataset,
    make_image,
    make_perspective,
    make_provider,
    picture_bytes,
)
from tests.workbench.rows import make_user, work
from tests.workbench.waiting import wait_until

pytestmark = pytest.mark.django_db

CREATE = "/api/perspectives/batch/create"
ANALYZE = "/api/perspectives/batch/analyze-images"
NOW = "/api/perspectives/caption-from-path"
ROUTE = "/v1/chat/completions"


@pytest.fixture(autouse=True)
def _workspace(settings, tmp_path):
    settings.WORKSPACE_PATH = tmp_path
    settings.DEFAULT_PROVIDER = ""


@pytest.fixture
def ada():
    return make_user("ada")


@pytest.fixture
def client(ada):
    return client_of(ada)


@pytest.fixture
def dataset(ada):
    dataset = make_dataset(ada)
    for name in "abc":
        make_image(dataset, f"{name}.png")
    make_provider()
    make_perspective("plain")
    return dataset


def body(**members):
    return {"type": "MULTI_PERSPECTIVE", "dataset": "birds", "perspectives": ["plain"], **members}


# --- Create


@pytest.mark.parametrize("address", [CREATE, f"{CREATE}/", "/api/v1/perspectives/batch/create"])
def test_a_job_is_created(client, dataset, address):
    made = client.post(address, body(), format="json")

    assert made.status_code == 201, made.content
    told = made.json()
    job = Job.objects.get(job_id=told["jobId"])
    assert told.keys() == {
        "jobId", "status", "createdAt", "position", "totalImages", "estimatedStartTime", "estimatedCostUsd",
    }  # fmt: skip
    assert (told["totalImages"], told["estimatedCostUsd"]) == (3, None)
    assert told["status"] == job.status
    assert job.items.count() == 3


def test_a_dry_run_says_the_same_and_creates_nothing(client, dataset):
    told = client.post(CREATE, body(dry_run=True), format="json")

    assert told.status_code == 200
    assert told.json() | {"estimatedStartTime": None} == {
        "jobId": None,
        "status": "pending",
        "createdAt": None,
        "position": 1,
        "totalImages": 3,
        "estimatedStartTime": None,
        "estimatedCostUsd": None,
    }
    assert not Job.objects.exists()


@pytest.mark.parametrize("type_", ["MULTI_PERSPECTIVE", "DATASET_PERSPECTIVE", "BACKFILL", "DEPENDENCY_CHAIN"])
def test_every_type_of_job_is_created(client, dataset, type_):
    assert client.post(CREATE, body(type=type_), format="json").status_code == 201
    assert Job.objects.get().type == type_


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"images": [999_999]}, "images[0]"),
        ({"images": ["nothing.png"]}, "images[0]"),
        ({"dataset": "nowhere"}, "dataset"),
        ({"perspectives": ["unheard"]}, "perspectives"),
        ({"options": {"provider": "unheard"}}, "options.provider"),
        ({"options": {"provider": "local-vision"}}, "perspectives"),
        ({"options": {"colour": "red"}}, "options.colour"),
        ({"type": "POEM"}, "type"),
    ],
)
def test_a_refusal_names_the_field_and_creates_nothing(client, dataset, change, field):
    refused = client.post(CREATE, body(**change), format="json")

    assert refused.status_code == 400
    assert refused.headers["Content-Type"] == "application/problem+json"
    assert field in refused.json()["errors"]
    assert not Job.objects.exists()


def test_nothing_to_do_is_refused_with_the_reason(client, dataset):
    make_dataset(dataset.owner, "empty")

    refused = client.post(CREATE, body(dataset="empty"), format="json")

    assert refused.status_code == 400
    assert "no images" in refused.json()["detail"]


@pytest.mark.parametrize("dry_run", [True, False])
def test_an_unknown_dependency_is_a_conflict(client, dataset, dry_run):
    refused = client.post(CREATE, body(dependencies=[str(uuid4())], dry_run=dry_run), format="json")

    assert refused.status_code == 409
    assert not Job.objects.exists()


def test_a_job_waits_for_the_one_it_depends_on(client, dataset):
    first = client.post(CREATE, body(), format="json").json()

    second = client.post(CREATE, body(dependencies=[first["jobId"]]), format="json").json()

    assert second["status"] == "waiting"


def test_a_repeated_request_with_a_key_creates_one_job(client, dataset):
    first = client.post(CREATE, body(), format="json", headers={"Idempotency-Key": "once"})
    again = client.post(CREATE, body(), format="json", headers={"Idempotency-Key": "once"})
    other = client.post(CREATE, body(priority=1), format="json", headers={"Idempotency-Key": "once"})

    assert (again.status_code, again.json()) == (201, first.json())
    assert other.status_code == 409
    assert Job.objects.count() == 1


def test_somebody_elses_data_set_does_not_exist(dataset):
    refused = client_of(make_user("stranger")).post(CREATE, body(), format="json")

    assert "dataset" in refused.json()["errors"]


@pytest.mark.parametrize("content", ["{", "[]", '"x"'])
def test_a_malformed_body_is_refused(client, dataset, content):
    assert client.post(CREATE, content, content_type="application/json").status_code == 400


def test_wrong_methods(client):
    for address in (CREATE, ANALYZE, NOW):
        assert client.put(address).status_code == 405


def test_creating_costs_the_same_however_many_images(client, dataset, django_assert_max_num_queries):
    def count() -> int:
        with django_assert_max_num_queries(80) as queries:
            client.post(CREATE, body(), format="json")
        return len(queries)

    before = count()
    for number in range(20):
        make_image(dataset, f"more-{number}.png")

    assert count() <= before + 2  # admission looks at the job that is there by now


# --- What is missing


def test_an_analysis_tells_what_each_image_has_and_lacks(client, dataset):
    poem = make_perspective("poem")
    image = dataset.images.get(path="b.png")
    make_caption(image, poem)

    told = client.post(ANALYZE, {"images": [image.pk], "perspectives": ["plain", "poem"]}, format="json").json()

    assert told == {
        "results": [
            {
                "imagePath": "b.png",
                "imageId": image.pk,
                "existingPerspectives": ["poem"],
                "missingPerspectives": ["plain"],
            }
        ],
        "next": None,
    }


@pytest.mark.django_db(transaction=True)
def test_two_who_name_the_same_new_files_in_other_orders_under_keys_both_succeed(ada, dataset, tmp_path):
    make_dataset(ada, "workspace")
    names = [f"{n}.png" for n in range(8)]
    for n, name in enumerate(names):
        (tmp_path / name).write_bytes(picture_bytes(f"#0000{n}0", (600, 400)))
    told = []
    start = threading.Barrier(2)

    def send(key: str, images: list[str]) -> None:
        request = body(dataset=None, images=images)
        start.wait()
        told.append(client_of(ada).post(CREATE, request, format="json", headers={"Idempotency-Key": key}))
        connection.close()

    threads = [
        threading.Thread(target=send, args=(f"key-{n}", images)) for n, images in enumerate((names, names[::-1]))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [answer.status_code for answer in told] == [201, 201]


def test_without_perspectives_all_are_looked_at(client, dataset, tmp_path):
    (tmp_path / "loose.png").write_bytes(picture_bytes("green"))

    (told,) = client.post(ANALYZE, {"images": ["loose.png"]}, format="json").json()["results"]

    assert told["imagePath"] == "loose.png"
    assert "plain" in told["missingPerspectives"]


def test_a_large_data_set_is_analyzed_in_parts(client, dataset, monkeypatch):
    from captioning.api import batch as api

    monkeypatch.setattr(api, "MAX_ANALYZED", 2)
    seen: list[str] = []
    cursor = None
    while True:
        told = client.post(
            ANALYZE, {"dataset": "birds", "perspectives": ["plain"], "cursor": cursor}, format="json"
        ).json()
        seen += [one["imagePath"] for one in told["results"]]
        if (cursor := told["next"]) is None:
            break

    assert seen == ["a.png", "b.png", "c.png"]


@pytest.mark.parametrize(
    ("form", "field"),
    [
        ({}, "images"),
        ({"images": [999_999]}, "images[0]"),
        ({"dataset": "nowhere"}, "dataset"),
        ({"dataset": "birds", "perspectives": ["unheard"]}, "perspectives"),
        ({"dataset": "birds", "cursor": "x"}, "cursor"),
        ({"dataset": "birds", "colour": "red"}, "colour"),
    ],
)
def test_an_analysis_of_nothing_known_is_refused(client, dataset, form, field):
    assert field in client.post(ANALYZE, form, format="json").json()["errors"]


# --- One caption at once


def be_a_worker() -> None:
    """Work until a job is done; its task may come a moment after the job."""
    try:
        wait_until(lambda: work() or Job.objects.filter(status__in=FINAL).exists())
    finally:
        connection.close()


@pytest.mark.django_db(transaction=True)
def test_one_image_is_captioned_while_the_caller_waits(client, dataset, httpserver, tmp_path):
    (tmp_path / "loose.png").write_bytes(picture_bytes("green"))
    make_provider(httpserver.url_for("/v1"), name="answering")
    httpserver.expect_request(ROUTE).respond_with_json(completion({"caption": "A green square."}))

    worker = threading.Thread(target=be_a_worker)
    worker.start()
    told = client.post(NOW, {"perspective": "plain", "image_path": "loose.png", "provider": "answering"}, format="json")
    worker.join()

    assert told.status_code == 200, told.content
    caption = Caption.objects.get()
    assert told.json() | {"raw_text": None} == {
        "perspective": "plain",
        "provider": "answering",
        "model": "tiny-vlm",
        "result": {"caption": "A green square."},
        "raw_text": None,
        "text": "A green square.",
        "imageId": caption.image_id,
        "captionId": caption.pk,
        "jobId": str(Job.objects.get().job_id),
    }


@pytest.mark.django_db(transaction=True)
def test_a_caption_that_failed_is_told_with_its_reason(client, dataset, httpserver):
    make_provider(httpserver.url_for("/v1"), name="broken")
    httpserver.expect_request(ROUTE).respond_with_json({"error": {"message": "no such model"}}, status=404)

    worker = threading.Thread(target=be_a_worker)
    worker.start()
    told = client.post(
        NOW, {"perspective": "plain", "image": dataset.images.first().pk, "provider": "broken"}, format="json"
    )
    worker.join()

    assert told.status_code == 502
    assert told.json()["permanent"] is True


def test_a_caption_that_nobody_makes_in_time_is_given_up(ada, dataset):
    with pytest.raises(direct.CaptionNotInTime):
        direct.caption_now({"perspective": "plain", "image": dataset.images.first().pk}, ada, deadline_seconds=0.01)

    assert Job.objects.get().status == "cancelled"
    assert JobItem.objects.get().status == "cancelled"


@pytest.mark.parametrize(
    ("form", "field"),
    [
        ({"image_path": "nothing.png", "perspective": "plain"}, "image_path"),
        ({"perspective": "plain"}, "image_path"),
        ({"image": 999_999, "perspective": "plain"}, "image_path"),
        ({"image": 999_999}, "perspective"),
        ({"image": 999_999, "perspective": "unheard"}, "perspective"),
        ({"image_path": "x", "perspective": "plain", "temperature": 9}, "temperature"),
        ({"image_path": "x", "perspective": "plain", "context": 5}, "context"),
        ({"image_path": "x", "perspective": "plain", "provider": "unheard"}, "provider"),
        ({"image_path": "x", "perspective": "plain", "provider_config": {"api_key": "sk"}}, "provider_config"),
        ({"image_path": "x", "perspective": "plain", "colour": "red"}, "colour"),
    ],
)
def test_a_caption_at_once_is_refused_by_the_field_that_is_wrong(client, dataset, form, field):
    refused = client.post(NOW, form, format="json")

    assert refused.status_code == 400
    assert field in refused.json()["errors"]
    assert not Job.objects.exists()
