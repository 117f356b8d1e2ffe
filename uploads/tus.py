"""The upload service: tus 1.0.0 at /files, spoken as raw ASGI.

A server that collects a body before it calls its application loses all of a request that is cut; here every piece is
handed on as it comes (docs/explanation/uploads.md).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import format_datetime
from typing import Any, TypeVar
from uuid import UUID

from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest

from orchestrator import problems, requestids
from orchestrator.problems import Conflict, Forbidden, Invalid, MethodNotAllowed, Problem

from . import admission, concatenation, intake, rows
from .finishing import finish
from .holds import LOOK_AGAIN_SECONDS, Hold, HoldLost, UploadBusy, UploadMissing
from .models import FINAL, PARTIAL, Upload
from .protocol import ALGORITHMS, EXTENSIONS, VERSION, Headers, UploadTooLarge, id_in
from .reception import BodyStalled, ClientGone, Reception, Stopping, at_work_on
from .sinks import ensure_room
from .storage import StoreUnavailable
from .threads import in_database, slowly

logger = logging.getLogger(__name__)

T = TypeVar("T")
Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

_SHARED = {
    "Tus-Resumable": VERSION,
    "X-Content-Type-Options": "nosniff",
    # An address is its own permission and no cookie is read, so pages of every origin may use it.
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": (
        "Location, Tus-Version, Tus-Resumable, Tus-Max-Size, Tus-Extension, Tus-Checksum-Algorithm, Upload-Length, "
        "Upload-Offset, Upload-Metadata, Upload-Defer-Length, Upload-Concat, Upload-Expires, Retry-After, X-Request-ID"
    ),
}
_ABILITIES = {
    "Tus-Version": VERSION,
    "Tus-Extension": ",".join(EXTENSIONS),
    "Tus-Checksum-Algorithm": ",".join(ALGORITHMS),
}
_PREFLIGHT = {
    "Access-Control-Allow-Methods": "POST, HEAD, PATCH, DELETE, OPTIONS",
    "Access-Control-Allow-Headers": (
        "Authorization, Content-Type, Tus-Resumable, Upload-Length, Upload-Offset, Upload-Metadata, "
        "Upload-Defer-Length, Upload-Concat, Upload-Checksum, X-HTTP-Method-Override, X-Request-ID, X-Requested-With"
    ),
    "Access-Control-Max-Age": "86400",
}
_COLLECTION_METHODS = "POST, OPTIONS"
_UPLOAD_METHODS = "HEAD, PATCH, POST, DELETE, OPTIONS"


class UploadIsFinal(Forbidden):
    """A final upload is made of its parts and takes no bytes itself"""


class OffsetMismatch(Conflict):
    """The body does not begin where the upload stands"""


@dataclass
class Request:
    """One request for the service. base: scheme and host as the client sees them."""

    method: str
    path: str
    headers: Headers
    base: str
    receive: Receive

    def address_of(self, upload: Upload) -> str:
        return f"{self.base}{intake.PATH}/{upload.pk}"


@dataclass
class Reply:
    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer one HTTP request."""
    headers = Headers(scope["headers"])
    with requestids.carrying(requestids.accept(headers.get(requestids.HEADER))):
        # "If the header is presented, the actual method must be ignored."
        method = headers.get("X-HTTP-Method-Override", scope["method"]).upper()
        request = Request(method, scope["path"], headers, admission.base_of(scope, headers), receive)
        try:
            reply = await _answer(request)
        except ClientGone:
            logger.info("upload cut", extra={"path": _log_path(request.path)})
            return
        except Exception as error:  # the edge of the service: whatever it is becomes an answer
            reply = _refusal(error, request)
        await _send(reply, send, without_body=scope["method"] == "HEAD")


async def _send(reply: Reply, send: Send, *, without_body: bool) -> None:
    headers = _SHARED | {requestids.HEADER: requestids.current()} | reply.headers
    if reply.status != 204:
        headers["Content-Length"] = str(len(reply.body))
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": reply.status, "headers": raw})
    await send({"type": "http.response.body", "body": b"" if without_body else reply.body})


