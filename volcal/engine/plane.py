"""A plane through heights of which some do not belong to it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .surface import nmad

_ROUNDS = 10


def robust_plane(xy: NDArray[Any], heights: NDArray[Any]) -> NDArray[Any]:
    """Fit height = a + b x + c y, ten rounds of reweighting (Tukey); returns (a, b, c). xy: (n, 2) metres."""
    design = np.column_stack((np.ones(len(xy)), xy))
    # From a level plane, not from least squares: a minority that moved must not tilt the start.
    plane = np.array([float(np.median(heights)), 0.0, 0.0])
    for _ in range(_ROUNDS):
        rest = heights - design @ plane
        scale = 4.685 * max(nmad(rest), 1e-6)
        root = np.where(np.abs(rest) < scale, 1 - (rest / scale) ** 2, 0)
        plane = np.linalg.lstsq(design * root[:, None], heights * root, rcond=None)[0]
    return plane
