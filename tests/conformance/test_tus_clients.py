"""Clients by others against our service over real sockets, also with an upload's own address as their endpoint."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
import requests
from tusclient.client import TusClient

from tests.workbench import node
from tests.workbench.tus import Service

pytestmark = pytest.mark.slow

CONTENT = os.urandom(3_000_001)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
TUS = {"Tus-Resumable": "1.0.0"}
OCTETS = TUS | {"Content-Type": "application/offset+octet-stream"}


def assert_arrived(service: Service, address: str) -> None:
    row = service.row(address)
    assert row["finished_at"] is not None
    assert row["sha256"] == SHA256
    assert service.file_of(address) == CONTENT


@pytest.fixture(params=["/files/", "its own address"])
def endpoint(request: pytest.FixtureRequest, service: Service) -> str:
    return service.endpoint if request.param == "/files/" else service.open_slot()


# --- tuspy


@pytest.mark.parametrize("options", [{}, {"chunk_size": 500_000}, {"chunk_size": 500_000, "upload_checksum": True}])
def test_tuspy(service: Service, endpoint: str, options: dict[str, Any]):
    uploader = TusClient(endpoint).uploader(file_stream=io.BytesIO(CONTENT), **options)

    uploader.upload()

    assert_arrived(service, uploader.url)
    if endpoint != service.endpoint:
        assert uploader.url == endpoint


def test_tuspy_goes_on_where_another_stopped(service: Service):
    slot = service.open_slot()
    first = TusClient(slot).uploader(file_stream=io.BytesIO(CONTENT), chunk_size=1_000_000)
    first.upload_chunk()

    second = TusClient(slot).uploader(file_stream=io.BytesIO(CONTENT), url=slot)
    second.upload()

    assert first.offset == 1_000_000
    assert_arrived(service, slot)


# --- tus-js-client


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "cloud.laz"
    path.write_bytes(CONTENT)
    return path


def send_by_js(file: Path, **options: Any) -> str:
    if not node.is_ready():
        pytest.skip(node.MISSING)
    sent = subprocess.run(
        [node.PROGRAM, "client.js", str(file), json.dumps(options)],
        cwd=node.FOLDER,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert sent.returncode == 0, sent.stderr
    return sent.stdout.strip()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"chunkSize": 700_000},
        {"uploadDataDuringCreation": True},
        {"uploadDataDuringCreation": True, "chunkSize": 700_000},
        {"uploadLengthDeferred": True, "chunkSize": 700_000},
        {"overridePatchMethod": True},
        {"parallelUploads": 3},
        {"addRequestId": True, "storeFingerprintForResuming": False},
    ],
    ids=lambda options: ",".join(options) or "default",
)
def test_tus_js_client(service: Service, endpoint: str, file: Path, options: dict[str, Any]):
    url = send_by_js(file, endpoint=endpoint, **options)

    assert_arrived(service, url)
    assert service.row(url)["metadata_header"] == "filename Y2xvdWQubGF6"
    if endpoint != service.endpoint:
        assert url == endpoint


def test_tus_js_client_goes_on_at_an_address(service: Service, file: Path):
    slot = service.open_slot()
    length = {"Upload-Length": str(len(CONTENT))}
    requests.patch(slot, data=CONTENT[:1_000_000], headers=OCTETS | length | {"Upload-Offset": "0"}, timeout=30)

    assert send_by_js(file, uploadUrl=slot) == slot
    assert_arrived(service, slot)


# --- The phone: knows only an address, and says the length when it likes


@pytest.mark.parametrize("says_it_with", ["HEAD", "first PATCH", "second PATCH", "HEAD after all", "nothing"])
def test_a_phone(service: Service, says_it_with: str):
    slot, length = service.open_slot(), {"Upload-Length": str(len(CONTENT))}
    said = {"HEAD": [1], "first PATCH": [2], "second PATCH": [3], "HEAD after all": [4]}.get(says_it_with, [])

    first = requests.head(slot, headers=TUS | (length if 1 in said else {}), timeout=30)
    half = requests.patch(
        slot, data=CONTENT[:1_500_000], headers=OCTETS | {"Upload-Offset": "0"} | (length if 2 in said else {}),
        timeout=30,
    )  # fmt: skip
    rest = requests.patch(
        slot, data=CONTENT[1_500_000:], headers=OCTETS | {"Upload-Offset": "1500000"} | (length if 3 in said else {}),
        timeout=30,
    )  # fmt: skip
    last = requests.head(slot, headers=TUS | (length if 4 in said else {}), timeout=30)

    assert (first.headers["Upload-Offset"], half.headers["Upload-Offset"]) == ("0", "1500000")
    assert rest.headers["Upload-Offset"] == last.headers["Upload-Offset"] == str(len(CONTENT))
    if said:
        assert_arrived(service, slot)
    else:
        assert last.headers["Upload-Defer-Length"] == "1"
        assert service.row(slot)["finished_at"] is None


def test_a_length_said_again_is_fine_and_another_is_not(service: Service):
    slot = service.open_slot(max_size=100)

    assert requests.post(slot, headers=TUS | {"Upload-Length": "50"}, timeout=30).status_code == 201
    again = requests.post(slot, headers=TUS | {"Upload-Length": "50"}, timeout=30)
    assert (again.status_code, again.headers["Location"]) == (201, slot)
    assert requests.head(slot, headers=TUS | {"Upload-Length": "50"}, timeout=30).status_code == 200
    assert requests.head(slot, headers=TUS | {"Upload-Length": "51"}, timeout=30).status_code == 400
    assert requests.post(slot, headers=TUS | {"Upload-Length": "51"}, timeout=30).status_code == 400


def test_more_than_a_slot_may_hold_is_refused_before_and_while_it_comes(service: Service):
    slot = service.open_slot(max_size=1000)

    said = requests.post(slot, headers=TUS | {"Upload-Length": "1001"}, timeout=30)
    sent = requests.patch(slot, data=b"x" * 1001, headers=OCTETS | {"Upload-Offset": "0"}, timeout=30)
    trickled = requests.patch(slot, data=iter([b"x" * 900] * 2), headers=OCTETS | {"Upload-Offset": "0"}, timeout=30)

    assert [said.status_code, sent.status_code, trickled.status_code] == [413, 413, 413]
    assert said.json()["error_code"] == "upload_too_large"
    assert service.row(slot)["offset"] == 1000


def test_refusals_are_problems_with_the_callers_request_id(service: Service):
    answer = requests.patch(service.open_slot(), headers=TUS | {"X-Request-ID": "phone-1234"}, timeout=30)

    assert answer.status_code == 415
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["X-Request-ID"] == answer.json()["request_id"] == "phone-1234"
    assert answer.json()["error_code"] == "unsupported_media_type"


def test_a_browser_may_send_from_any_page_and_read_what_it_needs(service: Service):
    preflight = requests.options(
        service.open_slot(),
        headers={
            "Origin": "https://elsewhere.example",
            "Access-Control-Request-Method": "PATCH",
            "Access-Control-Request-Headers": "tus-resumable,upload-offset,content-type",
        },
        timeout=30,
    )

    assert preflight.status_code == 204
    assert preflight.headers["Access-Control-Allow-Origin"] == "*"
    assert "PATCH" in preflight.headers["Access-Control-Allow-Methods"]
    allowed = preflight.headers["Access-Control-Allow-Headers"].lower()
    assert {"tus-resumable", "upload-offset", "upload-length", "content-type"} <= set(allowed.split(", "))
    exposed = preflight.headers["Access-Control-Expose-Headers"]
    assert {"Location", "Upload-Offset", "Upload-Length", "Tus-Version"} <= set(exposed.split(", "))


def test_pages_of_other_sites_and_strange_hosts_create_nothing(service: Service):
    for headers, status in (
        ({"Origin": "https://elsewhere.example"}, 403),
        ({"Host": "rebound.example"}, 400),
        ({"Origin": "http://127.0.0.1:8000"}, 201),
        ({}, 201),
    ):
        answer = requests.post(service.endpoint, headers=TUS | {"Upload-Length": "5"} | headers, timeout=30)
        assert answer.status_code == status, headers


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_bytes_are_not_read_back_at_an_address(service: Service, method: str):
    answer = requests.request(method, service.open_slot(), headers=TUS, timeout=30)

    assert answer.status_code == 405
    assert "PATCH" in answer.headers["Allow"]


def test_a_finished_slot_cannot_be_withdrawn_and_an_unfinished_one_is_gone(service: Service):
    finished, unfinished = service.open_slot(), service.open_slot()
    requests.patch(finished, data=b"abc", headers=OCTETS | {"Upload-Offset": "0", "Upload-Length": "3"}, timeout=30)
    requests.patch(unfinished, data=b"abc", headers=OCTETS | {"Upload-Offset": "0"}, timeout=30)

    assert requests.delete(finished, headers=TUS, timeout=30).status_code == 403
    assert requests.delete(unfinished, headers=TUS, timeout=30).status_code == 204
    assert requests.head(unfinished, headers=TUS, timeout=30).status_code == 410
    assert service.file_of(finished) == b"abc"


def test_an_expired_upload_is_gone(service: Service):
    slot = service.open_slot()
    with service.connect() as connection:
        connection.execute(
            "UPDATE uploads_upload SET expires_at = now() - interval '1 s' WHERE id = %s", [slot.rsplit("/", 1)[1]]
        )

    for answer in (
        requests.head(slot, headers=TUS, timeout=30),
        requests.patch(slot, data=b"x", headers=OCTETS | {"Upload-Offset": "0"}, timeout=30),
        requests.post(slot, headers=TUS | {"Upload-Length": "1"}, timeout=30),
    ):
        assert answer.status_code == 410


def test_many_slots_fill_at_once(service: Service):
    slots = [service.open_slot() for _ in range(8)]

    def fill(slot: str) -> None:
        TusClient(slot).uploader(file_stream=io.BytesIO(CONTENT), chunk_size=1_000_000).upload()

    threads = [threading.Thread(target=fill, args=(slot,)) for slot in slots]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    for slot in slots:
        assert_arrived(service, slot)
