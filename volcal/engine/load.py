"""Stage load: read what was uploaded, check it, and bring it into one local frame."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import shapely
import shapely.affinity
from numpy.typing import NDArray
from pyproj import CRS

from .cloud import tidy
from .crs import by_code
from .errors import Label, Refused
from .lasfile import read_header, read_points
from .parameters import Parameters
from .stablearea import read_stable_area
from .workfolder import WorkFolder, write_facts

Report = Callable[[float, str], None]

CLOUDS: tuple[Label, Label] = ("pre", "post")


def load(folder: WorkFolder, parameters: Parameters, report: Report) -> None:
    """Write pre.npy and post.npy ((n, 3) metres from the origin), and facts: origin, spacing, polygons, CRS."""
    given = by_code(parameters.crs) if parameters.crs else None
    headers = {}
    for label in CLOUDS:
        place = folder.input(label)
        if place is None:
            raise Refused("missing", f"Upload the cloud {label}.", label)
        headers[label] = place, read_header(place, label, parameters)

    origin: NDArray[Any] | None = None
    systems: dict[str, CRS | None] = {}
    facts: dict[str, Any] = {"clouds": {}}
    # A cloud is sorted while the next one is read.
    with folder.writing(folder.state("load")) as draft, ThreadPoolExecutor(len(CLOUDS)) as pool:
        sorting = []
        for n, label in enumerate(CLOUDS):
            place, header = headers[label]
            told = _Part(report, f"reading {label}", 0.5 * n)
            points, origin, systems[label] = read_points(place, label, header, origin, told)
            sorting.append(pool.submit(_sorted, points, label, parameters, draft))
            del points
        report(0.8, "sorting")
        boxes = []
        for label, one in zip(CLOUDS, sorting, strict=True):
            box, facts["clouds"][label] = one.result()
            facts["clouds"][label]["n_points"] = headers[label][1].n_points
            boxes.append(box)
        assert origin is not None  # the first cloud chose it
        crs = _common(systems["pre"], systems["post"], given)
        if not boxes[0].intersects(boxes[1]):
            gap = boxes[0].distance(boxes[1])
            text = f"The two clouds lie {gap:,.0f} m apart; export both in the same reference system and area."
            raise Refused("no_overlap", text, "post")
        polygons = [shapely.affinity.translate(one, -origin[0], -origin[1]) for one in read_stable_area(folder, crs)]
        facts |= {
            "origin_m": [float(one) for one in origin],
            "crs_wkt": crs.to_wkt() if crs else None,
            "crs_name": crs.name if crs else None,
            "epsg": crs.to_epsg() if crs else None,
            "spacing_m": max(one["spacing_m"] for one in facts["clouds"].values()),
            "polygons": [shapely.to_wkt(one, rounding_precision=-1) for one in _within(polygons, boxes[0])],
        }
        write_facts(draft, facts)
        report(1.0, "loaded")


class _Part:
    """Report a share of one file as a share of the stage, of which reading takes three tenths a cloud."""

    def __init__(self, report: Report, detail: str, begin: float) -> None:
        self._report, self._detail, self._begin = report, detail, begin

    def __call__(self, share: float) -> None:
        self._report(self._begin + 0.3 * share, self._detail)


def _sorted(
    points: NDArray[Any], label: Label, parameters: Parameters, draft: Path
) -> tuple[shapely.Polygon, dict[str, Any]]:
    """Write a cloud made ready; return the box around it and what there is to say of it."""
    tidied = tidy(points, label, parameters)
    np.save(draft / f"{label}.npy", tidied.points)
    x, y = tidied.points[:, 0], tidied.points[:, 1]
    return shapely.box(x.min(), y.min(), x.max(), y.max()), {
        "n_used": len(tidied.points),
        "n_duplicates": tidied.n_duplicates,
        "n_outliers": tidied.n_outliers,
        "spacing_m": tidied.spacing_m,
    }


def _common(pre: CRS | None, post: CRS | None, given: CRS | None) -> CRS | None:
    """Return the one reference system of both clouds; a file without one is taken to share the other's."""
    if pre is not None and post is not None and not pre.equals(post, ignore_axis_order=True):
        text = f"pre is in {pre.name}, post in {post.name}; project both to the same system."
        raise Refused("different_crs", text, "post")
    found = pre or post
    if found is not None and given is not None and not found.equals(given, ignore_axis_order=True):
        raise Refused("different_crs", f"The files say {found.name}, the request says {given.name}; drop one.", None)
    return found or given


def _within(polygons: list[shapely.Polygon], box: shapely.Polygon) -> list[shapely.Polygon]:
    near = [one for one in polygons if one.intersects(box)]
    if not near:
        text = "No polygon of the stable area lies on the first cloud; draw it in the clouds' reference system."
        raise Refused("stable_area_outside", text, "shp")
    return near
