import hashlib
import threading
from io import BytesIO

import pytest
from django.core.files.storage import default_storage

from uploads import storage


@pytest.fixture(autouse=True)
def _own_folder(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path / "media"


def key_for(content: bytes) -> str:
    return storage.key_of("images", hashlib.sha256(content).hexdigest(), ".bin")


def read(key: str) -> bytes:
    with storage.open_whole(key) as file:
        return file.read()


def test_a_key_is_made_of_the_hash():
    assert storage.key_of("images", "ab" + "0" * 62, ".jpg") == f"images/ab/ab{'0' * 62}.jpg"


@pytest.mark.parametrize("sha256", ["", "ab", "../" + "0" * 61, "AB" + "0" * 62])
def test_a_key_of_something_else_than_a_hash_is_refused(sha256):
    with pytest.raises(ValueError, match="sha256"):
        storage.key_of("images", sha256, ".jpg")


def test_what_was_put_is_read_again_and_can_be_deleted_twice():
    key = key_for(b"some bytes")

    source = BytesIO(b"some bytes")
    source.read()  # wherever the file stands, all of it is stored
    storage.put(key, source)

    assert storage.exists(key)
    assert read(key) == b"some bytes"
    assert not source.closed
    storage.delete(key)
    storage.delete(key)
    assert not storage.exists(key)


def test_a_folder_is_listed_with_all_below_it_and_nothing_beside():
    keys = [storage.key_of("images", f"{number:064x}", ".bin") for number in range(3)]
    for key in (*keys, storage.key_of("images2", "ab" * 32, ".bin")):
        storage.put(key, BytesIO(b"x"))

    assert sorted(key for page in storage.pages_of("images") for key in page) == keys
    assert list(storage.pages_of("nothing")) == []


def test_a_put_that_is_cut_off_leaves_nothing(tmp_path):
    class Cut(BytesIO):
        def read(self, size=-1):
            if self.tell() > 0:
                raise OSError("cut off")
            return super().read(10)

    key = key_for(b"x" * 100)

    with pytest.raises(storage.StoreUnavailable, match="cut off"):
        storage.put(key, Cut(b"x" * 100))

    assert not storage.exists(key)
    assert [place for place in (tmp_path / "media").rglob("*") if place.is_file()] == []


def test_many_that_put_the_same_bytes_at_once_leave_one_whole_file(tmp_path):
    content = b"0123456789" * 50_000
    key = key_for(content)
    start = threading.Barrier(8)

    def put() -> None:
        start.wait()
        storage.put(key, BytesIO(content))

    threads = [threading.Thread(target=put) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert read(key) == content
    assert len([place for place in (tmp_path / "media").rglob("*") if place.is_file()]) == 1


def test_a_missing_file_is_said_before_anything_is_sent():
    with pytest.raises(storage.FileMissing):
        storage.open_whole(key_for(b"never"))
    with pytest.raises(storage.FileMissing):
        storage.Stream(key_for(b"never"))


def test_a_store_that_cannot_be_written_is_unavailable_and_not_a_bug(settings, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    settings.MEDIA_ROOT = tmp_path / "file"

    with pytest.raises(storage.StoreUnavailable) as fault:
        storage.put(key_for(b"x"), BytesIO(b"x"))

    assert fault.value.status == 503
    assert fault.value.headers["Retry-After"] == "5"


async def test_a_stream_gives_small_pieces_and_closes_its_file():
    content = bytes(range(256)) * 4096
    key = key_for(content)
    default_storage.save(key, BytesIO(content))

    stream = storage.Stream(key)
    pieces = [piece async for piece in stream]
    stream.close()

    assert b"".join(pieces) == content
    assert max(map(len, pieces)) <= storage.CHUNK_BYTES
    assert stream._file.closed
