"""Links to stored files: signed when they are read, expiring, and the only way to a file's bytes."""

from __future__ import annotations

import mimetypes
from functools import cache
from typing import Any
from urllib.parse import quote

from django.conf import settings
from django.core import signing
from django.core.files.storage import FileSystemStorage, default_storage
from django.http import HttpRequest

from orchestrator.problems import Forbidden, Problem

PATH = "/stored"
_SALT = "uploads.links"
# What a browser may show in place; everything else is offered for saving, so that no file of a client becomes a page.
_SHOWN = frozenset({"image/png", "image/jpeg", "image/webp", "application/pdf", "application/json"})


class LinkInvalid(Forbidden):
    """The link is not one of ours"""


class LinkExpired(Problem):
    """The link has expired"""

    status = 403


def signed_url(key: str, filename: str, request: HttpRequest) -> str:
    """Make a link to a stored file that works without a login for PRESIGN_SECONDS.

    filename: what the reader's computer shall call it; its suffix decides the media type.
    A local store is served by the desk itself; an S3 store is asked by the reader, at MINIO_PUBLIC_ENDPOINT.
    """
    if isinstance(default_storage, FileSystemStorage):
        token = signing.dumps({"key": key, "name": filename}, salt=_SALT, compress=True)
        return request.build_absolute_uri(f"{PATH}/{token}/{quote(filename, safe='')}")
    media_type, disposition = presentation(filename)
    return str(
        _public_client().generate_presigned_url(
            "get_object",
            Params={
                "Bucket": default_storage.bucket_name,  # type: ignore[attr-defined]
                "Key": default_storage._normalize_name(key),  # type: ignore[attr-defined]
                "ResponseContentType": media_type,
                "ResponseContentDisposition": disposition,
            },
            ExpiresIn=settings.PRESIGN_SECONDS,
        )
    )


def opened(token: str) -> tuple[str, str]:
    """Return the key and the file name that a link of ours leads to. Raises LinkInvalid, LinkExpired."""
    try:
        content = signing.loads(token, salt=_SALT, max_age=settings.PRESIGN_SECONDS)
    except signing.SignatureExpired:
        raise LinkExpired("This link has expired; load the page or the answer that it came from again.") from None
    except signing.BadSignature:
        raise LinkInvalid("This link was changed on its way; copy all of it.") from None
    return content["key"], content["name"]


def presentation(filename: str) -> tuple[str, str]:
    """Return Content-Type and Content-Disposition."""
    media_type = mimetypes.guess_type(filename)[0] or "application/octet-stream"
    kind = "inline" if media_type in _SHOWN else "attachment"
    return media_type, f"{kind}; filename*=UTF-8''{quote(filename, safe='')}"


def _public_client() -> Any:
    return _client(settings.MINIO_PUBLIC_ENDPOINT or None)


@cache
def _client(endpoint: str | None) -> Any:
    """Return a client whose links name this address; None: the address that the desk itself uses."""
    own = default_storage.connection.meta.client  # type: ignore[attr-defined]
    if endpoint is None:
        return own
    import boto3

    store: Any = default_storage
    return boto3.session.Session(
        aws_access_key_id=store.access_key, aws_secret_access_key=store.secret_key, region_name=store.region_name
    ).client("s3", endpoint_url=endpoint, config=store.client_config)
