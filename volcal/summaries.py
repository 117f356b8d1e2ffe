"""What the page of a survey reads out of the engine's summary (volcal/engine/publish.py writes it)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from django.utils.translation import gettext as _

from .models import Product, Region, Survey

# What the page itself draws from, and nobody needs to save.
_DRAWN_FROM = {"cloud_preview": "cloud", "before_grid": "before", "after_grid": "after"}
PICTURE = "difference_picture"


@dataclass(frozen=True)
class Headline:
    """Volumes of the whole survey in m3; the uncertainty is half the 95 % interval of the net volume.

    mass_t: None where no density was given.
    """

    net_m3: float
    uncertainty_m3: float
    cut_m3: float
    fill_m3: float
    mass_t: float | None


@dataclass(frozen=True)
class Fact:
    name: str
    value: str
    why: str = ""


def headline_of(summary: Mapping[str, Any]) -> Headline:
    return Headline(
        summary["net_volume"],
        summary["volume_uncertainty"],
        summary["cut_volume"],
        summary["fill_volume"],
        summary.get("net_mass_t"),
    )


def facts_of(summary: Mapping[str, Any]) -> list[Fact]:
    """List what a surveyor checks before believing a number; what the engine does not say is left out."""
    clouds = summary.get("clouds", {})
    stable = summary.get("stable", {})
    found = [
        Fact(_("Coordinate system"), (summary.get("crs") or {}).get("name") or _("not named; metres")),
        *(
            Fact(_("Points %(label)s") % {"label": label}, _count(cloud.get("n_points")))
            for label, cloud in clouds.items()
        ),
        Fact(_("Mean spacing"), _metres(summary.get("spacing"))),
        Fact(_("Stable ground"), _square_metres(stable.get("area_m2"))),
        Fact(_("Changed ground"), _square_metres(summary.get("area"))),
        Fact(_("Smallest change noticed"), _cubic_metres(summary.get("detectable_volume"))),
        Fact(_("Regions not significant"), _count(summary.get("n_not_significant"))),
    ]
    return [fact for fact in found if fact.value]


def title_of(name: str) -> str:
    """Say what a download is, by the engine's name for it."""
    return {
        "before": _("heights before"),
        "after": _("heights after"),
        "difference": _("difference of heights"),
        "significant": _("where the change is significant"),
        "regions_geojson": _("regions for web maps"),
        "regions_shapefile": _("regions for GIS and CAD"),
        "aligned_cloud": _("second cloud in the frame of the first"),
        "report_pdf": _("report"),
        "report_json": _("report for programs"),
        "transform": _("motion between the clouds, both ways"),
        PICTURE: _("map of the difference"),
    }.get(name, "")


def is_for_people(name: str) -> bool:
    return name not in _DRAWN_FROM


def source_of(product: Product, survey: Survey) -> str:
    """Name where the page reads a product; another address for other bytes, since browsers keep what they read."""
    return f"/surveys/{survey.task_id}/files/{product.filename}?v={PurePosixPath(product.key).stem[:16]}"


def preview_of(survey: Survey, downloads: Sequence[Product], regions: Sequence[Region]) -> dict[str, Any] | None:
    """Give the page's scripts what they draw; None where the engine left no pictures."""
    said = (survey.summary or {}).get("preview")
    places = {product.name: source_of(product, survey) for product in downloads}
    if not said or not {PICTURE, *_DRAWN_FROM} <= set(places):
        return None
    grid, picture = said["grid"], said["difference"]
    return {
        "picture": places[PICTURE],
        "bounds": picture["bounds"],
        "width": picture["width_px"],
        "height": picture["height_px"],
        "fullColour": picture["full_colour_m"],
        "heightsFrom": survey.summary["origin"][2] if survey.summary else 0.0,
        "grid": {"rows": grid["rows"], "columns": grid["columns"], "cell": grid["cell_m"], "low": grid["low"]},
        "files": {use: places[name] for name, use in _DRAWN_FROM.items()},
        "outlines": [
            {"id": region.region_id, "polygon": region.polygon, "title": _title_of_region(region)} for region in regions
        ],
    }


def _title_of_region(region: Region) -> str:
    return _("Region %(id)s: net %(net).0f ± %(uncertainty).0f m³") % {
        "id": region.region_id,
        "net": region.net_volume_m3,
        "uncertainty": region.volume_uncertainty_m3,
    }


def _count(value: int | None) -> str:
    return "" if value is None else f"{value:,}".replace(",", "\u202f")


def _metres(value: float | None) -> str:
    return "" if value is None else f"{value:.2f} m"


def _square_metres(value: float | None) -> str:
    return "" if value is None else f"{_count(round(value))} m²"


def _cubic_metres(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} m³"
