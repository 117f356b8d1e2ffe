"""Coordinate reference systems that volumes can be measured in."""

from __future__ import annotations

from pyproj import CRS
from pyproj.exceptions import CRSError

from .errors import Label, Refused


def by_code(code: str) -> CRS:
    """Look up an EPSG code, as EPSG:32633. Raises Refused if there is none or nothing can be measured in it."""
    try:
        found = CRS.from_user_input(code)
    except CRSError:
        text = f"{code} is not in the EPSG register; look it up, for example EPSG:32633 for UTM zone 33 north."
        raise Refused("unknown_crs", text) from None
    checked_crs(found, None)
    return found


def checked_crs(crs: CRS, label: Label | None) -> CRS:
    """Return the horizontal part of a reference system.

    Raises Refused unless it counts in metres: volumes in square degrees mean nothing.
    """
    flat = crs.sub_crs_list[0] if crs.is_compound else crs
    if flat.is_geographic:
        text = f"Coordinates are in degrees ({flat.name}); project them to metres, for example UTM."
        raise Refused("crs_not_in_metres", text, label)
    if flat.is_geocentric or flat.is_vertical:
        text = f"{flat.name} has no plan coordinates; project to a system of the plane, for example UTM."
        raise Refused("crs_not_in_metres", text, label)
    units = {axis.unit_name for axis in flat.axis_info}
    if units - {"metre", "meter"}:
        raise Refused("crs_not_in_metres", f"Coordinates are in {', '.join(sorted(units))}; convert to metres.", label)
    return flat
