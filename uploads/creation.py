"""POST: new uploads, parts of an upload, and parts put together."""

from __future__ import annotations

from uuid import UUID

from django.conf import settings
from django.contrib.auth.models import User

from orchestrator.problems import Forbidden, Invalid, Problem

from . import admission, concatenation, intake, rows
from .arrival import finish_whole, held, receive
from .exchange import Reply, Request, expiry_of
from .models import FINAL, PARTIAL, Upload
from .protocol import Headers, UploadTooLarge
from .reception import ClientGone
from .sinks import ensure_room
from .threads import in_database, slowly


class UploadIsFinal(Forbidden):
    """A final upload is made of its parts and takes no bytes itself"""


async def create(request: Request) -> Reply:
    headers = request.headers
    owner = await in_database(admission.authorize, headers, request.base)
    if headers.concat.startswith(FINAL):
        return await _join(request, slot=None, owner=owner)
    length = _announced_length(headers)
    metadata, concat = headers.metadata, headers.concat
    _refuse_before_body(headers, length, settings.UPLOAD_MAX_BYTES)
    upload = await in_database(
        rows.create, owner=owner, length=length, metadata_header=metadata, concat=concat, slot=None
    )
    return await _created(request, upload, is_new=True)


async def post_to(request: Request, upload_id: UUID) -> Reply:
    """Take the address of an upload as an endpoint: for its length, for parts of it, and to put those together."""
    headers = request.headers
    upload = await in_database(rows.living, upload_id)
    if upload.is_final and not headers.concat:
        raise UploadIsFinal("This upload is put together from parts; nothing can be added.")
    if headers.concat.startswith(FINAL):
        return await _join(request, slot=upload, owner=upload.owner)
    length = _announced_length(headers)
    _refuse_before_body(headers, length, upload.max_size)
    if headers.concat == PARTIAL:
        part = await in_database(
            rows.create,
            owner=upload.owner,
            length=length,
            metadata_header=headers.metadata,
            concat=PARTIAL,
            slot=upload,
        )
        return await _created(request, part, is_new=True)
    upload = await in_database(rows.announce, upload_id, length=length, metadata_header=headers.metadata)
    # Bytes in this request are the first of the file; where some have arrived already, the client is told and goes on.
    takes_body = upload.offset == 0 and not upload.is_finished
    return await _created(request, upload, is_new=False, takes_body=takes_body)


async def _created(request: Request, upload: Upload, *, is_new: bool, takes_body: bool = True) -> Reply:
    if request.headers.has_body and takes_body:
        try:
            upload = await receive(request, upload.pk, offset=0)
        except ClientGone:
            raise
        except Problem:
            if is_new and request.headers.checksum is not None:  # its address was never told
                await slowly(intake.discard, upload)
            raise
    elif upload.is_whole and not upload.is_finished:
        upload = await finish_whole(upload.pk)
    location = {"Location": request.address_of(upload), "Upload-Offset": str(upload.offset)}
    return Reply(201, location | expiry_of(upload))


async def _join(request: Request, *, slot: Upload | None, owner: User | None) -> Reply:
    headers = request.headers
    if headers.length is not None or headers.has_body:
        raise Invalid("A final upload has neither Upload-Length nor a body; its parts say all.")
    part_ids, concat, metadata = headers.part_ids, headers.concat, headers.metadata
    if slot is None:
        final = await in_database(concatenation.plan, part_ids, owner=owner, concat=concat, metadata_header=metadata)
    else:
        final = await in_database(concatenation.plan_into, slot.pk, part_ids, concat=concat, metadata_header=metadata)
    if not final.is_finished:
        ensure_room(final.length or 0)
        async with held(final.pk) as hold:
            with hold.beating():
                final = await slowly(concatenation.join, hold, part_ids)
    return Reply(201, {"Location": request.address_of(final)} | expiry_of(final))


def _announced_length(headers: Headers) -> int | None:
    length = headers.length
    if length is None and not headers.defers_length:
        raise Invalid("Send Upload-Length with the size of the file, or Upload-Defer-Length: 1.")
    return None if headers.defers_length else length


def _refuse_before_body(headers: Headers, length: int | None, most: int) -> None:
    """Say what is wrong before a byte is stored."""
    if length is not None and length > most:
        raise UploadTooLarge(f"An upload can have {most} bytes at most.", max_size=most)
    if headers.has_body:
        headers.require_media_type()
        if length is not None and (headers.body_length or 0) > length:
            raise UploadTooLarge(f"The body has {headers.body_length} bytes, the upload only {length}.")
    _ = headers.checksum
    ensure_room(length or headers.body_length or 0)
