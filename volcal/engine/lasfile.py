"""One uploaded LAS or LAZ file: checked by its bytes before a library reads it."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import laspy
import numpy as np
from numpy.typing import NDArray
from pyproj import CRS

from .crs import checked_crs
from .errors import Label, Refused
from .parameters import Parameters

CHUNK = 1_000_000
_HEADER_BYTES = 375  # the longest header, of LAS 1.4
_MIN_POINTS = 1000


@dataclass(frozen=True)
class Header:
    """What the first bytes of the file claim."""

    version: tuple[int, int]
    is_compressed: bool
    offset_bytes: int
    record_bytes: int
    n_points: int
    scales: tuple[float, float, float]
    offsets: tuple[float, float, float]


def read_header(path: Path, label: Label, parameters: Parameters) -> Header:
    """Read and check the header against the file's size and the limits.

    Raises Refused for anything that is not a whole LAS or LAZ file with enough points.
    """
    n_bytes = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(_HEADER_BYTES)
    if head[:4] != b"LASF":
        raise Refused("not_a_point_cloud", "This is neither LAS nor LAZ; export the cloud in one of them.", label)
    if len(head) < 227:
        raise Refused("truncated", f"The file ends within its header, after {n_bytes} bytes; upload it again.", label)
    version = (head[24], head[25])
    if version[0] != 1 or version[1] > 4:
        text = f"LAS {version[0]}.{version[1]} is unknown here; export LAS 1.2 to 1.4."
        raise Refused("not_a_point_cloud", text, label)
    _, offset, n_vlrs, point_format, record_bytes, n_points = struct.unpack_from("<HIIBHI", head, 94)
    if version[1] == 4 and len(head) >= _HEADER_BYTES:
        n_points = struct.unpack_from("<Q", head, 247)[0] or n_points
        start_evlrs, n_evlrs = struct.unpack_from("<QI", head, 235)
        if n_evlrs and start_evlrs + 60 * n_evlrs > n_bytes:
            raise Refused("truncated", "Records that the header names are missing; upload the file again.", label)
    numbers = struct.unpack_from("<6d", head, 131)
    header = Header(version, bool(point_format & 0x80), offset, record_bytes, n_points, numbers[:3], numbers[3:])
    if offset > n_bytes or 54 * n_vlrs > offset:
        raise Refused("truncated", "The file ends before its points; upload it again.", label)
    if not all(math.isfinite(one) for one in numbers) or 0 in numbers[:3]:
        raise Refused("not_finite", "Coordinates are not finite: scale or offset of the file is broken.", label)
    _check_size(header, n_bytes - offset, label, parameters)
    return header


def _check_size(header: Header, body_bytes: int, label: Label, parameters: Parameters) -> None:
    n_points, whole = header.n_points, header.n_points * header.record_bytes
    if n_points == 0:
        raise Refused("no_points", "The file holds no points; export the cloud again.", label)
    if n_points < _MIN_POINTS:
        raise Refused("too_few_points", f"{n_points} points are too few; {_MIN_POINTS} are the least.", label)
    if n_points > parameters.max_points:
        text = f"{n_points:,} points are more than the limit of {parameters.max_points:,}; thin the cloud."
        raise Refused("too_many_points", text, label)
    if not header.is_compressed and whole > body_bytes:
        text = f"{body_bytes // header.record_bytes:,} of {n_points:,} points are there; upload the file again."
        raise Refused("truncated", text, label)
    if header.is_compressed and whole > parameters.max_compression * max(body_bytes, 1):
        text = f"The file claims to grow {whole / max(body_bytes, 1):.0f} times; upload plain LAS if that is true."
        raise Refused("compression", text, label)


def read_points(
    path: Path, label: Label, header: Header, origin: NDArray[Any] | None, report: Callable[[float], None]
) -> tuple[NDArray[Any], NDArray[Any], CRS | None]:
    """Read all points in chunks.

    origin: site coordinates, metres, that become (0, 0, 0); None: choose whole metres near the first points.
    Returns points (n, 3) float64 in metres from the origin, the origin (3,), and the reference system if there is one.
    Raises Refused if the bytes end early, cannot be decoded or give coordinates that are not finite.
    """
    points = np.empty((header.n_points, 3))
    n_read = 0
    try:
        with laspy.open(path, laz_backend=laspy.LazBackend.LazrsParallel) as reader:
            crs = _crs_of(reader.header, label)
            for chunk in reader.chunk_iterator(CHUNK):
                xyz = [np.asarray(one) for one in (chunk.x, chunk.y, chunk.z)]
                if origin is None:
                    middle = np.array([np.median(one[:: max(1, len(one) // 10_000)]) for one in xyz])
                    origin = np.floor(middle) if np.isfinite(middle).all() else np.zeros(3)
                for axis, one in enumerate(xyz):
                    points[n_read : n_read + len(one), axis] = one - origin[axis]
                n_read += len(chunk)
                report(n_read / header.n_points)
    except (MemoryError, Refused):
        raise
    except Exception as broken:  # what a parser throws at hostile bytes has no common class
        text = f"The file cannot be read beyond point {n_read:,} of {header.n_points:,}; upload it again."
        raise Refused("truncated", text, label) from broken
    if n_read < header.n_points or origin is None:
        text = f"{n_read:,} of {header.n_points:,} points are there; upload the file again."
        raise Refused("truncated", text, label)
    if not np.isfinite(points).all():
        raise Refused("not_finite", "Some coordinates are not finite; clean the cloud and export it again.", label)
    return points, origin, crs


def _crs_of(header: laspy.LasHeader, label: Label) -> CRS | None:
    try:
        crs = header.parse_crs()
    except Exception as broken:  # pyproj and laspy raise many kinds for a broken record
        raise Refused("broken_crs", "Its reference system cannot be read; export it again.", label) from broken
    return None if crs is None else checked_crs(CRS.from_user_input(crs), label)
