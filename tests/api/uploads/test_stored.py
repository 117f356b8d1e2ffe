"""Signed links of the local store: the only way to a file, expiring, in ranges."""

from io import BytesIO
from urllib.parse import urlsplit

import pytest
from django.core import signing
from django.test import RequestFactory

from uploads import links, storage

CONTENT = bytes(range(256)) * 40
KEY = "surveys/1/picture.png"

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _stored(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path / "media"
    storage.put(KEY, BytesIO(CONTENT))


def link(filename: str = "hull 1.png", key: str = KEY) -> str:
    return urlsplit(links.signed_url(key, filename, RequestFactory().get("/"))).path


async def body_of(response) -> bytes:
    return b"".join([piece async for piece in response.streaming_content])


async def test_a_signed_link_gives_the_file_to_anybody(async_client, settings):
    settings.API_ACCESS = "token"

    response = await async_client.get(link())

    assert response.status_code == 200
    assert await body_of(response) == CONTENT
    assert response.headers["Content-Type"] == "image/png"
    assert response.headers["Content-Disposition"] == "inline; filename*=UTF-8''hull%201.png"
    assert response.headers["Content-Length"] == str(len(CONTENT))


def test_a_link_names_the_host_that_the_client_used():
    request = RequestFactory().get("/", HTTP_HOST="localhost:8123")

    assert links.signed_url(KEY, "a.png", request).startswith("http://localhost:8123/stored/")


@pytest.mark.parametrize("filename", ["page.html", "drawing.svg", "cloud.laz", "noname"])
async def test_what_a_browser_might_run_is_offered_for_saving(async_client, filename):
    response = await async_client.get(link(filename))

    assert response.headers["Content-Disposition"].startswith("attachment; ")
    assert response.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [("bytes=0-0", 0, 1), ("bytes=100-199", 100, 200), ("bytes=10000-", 10000, 10240), ("bytes=-40", 10200, 10240),
     ("bytes=10000-99999", 10000, 10240)],
)  # fmt: skip
async def test_a_range_gives_just_that(async_client, asked, start, end):
    response = await async_client.get(link(), headers={"Range": asked})

    assert response.status_code == 206
    assert response.headers["Content-Range"] == f"bytes {start}-{end - 1}/10240"
    assert response.headers["Content-Length"] == str(end - start)
    assert await body_of(response) == CONTENT[start:end]


@pytest.mark.parametrize("asked", ["bytes=0-1,4-5", "lines=1-2", "bytes=-", "bytes=7-3", "nonsense"])
async def test_a_range_that_cannot_be_understood_gives_the_whole_file(async_client, asked):
    response = await async_client.get(link(), headers={"Range": asked})

    assert response.status_code == 200
    assert await body_of(response) == CONTENT


def test_a_range_behind_the_end_is_refused(client):
    response = client.get(link(), headers={"Range": "bytes=10240-"})

    assert response.status_code == 416
    assert response.headers["Content-Range"] == "bytes */10240"


def test_head_says_all_but_the_bytes(client):
    response = client.head(link())

    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["Content-Length"] == str(len(CONTENT))


def test_only_looking_is_possible(client):
    assert client.post(link()).status_code == 405


def test_a_link_expires(client, settings):
    path = link()
    settings.PRESIGN_SECONDS = -1
    response = client.get(path)

    assert response.status_code == 403
    assert response.json()["error_code"] == "link_expired"


def test_a_changed_link_or_one_signed_for_something_else_is_refused(client):
    path = link()
    token = path.split("/")[2]
    for forged in (token[:-1] + ("A" if token[-1] != "A" else "B"), "x", signing.dumps({"key": KEY, "name": "a"})):
        response = client.get(f"/stored/{forged}/a.png")
        assert response.status_code == 403
        assert response.json()["error_code"] == "link_invalid"


def test_nothing_is_readable_without_a_link(client):
    assert client.get(f"/media/{KEY}").status_code == 404
    assert client.get(f"/stored/{KEY}").status_code in {403, 404}


def test_a_link_to_a_file_that_is_gone_says_so(client):
    path = link()
    storage.delete(KEY)

    assert client.get(path).status_code == 404


def test_a_key_that_leaves_the_store_is_refused_even_when_signed(client):
    assert client.get(link(key="../../etc/passwd")).status_code in {400, 403, 404}
