"""Two surveys of one made-up site, with the exact volume between them and the exact pose of the second.

Everything comes from closed formulas, so the truth is known without measuring anything: a terrain z(x, y), a change
that is a truncated Gaussian, and a rigid motion. Both epochs take their own positions on the ground, as two flights do:
a point of one has no twin in the other. All lengths in metres, in the frame of the first epoch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, cos, exp, pi, sin
from pathlib import Path
from typing import Literal, get_args

import laspy
import numpy as np
import pyproj
import shapefile
from numpy.typing import NDArray
from shapely import Polygon, box
from shapely.geometry.polygon import orient

Points = NDArray[np.float64]
Terrain = Literal["quarry", "ridge", "mound", "yard", "flat"]
Surface = Callable[[Points, Points], Points]

FAR_ORIGIN = np.array([412_000.0, 5_411_000.0, 320.0])  # of scenes with a CRS: where float32 has steps of half a metre
MARGIN_SHARE = 0.22  # of the site on each side that nothing changes in
LAS_SCALE_M = 0.001


@dataclass(frozen=True)
class Change:
    """Ground taken away below a circle: dz = -depth exp(-q^2 / 2 s^2) for q < radius, s = radius / 2.

    depth_m: negative where ground was added.
    """

    x: float
    y: float
    radius_m: float
    depth_m: float

    def dz(self, x: Points, y: Points) -> Points:
        square = (x - self.x) ** 2 + (y - self.y) ** 2
        s = self.radius_m / 2
        return np.where(square < self.radius_m**2, -self.depth_m * np.exp(-square / (2 * s * s)), 0.0)

    @property
    def volume_m3(self) -> float:
        """How much was moved, always positive."""
        s = self.radius_m / 2
        return 2 * pi * s * s * abs(self.depth_m) * (1 - exp(-(self.radius_m**2) / (2 * s * s)))


@dataclass(frozen=True)
class Files:
    """What a surveyor uploads."""

    pre: Path
    post: Path
    shp: Path
    shx: Path


@dataclass(frozen=True)
class Scene:
    """A site surveyed twice. Volumes in m3, net = fill - cut.

    pre, post: (n, 3) in metres, post in its own frame. pose: 4 x 4, takes post to pre.
    """

    pre: Points
    post: Points
    stable: tuple[Polygon, ...]
    pose: NDArray[np.float64]
    net: float
    cut: float
    fill: float
    change: Change | None
    centre: Points
    before: Surface
    crs: str | None

    def after(self, x: Points, y: Points) -> Points:
        """Give the second epoch's ground in the first one's frame."""
        return self.before(x, y) + (self.change.dz(x, y) if self.change else 0.0)

    def write(self, folder: Path, *, suffix: Literal[".las", ".laz"] = ".laz") -> Files:
        """Write both clouds and the stable ground as a shapefile without .dbf and .prj, as phone clients send it."""
        folder.mkdir(parents=True, exist_ok=True)
        files = Files(folder / f"pre{suffix}", folder / f"post{suffix}", folder / "stable.shp", folder / "stable.shx")
        write_cloud(files.pre, self.pre, crs=self.crs)
        write_cloud(files.post, self.post, crs=self.crs)
        write_polygons(files.shp, files.shx, self.stable)
        return files


def scene(
    seed: int,
    *,
    terrain: Terrain = "quarry",
    n_points: int = 200_000,
    change: tuple[float, float] | None = None,
    noise: float = 0.05,
    yaw_deg: float = 30,
    tilt_deg: float = 2,
    shift_m: float = 5,
    overlap: float = 1.0,
    outliers: float = 0.0,
    density_gradient: bool = False,
    crs: str | None = None,
    extent_m: float = 300,
) -> Scene:
    """Make a site of extent_m x extent_m, surveyed twice with n_points each. Equal arguments give equal scenes.

    change: (radius, depth) in metres of one pit, or of one heap where depth is negative; its place comes from the seed.
    noise: standard deviation of each coordinate in metres.
    yaw_deg, tilt_deg, shift_m: how far the second epoch is turned about z, tipped about a horizontal axis, and moved.
    overlap: share of the first epoch's footprint that the second one covers too.
    outliers: share of points that float or lie up to 15 m off the ground.
    density_gradient: three times as many points on one side as on the other, on opposite sides in the two epochs.
    crs: such as "EPSG:32633"; the site then lies at coordinates of such a zone.
    """
    if terrain not in get_args(Terrain):
        raise ValueError(f"No terrain is named {terrain!r}.")
    if not 0.3 <= overlap <= 1:
        raise ValueError(f"overlap is {overlap}; the sides need stable ground, so it must be 0.3 to 1.")
    rng = np.random.default_rng(seed)
    origin = FAR_ORIGIN if crs else np.zeros(3)
    ground = _moved(_TERRAINS[terrain](rng, extent_m), origin)
    away = (1 - overlap) * extent_m  # the second epoch starts that much further along x
    common = (origin[0] + away, origin[1], origin[0] + extent_m, origin[1] + extent_m)
    pit = _place(rng, common, change)
    centre = origin + np.array([extent_m / 2, extent_m / 2, 0])
    pose = _pose(rng, centre, yaw_deg, tilt_deg, shift_m)

    def survey(surface: Surface, start: float, *, dense_side: int) -> Points:
        x = origin[0] + start + extent_m * _along(rng, n_points, dense_side if density_gradient else 0)
        y = origin[1] + extent_m * rng.random(n_points)
        points = np.column_stack([x, y, surface(x, y)])
        points += rng.normal(scale=noise, size=points.shape)
        off = rng.random(n_points) < outliers
        points[off, 2] += rng.uniform(-15, 15, size=n_points)[off]
        return points

    pre = survey(ground, 0, dense_side=1)
    post = survey(lambda x, y: ground(x, y) + (pit.dz(x, y) if pit else 0.0), away, dense_side=-1)
    volume = pit.volume_m3 if pit else 0.0
    cut, fill = (volume, 0.0) if change and change[1] > 0 else (0.0, volume)
    return Scene(
        pre=pre,
        post=_transformed(post, np.linalg.inv(pose)),
        stable=_stable(common),
        pose=pose,
        net=fill - cut,
        cut=cut,
        fill=fill,
        change=pit,
        centre=centre,
        before=ground,
        crs=crs,
    )


def write_cloud(path: Path, points: Points, *, crs: str | None = None) -> None:
    """Write points as LAS 1.4 or, by the name's suffix, LAZ. Millimetre steps."""
    header = laspy.LasHeader(point_format=6, version="1.4")
    header.scales = np.full(3, LAS_SCALE_M)
    header.offsets = np.floor(points.min(axis=0)) if len(points) else np.zeros(3)
    if crs:
        header.add_crs(pyproj.CRS.from_user_input(crs))
    cloud = laspy.LasData(header)
    cloud.x, cloud.y, cloud.z = points.T
    cloud.write(str(path))


