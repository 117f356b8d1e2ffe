"""The quality report as PDF: results, how sure they are, and what was done."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray
from reportlab import rl_config
from reportlab.graphics.shapes import Drawing, Line, Rect, String
from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import getSampleStyleSheet
from reportlab.lib.units import mm
from reportlab.platypus import Flowable, Image, Paragraph, SimpleDocTemplate, Spacer, Table, TableStyle

# Text instead of bytes inside the PDF makes it larger, and encoding a picture so takes longer than drawing it.
rl_config.useA85 = 0

_WIDTH = 170 * mm
_MOST_ROWS = 60
_GRID = TableStyle(
    [
        ("FONTSIZE", (0, 0), (-1, -1), 8),
        ("LINEBELOW", (0, 0), (-1, 0), 0.7, colors.black),
        ("LINEBELOW", (0, 1), (-1, -1), 0.2, colors.lightgrey),
        ("ALIGN", (1, 0), (-1, -1), "RIGHT"),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 2),
        ("TOPPADDING", (0, 0), (-1, -1), 2),
    ]
)


def write_report(
    place: Path, summary: dict[str, Any], regions: list[dict[str, Any]], picture: Path, stable_m: NDArray[Any]
) -> None:
    """Write the report. summary and regions as in result.json; picture: PNG; stable_m: distances on stable ground."""
    style = getSampleStyleSheet()
    net, half = summary["net_volume"], summary["volume_uncertainty"]
    story: list[Flowable] = [
        Paragraph("Volume between two surveys", style["Title"]),
        Paragraph(f"Net {net:+,.1f} m3, 95 % interval {net - half:+,.1f} to {net + half:+,.1f} m3", style["Heading2"]),
        Paragraph(
            f"Cut {summary['cut_volume']:,.1f} m3, fill {summary['fill_volume']:,.1f} m3 in {len(regions)} regions of "
            f"{summary['area']:,.0f} m2. Negative net: ground was taken. The interval holds the scatter of points and "
            "of the registration; errors of the survey control are not visible to this comparison.",
            style["BodyText"],
        ),
        *(Paragraph(f"Note: {escape(one)}", style["BodyText"]) for one in summary["warnings"]),
        Spacer(0, 4 * mm),
        _scaled(picture),
        Paragraph("Regions", style["Heading2"]),
        _regions(regions),
        Paragraph("Registration on stable ground", style["Heading2"]),
        _histogram(stable_m),
        _facts(summary["stable"]),
        Paragraph("The same measurement on unchanged ground", style["Heading2"]),
        Paragraph(_null_text(summary["null_test"]), style["BodyText"]),
        Paragraph("Clouds", style["Heading2"]),
        *(_facts({"cloud": label, **facts}) for label, facts in summary["clouds"].items()),
        Paragraph("Transformation of the second cloud (site coordinates)", style["Heading2"]),
        Table([[f"{one:.9f}" for one in row] for row in summary["transform"]["site"]], style=_GRID),
        Paragraph("Parameters and versions", style["Heading2"]),
        _facts(summary["parameters"]),
        _facts(summary["versions"]),
    ]
    SimpleDocTemplate(str(place), pagesize=A4, title="Volume between two surveys", invariant=1).build(story)


def _scaled(picture: Path) -> Image:
    image = Image(str(picture))
    scale = min(_WIDTH / image.imageWidth, 110 * mm / image.imageHeight)
    image.drawWidth, image.drawHeight = image.imageWidth * scale, image.imageHeight * scale
    return image


def _regions(regions: list[dict[str, Any]]) -> Flowable:
    head = ["Region", "Area m2", "Cut m3", "Fill m3", "Net m3", "+- m3 (95 %)", "Score"]
    rows = [
        [
            str(one["id"]),
            f"{one['area']:,.1f}",
            f"{one['cut_volume']:,.1f}",
            f"{one['fill_volume']:,.1f}",
            f"{one['net_volume']:+,.1f}",
            f"{one['volume_uncertainty']:,.1f}",
            f"{one['score']:.2f}",
        ]
        for one in regions[:_MOST_ROWS]
    ]
    if len(regions) > _MOST_ROWS:
        rows.append([f"{len(regions) - _MOST_ROWS} more", *[""] * 6])
    return Table([head, *(rows or [["none", *[""] * 6]])], style=_GRID, repeatRows=1)


def _facts(facts: dict[str, Any]) -> Table:
    rows = [[name.replace("_", " "), _said(value)] for name, value in facts.items() if not isinstance(value, list)]
    return Table(rows, style=_GRID, colWidths=[_WIDTH / 2] * 2)


def _said(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1e6 else f"{value:,.0f}"
    return "-" if value is None else str(value)


def _null_text(null: dict[str, Any]) -> str:
    if not null["was_done"]:
        return "Not done: stable ground has no room for it. The interval rests on its formula alone."
    heights = ", ".join(f"{1000 * one:+.1f}" for one in null["heights_m"])
    return (
        f"Discs of {null['radius_m']:.1f} m radius on {len(null['heights_m'])} stable places changed by {heights} mm "
        f"on average; stated noise was multiplied by {null['factor']:.2f} to cover this."
    )


def _histogram(stable_m: NDArray[Any]) -> Drawing:
    width, height = _WIDTH, 35 * mm
    limit = float(np.quantile(np.abs(stable_m), 0.995)) or 1e-3
    counts, _ = np.histogram(stable_m, bins=41, range=(-limit, limit))
    drawing = Drawing(width, height + 12)
    step = width / len(counts)
    for n, count in enumerate(counts):
        bar = height * count / max(int(counts.max()), 1)
        drawing.add(Rect(n * step, 12, step * 0.9, bar, fillColor=colors.HexColor("#4f6d7a"), strokeWidth=0))
    drawing.add(Line(0, 12, width, 12, strokeWidth=0.5))
    for share, text in ((0.0, f"{-1000 * limit:.0f} mm"), (0.5, "0"), (1.0, f"{1000 * limit:+.0f} mm")):
        anchor = ("start", "middle", "end")[int(share * 2)]
        drawing.add(String(share * width, 2, text, fontSize=7, textAnchor=anchor))
    return drawing
