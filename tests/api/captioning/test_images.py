import hashlib
import json
import threading
import tracemalloc
from io import BytesIO

import pytest
from asgiref.sync import async_to_sync
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import AsyncClient
from PIL import Image as Pillow

from captioning.intake import intake
from captioning.models import Dataset, Image
from tests.pictures import encoded, gradient, jpeg, png
from uploads import storage

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _own_folders(settings, tmp_path):
    settings.VAR_DIR = tmp_path
    settings.MEDIA_ROOT = tmp_path / "media"


@pytest.fixture
def adas(ada) -> Dataset:
    return Dataset.objects.create(name="adas", owner=ada)


@pytest.fixture
def bobs(bob) -> Dataset:
    return Dataset.objects.create(name="bobs", owner=bob)


def take(dataset: Dataset, content: bytes, name: str = "a.png") -> Image:
    return intake(dataset, name, BytesIO(content)).image


def upload(client, *files: tuple[str, bytes], to: str = "adas", **headers):
    parts = [SimpleUploadedFile(name, content) for name, content in files]
    return client.post(f"/api/datasets/{to}/images", {"images": parts}, headers=headers)


def delete(client, path: str, body: object = None):
    return client.generic("DELETE", path, json.dumps(body), content_type="application/json")


def content_of(response) -> bytes:
    """Collect what is streamed."""

    async def collect() -> bytes:
        return b"".join([chunk async for chunk in response.streaming_content])

    return async_to_sync(collect)()


# --- Upload