def write_polygons(shp: Path, shx: Path, polygons: tuple[Polygon, ...]) -> None:
    with shp.open("w+b") as shapes, shx.open("w+b") as index:
        writer = shapefile.Writer(shp=shapes, shx=index, shapeType=shapefile.POLYGON)
        for polygon in polygons:
            ring = orient(polygon, -1).exterior  # outer rings of a shapefile go clockwise
            writer.poly([[list(corner) for corner in ring.coords]])
        writer.close()


# --- places


def _place(rng: np.random.Generator, common: tuple[float, ...], change: tuple[float, float] | None) -> Change | None:
    """Choose where the ground changes: anywhere between the stable strips, with two metres to spare."""
    u, v = rng.random(2)  # drawn in any case, so that the points of a seed do not depend on the change
    if change is None:
        return None
    radius, depth = change
    west, south, east, north = _inside(common)
    keep = radius + 2
    if min(east - west, north - south) < 2 * keep:
        raise ValueError(f"A change of {radius} m radius does not fit between the stable strips of this scene.")
    x = west + keep + u * (east - west - 2 * keep)
    y = south + keep + v * (north - south - 2 * keep)
    return Change(x, y, radius, depth)


def _inside(common: tuple[float, ...]) -> tuple[float, float, float, float]:
    west, south, east, north = common
    dx, dy = MARGIN_SHARE * (east - west), MARGIN_SHARE * (north - south)
    return west + dx, south + dy, east - dx, north - dy


def _stable(common: tuple[float, ...]) -> tuple[Polygon, ...]:
    """Frame the changed middle by four strips in the footprint that both epochs cover; none touches another."""
    west, south, east, north = common
    inner_west, inner_south, inner_east, inner_north = _inside(common)
    gap = 0.02 * (east - west)
    return (
        box(west + gap, south + gap, inner_west, north - gap),
        box(inner_east, south + gap, east - gap, north - gap),
        box(inner_west + gap, south + gap, inner_east - gap, inner_south),
        box(inner_west + gap, inner_north, inner_east - gap, north - gap),
    )


def _along(rng: np.random.Generator, n: int, dense_side: int) -> Points:
    """Draw places in 0..1, evenly, or with a density that falls linearly from 3 to 1 away from the dense side."""
    u = rng.random(n)
    if not dense_side:
        return u
    towards_west = (3 - np.sqrt(9 - 8 * u)) / 2  # inverse of F(t) = (3 t - t^2) / 2
    return towards_west if dense_side > 0 else 1 - towards_west


# --- motion


def _pose(
    rng: np.random.Generator, centre: Points, yaw_deg: float, tilt_deg: float, shift_m: float
) -> NDArray[np.float64]:
    """Turn about the site's centre, tip about a horizontal axis, then move mostly sideways."""
    axis, heading = rng.uniform(0, 2 * pi, 2)
    rotation = _about([cos(axis), sin(axis), 0], tilt_deg) @ _about([0, 0, 1], yaw_deg)
    climb = rng.uniform(-0.3, 0.3)
    flat = np.sqrt(1 - climb**2)
    shift = shift_m * np.array([flat * cos(heading), flat * sin(heading), climb])
    pose = np.eye(4)
    pose[:3, :3] = rotation
    pose[:3, 3] = centre + shift - rotation @ centre
    return pose


