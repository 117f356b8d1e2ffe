"""What a foreign tusd asks and tells (its HTTP hooks, version 2), as steps of our own uploads.

It may deliver any of them twice, in any order, or not at all. Of what it says of an upload only the id is taken: where
the bytes lie follows from that, and whether they are complete is what the store says.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.conf import settings
from django.http import HttpRequest
from django.utils.crypto import constant_time_compare

from orchestrator import problems
from orchestrator.problems import Conflict, Problem, Unauthenticated

from . import admission, intake, rows, tusd
from .finishing import finish
from .holds import Hold, UploadMissing
from .models import FINAL, PARTIAL, Upload
from .protocol import Headers, UploadTooLarge

logger = logging.getLogger(__name__)

Answer = dict[str, Any]


class StoreNotShared(Conflict):
    """tusd has written where we do not read"""


def require_secret(authorization: str) -> None:
    """Make sure that it is our tusd that asks. It says the secret as the password of its hook's address, which becomes
    basic authorization; a proxy before us may say it as a bearer's. Raises Unauthenticated."""
    kind, _, text = authorization.partition(" ")
    said = text.strip()
    if kind.lower() == "basic":
        try:
            said = base64.b64decode(said, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            said = ""
    if not settings.TUSD_HOOK_SECRET or not constant_time_compare(said, settings.TUSD_HOOK_SECRET):
        raise Unauthenticated("The hook's secret is missing or wrong; -hooks-http http://tusd:SECRET@desk/tusd_hook.")


def answer(kind: str, event: Mapping[str, Any]) -> Answer:
    """Do what one hook asks for, and return what tusd is to do. kinds that only tell of progress change little.

    Raises Problem, of which tusd tries again what is 500 or above.
    """
    upload = event["Upload"]
    match kind:
        case "pre-create":
            return _pre_create(upload, event["HTTPRequest"])
        case "post-receive":
            intake.keep_waiting([_id_of(upload)])  # how far it is, tusd knows; here only its last byte counts
        case "post-finish":
            _post_finish(_id_of(upload))
        case "pre-terminate":
            return _pre_terminate(_id_of(upload))
        case "post-terminate":
            _post_terminate(_id_of(upload))
    return {}


# --- Creation


def _pre_create(upload: Mapping[str, Any], request: Mapping[str, Any]) -> Answer:
    """Give our own id to what we asked for ourselves, and to what somebody may create; refuse the rest in the words of
    our own service."""
    metadata = upload.get("MetaData") or {}
    upload_id = tusd.proven(metadata.get(tusd.PROOF, ""))
    if upload_id is not None:
        return {"ChangeFileInfo": {"ID": str(upload_id), "MetaData": {}}}
    raw = [(name.encode(), value.encode()) for name, values in request["Header"].items() for value in values]
    try:
        return {"ChangeFileInfo": {"ID": str(_created(upload, Headers(raw)).pk)}}
    except Problem as problem:
        response = problems.reply(problem, HttpRequest())
        return {
            "RejectUpload": True,
            "HTTPResponse": {
                "StatusCode": problem.status,
                "Body": response.content.decode(),
                "Header": {"Content-Type": problems.MEDIA_TYPE, **problem.headers},
            },
        }


def _created(upload: Mapping[str, Any], headers: Headers) -> Upload:
    owner = admission.authorize(headers, settings.TUS_ENDPOINT)
    length = None if upload.get("SizeIsDeferred") else upload.get("Size")
    if length is not None and length > settings.UPLOAD_MAX_BYTES:
        most = settings.UPLOAD_MAX_BYTES
        raise UploadTooLarge(f"An upload can have {most} bytes at most.", max_size=most)
    concat = PARTIAL if upload.get("IsPartial") else FINAL if upload.get("IsFinal") else ""
    return rows.create(owner=owner, length=length, metadata_header=headers.metadata, concat=concat, slot=None)


# --- Arrival


def _post_finish(upload_id: UUID) -> None:
    """Take over the file that tusd has completed. Should we die while reading it, the sweep goes on."""
    if _of_tusd(upload_id).is_finished:
        return
    rows.living(upload_id)
    with Hold.take(upload_id) as hold, hold.beating():
        upload = tusd.catch_up(hold)
        if not upload.is_whole:
            logger.error("tusd has finished a file that is not in our store", extra={"upload": upload.log_name})
            raise StoreNotShared(
                "tusd says that the upload is complete, and our store does not have it so. Let both use one folder or "
                "bucket (docs/reference/uploads.md)."
            )
        finish(hold)


# --- Termination


def _pre_terminate(upload_id: UUID) -> Answer:
    """A finished file of an app is not the client's any more."""
    upload = Upload.objects.filter(pk=upload_id).first()
    if upload is None or not (upload.is_slot and upload.is_finished):
        return {}
    problem = rows.UploadTaken("The file was taken over and cannot be withdrawn here.")
    return {
        "RejectTermination": True,
        "HTTPResponse": {"StatusCode": problem.status, "Body": json.dumps({"detail": problem.detail})},
    }


def _post_terminate(upload_id: UUID) -> None:
    upload = _of_tusd(upload_id)
    if upload.removed_at is None:
        with Hold.take(upload_id) as hold:
            rows.terminate(hold)


# --- Which


def _id_of(upload: Mapping[str, Any]) -> UUID:
    upload_id = tusd.id_of(upload.get("ID") or "")
    if upload_id is None:
        raise UploadMissing("tusd has an upload that this desk does not know.")
    return upload_id


def _of_tusd(upload_id: UUID) -> Upload:
    upload = intake.find(upload_id)
    if not upload.is_at_tusd:
        raise UploadMissing("This upload is not one of tusd's.")
    return upload
