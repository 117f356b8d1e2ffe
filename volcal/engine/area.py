"""Which points lie in an area of the plan."""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray


def inside(area: shapely.Geometry, points: NDArray[Any]) -> NDArray[np.bool_]:
    """Mark the points (n, 2 or more) that lie in an area."""
    low_x, low_y, high_x, high_y = area.bounds
    x, y = points[:, 0], points[:, 1]
    found: NDArray[np.bool_] = (x >= low_x) & (x <= high_x) & (y >= low_y) & (y <= high_y)
    boxed = np.flatnonzero(found)
    shapely.prepare(area)
    found[boxed] = shapely.contains_xy(area, x[boxed], y[boxed])
    return found