def _about(axis: list[float], degrees: float) -> NDArray[np.float64]:
    """Rotate by Rodrigues' formula. axis: of length one."""
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.radians(degrees)
    return np.eye(3) + sin(angle) * cross + (1 - cos(angle)) * cross @ cross


def _transformed(points: Points, matrix: NDArray[np.float64]) -> Points:
    return points @ matrix[:3, :3].T + matrix[:3, 3]


# --- terrains, each around 0 .. extent and a few metres to tens of metres high


def _quarry(rng: np.random.Generator, extent: float) -> Surface:
    """Three benches of 5 m around an uneven bowl."""
    lean = rng.uniform(-0.03, 0.03, 2)
    stretch = rng.uniform(0.85, 1.15)
    phases = rng.uniform(0, 2 * pi, 3)
    cx, cy = extent * rng.uniform(0.42, 0.58, 2)
    rough = _bumps(rng, extent)

    def surface(x: Points, y: Points) -> Points:
        dx, dy = (x - cx) * stretch, (y - cy) / stretch
        angle = np.arctan2(dy, dx)
        waves = zip((2, 3, 5), (0.1, 0.14, 0.06), phases, strict=True)
        wobble = sum(size * np.sin(k * angle + phase) for k, size, phase in waves)
        reach = np.hypot(dx, dy) * (1 + wobble)
        benches = sum(-5 / (1 + np.exp((reach - share * extent) / 1.6)) for share in (0.40, 0.31, 0.22))
        return benches + lean[0] * x + lean[1] * y + rough(x, y)

    return surface


def _ridge(rng: np.random.Generator, extent: float) -> Surface:
    """One winding ridge with saddles, some 14 m high."""
    heading = rng.uniform(0, 2 * pi)
    phases = rng.uniform(0, 2 * pi, 3)
    rough = _bumps(rng, extent)

    def surface(x: Points, y: Points) -> Points:
        u, v = x - extent / 2, y - extent / 2
        along, across = u * cos(heading) + v * sin(heading), v * cos(heading) - u * sin(heading)
        across = across + 14 * np.sin(along / 45 + phases[0]) + 5 * np.sin(along / 17 + phases[1])
        crest = 14 + 4 * np.sin(along / 38 + phases[2])
        return crest * np.exp(-((across / 38) ** 2)) + rough(x, y)

    return surface


def _mound(rng: np.random.Generator, extent: float) -> Surface:
    """Nine stockpiles of different height and width."""
    piles = _gaussians(rng, extent, n=9, heights=(3, 11), widths=(12, 34))
    rough = _bumps(rng, extent)
    return lambda x, y: piles(x, y) + rough(x, y)


def _yard(rng: np.random.Generator, extent: float) -> Surface:
    """Stockpiles on a hard yard: all stable ground lies on a leaning plane."""
    piles = _mound(rng, extent)

    def surface(x: Points, y: Points) -> Points:
        from_edge = np.minimum.reduce([x, extent - x, y, extent - y]) / extent
        return piles(x, y) / (1 + np.exp((0.27 - from_edge) / 0.012)) + 0.004 * x - 0.003 * y

    return surface


def _flat(rng: np.random.Generator, extent: float) -> Surface:
    """A leaning plane: nothing on it says where one is."""
    east, north = rng.uniform(-0.01, 0.01, 2)
    return lambda x, y: east * x + north * y


_TERRAINS: dict[str, Callable[[np.random.Generator, float], Surface]] = {
    "quarry": _quarry,
    "ridge": _ridge,
    "mound": _mound,
    "yard": _yard,
    "flat": _flat,
}


def _bumps(rng: np.random.Generator, extent: float) -> Surface:
    """Small unevenness of natural ground, one bump on 30 x 30 m."""
    n = ceil((extent / 30) ** 2)
    return _gaussians(rng, extent, n=n, heights=(-0.9, 0.9), widths=(4, 11))


def _gaussians(
    rng: np.random.Generator, extent: float, *, n: int, heights: tuple[float, float], widths: tuple[float, float]
) -> Surface:
    """Sum n round hills. Each counts within five widths only: beyond, it is below 4e-6 of its height."""
    hills = np.column_stack(
        [
            rng.uniform(-0.05 * extent, 1.05 * extent, n),
            rng.uniform(-0.05 * extent, 1.05 * extent, n),
            rng.uniform(*heights, n),
            rng.uniform(*widths, n),
        ]
    )

    def surface(x: Points, y: Points) -> Points:
        z = np.zeros(np.shape(x))
        for cx, cy, height, width in hills:
            square = (x - cx) ** 2 + (y - cy) ** 2
            near = square < 25 * width * width
            z[near] += height * np.exp(-square[near] / (2 * width * width))
        return z

    return surface


def _moved(surface: Surface, origin: Points) -> Surface:
    return lambda x, y: surface(x - origin[0], y - origin[1]) + origin[2]
