"""Rigid poses as 4x4 matrices that take points of post to pre, float64, metres."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

Pose = NDArray[np.float64]


def moved(pose: Pose, points: NDArray[Any]) -> NDArray[Any]:
    """Return points (n, 3) after the pose."""
    return points @ pose[:3, :3].T + pose[:3, 3]


def about(centre: NDArray[Any], rotation_vector_rad: NDArray[Any], shift_m: NDArray[Any]) -> Pose:
    """Return the pose that turns about a centre and then shifts; all (3,)."""
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_rotvec(rotation_vector_rad).as_matrix()
    pose[:3, 3] = centre - pose[:3, :3] @ centre + shift_m
    return pose


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
    return float(np.degrees(Rotation.from_matrix(pose[:3, :3]).magnitude()))


def largest_shift(one: Pose, other: Pose, places: NDArray[Any]) -> float:
    """Return how far apart two poses put the same places at most, metres. places: (n, 3)."""
    return float(np.linalg.norm(moved(one, places) - moved(other, places), axis=1).max())