async def _answer(request: Request) -> Reply:
    path = request.path.rstrip("/")
    if path in {"/health", "/health/live"}:
        return Reply(200, {"Content-Type": "application/json"}, b'{"status": "healthy"}')
    if path != intake.PATH and not path.startswith(f"{intake.PATH}/"):
        raise problems.NotFound(f"There is nothing at {request.path}; uploads are at {intake.PATH}/.")
    if request.method == "OPTIONS":
        return Reply(204, _ABILITIES | _PREFLIGHT | {"Tus-Max-Size": str(settings.UPLOAD_MAX_BYTES)})
    request.headers.require_version()
    if path == intake.PATH:
        if request.method != "POST":
            raise MethodNotAllowed("Uploads are created with POST.", allowed=_COLLECTION_METHODS)
        return await _create(request)
    upload_id = id_in(path)
    if upload_id is None or path != f"{intake.PATH}/{upload_id}":
        raise UploadMissing("This upload does not exist or was terminated; start a new one.")
    verbs = {"HEAD": _head, "PATCH": _patch, "POST": _post, "DELETE": _delete}
    verb = verbs.get(request.method)
    if verb is None:
        raise MethodNotAllowed(f"Possible here: {_UPLOAD_METHODS}.", allowed=_UPLOAD_METHODS)
    return await verb(request, upload_id)


# --- Creation


async def _create(request: Request) -> Reply:
    headers = request.headers
    owner = await in_database(admission.authorize, headers, request.base)
    if headers.concat.startswith(FINAL):
        return await _create_final(request, slot=None, owner=owner)
    length = _announced_length(headers)
    metadata, concat = headers.metadata, headers.concat
    _refuse_before_body(headers, length, settings.UPLOAD_MAX_BYTES)
    upload = await in_database(
        rows.create, owner=owner, length=length, metadata_header=metadata, concat=concat, slot=None
    )
    return await _created(request, upload)


async def _post(request: Request, upload_id: UUID) -> Reply:
    """Take the address of an upload as an endpoint: for its length, for parts of it, and to put those together."""
    headers = request.headers
    upload = await in_database(rows.living, upload_id)
    if upload.is_final and not headers.concat:
        raise UploadIsFinal("This upload is put together from parts; nothing can be added.")
    if headers.concat.startswith(FINAL):
        return await _create_final(request, slot=upload, owner=upload.owner)
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
        return await _created(request, part)
    upload = await in_database(rows.announce, upload_id, length=length, metadata_header=headers.metadata)
    # Bytes in this request are the first of the file; where some have arrived already, the client is told and goes on.
    return await _created(request, upload, takes_body=upload.offset == 0 and not upload.is_finished)


async def _created(request: Request, upload: Upload, *, takes_body: bool = True) -> Reply:
    is_new = upload.offset == 0 and not upload.is_slot
    if request.headers.has_body and takes_body:
        try:
            upload = await _receive(request, upload.pk, offset=0)
        except ClientGone:
            raise
        except Problem:
            if is_new and request.headers.checksum is not None:  # its address was never told
                await slowly(intake.discard, upload)
            raise
    elif upload.is_whole and not upload.is_finished:
        upload = await _finish(upload.pk)
    location = {"Location": request.address_of(upload), "Upload-Offset": str(upload.offset)}
    return Reply(201, location | _expiry(upload))


async def _create_final(request: Request, *, slot: Upload | None, owner: Any) -> Reply:
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
        hold = await _take(final.pk)
        try:
            final = await _while_beating(hold, slowly(concatenation.join, hold, part_ids))
        finally:
            await in_database(hold.release)
    return Reply(201, {"Location": request.address_of(final)} | _expiry(final))


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


# --- One upload


async def _head(request: Request, upload_id: UUID) -> Reply:
    length = request.headers.length
    if (present := at_work_on(upload_id)) is not None:
        await present.save()  # so that the client may go on at exactly what has arrived
    upload = await in_database(rows.living, upload_id)
    if length is not None:
        upload = await in_database(rows.announce, upload_id, length=length, metadata_header="")
    if upload.is_whole and not upload.is_finished and at_work_on(upload_id) is None:
        upload = await _finish(upload_id)
    headers = {"Cache-Control": "no-store"} | _expiry(upload)
    if not upload.is_final or upload.is_finished:
        headers["Upload-Offset"] = str(upload.offset)
    if upload.length is None:
        headers["Upload-Defer-Length"] = "1"
    else:
        headers["Upload-Length"] = str(upload.length)
    if upload.metadata_header:
        headers["Upload-Metadata"] = upload.metadata_header
    if upload.concat:
        headers["Upload-Concat"] = upload.concat
    return Reply(200, headers)


