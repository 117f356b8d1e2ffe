"""Pictures made for tests, as bytes."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import Any

from PIL import Image


def gradient(width: int = 40, height: int = 30, *, seed: int = 0) -> Image.Image:
    """Draw a picture in which every place has its own colour; another seed gives another picture."""
    picture = Image.new("RGB", (width, height))
    picture.putdata(
        [((x * 255) // width, (y * 255) // height, (seed * 37) % 256) for y in range(height) for x in range(width)]
    )
    return picture


def encoded(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def png(seed: int = 0, width: int = 40, height: int = 30) -> bytes:
    return encoded(gradient(width, height, seed=seed))


def jpeg(seed: int = 0, width: int = 40, height: int = 30, **options: Any) -> bytes:
    return encoded(gradient(width, height, seed=seed), "JPEG", **options)


def png_header(width: int, height: int) -> bytes:
    """Write a PNG that claims this size and holds hardly any pixels: a decompression bomb."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")
    )
