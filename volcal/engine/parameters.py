"""What a person may choose about a survey, with defaults, bounds and units."""

from __future__ import annotations

import re
from dataclasses import Field, asdict, dataclass, field, fields
from typing import Any

from .errors import InvalidParameter, Refused


def _number(default: float | None, low: float, high: float, unit: str, meaning: str) -> Any:
    return field(default=default, metadata={"low": low, "high": high, "unit": unit, "meaning": meaning})


def _choice(default: str, choices: tuple[str, ...], meaning: str) -> Any:
    return field(default=default, metadata={"choices": choices, "unit": "", "meaning": meaning})


@dataclass(frozen=True)
class Parameters:
    """Choices of one survey. Lengths named "spacings" are multiples of the mean distance between points."""

    alignment: str = _choice(
        "search",
        ("search", "refine", "given"),
        "search: any heading, found by shape; refine: the clouds nearly coincide; given: take coordinates as surveyed",
    )
    crs: str | None = field(
        default=None,
        metadata={"unit": "", "meaning": "EPSG code of clouds that do not carry one, as EPSG:32633"},
    )
    core_spacing: float = _number(3.0, 2, 20, "spacings", "distance between the places where change is looked for")
    cylinder_radius: float = _number(3.0, 2, 20, "spacings", "radius of the cylinder that averages points (M3C2)")
    normal_radius: float = _number(6.0, 3, 60, "spacings", "radius of the neighbourhood that gives a normal (M3C2)")
    reach_m: float | None = _number(
        None, 0.5, 500, "m", "longest change that M3C2 looks for; null: 1.3 times the largest difference of heights"
    )
    min_region_cores: int = _number(8, 3, 10_000, "core points", "smallest region that is reported")
    cell_m: float | None = _number(None, 0.01, 50, "m", "cell of the exported rasters; null: two spacings")
    min_overlap: float = _number(0.3, 0.1, 1, "share", "part of the smaller cloud that the other has to cover")
    density_t_m3: float | None = _number(None, 0.1, 10, "t/m3", "bulk density; null: no tonnage is stated")
    max_points: int = _number(50_000_000, 1_000, 500_000_000, "points", "larger clouds are refused")
    max_extent_m: float = _number(20_000, 10, 100_000, "m", "wider sites are refused")
    max_compression: float = _number(50, 5, 1_000, "ratio", "LAZ files that grow more than this are refused")

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Parameters:
        """Check a JSON object against the bounds.

        Raises InvalidParameter with the name of the first field that is unknown or out of bounds.
        """
        if not isinstance(document, dict):
            raise InvalidParameter("parameters", "Send a JSON object of names and values.")
        known = {one.name: one for one in fields(cls)}
        chosen: dict[str, Any] = {}
        for name, value in document.items():
            if name not in known:
                raise InvalidParameter(str(name), f"Unknown; the names are {', '.join(known)}.")
            chosen[name] = _checked(known[name], value)
        return cls(**chosen)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def _checked(known: Field, value: Any) -> Any:
    if value is None:
        if known.default is None:
            return None
        raise InvalidParameter(known.name, "May not be null.")
    if "choices" in known.metadata:
        if value not in known.metadata["choices"]:
            raise InvalidParameter(known.name, f"Choose one of {', '.join(known.metadata['choices'])}.")
        return value
    if "low" not in known.metadata:
        return _checked_crs(known.name, value)
    low, high, unit = known.metadata["low"], known.metadata["high"], known.metadata["unit"]
    whole = isinstance(known.default, int) and known.type == "int"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidParameter(known.name, f"Give a {'whole ' if whole else ''}number of {unit}.")
    if not low <= value <= high:
        raise InvalidParameter(known.name, f"Give {low:g} to {high:g} {unit}.")
    if whole and value != int(value):
        raise InvalidParameter(known.name, f"Give a whole number of {unit}.")
    return int(value) if whole else float(value)


def _checked_crs(name: str, value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"EPSG:[0-9]{4,6}", value, re.IGNORECASE):
        raise InvalidParameter(name, "Name it by its EPSG code, for example EPSG:32633.")
    from .crs import by_code  # here: most surveys name none, and pyproj is slow to import

    try:
        by_code(value.upper())
    except Refused as refused:
        raise InvalidParameter(name, refused.detail) from None
    return value.upper()
