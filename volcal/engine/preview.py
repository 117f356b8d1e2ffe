"""What a browser draws: a thinned cloud coloured by distance, and both surfaces for sections."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .rasters import closed
from .surface import Surface, frame_of, surface_of

_MOST_POINTS = 200_000
_MOST_CELLS = 250_000  # four bytes each: 1 MB a surface
_UNKNOWN = -32768


def write_cloud(place: Path, points: NDArray[Any], cores: NDArray[Any], core_m: float, origin: NDArray[Any]) -> None:
    """Write at most 200,000 points of the aligned second cloud. Little-endian:

    4 bytes "VCP1", uint32 n, float64 low[3] (site coordinates, m), float32 step[3] (m), float32 distance step (m),
    then uint16 x[n], y[n], z[n] (coordinate = low + value * step) and int16 distance[n] (times its step; -32768:
    unknown). points: (n, 3) metres from the origin; cores: rows x, y, z, distance, level of detection,
    core_m apart.
    """
    chosen = np.asarray(points[:: -(-len(points) // _MOST_POINTS)])
    known = cores[np.isfinite(cores[:, 3])]
    found = surface_of(known[:, [0, 1, 3]], *frame_of(known, core_m), core_m)
    distance = closed(found).at(chosen[:, :2])
    step = max(float(np.nanmax(np.abs(distance))), 1e-3) / 32767 if np.isfinite(distance).any() else 1e-3
    low = chosen.min(axis=0)
    steps = np.maximum(np.ptp(chosen, axis=0), 1e-3) / 65535
    with place.open("wb") as file:
        file.write(b"VCP1" + np.uint32(len(chosen)).tobytes())
        file.write((low + origin).astype("<f8").tobytes() + steps.astype("<f4").tobytes())
        file.write(np.float32(step).tobytes())
        for axis in range(3):
            file.write(np.round((chosen[:, axis] - low[axis]) / steps[axis]).astype("<u2").tobytes())
        file.write(
            np.where(np.isnan(distance), _UNKNOWN, np.round(np.nan_to_num(distance) / step)).astype("<i2").tobytes()
        )


def write_profiles(folder: Path, before: Surface, after: Surface) -> dict[str, Any]:
    """Write before.f32 and after.f32, float32 little-endian, row 0 in the south, NaN where unknown; at most 1 MB each.

    Returns rows, columns, cell and low corner (metres from the origin) of that thinned grid.
    """
    every = int(np.ceil(np.sqrt(before.heights.size / _MOST_CELLS)))
    for name, surface in (("before", before), ("after", after)):
        (folder / f"{name}.f32").write_bytes(surface.heights[::every, ::every].astype("<f4").tobytes())
    rows, columns = before.heights[::every, ::every].shape
    half = before.cell_m * (every - 1) / 2  # a kept cell stands for the ones around it, at its own centre
    return {
        "rows": rows,
        "columns": columns,
        "cell_m": before.cell_m * every,
        "low": [before.low[0] - half, before.low[1] - half],
    }
