"""The body of one request, and others who want the upload meanwhile."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from uploads.holds import Hold, UploadBusy
from uploads.intake import open_slot
from uploads.models import Upload
from uploads.reception import Reception

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _own_folders(settings, tmp_path):
    settings.VAR_DIR = tmp_path
    settings.MEDIA_ROOT = tmp_path / "media"


@pytest.mark.parametrize("is_complete", [True, False])
def test_a_body_that_is_complete_ends_well_though_another_request_wants_the_upload(is_complete: bool, monkeypatch):
    upload = open_slot(label="survey")
    with Hold.take(upload.pk) as hold:
        held = hold.load()

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"hello", "more_body": not is_complete}

        async def received() -> None:
            reception = Reception(hold, held, receive, None)
            saved_by = hold.save_offset

            def wanted(*args: Any) -> Upload:
                reception.stop(UploadBusy("Another request goes on with this upload; ask HEAD.", retry_after=1))
                return saved_by(*args)

            monkeypatch.setattr(hold, "save_offset", wanted)
            await asyncio.wait_for(reception.run(), 30)

        if is_complete:
            asyncio.run(received())
        else:
            with pytest.raises(UploadBusy):
                asyncio.run(received())

    assert Upload.objects.get(pk=upload.pk).offset >= 5
