"""Bytes of one request become part of an upload: by turns, under its lease, and the last of them finishes it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from django.conf import settings

from orchestrator.problems import Conflict

from .exchange import Request
from .finishing import finish
from .holds import LOOK_AGAIN_SECONDS, Hold, UploadBusy
from .models import Upload
from .protocol import UploadTooLarge
from .reception import ClientGone, Reception, at_work_on
from .sinks import ensure_room
from .threads import in_database, slowly


class OffsetMismatch(Conflict):
    """The body does not begin where the upload stands"""

    def __init__(self, offset: int, upload: Upload) -> None:
        super().__init__(
            f"Upload-Offset is {offset}, expected {upload.offset}; ask HEAD and resume.", offset=upload.offset
        )


async def receive(request: Request, upload_id: UUID, *, offset: int) -> Upload:
    """Take the body into the upload at this offset, and finish the upload when that was its last byte."""
    async with held(upload_id) as hold:
        upload = await in_database(hold.load)
        if offset != upload.offset:
            raise OffsetMismatch(offset, upload)
        limit = upload.length if upload.length is not None else upload.max_size
        n_bytes = request.headers.body_length
        if n_bytes is not None and offset + n_bytes > limit:
            raise UploadTooLarge(f"{n_bytes} bytes from {offset} on are more than the upload has: {limit}.")
        ensure_room(n_bytes or 0)
        reception = Reception(hold, upload, request.receive, request.headers.checksum)
        try:
            sha256 = await reception.run()
        except ClientGone:
            if reception.saved.is_whole:  # the client has sent all and went without waiting
                with hold.beating():
                    await slowly(finish, hold)
            raise
        upload = reception.saved
        if upload.is_whole:
            with hold.beating():
                upload = await slowly(finish, hold, sha256=sha256)
        return upload


async def finish_whole(upload_id: UUID) -> Upload:
    """Finish an upload that is whole: all its bytes came, but whoever brought the last was cut off before this."""
    async with held(upload_id) as hold:
        with hold.beating():
            return await slowly(finish, hold)


@asynccontextmanager
async def held(upload_id: UUID) -> AsyncIterator[Hold]:
    """Be the one who writes, for this block. Raises UploadBusy, UploadMissing."""
    hold = await _take(upload_id)
    try:
        yield hold
    finally:
        await asyncio.shield(in_database(hold.release))


async def _take(upload_id: UUID) -> Hold:
    """Become the one who writes, as `Hold.take` does, without keeping a thread waiting."""
    gives_up_at = asyncio.get_running_loop().time() + settings.UPLOAD_YIELD_SECONDS
    hold = await in_database(Hold.attempt, upload_id, ask=True)
    if hold is None and (present := at_work_on(upload_id)) is not None:
        present.stop(UploadBusy("Another request goes on with this upload; ask HEAD.", retry_after=1))
    while hold is None:
        if asyncio.get_running_loop().time() >= gives_up_at:
            raise UploadBusy("Another request is writing to this upload; ask HEAD and try again.", retry_after=1)
        await asyncio.sleep(LOOK_AGAIN_SECONDS)
        hold = await in_database(Hold.attempt, upload_id, ask=False)
    return hold
