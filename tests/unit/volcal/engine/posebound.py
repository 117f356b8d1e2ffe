"""How well the points of a made-up site can fix a pose at all (Cramer-Rao bound), whatever computes it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely

from tests.scenes import Scene

_STEP_M = 0.5
_DIFFERENCE_M = 1e-3


@dataclass(frozen=True)
class PoseBound:
    """Root mean square of the least errors: of the place of the cloud's middle, metres, and of the turn, degrees."""

    shift_m: float
    turn_deg: float


def pose_bound(made: Scene, noise_m: float) -> PoseBound:
    """Return the bound from slopes, noise and number of points on all ground that both surveys cover and none changed.

    Each square metre tells the distance along the normal with a variance of noise^2 (1 + slope^2) (1/n1 + 1/n2), n
    points a square metre in each survey; the information of all of them, inverted, is the least covariance.
    """
    post = made.post @ made.pose[:3, :3].T + made.pose[:3, 3]
    low_x, low_y = np.maximum(made.pre[:, :2].min(axis=0), post[:, :2].min(axis=0))
    high_x, high_y = np.minimum(made.pre[:, :2].max(axis=0), post[:, :2].max(axis=0))
    area: shapely.Geometry = shapely.box(low_x, low_y, high_x, high_y)
    if made.change:
        area -= shapely.Point(made.change.x, made.change.y).buffer(made.change.radius_m)
    x, y = (one.ravel() for one in np.meshgrid(np.arange(low_x, high_x, _STEP_M), np.arange(low_y, high_y, _STEP_M)))
    within = shapely.contains_xy(area, x, y)
    x, y = x[within], y[within]
    d = _DIFFERENCE_M
    slope_x = (made.before(x + d, y) - made.before(x - d, y)) / (2 * d)
    slope_y = (made.before(x, y + d) - made.before(x, y - d)) / (2 * d)
    per_m2 = [shapely.contains_xy(area, one[:, 0], one[:, 1]).sum() / area.area for one in (made.pre, post)]
    variance = noise_m**2 * (1 + slope_x**2 + slope_y**2) * sum(1 / one for one in per_m2) / _STEP_M**2
    upward = np.column_stack((-slope_x, -slope_y, np.ones(len(x))))
    arm = np.column_stack((x, y, made.before(x, y))) - post.mean(axis=0)
    design = np.column_stack((upward, np.cross(arm, upward)))
    least = np.diag(np.linalg.inv(design.T @ (design / variance[:, None])))
    return PoseBound(float(np.sqrt(least[:3].sum())), float(np.degrees(np.sqrt(least[3:].sum()))))
