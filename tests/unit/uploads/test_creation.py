"""POST to /files/ and to the address of an upload, with a body."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from uploads import creation, intake
from uploads.exchange import Reply, Request
from uploads.models import Upload
from uploads.protocol import MEDIA_TYPE, ChecksumMismatch, Headers

pytestmark = pytest.mark.django_db(transaction=True)
_WRONG = {"Upload-Checksum": "sha1 AAAAAAAAAAAAAAAAAAAAAAAAAAA="}


@pytest.fixture(autouse=True)
def _own_folders(settings, tmp_path):
    settings.VAR_DIR = tmp_path
    settings.MEDIA_ROOT = tmp_path / "media"
    settings.API_ACCESS = "open"


def post(upload: Upload | None = None, **headers: str) -> Reply:
    """Send five bytes with a checksum that they do not have."""
    said = {name.replace("_", "-"): value for name, value in headers.items()}
    said |= _WRONG | {"Content-Type": MEDIA_TYPE, "Content-Length": "5", "Host": "localhost"}
    raw = [(name.encode(), value.encode()) for name, value in said.items()]

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"hello"}

    path = intake.PATH if upload is None else f"{intake.PATH}/{upload.pk}"
    request = Request("POST", path, Headers(raw), "http://localhost", receive)
    answer = creation.create(request) if upload is None else creation.post_to(request, upload.pk)
    return asyncio.run(asyncio.wait_for(answer, 30))


@pytest.mark.parametrize("is_slot", [True, False])
def test_a_wrong_checksum_leaves_an_upload_whose_address_is_known(is_slot: bool):
    upload = intake.new_upload(max_size=100, is_slot=is_slot)

    with pytest.raises(ChecksumMismatch):
        post(upload, Upload_Length="5")

    assert intake.find(upload.pk).offset == 0


def test_a_wrong_checksum_leaves_no_upload_whose_address_was_never_told():
    slot = intake.open_slot(label="pre")

    for send in (lambda: post(Upload_Length="5"), lambda: post(slot, Upload_Length="5", Upload_Concat="partial")):
        with pytest.raises(ChecksumMismatch):
            send()

    assert [upload.pk for upload in Upload.objects.all()] == [slot.pk]
