"""The store on S3: the same promises, kept over HTTP against a server that speaks the little of S3 we use."""

import hashlib
import re
from io import BytesIO
from pathlib import Path

import pytest
from werkzeug import Request, Response

from uploads import storage


class Bucket:
    """Objects by path, as S3 answers for them."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.is_away = False
        self.requests: list[tuple[str, str]] = []

    def answer(self, request: Request) -> Response:
        self.requests.append((request.method, request.path))
        if self.is_away:
            return Response(_error("SlowDown"), 503)
        match request.method:
            case "PUT":
                self.objects[request.path] = _payload(request)
                return Response(headers={"ETag": '"x"'})
            case "DELETE":
                self.objects.pop(request.path, None)
                return Response(status=204)
        if request.path not in self.objects:
            return Response(_error("NoSuchKey"), 404, content_type="application/xml")
        return Response(self.objects[request.path], headers={"ETag": '"x"'})


def _error(code: str) -> str:
    return f"<Error><Code>{code}</Code><Message>{code}</Message></Error>"


def _payload(request: Request) -> bytes:
    """Read a body, also in the chunks with checksum that SDKs send: `<hex size>[;signature]` lines between pieces."""
    body = request.get_data()
    if "aws-chunked" not in request.headers.get("Content-Encoding", ""):
        return body
    stream, content = BytesIO(body), b""
    while size := int(stream.readline().split(b";")[0], 16):
        content += stream.read(size)
        stream.readline()
    return content


@pytest.fixture
def bucket(settings, httpserver):
    bucket = Bucket()
    httpserver.expect_request(re.compile(r"/uploads/.*")).respond_with_handler(bucket.answer)
    options = {
        "endpoint_url": httpserver.url_for("").rstrip("/"),
        "access_key": "key",
        "secret_key": "secret",
        "bucket_name": "uploads",
        "addressing_style": "path",
        "signature_version": "s3v4",
        "region_name": "us-east-1",
        "file_overwrite": True,
    }
    settings.STORAGES = settings.STORAGES | {
        "default": {"BACKEND": "storages.backends.s3.S3Storage", "OPTIONS": options}
    }
    return bucket


def key_for(content: bytes) -> str:
    return storage.key_of("images", hashlib.sha256(content).hexdigest(), ".bin")


async def streamed(key: str) -> bytes:
    stream = storage.Stream(key)
    pieces = [piece async for piece in stream]
    stream.close()
    assert max(map(len, pieces)) <= storage.CHUNK_BYTES
    return b"".join(pieces)


async def test_what_was_put_is_streamed_opened_and_deleted(bucket):
    content = bytes(range(256)) * 4000
    key = key_for(content)
    source = BytesIO(content)
    source.read()

    storage.put(key, source)

    assert bucket.objects == {f"/uploads/{key}": content}
    assert not source.closed
    assert storage.exists(key)
    assert await streamed(key) == content
    with storage.open_whole(key) as file:
        assert file.read() == content
    storage.delete(key)
    assert not storage.exists(key)


def test_known_bytes_are_not_sent_again(bucket):
    key = key_for(b"bytes")
    storage.put(key, BytesIO(b"bytes"))

    storage.put(key, BytesIO(b"bytes"))

    assert [method for method, _ in bucket.requests].count("PUT") == 1


def test_a_file_that_is_opened_lies_in_a_folder_of_the_desk(bucket, settings, tmp_path):
    settings.VAR_DIR = tmp_path
    storage.put(key_for(b"bytes"), BytesIO(b"bytes"))

    with storage.open_whole(key_for(b"bytes")) as file:
        place = Path(f"/proc/self/fd/{file.fileno()}").readlink()

    assert place.parent == tmp_path / "spool"


def test_a_missing_object_is_said_before_anything_is_sent(bucket):
    with pytest.raises(storage.FileMissing):
        storage.Stream(key_for(b"never"))
    with pytest.raises(storage.FileMissing):
        storage.open_whole(key_for(b"never"))


def test_a_store_that_is_away_is_unavailable_and_not_a_bug(bucket, monkeypatch):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    bucket.is_away = True

    for verb in (
        lambda: storage.put(key_for(b"x"), BytesIO(b"x")),
        lambda: storage.exists(key_for(b"x")),
        lambda: storage.delete(key_for(b"x")),
        lambda: storage.open_whole(key_for(b"x")),
        lambda: storage.Stream(key_for(b"x")),
    ):
        with pytest.raises(storage.StoreUnavailable):
            verb()
