"""Uploads: files on their way in, addressed by an id that nobody can guess."""

from __future__ import annotations

import base64
import binascii
import uuid

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils import timezone

PARTIAL = "partial"
FINAL = "final;"
TUSD_FOLDER = "tusd/"  # where a foreign tusd keeps its uploads


class Upload(models.Model):
    """One file that arrives in pieces. Whoever knows its id may write to it, until it is finished or expires.

    offset: bytes that are safe in the store; a client goes on from here. length: null while the client has not said it.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    label = models.TextField(blank=True)  # what the app that opened it calls it; empty for uploads that clients create
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="uploads"
    )
    # A slot was opened by an app, which disposes of it; what clients create on their own expires, finished or not.
    is_slot = models.BooleanField(default=False)
    # The slot through whose address a client made this part of it.
    slot = models.ForeignKey("self", null=True, blank=True, on_delete=models.CASCADE, related_name="parts")
    concat = models.TextField(blank=True)  # Upload-Concat as the client sent it: `partial`, `final;…` or nothing
    metadata_header = models.TextField(blank=True)  # Upload-Metadata as the client sent it

    length = models.BigIntegerField(null=True, blank=True)
    offset = models.BigIntegerField(default=0)
    max_size = models.BigIntegerField()

    key = models.TextField(unique=True)  # its place in the store
    # What an unfinished S3 object consists of: {"multipart": id, "parts": [[etag, size], …], "tail": bytes}; of one at
    # a foreign tusd the name that it has there: {"tusd": id}.
    store_state = models.JSONField(default=dict, blank=True)
    sha256 = models.CharField(max_length=64, blank=True)  # of a finished upload

    created_at = models.DateTimeField(db_default=Now(), editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)  # null: stays until somebody discards it
    finished_at = models.DateTimeField(null=True, blank=True)
    removed_at = models.DateTimeField(null=True, blank=True)  # it expired and its bytes are gone; the row says 410

    # The right to write (uploads/holds.py): one request at a time over all processes.
    hold_token = models.UUIDField(null=True, blank=True, editable=False)
    hold_expires_at = models.DateTimeField(null=True, blank=True, editable=False)
    is_wanted = models.BooleanField(default=False, editable=False)  # another request asks the holder to let go

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(offset__gte=0) & (Q(length=None) | Q(length__gte=F("offset"))),
                name="upload_offset_within_length",
            ),
            models.CheckConstraint(
                condition=Q(length=None) | Q(length__lte=F("max_size")), name="upload_length_within_max_size"
            ),
            models.CheckConstraint(
                condition=Q(finished_at=None) | (Q(length=F("offset")) & ~Q(sha256="")),
                name="upload_finished_is_whole",
            ),
        ]
        indexes = [
            # The sweep: what has expired, and what is whole but was not finished.
            models.Index(fields=["expires_at"], name="upload_expiry", condition=Q(removed_at=None)),
            models.Index(fields=["length"], name="upload_whole", condition=Q(finished_at=None, length=F("offset"))),
            # The quota: what one user has here.
            models.Index(fields=["owner"], name="upload_of_owner", condition=Q(removed_at=None)),
        ]

    def __str__(self) -> str:
        return self.label or self.filename or str(self.id)

    @property
    def is_at_tusd(self) -> bool:
        """Whether a foreign tusd takes its bytes (uploads/tusd.py)."""
        return self.key.startswith(TUSD_FOLDER)

    @property
    def is_partial(self) -> bool:
        return self.concat == PARTIAL

    @property
    def is_final(self) -> bool:
        """Whether it is put together from partial uploads; no client writes to it."""
        return self.concat.startswith(FINAL)

    @property
    def is_finished(self) -> bool:
        return self.finished_at is not None

    @property
    def is_whole(self) -> bool:
        return self.length is not None and self.offset == self.length

    @property
    def is_arriving(self) -> bool:
        """Whether a request holds it now; only for people to read, since a client may be gone without a word."""
        return self.hold_expires_at is not None and self.hold_expires_at > timezone.now()

    @property
    def metadata(self) -> dict[str, str]:
        """What the client said of the file. Values that are no text are read as Latin-1."""
        return {name: _text(value) for name, value in parse_metadata(self.metadata_header).items()}

    @property
    def filename(self) -> str:
        """The last part of the name that the client gave it; only for people to read."""
        name = self.metadata.get("filename") or self.metadata.get("name") or ""
        return name.replace("\\", "/").rpartition("/")[2]

    @property
    def log_name(self) -> str:
        """Enough of the id to find its lines in a log; all of it would let readers of the log write to it."""
        return self.id.hex[:8]


def parse_metadata(header: str) -> dict[str, bytes]:
    """Read `name base64,name base64,name`. Raises ValueError with the reason."""
    pairs: dict[str, bytes] = {}
    for entry in header.split(",") if header.strip() else []:
        name, _, value = entry.strip().partition(" ")
        if not name or not name.isascii() or not name.isprintable() or name in pairs:
            raise ValueError(f"the name {name!r} is empty, not ASCII or said twice")
        try:
            pairs[name] = base64.b64decode(value.strip(), validate=True)
        except binascii.Error:
            raise ValueError(f"the value of {name!r} is not base64") from None
    return pairs


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
