"""The stable area: polygons that somebody drew around ground that did not move."""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import shapefile
import shapely
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError
from shapely.geometry import shape as shape_of

from .crs import checked_crs
from .errors import Refused
from .workfolder import WorkFolder

# Rings drawn the other way round are common, and pyshp reads them right; it need not say so on stderr each time.
shapefile.VERBOSE = False

_SHAPEFILE_MAGIC = struct.pack(">i", 9994)
_MAX_BYTES = 50_000_000
_MAX_POLYGONS = 5_000


def read_stable_area(folder: WorkFolder, crs: CRS | None) -> list[shapely.Polygon]:
    """Read the polygons of a shapefile or of GeoJSON, in the clouds' coordinates (metres, not shifted).

    crs: reference system of the clouds; polygons of another known system are transformed, unknown ones are taken as
    drawn in the clouds' own.
    Returns at least one valid polygon; overlapping ones are kept apart, callers must not count their points twice.
    Raises Refused.
    """
    place = folder.input("shp")
    if place is None:
        raise Refused("no_stable_area", "Upload the polygons of stable ground.", "shp")
    if place.stat().st_size > _MAX_BYTES:
        raise Refused("stable_area_unreadable", "The stable area is larger than 50 MB; simplify the polygons.", "shp")
    content = place.read_bytes()
    if content[:4] == _SHAPEFILE_MAGIC:
        shapes, own = _from_shapefile(content), _prj(folder)
    else:
        shapes, own = _from_geojson(content)
    polygons = [part for one in shapes for part in _polygons_of(one)]
    if not polygons:
        raise Refused("stable_area_empty", "There is no polygon in the stable area; draw at least one.", "shp")
    if len(polygons) > _MAX_POLYGONS:
        raise Refused("stable_area_unreadable", f"{len(polygons)} polygons are too many; merge them.", "shp")
    if own is not None and crs is not None and not own.equals(crs, ignore_axis_order=True):
        polygons = _transformed(polygons, own, crs)
    elif own is not None and crs is None:
        checked_crs(own, "shp")
    return polygons


def _from_shapefile(content: bytes) -> list[Any]:
    # Its .shx only repeats where each shape begins; a wrong one must not spoil polygons that are whole.
    try:
        with shapefile.Reader(shp=io.BytesIO(content)) as reader:
            if reader.shapeType not in (shapefile.POLYGON, shapefile.POLYGONZ, shapefile.POLYGONM):
                text = f"The stable area holds {reader.shapeTypeName.lower()} shapes; draw polygons."
                raise Refused("stable_area_empty", text, "shp")
            return [one.__geo_interface__ for one in reader.iterShapes() if one.points]
    except (MemoryError, Refused):
        raise
    except Exception as broken:  # a cut shapefile raises struct.error, IndexError, ShapefileException, ...
        raise Refused("stable_area_unreadable", "The shapefile is cut or broken; upload it again.", "shp") from broken


def _from_geojson(content: bytes) -> tuple[list[Any], CRS | None]:
    try:
        document = json.loads(content)
        if document["type"] == "FeatureCollection":
            shapes = [one["geometry"] for one in document["features"]]
        else:
            shapes = [document["geometry"] if document["type"] == "Feature" else document]
        name = document.get("crs", {}).get("properties", {}).get("name")
        own = CRS.from_user_input(name) if name else None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, ProjError) as broken:
        text = "The stable area is neither a shapefile (.shp) nor GeoJSON; upload one of them."
        raise Refused("stable_area_unreadable", text, "shp") from broken
    return [one for one in shapes if one], own


def _prj(folder: WorkFolder) -> CRS | None:
    place: Path | None = folder.input("prj")
    if place is None:
        return None
    try:
        return CRS.from_wkt(place.read_text(encoding="utf-8", errors="replace"))
    except ProjError as broken:
        text = "The .prj beside the stable area cannot be read; leave it out or export it again."
        raise Refused("stable_area_unreadable", text, "shp") from broken


def _polygons_of(geometry: Any) -> list[shapely.Polygon]:
    try:
        drawn = shapely.make_valid(shapely.force_2d(shape_of(geometry)))
    except (shapely.errors.ShapelyError, ValueError, TypeError, KeyError, AttributeError, IndexError) as broken:
        raise Refused("stable_area_unreadable", "A polygon of the stable area is broken; redraw it.", "shp") from broken
    parts = shapely.get_parts(drawn)
    if drawn.geom_type == "GeometryCollection":
        parts = shapely.get_parts(parts)
    return [one for one in parts if one.geom_type == "Polygon" and one.area > 0 and np.isfinite(one.bounds).all()]


def _transformed(polygons: list[shapely.Polygon], own: CRS, crs: CRS) -> list[shapely.Polygon]:
    move = Transformer.from_crs(own, crs, always_xy=True).transform
    moved = [shapely.transform(one, move, interleaved=False) for one in polygons]
    if not all(np.isfinite(one.bounds).all() for one in moved):
        text = f"The stable area ({own.name}) cannot be placed in the clouds' system ({crs.name}); check its .prj."
        raise Refused("different_crs", text, "shp")
    return moved
