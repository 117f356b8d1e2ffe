"""tus 1.0.0 as headers: what a client may say, and how it is read."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from orchestrator.problems import Invalid, Problem, TooLarge, UnsupportedMediaType

from .models import FINAL, PARTIAL, parse_metadata

VERSION = "1.0.0"
EXTENSIONS = (
    "creation",
    "creation-with-upload",
    "creation-defer-length",
    "termination",
    "checksum",
    "concatenation",
    "expiration",
)
ALGORITHMS = ("sha1", "sha256", "md5")
MEDIA_TYPE = "application/offset+octet-stream"
_NUMBER = re.compile(r"[0-9]{1,18}")
_LONGEST_HEADER = 16 * 1024  # a final upload names its parts in one header
_MOST_PARTS = 128


class VersionUnsupported(Problem):
    """This version of tus is not spoken here"""

    status = 412

    @property
    def headers(self) -> dict[str, str]:
        return super().headers | {"Tus-Version": VERSION}


class ChecksumMismatch(Problem):
    """The bytes do not have the checksum that was announced"""

    status = 460


class UploadTooLarge(TooLarge):
    """The upload is larger than allowed"""


class Headers:
    """The headers of one request, by lowercase name; the first of each counts."""

    def __init__(self, raw: list[tuple[bytes, bytes]]) -> None:
        self._values: dict[str, str] = {}
        for name, value in raw:
            self._values.setdefault(name.decode("latin-1").lower(), value.decode("latin-1").strip())

    def get(self, name: str, default: str = "") -> str:
        return self._values.get(name.lower(), default)

    def __contains__(self, name: str) -> bool:
        return name.lower() in self._values

    @property
    def as_mapping(self) -> Mapping[str, str]:
        return self._values

    # --- The body

    @property
    def body_length(self) -> int | None:
        """Bytes that follow; None if the client sends them in chunks and does not say."""
        if "chunked" in self.get("Transfer-Encoding").lower():
            return None
        return self._number("Content-Length") or 0

    @property
    def has_body(self) -> bool:
        return self.body_length != 0

    def require_media_type(self) -> None:
        if self.get("Content-Type").split(";")[0].strip().lower() != MEDIA_TYPE:
            raise UnsupportedMediaType(f"The bytes of an upload are sent as {MEDIA_TYPE}.")

    # --- tus

    def require_version(self) -> None:
        if self.get("Tus-Resumable") != VERSION:
            raise VersionUnsupported(f"Send the header Tus-Resumable: {VERSION}.")

    @property
    def length(self) -> int | None:
        """Upload-Length, None where it is not said."""
        return self._number("Upload-Length")

    @property
    def offset(self) -> int:
        offset = self._number("Upload-Offset")
        if offset is None:
            raise Invalid("Send the header Upload-Offset with the byte that the body begins at.")
        return offset

    @property
    def defers_length(self) -> bool:
        value = self.get("Upload-Defer-Length")
        if value not in {"", "1"}:
            raise Invalid("Upload-Defer-Length can only be 1; leave it out when Upload-Length is known.")
        if value and self.length is not None:
            raise Invalid("Send either Upload-Length or Upload-Defer-Length, not both.")
        return bool(value)

    @property
    def metadata(self) -> str:
        """Upload-Metadata, as sent, once it is known to be well-formed."""
        header = self.get("Upload-Metadata")
        self._require_short("Upload-Metadata", header)
        try:
            parse_metadata(header)
        except ValueError as error:
            raise Invalid(f"Upload-Metadata cannot be read: {error}.") from None
        return header

    @property
    def concat(self) -> str:
        """Upload-Concat, as sent: empty, `partial`, or `final;` and addresses."""
        header = self.get("Upload-Concat")
        self._require_short("Upload-Concat", header)
        if header and header != PARTIAL and not header.startswith(FINAL):
            raise Invalid("Upload-Concat is `partial`, or `final;` and the addresses of the parts.")
        return header

    @property
    def part_ids(self) -> list[UUID]:
        """The uploads that a final one consists of, in order."""
        addresses = self.concat.removeprefix(FINAL).split()
        if not 1 <= len(addresses) <= _MOST_PARTS:
            raise Invalid(f"Upload-Concat: final; is followed by 1 to {_MOST_PARTS} addresses.")
        ids = [id_in(address) for address in addresses]
        if None in ids:
            raise Invalid("Upload-Concat names an address that is not one of an upload here.")
        return [part_id for part_id in ids if part_id is not None]

    @property
    def checksum(self) -> Checksum | None:
        header = self.get("Upload-Checksum")
        if not header:
            return None
        algorithm, _, text = header.partition(" ")
        if algorithm not in ALGORITHMS:
            raise Invalid(f"The checksum {algorithm[:20]!r} is unknown here; there are {', '.join(ALGORITHMS)}.")
        try:
            return Checksum(algorithm, base64.b64decode(text.strip(), validate=True))
        except binascii.Error:
            raise Invalid("Upload-Checksum is the algorithm, a space, and the checksum in base64.") from None

    def _number(self, name: str) -> int | None:
        text = self.get(name)
        if not text and name not in self:
            return None
        if not _NUMBER.fullmatch(text):
            raise Invalid(f"{name} must be a whole number of bytes, not {text[:30]!r}.")
        return int(text)

    @staticmethod
    def _require_short(name: str, header: str) -> None:
        if len(header) > _LONGEST_HEADER:
            raise Invalid(f"{name} is longer than {_LONGEST_HEADER} characters.")


@dataclass(frozen=True)
class Checksum:
    """What a client says that the bytes of one request add up to."""

    algorithm: str
    expected: bytes

    def begin(self) -> hashlib._Hash:
        return hashlib.new(self.algorithm, usedforsecurity=False)


def id_in(address: str) -> UUID | None:
    """Read the upload's id at the end of an address; None if there is none."""
    text = address.partition("?")[0].rstrip("/").rpartition("/")[2]
    try:
        return UUID(text)
    except ValueError:
        return None
