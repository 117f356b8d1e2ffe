import json

import pytest

from captioning.models import Dataset, Image
from jobs.models import Job
from tests.pictures import png

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def workspace(settings, tmp_path):
    settings.VAR_DIR = tmp_path
    settings.MEDIA_ROOT = tmp_path / "media"
    settings.WORKSPACE_PATH = tmp_path / "workspace"
    settings.WORKSPACE_PATH.mkdir()
    return settings.WORKSPACE_PATH


@pytest.fixture
def bobs(bob) -> Dataset:
    return Dataset.objects.create(name="bobs", owner=bob)


def send(client, method: str, path: str, body: object = None, **headers):
    return client.generic(method, path, json.dumps(body), content_type="application/json", headers=headers)


def make_image(dataset: Dataset, number: int = 1) -> Image:
    return Image.objects.create(
        dataset=dataset, path=f"{number}.png", sha256=f"{number:064x}", stored_as="x", format="PNG", size=1, width=1,
        height=1,
    )  # fmt: skip


# --- Create


def test_a_data_set_is_made_and_shown(as_ada, ada):
    reply = send(as_ada, "POST", "/api/datasets", {"name": "birds", "description": "of the garden"})

    assert reply.status_code == 201
    assert reply["Location"] == "/api/datasets/birds"
    assert reply.json() == as_ada.get("/api/datasets/birds").json()
    shown = reply.json()
    assert shown.pop("createdAt").endswith("Z")
    assert shown.pop("updatedAt").endswith("Z")
    dataset = Dataset.objects.get()
    assert dataset.owner == ada
    assert shown == {
        "id": dataset.pk, "name": "birds", "description": "of the garden", "imageCount": 0, "captionCount": 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": ""},
        {"name": "a b"},
        {"name": "a/b"},
        {"name": "x" * 65},
        {"name": None},
        {"name": ["ok"]},
        {"name": "ok", "description": "x" * 10_001},
        {"name": "ok", "description": {"a": 1}},
        [],
    ],
)
def test_a_malformed_data_set_is_refused(as_ada, body):
    reply = send(as_ada, "POST", "/api/datasets", body)

    assert reply.status_code == 400
    assert reply["Content-Type"] == "application/problem+json"
    assert not Dataset.objects.exists()


def test_a_taken_name_is_a_conflict_also_when_it_is_somebody_elses(as_ada, bobs):
    reply = send(as_ada, "POST", "/api/datasets", {"name": "bobs"})

    assert reply.status_code == 409
    assert reply.json()["type"] == "/problems/name-taken"


def test_a_repeated_creation_with_a_key_answers_the_same(as_ada):
    first = send(as_ada, "POST", "/api/datasets", {"name": "birds"}, **{"Idempotency-Key": "k-1"})
    second = send(as_ada, "POST", "/api/datasets", {"name": "birds"}, **{"Idempotency-Key": "k-1"})
    other = send(as_ada, "POST", "/api/datasets", {"name": "cows"}, **{"Idempotency-Key": "k-1"})

    assert (first.status_code, second.status_code, other.status_code) == (201, 201, 409)
    assert first.json() == second.json()


# --- Read


def test_users_see_their_own_data_sets_and_staff_sees_all(as_ada, as_staff, ada, bobs):
    Dataset.objects.create(name="adas", owner=ada)
    Dataset.objects.create(name="nobodys")

    seen = as_ada.get("/api/datasets").json()
    seen_by_staff = as_staff.get("/api/datasets").json()

    assert ([dataset["name"] for dataset in seen["datasets"]], seen["total"]) == (["adas"], 1)
    assert [dataset["name"] for dataset in seen_by_staff["datasets"]] == ["adas", "bobs", "nobodys"]


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
@pytest.mark.parametrize("name", ["bobs", "nobodys", "missing", "a%20b", "%00"])
def test_a_data_set_of_somebody_else_is_as_good_as_none(as_ada, bobs, method, name):
    Dataset.objects.create(name="nobodys")

    reply = send(as_ada, method, f"/api/datasets/{name}", {"description": "mine now"})

    assert reply.status_code == 404
    assert Dataset.objects.filter(description="").count() == 2


def test_counts_are_of_this_data_set(as_ada, ada, bobs):
    dataset = Dataset.objects.create(name="adas", owner=ada)
    for number in range(3):
        make_image(dataset, number)
    make_image(bobs)

    assert as_ada.get("/api/datasets/adas").json()["imageCount"] == 3


def test_the_list_is_searched_ordered_and_cut(as_ada, ada):
    for name in ("owls", "cows", "big-cows"):
        Dataset.objects.create(name=name, owner=ada, description="of the alp" if name == "owls" else "")

    def names(query: str) -> list[str]:
        return [dataset["name"] for dataset in as_ada.get(f"/api/datasets?{query}").json()["datasets"]]

    assert names("search=COW") == ["big-cows", "cows"]
    assert names("search=alp") == ["owls"]
    assert names("ordering=-name&limit=2") == ["owls", "cows"]
    assert names("ordering=createdAt&offset=1") == ["cows", "big-cows"]
    assert names("ordering=-imageCount&limit=1") == ["big-cows"]


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=501", "limit=x", "offset=-1", "ordering=owner", "colour=red", "limit=1&limit=2"]
)
def test_an_unknown_or_malformed_parameter_is_refused(as_ada, query):
    assert as_ada.get(f"/api/datasets?{query}").status_code == 400


