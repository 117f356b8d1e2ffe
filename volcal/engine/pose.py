"""Rigid poses as 4x4 matrices that take points of post to pre, float64, metres."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Pose = NDArray[np.float64]


def moved(pose: Pose, points: NDArray[Any]) -> NDArray[Any]:
    """Return points (n, 3) after the pose."""
    return points @ pose[:3, :3].T + pose[:3, 3]


def about(centre: NDArray[Any], rotation_vector_rad: NDArray[Any], shift_m: NDArray[Any]) -> Pose:
    """Return the pose that turns about a centre and then shifts; all (3,)."""
    pose = np.eye(4)
    pose[:3, :3] = _rotation(rotation_vector_rad)
    pose[:3, 3] = centre - pose[:3, :3] @ centre + shift_m
    return pose


def _rotation(vector_rad: NDArray[Any]) -> NDArray[np.float64]:
    """Return the turn about a vector by its length, (3, 3) (Rodrigues). SciPy's own costs 0.2 s of loading."""
    angle = float(np.linalg.norm(vector_rad))
    x, y, z = vector_rad / max(angle, 1e-300)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    # 2 sin^2(angle / 2) is 1 - cos(angle) without the loss of digits at small angles.
    return np.asarray(np.eye(3) + np.sin(angle) * cross + 2 * np.sin(angle / 2) ** 2 * cross @ cross)


def inverse(pose: Pose) -> Pose:
    turned = np.eye(4)
    turned[:3, :3] = pose[:3, :3].T
    turned[:3, 3] = -pose[:3, :3].T @ pose[:3, 3]
    return turned


def in_site(pose: Pose, origin: NDArray[Any]) -> Pose:
    """Return the same movement for coordinates that count from the site's zero instead of the local origin."""
    shifted = pose.copy()
    shifted[:3, 3] += origin - pose[:3, :3] @ origin
    return shifted


def turn_deg(pose: Pose) -> float:
    """Return the angle of a pose's rotation in degrees, exact for small ones too (atan2, not arccos)."""
    turn = pose[:3, :3]
    twice_sine = np.linalg.norm([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]])
    return float(np.degrees(np.arctan2(twice_sine, np.trace(turn) - 1)))


def largest_shift(one: Pose, other: Pose, places: NDArray[Any]) -> float:
    """Return how far apart two poses put the same places at most, metres. places: (n, 3)."""
    return float(np.linalg.norm(moved(one, places) - moved(other, places), axis=1).max())
