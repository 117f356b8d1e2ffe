"""The bytes of an upload on S3: a multipart upload of the final key, and the last, unfinished part as an object beside.

S3 takes parts of at least 5 MiB, in any order and again under the same number; only the parts that the row names count.
So whatever a crash leaves behind is written over by the next try:

- a part is remembered by its number, ETag and size, in the same write as the offset;
- the tail (bytes that do not make a part yet) lies under `<key>.tail-<number of parts before it>`; one for other parts
  never writes over it, and a later one for the same parts begins with the same bytes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from types import TracebackType
from typing import Any, BinaryIO, Self, cast

from botocore.exceptions import BotoCoreError, ClientError
from django.core.files.storage import default_storage

from .models import Upload
from .storage import StoreUnavailable, spool

_PART_BYTES = 8 * 2**20
_MOST_PARTS = 9_000  # S3 allows 10,000


class MultipartSink:
    """Collects a part in a temporary file, so that memory stays flat, and sends it when it is full."""

    def __init__(self, upload: Upload) -> None:
        self._upload = upload
        self._client = default_storage.connection.meta.client  # type: ignore[attr-defined]
        self._place = {
            "Bucket": default_storage.bucket_name,  # type: ignore[attr-defined]
            "Key": default_storage._normalize_name(upload.key),  # type: ignore[attr-defined]
        }
        state = upload.store_state
        self._multipart: str = state.get("multipart", "")
        self._parts: list[tuple[str, int]] = [(etag, size) for etag, size in state.get("parts", [])]
        self._n_tail: int = state.get("tail", 0)
        self._part: BinaryIO | None = None
        self._n_part = self._n_tail  # bytes of the part that is being collected; the file's own position is boto's
        self._safe = (upload.offset, state)
        # Of max_size, which never changes: the length may be said when a part is half full already.
        self._part_bytes = max(_PART_BYTES, -(-upload.max_size // _MOST_PARTS))
        self.position = upload.offset

    def append(self, pieces: Iterable[bytes]) -> None:
        for piece in pieces:
            view = memoryview(piece)
            while view:
                part = self._open_part()
                if self._n_part == self._part_bytes:  # it could not be sent the last time
                    self._send_part()
                part.seek(self._n_part)
                n_taken = part.write(view[: self._part_bytes - self._n_part])
                self._n_part += n_taken
                self.position += n_taken
                view = view[n_taken:]
                if self._n_part == self._part_bytes:
                    self._send_part()

    def checkpoint(self) -> tuple[int, dict[str, Any]]:
        """Only whole parts: sending the tail every second would send the same bytes again and again."""
        n_sent = sum(size for _, size in self._parts)
        if n_sent > self._safe[0]:  # else the tail that is safe already reaches further
            self._safe = (n_sent, self._state(n_tail=0))
        return self._safe

    def settle(self) -> tuple[int, dict[str, Any]]:
        if self._part is not None:
            if self._n_part:
                self._ask("put_object", Key=self._tail_key(len(self._parts)), Body=_read_again(self._part))
            self._n_tail = self._n_part
            self._safe = (self.position, self._state(n_tail=self._n_tail))
        return self._safe

    def complete(self) -> None:
        """What the row says is safe becomes the object. It may be there already, after a crash."""
        parts = list(self._parts)
        if self._is_there():
            self._clear_up()
            return
        if sum(size for _, size in parts) + self._n_tail != self._upload.offset:
            raise StoreUnavailable(f"The store has lost what it had of upload {self._upload.log_name}.")
        tail = self._tail() if self._n_tail else b""
        if not parts:
            self._ask("put_object", Body=tail)
        else:
            if tail:
                parts.append((self._upload_part(len(parts) + 1, tail), len(tail)))
            self._ask(
                "complete_multipart_upload",
                UploadId=self._multipart,
                MultipartUpload={
                    "Parts": [{"PartNumber": n, "ETag": etag} for n, (etag, _) in enumerate(parts, start=1)]
                },
            )
        self._clear_up()

    def remove(self) -> None:
        self.close()
        self._clear_up()
        self._ask("delete_object")

    def close(self) -> None:
        if self._part is not None:
            self._part.close()
            self._part = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- Parts

    def _tail_key(self, n_parts: int) -> str:
        return f"{self._place['Key']}.tail-{n_parts}"

    def _open_part(self) -> BinaryIO:
        if self._part is None:
            part = spool()
            try:
                if self._n_part:
                    part.write(self._tail())
            except BaseException:
                part.close()
                raise
            self._part = part
        return self._part

    def _send_part(self) -> None:
        part = self._open_part()
        etag = self._upload_part(len(self._parts) + 1, _read_again(part))
        self._parts.append((etag, self._n_part))
        self._n_part = self._n_tail = 0
        part.seek(0)
        part.truncate()

    def _upload_part(self, number: int, body: bytes | BinaryIO) -> str:
        if not self._multipart:
            self._multipart = self._ask("create_multipart_upload")["UploadId"]
        return str(self._ask("upload_part", UploadId=self._multipart, PartNumber=number, Body=body)["ETag"])

    def _tail(self) -> bytes:
        body = self._ask("get_object", Key=self._tail_key(len(self._parts)))["Body"]
        return bytes(body.read(self._n_tail))

    def _state(self, *, n_tail: int) -> dict[str, Any]:
        return {
            "multipart": self._multipart,
            "parts": [list(part) for part in self._parts],
            "tail": n_tail,
        }

    def _clear_up(self) -> None:
        """Remove what S3 keeps beside the object, also what a crash kept us from writing down."""
        key = self._place["Key"]
        is_more = True
        while is_more:
            tails = self._ask("list_objects_v2", Key=None, Prefix=f"{key}.tail-")
            for tail in tails.get("Contents", []):
                self._ask("delete_object", Key=tail["Key"])
            is_more = tails.get("IsTruncated", False)
        begun = self._ask("list_multipart_uploads", Key=None, Prefix=key)
        for multipart in begun.get("Uploads", []):
            if multipart["Key"] == key:
                self._ask("abort_multipart_upload", UploadId=multipart["UploadId"])

    def _is_there(self) -> bool:
        try:
            return bool(self._ask("head_object")["ContentLength"] == self._upload.offset)
        except StoreUnavailable as error:
            if _code(error.__cause__) in {"404", "NoSuchKey"}:
                return False
            raise

    def _ask(self, verb: str, **parameters: Any) -> dict[str, Any]:
        try:
            arguments = {name: value for name, value in (self._place | parameters).items() if value is not None}
            return cast(dict[str, Any], getattr(self._client, verb)(**arguments))
        except (OSError, BotoCoreError, ClientError) as error:
            raise StoreUnavailable(
                f"The store failed: {type(error).__name__}. Ask HEAD and resume.", retry_after=5
            ) from error


def _read_again(file: BinaryIO) -> BinaryIO:
    file.flush()
    file.seek(0, os.SEEK_SET)
    return file


def _code(error: BaseException | None) -> str:
    return str(error.response.get("Error", {}).get("Code", "")) if isinstance(error, ClientError) else ""