def test_the_list_takes_the_same_queries_however_long_it_is(as_ada, ada, django_assert_num_queries):
    for number in range(30):
        make_image(Dataset.objects.create(name=f"set-{number}", owner=ada))

    as_ada.get("/api/datasets")  # the first use of a token in a minute is noted

    with django_assert_num_queries(5):  # token, its note, count, rows, their images
        assert len(as_ada.get("/api/datasets?limit=30").json()["datasets"]) == 30


def test_what_did_not_change_is_not_sent_again(as_ada, ada):
    dataset = Dataset.objects.create(name="adas", owner=ada)
    tag = as_ada.get("/api/datasets/adas")["ETag"]

    assert as_ada.get("/api/datasets/adas", headers={"If-None-Match": tag}).status_code == 304
    make_image(dataset)
    assert as_ada.get("/api/datasets/adas", headers={"If-None-Match": tag}).status_code == 200


# --- Change and delete


def test_what_is_not_named_stays(as_ada, ada):
    Dataset.objects.create(name="adas", owner=ada, description="before")

    renamed = send(as_ada, "PATCH", "/api/datasets/adas", {"name": "new"})
    described = send(as_ada, "PATCH", "/api/datasets/new", {"description": ""})

    assert (renamed.json()["name"], renamed.json()["description"]) == ("new", "before")
    assert (described.json()["name"], described.json()["description"]) == ("new", "")


def test_a_rename_to_a_taken_name_is_a_conflict(as_ada, ada, bobs):
    Dataset.objects.create(name="adas", owner=ada)

    assert send(as_ada, "PATCH", "/api/datasets/adas", {"name": "bobs"}).status_code == 409
    assert send(as_ada, "PATCH", "/api/datasets/adas", {"name": "a b"}).status_code == 400
    assert as_ada.get("/api/datasets/adas").status_code == 200


def test_a_deleted_data_set_is_gone_with_its_images(as_ada, ada):
    make_image(Dataset.objects.create(name="adas", owner=ada))

    assert send(as_ada, "DELETE", "/api/datasets/adas").status_code == 204
    assert send(as_ada, "DELETE", "/api/datasets/adas").status_code == 404
    assert not Image.objects.exists()


@pytest.mark.parametrize(
    ("method", "path"), [("PUT", "/api/datasets"), ("POST", "/api/datasets/adas"), ("GET", "/api/datasets/adas/import")]
)
def test_a_wrong_method_is_said(as_ada, ada, method, path):
    Dataset.objects.create(name="adas", owner=ada)

    reply = send(as_ada, method, path, {})

    assert reply.status_code == 405
    assert reply["Allow"]


def test_without_a_login_nothing_is_shown(closed_desk, client, bobs):
    for method, path in [
        ("GET", "/api/datasets"),
        ("GET", "/api/datasets/bobs"),
        ("POST", "/api/datasets/bobs/import"),
    ]:
        assert send(client, method, path, {}).status_code == 401


# --- Import


@pytest.fixture
def adas(ada) -> Dataset:
    return Dataset.objects.create(name="adas", owner=ada)


def test_an_import_starts_a_job(as_ada, ada, adas, workspace):
    (workspace / "trip").mkdir()
    (workspace / "trip" / "a.png").write_bytes(png())

    reply = send(as_ada, "POST", "/api/datasets/adas/import", {"format": "folder", "source": "trip"})

    assert reply.status_code == 202
    job = Job.objects.get(job_id=reply.json()["jobId"])
    assert (job.type, job.user, job.total_images) == ("IMPORT", ada, 1)
    assert reply["Location"] == f"/api/perspectives/batch/status/{job.job_id}"


def test_the_format_may_stand_in_the_query(as_ada, adas, workspace):
    (workspace / "a.png").write_bytes(png())

    reply = send(as_ada, "POST", "/api/datasets/adas/import?format=folder", {"source": "/"})

    assert reply.status_code == 202


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "format"),
        ({"format": "folder"}, "source"),
        ({"format": "zip", "source": "."}, "Known: folder"),
        ({"format": "folder", "source": "../.."}, "workspace"),
        ({"format": "folder", "source": "/etc"}, "workspace"),
        ({"format": "folder", "source": 5}, "workspace"),
        ({"format": "folder", "source": "."}, "no files"),
    ],
)
def test_a_malformed_import_is_refused(as_ada, adas, body, said):
    reply = send(as_ada, "POST", "/api/datasets/adas/import", body)

    assert reply.status_code == 400
    assert said in reply.json()["detail"]
    assert not Job.objects.exists()


def test_an_uploaded_file_is_refused_with_what_can_be_done(as_ada, adas):
    from django.core.files.uploadedfile import SimpleUploadedFile

    reply = as_ada.post("/api/datasets/adas/import?format=zip", {"file": SimpleUploadedFile("a.zip", b"PK")})

    assert reply.status_code == 400
    assert '"format": "folder"' in reply.json()["detail"]


def test_an_import_into_somebody_elses_data_set_is_404_before_its_body_is_read(as_ada, bobs):
    assert send(as_ada, "POST", "/api/datasets/bobs/import", {"format": "?"}).status_code == 404