async def _patch(request: Request, upload_id: UUID) -> Reply:
    headers = request.headers
    headers.require_media_type()
    offset, length = headers.offset, headers.length
    _ = headers.checksum
    upload = await in_database(rows.living, upload_id)
    if upload.is_final:
        raise UploadIsFinal("This upload is put together from parts; nothing can be added.")
    if offset < upload.offset:  # it only grows: no need to disturb whoever writes
        raise _mismatch(offset, upload)
    if length is not None:
        upload = await in_database(rows.announce, upload_id, length=length, metadata_header="")
    if upload.is_finished:
        if headers.has_body:
            raise UploadTooLarge(f"The upload is complete with {upload.length} bytes.")
    else:
        upload = await _receive(request, upload_id, offset=offset)
    return Reply(204, {"Upload-Offset": str(upload.offset)} | _expiry(upload))


async def _delete(request: Request, upload_id: UUID) -> Reply:
    await in_database(rows.living, upload_id)
    hold = await _take(upload_id)
    try:
        await slowly(rows.terminate, hold)
    finally:
        await in_database(hold.release)
    return Reply(204)


async def _receive(request: Request, upload_id: UUID, *, offset: int) -> Upload:
    """Take the body into the upload at this offset, and finish the upload when that was its last byte."""
    hold = await _take(upload_id)
    try:
        upload = await in_database(hold.load)
        if offset != upload.offset:
            raise _mismatch(offset, upload)
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
                await _while_beating(hold, slowly(finish, hold))
            raise
        upload = reception.saved
        if upload.is_whole:
            upload = await _while_beating(hold, slowly(finish, hold, sha256=sha256))
        return upload
    finally:
        await asyncio.shield(in_database(hold.release))


async def _finish(upload_id: UUID) -> Upload:
    """Finish an upload that is whole: all its bytes came, but whoever brought the last was cut off before this."""
    hold = await _take(upload_id)
    try:
        return await _while_beating(hold, slowly(finish, hold))
    finally:
        await in_database(hold.release)


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


async def _while_beating(hold: Hold, work: Awaitable[T]) -> T:
    """Keep the lease while something long is done under it."""
    task = asyncio.ensure_future(work)
    while not (await asyncio.wait({task}, timeout=settings.UPLOAD_LEASE_SECONDS / 4))[0]:
        try:
            await in_database(hold.renew)
        except HoldLost:
            logger.warning("lease lost during long work", extra={"upload": hold.upload_id.hex[:8]})
            break
    return await task


# --- Answers


def _mismatch(offset: int, upload: Upload) -> Problem:
    return OffsetMismatch(
        f"Upload-Offset is {offset}, expected {upload.offset}; ask HEAD and resume.", offset=upload.offset
    )


def _expiry(upload: Upload) -> dict[str, str]:
    if upload.expires_at is None:
        return {}
    return {"Upload-Expires": format_datetime(upload.expires_at.astimezone(UTC), usegmt=True)}


def _refusal(error: Exception, request: Request) -> Reply:
    problem = _problem_of(error, request)
    django_request = HttpRequest()
    django_request.path = _log_path(request.path)
    response = problems.reply(problem, django_request)
    headers = {"Content-Type": problems.MEDIA_TYPE, "Cache-Control": "no-store", **problem.headers}
    if isinstance(problem, BodyStalled | Stopping):
        headers["Connection"] = "close"
    if problem.status >= 500:
        logger.warning("upload refused", extra={"status": problem.status, "error": problem.detail})
    return Reply(problem.status, headers, response.content)


def _problem_of(error: Exception, request: Request) -> Problem:
    match error:
        case Problem():
            return error
        case HoldLost():
            return UploadBusy("Another request has taken over this upload; ask HEAD.", retry_after=1)
        case OperationalError() | InterfaceError():
            logger.error("database away", exc_info=error)
            return problems.Unavailable("The database does not answer; ask HEAD and resume.", retry_after=2)
        case OSError():
            logger.error("store failed", exc_info=error)
            return StoreUnavailable("The store failed; ask HEAD and resume.", retry_after=5)
    logger.error("unexpected fault", exc_info=error, extra={"path": _log_path(request.path)})
    return problems.InternalError(f"Something went wrong here; the log has it under {requestids.current()}.")


def _log_path(path: str) -> str:
    """Shorten an address: all of it would let readers of the log write to the upload."""
    upload_id = id_in(path)
    return path if upload_id is None else f"{intake.PATH}/{upload_id.hex[:8]}…"