@pytest.mark.django_db(transaction=True)
def test_two_who_upload_the_same_pictures_in_other_orders_under_keys_both_succeed(adas, as_ada, ada, bearer):
    pictures = [(f"{n}.png", png(n, 400, 300)) for n in range(8)]
    told = []
    start = threading.Barrier(2)

    def send(key: str, files: list[tuple[str, bytes]]) -> None:
        client = bearer(ada)
        start.wait()
        told.append(upload(client, *files, **{"Idempotency-Key": key}))
        connection.close()

    orders = (pictures, pictures[::-1])
    threads = [threading.Thread(target=send, args=(f"key-{n}", files)) for n, files in enumerate(orders)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [answer.status_code for answer in told] == [201, 201]
    assert adas.images.exclude(look_group=None).count() == 8


def test_pictures_are_taken_and_the_rest_refused_with_reasons(as_ada, adas):
    content = jpeg()

    reply = upload(as_ada, ("owl.jpg", content), ("notes.png", b"just words"), ("cow.png", png(2)), ("empty.png", b""))

    assert reply.status_code == 201
    owl, cow = reply.json()["images"]
    image = Image.objects.get(pk=owl["id"])
    assert owl.pop("createdAt").endswith("Z")
    assert owl == {
        "id": image.pk,
        "dataset": "adas",
        "path": "owl.jpg",
        "sha256": hashlib.sha256(content).hexdigest(),
        "width": 40,
        "height": 30,
        "format": "JPEG",
        "size": len(content),
        "takenAt": None,
        "url": f"/api/images/{image.pk}/view",
        "thumbnailUrl": f"/api/images/{image.pk}/thumbnail",
        "captionCount": 0,
    }
    assert cow["path"] == "cow.png"
    refused = {entry["name"]: entry["reason"] for entry in reply.json()["refused"]}
    assert refused.keys() == {"notes.png", "empty.png"}
    assert "This is text" in refused["notes.png"]


def test_bytes_that_are_present_count_once(as_ada, adas):
    first = upload(as_ada, ("a.png", png(1))).json()["images"]

    again = upload(as_ada, ("b.png", png(1)), ("c.png", png(1)), ("d.png", png(2))).json()["images"]

    assert [image["path"] for image in again] == ["a.png", "d.png"]
    assert again[0] == first[0]
    assert Image.objects.count() == 2


def test_a_file_too_large_for_memory_is_taken_too(as_ada, adas, settings):
    settings.FILE_UPLOAD_MAX_MEMORY_SIZE = 1000
    content = encoded(gradient(300, 200), "BMP")

    reply = upload(as_ada, ("big.bmp", content))

    assert reply.json()["images"][0]["size"] == len(content)


def test_a_repeated_upload_with_a_key_answers_the_same(as_ada, adas):
    first = upload(as_ada, ("a.png", png(1)), **{"Idempotency-Key": "k-1"})
    second = upload(as_ada, ("a.png", png(1)), **{"Idempotency-Key": "k-1"})
    other = upload(as_ada, ("a.png", png(2)), **{"Idempotency-Key": "k-1"})

    assert (first.status_code, second.status_code, other.status_code) == (201, 201, 409)
    assert first.json() == second.json()
    assert Image.objects.count() == 1


@pytest.mark.parametrize("fields", [{}, {"images": "text"}, {"file": SimpleUploadedFile("a.png", png())}])
def test_an_upload_without_pictures_is_refused(as_ada, adas, fields):
    reply = as_ada.post("/api/datasets/adas/images", fields)

    assert reply.status_code == 400
    assert "images" in reply.json()["errors"]


def test_a_broken_multipart_body_is_refused(as_ada, adas):
    for content_type in ("multipart/form-data", "multipart/form-data; boundary=x", "application/json"):
        reply = as_ada.generic("POST", "/api/datasets/adas/images", b"no parts", content_type=content_type)
        assert reply.status_code == 400


def test_another_media_type_is_said(as_ada, adas):
    reply = as_ada.generic("POST", "/api/datasets/adas/images", png(), content_type="image/png")

    assert reply.status_code == 415


def test_an_upload_into_somebody_elses_data_set_is_404(as_ada, bobs):
    assert upload(as_ada, ("a.png", png()), to="bobs").status_code == 404
    assert not Image.objects.exists()


# --- List


def test_images_are_listed_searched_and_ordered(as_ada, adas, bobs):
    for number, name in enumerate(["b/owl.png", "a/cow.png", "c/owlet.png"]):
        take(adas, png(number), name)
    take(bobs, png(9), "owl.png")

    def paths(query: str) -> list[str]:
        return [image["path"] for image in as_ada.get(f"/api/datasets/adas/images?{query}").json()["images"]]

    assert paths("") == ["b/owl.png", "a/cow.png", "c/owlet.png"]
    assert paths("ordering=path") == ["a/cow.png", "b/owl.png", "c/owlet.png"]
    assert paths("ordering=-createdAt&limit=1") == ["c/owlet.png"]
    assert paths("search=OWL") == ["b/owl.png", "c/owlet.png"]
    assert paths("offset=1&limit=1") == ["a/cow.png"]
    assert paths("offset=9") == []


def test_the_cursor_leads_through_all_images_once(as_ada, adas):
    made = [take(adas, png(number), f"{number}.png").pk for number in range(5)]

    seen, cursor = [], "0"
    while cursor is not None:
        reply = as_ada.get(f"/api/datasets/adas/images?limit=2&cursor={cursor}").json()
        seen += [image["id"] for image in reply["images"]]
        cursor = reply["next"]
        assert reply["total"] == 5

    assert seen == made


@pytest.mark.parametrize(
    "query", ["cursor=x", "cursor=-1", "cursor=1&offset=1", "cursor=1&ordering=path", "limit=501", "page=2"]
)
def test_a_malformed_query_is_refused(as_ada, adas, query):
    assert as_ada.get(f"/api/datasets/adas/images?{query}").status_code == 400


def test_the_list_takes_the_same_queries_however_long_it_is(as_ada, adas, django_assert_num_queries):
    for number in range(20):
        take(adas, png(number), f"{number}.png")

    with django_assert_num_queries(5):  # token, its note, data set, count, rows
        assert len(as_ada.get("/api/datasets/adas/images").json()["images"]) == 20


# --- One image


@pytest.mark.parametrize("tail", ["", "/thumbnail", "/view"])
def test_an_image_of_somebody_else_is_as_good_as_none(as_ada, bobs, tail):
    image = take(bobs, png())

    for image_id in (image.pk, 10**6, 10**30, "x", "-1"):
        assert as_ada.get(f"/api/images/{image_id}{tail}").status_code == 404


def test_an_image_is_shown_and_deleted(as_ada, adas):
    image = take(adas, png())

    assert as_ada.get(f"/api/images/{image.pk}").json()["sha256"] == image.sha256
    assert delete(as_ada, f"/api/images/{image.pk}").status_code == 204
    assert as_ada.get(f"/api/images/{image.pk}").status_code == 404


def test_an_image_of_somebody_else_cannot_be_deleted(as_ada, bobs):
    image = take(bobs, png())

    assert delete(as_ada, f"/api/images/{image.pk}").status_code == 404
    assert delete(as_ada, "/api/datasets/bobs/images", {"ids": [image.pk]}).status_code == 404
    assert Image.objects.filter(pk=image.pk).exists()


def test_many_images_are_deleted_at_once_within_one_data_set(as_ada, adas, bobs):
    mine, also, theirs = take(adas, png(1)), take(adas, png(2)), take(bobs, png(3))

    reply = delete(as_ada, "/api/datasets/adas/images", {"ids": [also.pk, theirs.pk, mine.pk, mine.pk, 10**12]})

    assert reply.json() == {"deleted": [also.pk, mine.pk], "missing": [theirs.pk, 10**12]}
    assert list(Image.objects.all()) == [theirs]


@pytest.mark.parametrize(
    "body", [None, {}, {"ids": []}, {"ids": "all"}, {"ids": [0]}, {"ids": ["x"]}, {"ids": [2**63]}]
)
def test_a_malformed_bulk_deletion_is_refused(as_ada, adas, body):
    image = take(adas, png())

    assert delete(as_ada, "/api/datasets/adas/images", body).status_code == 400
    assert Image.objects.filter(pk=image.pk).exists()


# --- Thumbnails


def test_a_thumbnail_is_webp_of_the_width_asked_for(as_ada, adas):
    image = take(adas, jpeg(width=900, height=600))

    reply = as_ada.get(f"/api/images/{image.pk}/thumbnail?width=150")

    assert reply.status_code == 200
    assert reply["Content-Type"] == "image/webp"
    assert "immutable" in reply["Cache-Control"]
    assert reply["X-Content-Type-Options"] == "nosniff"
    assert Pillow.open(BytesIO(reply.content)).size == (192, 128)


def test_a_known_thumbnail_is_not_sent_again(as_ada, adas):
    path = f"/api/images/{take(adas, png()).pk}/thumbnail"
    tag = as_ada.get(path)["ETag"]

    reply = as_ada.get(path, headers={"If-None-Match": tag})

    assert not tag.startswith("W/")
    assert (reply.status_code, reply.content) == (304, b"")
    assert reply["ETag"] == tag
    assert as_ada.get(f"{path}?width=96")["ETag"] != tag


@pytest.mark.parametrize("query", ["width=63", "width=1025", "width=x", "width=", "height=100"])
def test_a_malformed_width_is_refused(as_ada, adas, query):
    reply = as_ada.get(f"/api/images/{take(adas, png()).pk}/thumbnail?{query}")

    assert reply.status_code == 400
    assert reply["Content-Type"] == "application/problem+json"


def test_a_browser_that_accepts_only_pictures_is_served(as_ada, adas):
    path = f"/api/images/{take(adas, png()).pk}"

    assert as_ada.get(f"{path}/thumbnail", headers={"Accept": "image/webp"}).status_code == 200
    assert as_ada.get(f"{path}/view", headers={"Accept": "image/png"}).status_code == 200


@pytest.mark.parametrize("tail", ["thumbnail", "view"])
def test_a_lost_original_is_a_problem_and_no_placeholder(as_ada, adas, tail):
    image = take(adas, png())
    storage.delete(image.stored_as)

    reply = as_ada.get(f"/api/images/{image.pk}/{tail}")

    assert reply.status_code == 404
    assert reply.json()["type"] == "/problems/file-missing"


# --- Originals


def test_the_original_is_sent_as_what_it_is(as_ada, adas):
    image = take(adas, png(), 'trip/Größe "x"\n.jpg')

    reply = as_ada.get(f"/api/images/{image.pk}/view")

    assert content_of(reply) == png()
    assert reply["Content-Type"] == "image/png"
    assert reply["Content-Length"] == str(len(png()))
    assert reply["X-Content-Type-Options"] == "nosniff"
    assert reply["Content-Disposition"].startswith("inline; filename")
    assert as_ada.get(f"/api/images/{image.pk}/view", headers={"If-None-Match": reply["ETag"]}).status_code == 304


@pytest.mark.parametrize("tail", ["", "/thumbnail", "/view"])
def test_head_answers_like_get_without_a_body(as_ada, adas, tail):
    path = f"/api/images/{take(adas, png()).pk}{tail}"

    reply = as_ada.head(path)

    assert (reply.status_code, reply.content) == (200, b"")
    assert reply["ETag"] == as_ada.get(path)["ETag"]
    if tail == "/view":
        assert reply["Content-Length"] == str(len(png()))


def test_an_original_of_a_gigabyte_takes_no_memory(closed_desk, ada, adas, settings):
    size = 1024**3
    image = take(adas, png())
    place = settings.MEDIA_ROOT / image.stored_as
    with place.open("r+b") as file:
        file.truncate(size)
    Image.objects.filter(pk=image.pk).update(size=size)
    client = AsyncClient()
    client.force_login(ada)

    async def measure() -> tuple[int, int]:
        reply = await client.get(f"/api/images/{image.pk}/view")
        tracemalloc.start()
        received = 0
        async for chunk in reply.streaming_content:
            received += len(chunk)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return received, peak

    received, peak = async_to_sync(measure)()

    assert received == size
    assert peak < 8 * 1024**2
