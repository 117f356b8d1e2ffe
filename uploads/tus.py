"""The upload service: tus 1.0.0 at /files, spoken as raw ASGI.

A server that collects a body before it calls its application loses all of a request that is cut; here every piece is
handed on as it comes (docs/explanation/uploads.md).
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest

from orchestrator import problems, requestids
from orchestrator.problems import MethodNotAllowed, Problem

from . import admission, arrival, creation, intake, rows
from .arrival import OffsetMismatch
from .creation import UploadIsFinal
from .exchange import Receive, Reply, Request, expiry_of
from .holds import UploadMissing
from .protocol import ALGORITHMS, EXTENSIONS, VERSION, Headers, UploadTooLarge, id_in
from .reception import BodyStalled, ClientGone, Stopping, at_work_on
from .storage import StoreUnavailable
from .threads import in_database, slowly

logger = logging.getLogger(__name__)

Scope = dict[str, Any]
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
        return await creation.create(request)
    upload_id = id_in(path)
    if upload_id is None or path != f"{intake.PATH}/{upload_id}":
        raise UploadMissing("This upload does not exist or was terminated; start a new one.")
    verbs = {"HEAD": _head, "PATCH": _patch, "POST": creation.post_to, "DELETE": _delete}
    verb = verbs.get(request.method)
    if verb is None:
        raise MethodNotAllowed(f"Possible here: {_UPLOAD_METHODS}.", allowed=_UPLOAD_METHODS)
    return await verb(request, upload_id)


# --- One upload


async def _head(request: Request, upload_id: UUID) -> Reply:
    length = request.headers.length
    if (present := at_work_on(upload_id)) is not None:
        await present.save()  # so that the client may go on at exactly what has arrived
    upload = await in_database(rows.living, upload_id)
    if length is not None:
        upload = await in_database(rows.announce, upload_id, length=length, metadata_header="")
    if upload.is_whole and not upload.is_finished and at_work_on(upload_id) is None:
        upload = await arrival.finish_whole(upload_id)
    headers = {"Cache-Control": "no-store"} | expiry_of(upload)
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
        raise OffsetMismatch(offset, upload)
    if length is not None:
        upload = await in_database(rows.announce, upload_id, length=length, metadata_header="")
    if upload.is_finished:
        if headers.has_body:
            raise UploadTooLarge(f"The upload is complete with {upload.length} bytes.")
    else:
        upload = await arrival.receive(request, upload_id, offset=offset)
    return Reply(204, {"Upload-Offset": str(upload.offset)} | expiry_of(upload))


async def _delete(request: Request, upload_id: UUID) -> Reply:
    await in_database(rows.living, upload_id)
    async with arrival.held(upload_id) as hold:
        await slowly(rows.terminate, hold)
    return Reply(204)


# --- Answers


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
