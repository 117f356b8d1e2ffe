"""Stage publish: rasters, outlines, the aligned cloud, pictures and the report."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import shapely
import shapely.affinity
from numpy.typing import NDArray
from pyproj import CRS

from .alignedcloud import write_aligned
from .drawing import change_picture, crop, write_picture
from .parameters import Parameters
from .pose import moved
from .preview import write_cloud, write_profiles
from .qualityreport import write_report
from .rasters import SiteRaster, site_raster, write_geotiff
from .vectors import write_geojson, write_shapefile
from .workfolder import WorkFolder, write_facts

Report = Callable[[float, str], None]

_CELL_SPACINGS = 2.0
_LIBRARIES = ("numpy", "scipy", "laspy", "lazrs", "shapely", "pyproj", "pyshp", "small-gicp", "py4dgeo")
_MOST_PICTURES = 50
DOWNLOADS = {
    "before": "before.tif",
    "after": "after.tif",
    "difference": "difference.tif",
    "significant": "significant.tif",
    "regions_geojson": "regions.geojson",
    "regions_shapefile": "regions.zip",
    "aligned_cloud": "aligned.laz",
    "report_pdf": "report.pdf",
    "report_json": "report.json",
    "transform": "transform.json",
    "difference_picture": "difference.png",
    "cloud_preview": "cloud.bin",
    "before_grid": "before.f32",
    "after_grid": "after.f32",
}


def publish(folder: WorkFolder, parameters: Parameters, report: Report) -> None:
    """Write all products and result.json, which names them."""
    facts = {one: folder.facts(one) for one in ("load", "align", "compare", "measure")}
    loaded, rows = facts["load"], facts["measure"]["regions"]
    origin = np.array(loaded["origin_m"])
    crs = CRS.from_wkt(loaded["crs_wkt"]) if loaded["crs_wkt"] else None
    pose = np.load(folder.state("align") / "pose.npy")
    pre, post = folder.array("load", "pre"), moved(pose, folder.array("load", "post"))
    cores = np.asarray(folder.array("compare", "cores"))
    areas = [shapely.from_wkt(one["area_wkt"]) for one in rows]
    on_site = [shapely.affinity.translate(one, origin[0], origin[1]) for one in areas]
    with folder.writing(folder.products) as draft:
        report(0.05, "drawing rasters")
        cell = parameters.cell_m or _CELL_SPACINGS * float(loaded["spacing_m"])
        core_m = float(facts["compare"]["core_spacing_m"])
        raster = site_raster(pre, post, cores, cell, core_m)
        _write_rasters(draft, raster, origin, loaded["epsg"])
        report(0.25, "drawing pictures")
        picture = _write_pictures(draft, raster, rows, areas, origin)
        report(0.4, "writing outlines and previews")
        write_geojson(draft / "regions.geojson", rows, on_site, loaded["epsg"])
        write_shapefile(draft / "regions.zip", rows, on_site, crs)
        write_cloud(draft / "cloud.bin", post, cores, core_m, origin)
        grid = write_profiles(draft, raster.before, raster.after)
        grid["low"] = [float(a + b) for a, b in zip(grid["low"], origin, strict=False)]
        source = folder.input("post")
        assert source is not None  # the first stage read it
        write_aligned(source, draft / "aligned.laz", pose, origin, crs, _Part(report, "writing the cloud", 0.5, 0.4))
        report(0.9, "writing the report")
        hulls = [_hull(row, area) for row, area in zip(rows, on_site, strict=True)]
        summary = _summary(facts, parameters, origin, {"difference": picture, "grid": grid})
        write_facts(draft, {one: summary["transform"][one] for one in ("site", "site_inverse")}, "transform.json")
        write_facts(draft, {"summary": summary, "regions": hulls}, "report.json")
        stable = np.asarray(folder.array("align", "stable"))[:, 2]
        write_report(draft / "report.pdf", summary, hulls, draft / "difference.png", stable)
        write_facts(draft, {"summary": summary, "hulls": hulls, "downloads": DOWNLOADS}, "result.json")
    report(1.0, "published")


class _Part:
    def __init__(self, report: Report, detail: str, begin: float, width: float) -> None:
        self._report, self._detail, self._begin, self._width = report, detail, begin, width

    def __call__(self, share: float) -> None:
        self._report(self._begin + self._width * share, self._detail)


def _write_rasters(draft: Path, raster: SiteRaster, origin: NDArray[Any], epsg: int | None) -> None:
    files = {
        "before": raster.before.heights + origin[2],
        "after": raster.after.heights + origin[2],
        "difference": raster.difference,
        "significant": raster.significant.astype(np.uint8),
    }
    for name, values in files.items():
        write_geotiff(draft / f"{name}.tif", values, raster.before, origin, epsg)


def _write_pictures(
    draft: Path, raster: SiteRaster, rows: list[dict[str, Any]], areas: list[shapely.Geometry], origin: NDArray[Any]
) -> dict[str, Any]:
    """Draw the site and each region; returns the site picture's bounds (site coordinates) and colour scale."""
    surface, difference = raster.after, raster.difference
    changed = np.abs(difference[raster.significant & np.isfinite(difference)])
    full = float(np.quantile(changed, 0.98)) if len(changed) else 1.0
    picture = change_picture(surface, difference, raster.significant, full)
    size = write_picture(draft / "difference.png", picture, surface.low, surface.cell_m, areas)
    for row, area in list(zip(rows, areas, strict=True))[:_MOST_PICTURES]:
        below, left, low = crop(surface, area, 0.3 * float(np.sqrt(area.area)))
        # Cropped south-up, pictured north-up.
        part = picture[::-1][below, left][::-1]
        write_picture(draft / f"region-{row['id']}.png", part, low, surface.cell_m, [area])
    height, width = surface.heights.shape
    low_x, low_y = (float(a + b) for a, b in zip(surface.low, origin, strict=False))
    bounds = [low_x, low_y, low_x + width * surface.cell_m, low_y + height * surface.cell_m]
    step = (bounds[2] - bounds[0]) / size[0]
    world = (step, 0.0, 0.0, -step, bounds[0] + step / 2, bounds[3] - step / 2)
    (draft / "difference.pgw").write_text("".join(f"{one:.10f}\n" for one in world), encoding="ascii")
    return {"bounds": bounds, "width_px": size[0], "height_px": size[1], "full_colour_m": full}


