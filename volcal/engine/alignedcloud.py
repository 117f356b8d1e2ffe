"""The second cloud in the first one's frame, with all its attributes, as LAZ."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import laspy
import numpy as np
from numpy.typing import NDArray
from pyproj import CRS

from .lasfile import CHUNK
from .pose import Pose, moved


def write_aligned(
    source: Path,
    place: Path,
    pose: Pose,
    origin: NDArray[Any],
    crs: CRS | None,
    report: Callable[[float], None],
) -> None:
    """Copy every point record with moved coordinates, chunk by chunk. pose: in metres from the origin."""
    backend = laspy.LazBackend.LazrsParallel
    with laspy.open(source, laz_backend=backend) as reader:
        old = reader.header
        header = laspy.LasHeader(point_format=old.point_format, version=str(old.version))
        header.scales, header.offsets = old.scales, np.floor(origin)
        if crs is not None:
            header.add_crs(crs, keep_compatibility=str(old.version) != "1.4")
        n_done = 0
        with laspy.open(place, mode="w", header=header, do_compress=True, laz_backend=backend) as writer:
            for chunk in reader.chunk_iterator(CHUNK):
                xyz = moved(pose, np.column_stack((chunk.x, chunk.y, chunk.z)) - origin) + origin
                record = laspy.ScaleAwarePointRecord.zeros(len(chunk), header=header)
                for name in chunk.array.dtype.names:
                    record.array[name] = chunk.array[name]
                record.x, record.y, record.z = xyz.T
                writer.write_points(record)
                n_done += len(chunk)
                report(n_done / old.point_count)
