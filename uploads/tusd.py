"""A foreign tusd that takes the uploads in our place (TUS_SERVER=tusd): telling it of a new one, seeing what came.

It writes into our own store: `tusd/<id>` of the shared folder or bucket is both its place of an upload and our key. Its
own notes on the upload lie beside, as `tusd/<id>.info`.
"""

from __future__ import annotations

import base64
import json
from typing import Any
from uuid import UUID

import httpx2
from django.conf import settings
from django.core import signing

from orchestrator.problems import Unavailable

from . import storage
from .holds import Hold, UploadBusy, UploadMissing
from .models import Upload
from .protocol import VERSION, UploadTooLarge, id_in

PROOF = "slot"  # the name under which our own creations bring their proof in Upload-Metadata
_SALT = "uploads.tusd"
_PROOF_SECONDS = 60
_TIMEOUT_SECONDS = 10.0


class TusdUnavailable(Unavailable):
    """The upload server cannot be reached"""


def address_of(upload: Upload) -> str:
    return f"{settings.TUS_ENDPOINT}/{upload.store_state.get('tusd', upload.id)}"


def create(upload: Upload) -> None:
    """Make an upload at tusd, under our id and without a length: that is for the client to say.

    tusd asks our hook before it does; the proof that goes along names the id, whose row may not be committed yet.
    Raises TusdUnavailable.
    """
    proof = signing.dumps(str(upload.pk), salt=_SALT)
    headers = {
        "Upload-Defer-Length": "1",
        "Upload-Metadata": f"{PROOF} {base64.b64encode(proof.encode()).decode()}",
    }
    answer = _ask("POST", f"{settings.TUS_ENDPOINT}/", **headers)
    if answer.status_code != 201:
        raise TusdUnavailable(f"tusd refused a new upload with {answer.status_code}; its log says why.", retry_after=5)
    name = answer.headers.get("Location", "").rstrip("/").rpartition("/")[2]
    if id_of(name) != upload.pk:
        raise TusdUnavailable("tusd does not ask this desk; start it with -hooks-http (docs/reference/uploads.md).")
    upload.store_state = {"tusd": name}
    upload.save(update_fields=["store_state"])


def id_of(name: str) -> UUID | None:
    """Read our id in tusd's name of an upload: on S3 it adds a `+` and the store's own id of the multipart upload."""
    return id_in(name.partition("+")[0])


def proven(proof: str) -> UUID | None:
    """Read the id of an upload that we asked tusd for a moment ago; None for anything else."""
    try:
        return UUID(signing.loads(proof, salt=_SALT, max_age=_PROOF_SECONDS))
    except signing.BadSignature:
        return None


def close(upload: Upload) -> None:
    """Say the length in place of a client that never did: what has arrived is the whole. Without a byte it stays open.

    It is said as a client would, by a PATCH without a body, so that tusd also does what it does at the end of a file.
    Raises TusdUnavailable, StoreUnavailable, UploadMissing, UploadBusy if bytes come at this moment.
    """
    if not (_notes(upload) or {}).get("SizeIsDeferred"):
        return
    address = address_of(upload)
    offset = _on(_ask("HEAD", address)).headers.get("Upload-Offset", "0")
    if offset != "0":
        octets = {"Content-Type": "application/offset+octet-stream"}
        _on(_ask("PATCH", address, **octets, **{"Upload-Offset": offset, "Upload-Length": offset}))


def catch_up(hold: Hold) -> Upload:
    """Count the bytes of an upload once tusd has all of them; until then the row says nothing of them.

    Both are read from the store, so it does not matter whether a hook told of it. Raises UploadTooLarge,
    StoreUnavailable.
    """
    upload = hold.load()
    if upload.is_finished or upload.is_whole:
        return upload
    notes = _notes(upload)
    if notes is None:
        return upload
    try:
        n_bytes = storage.size(upload.key)
    except storage.FileMissing:
        return upload
    if notes.get("SizeIsDeferred") or notes.get("Size") != n_bytes:
        return upload
    if n_bytes > upload.max_size:
        raise UploadTooLarge(f"This upload can have {upload.max_size} bytes at most.", max_size=upload.max_size)
    return hold.renew(length=n_bytes, offset=n_bytes)


def _notes(upload: Upload) -> dict[str, Any] | None:
    """Read what tusd has written down of an upload; None if it has nothing. Raises StoreUnavailable."""
    try:
        with storage.open_whole(f"{upload.key}.info") as file:
            notes: dict[str, Any] = json.load(file)
    except storage.FileMissing:
        return None
    return notes


def _ask(method: str, address: str, **headers: str) -> httpx2.Response:
    headers |= {"Tus-Resumable": VERSION}
    try:
        return httpx2.request(method, address, headers=headers, timeout=_TIMEOUT_SECONDS)
    except httpx2.HTTPError as error:
        raise TusdUnavailable(f"tusd does not answer ({type(error).__name__}); try again.", retry_after=5) from error


def _on(answer: httpx2.Response) -> httpx2.Response:
    """Go on with a good answer about an upload, and raise what another one means."""
    if answer.is_success:
        return answer
    if answer.status_code in {404, 410}:
        raise UploadMissing("tusd does not have this upload any more; start a new one.")
    if answer.status_code in {409, 423}:
        raise UploadBusy("A client is writing to this upload; try again.", retry_after=1)
    raise TusdUnavailable(f"tusd answered {answer.status_code}; its log says why.", retry_after=5)
