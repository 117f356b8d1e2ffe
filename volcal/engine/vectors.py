"""The regions for GIS and CAD: GeoJSON and shapefile."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import shapefile
import shapely
from pyproj import CRS

_FIELDS = ("score", "area_m2", "cut_m3", "fill_m3", "net_m3", "uncertainty_m3")


def write_geojson(place: Path, rows: list[dict[str, Any]], areas: list[shapely.Geometry], epsg: int | None) -> None:
    """Write areas in site coordinates. The "crs" member is the old convention that GIS programs still read."""
    features = [
        {
            "type": "Feature",
            "id": row["id"],
            "geometry": shapely.geometry.mapping(area),
            "properties": {"id": row["id"], "kind": row["kind"], **{name: row[name] for name in _FIELDS}},
        }
        for row, area in zip(rows, areas, strict=True)
    ]
    document: dict[str, Any] = {"type": "FeatureCollection", "features": features}
    if epsg is not None:
        document["crs"] = {"type": "name", "properties": {"name": f"urn:ogc:def:crs:EPSG::{epsg}"}}
    place.write_text(json.dumps(document), encoding="utf-8")


def write_shapefile(place: Path, rows: list[dict[str, Any]], areas: list[shapely.Geometry], crs: CRS | None) -> None:
    """Write a zip of .shp, .shx, .dbf and, if the system is known, .prj."""
    parts = {name: io.BytesIO() for name in ("shp", "shx", "dbf")}
    with shapefile.Writer(**parts, shapeType=shapefile.POLYGON) as writer:
        writer.field("id", "N")
        writer.field("kind", "C", 8)
        for name in _FIELDS:
            writer.field(name[:10], "N", size=18, decimal=3)
        for row, area in zip(rows, areas, strict=True):
            writer.shape(
                shapely.geometry.mapping(
                    shapely.geometry.polygon.orient(area, -1.0) if area.geom_type == "Polygon" else area
                )
            )
            writer.record(row["id"], row["kind"], *(row[name] for name in _FIELDS))
    with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(f"regions.{name}", content.getvalue())
        if crs is not None:
            archive.writestr("regions.prj", crs.to_wkt("WKT1_ESRI"))
