"""What the page of a survey reads out of the engine's summary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .models import Product, Survey


@dataclass(frozen=True)
class Headline:
    """Volumes of the whole survey in m3; the uncertainty is half the 95 % interval of the net volume."""

    net_m3: float
    uncertainty_m3: float
    cut_m3: float
    fill_m3: float


def headline_of(summary: Mapping[str, Any] | None) -> Headline | None:
    if summary is None:
        return None
    return Headline(
        summary["net_volume"], summary["volume_uncertainty"], summary["cut_volume"], summary["fill_volume"]
    )


def quality_of(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    return []


def preview_of(
    survey: Survey, downloads: Sequence[Product], outlines: Sequence[Mapping[str, Any]]
) -> dict[str, Any] | None:
    return None