def _hull(row: dict[str, Any], area: shapely.Geometry) -> dict[str, Any]:
    return {
        "id": row["id"],
        "kind": row["kind"],
        "score": row["score"],
        "area": row["area_m2"],
        "cut_volume": row["cut_m3"],
        "fill_volume": row["fill_m3"],
        "net_volume": row["net_m3"],
        "volume_uncertainty": row["uncertainty_m3"],
        "polygon": shapely.geometry.mapping(area),
        "picture": f"region-{row['id']}.png" if row["id"] <= _MOST_PICTURES else None,
    }


def _summary(
    facts: dict[str, dict[str, Any]], parameters: Parameters, origin: NDArray[Any], preview: dict[str, Any]
) -> dict[str, Any]:
    loaded, aligned, measured = facts["load"], facts["align"], facts["measure"]
    total = measured["total"]
    density = parameters.density_t_m3
    return {
        "net_volume": total["net_m3"],
        "cut_volume": total["cut_m3"],
        "fill_volume": total["fill_m3"],
        "volume_uncertainty": total["uncertainty_m3"],
        "confidence": measured["confidence"],
        "area": total["area_m2"],
        "n_regions": len(measured["regions"]),
        "n_not_significant": measured["n_not_significant"],
        "detectable_volume": measured["detectable_m3"],
        "net_mass_t": None if density is None else total["net_m3"] * density,
        "crs": {"name": loaded["crs_name"], "epsg": loaded["epsg"]},
        "origin": [float(one) for one in origin],
        "spacing": loaded["spacing_m"],
        "clouds": loaded["clouds"],
        "transform": {
            "local": aligned["pose_local"],
            "site": aligned["pose_site"],
            "site_inverse": aligned["pose_site_inverse"],
        },
        "registration": aligned["search"],
        "stable": aligned["stable"] | {"area_m2": aligned["stable_area_m2"]},
        "comparison": facts["compare"],
        "null_test": measured["null_test"],
        "parameters": parameters.as_json(),
        "versions": {name: version(name) for name in _LIBRARIES},
        "warnings": _warnings(facts),
        "preview": preview,
    }


def _warnings(facts: dict[str, dict[str, Any]]) -> list[str]:
    """Say what a surveyor should know before using the numbers."""
    loaded, aligned, measured = facts["load"], facts["align"], facts["measure"]
    found = []
    for one in aligned["stable"]["polygons"]:
        if not one["is_used"]:
            text = (
                f"Polygon {one['polygon'] + 1} of the stable area was left out: it differs by {one['median_m']:+.3f} m."
            )
            found.append(text)
    share = aligned["stable_area_m2"] / aligned["site_area_m2"]
    if share < 0.05:
        found.append(f"Stable ground covers only {share:.1%} of the site; 5 % on three sides make a pose sure.")
    if not measured["null_test"]["was_done"]:
        found.append("Stable ground has no room to repeat the measurement there; the interval rests on its formula.")
    for row in measured["regions"]:
        if row["unknown_share"] > 0.05:
            found.append(
                f"Region {row['id']}: {row['unknown_share']:.0%} of its area has no points and is not counted."
            )
    for label, cloud in loaded["clouds"].items():
        if cloud["n_outliers"] > 0.05 * cloud["n_points"]:
            found.append(f"{cloud['n_outliers']:,} points of {label} stand alone and were left out.")
    if loaded["crs_name"] is None:
        found.append("Neither cloud names its reference system; coordinates are taken as metres.")
    return found
