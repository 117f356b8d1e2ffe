"""Small surveys of ground whose shape is a formula."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import laspy
import numpy as np
import pytest
import shapefile

from volcal.engine.errors import Refused
from volcal.engine.parameters import Parameters
from volcal.engine.stages import STAGES, run
from volcal.engine.workfolder import WorkFolder

WIDTH_M = 60.0
Offset = tuple[float, float, float]
Box = tuple[float, float, float, float]
FRAME = [(2, 2, 14, 58), (46, 2, 58, 58), (16, 46, 44, 58), (16, 2, 44, 14)]  # stable ground on four sides


def ground(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the height of hilly ground that looks alike nowhere, metres."""
    hills = 2.5 * np.sin(x / 7.3) * np.cos(y / 5.9) + 1.5 * np.sin((x + 2 * y) / 11 + 1)
    return hills + 3 * np.exp(-((x - 47) ** 2 + (y - 11) ** 2) / 60) - 2 * np.exp(-((x - 12) ** 2 + (y - 40) ** 2) / 90)


def surveyed(
    seed: int, n_points: int = 12_000, change: Callable[..., np.ndarray] | None = None, noise_m: float = 0.02
) -> np.ndarray:
    """Return (n, 3) points of the ground, changed if asked for; places differ from seed to seed."""
    random = np.random.default_rng(seed)
    x, y = random.uniform(0, WIDTH_M, (2, n_points))
    z = ground(x, y) + (change(x, y) if change else 0)
    return np.column_stack((x, y, z + random.normal(0, noise_m, n_points)))


def las(points: np.ndarray, *, offset: Offset = (0, 0, 0), crs: Any = None, laz: bool = True) -> bytes:
    header = laspy.LasHeader(point_format=6 if crs else 3, version="1.4" if crs else "1.2")
    header.scales, header.offsets = np.full(3, 0.0005), np.array(offset, float)
    if crs is not None:
        header.add_crs(crs)
    record = laspy.LasData(header)
    record.x, record.y, record.z = (points + offset).T
    file = io.BytesIO()
    record.write(file, do_compress=laz)
    return file.getvalue()


def polygons(
    boxes: list[tuple[float, float, float, float]], offset: tuple[float, float, float] = (0, 0, 0)
) -> dict[str, bytes]:
    parts = {name: io.BytesIO() for name in ("shp", "shx", "dbf")}
    with shapefile.Writer(**parts, shapeType=shapefile.POLYGON) as writer:
        writer.field("id", "N")
        for n, (a, b, c, d) in enumerate(boxes):
            ring = [[a, b], [a, d], [c, d], [c, b], [a, b]]
            writer.poly([[[x + offset[0], y + offset[1]] for x, y in ring]])
            writer.record(n)
    return {name: parts[name].getvalue() for name in ("shp", "shx")}


@dataclass
class Survey:
    """A work folder that a test fills and runs."""

    folder: Path
    parameters: dict[str, Any] = field(default_factory=dict)

    def put(self, **uploads: bytes) -> Survey:
        (self.folder / "input").mkdir(parents=True, exist_ok=True)
        for label, content in uploads.items():
            (self.folder / "input" / label).write_bytes(content)
        return self

    def put_clouds(self, pre: np.ndarray, post: np.ndarray, **how: Any) -> Survey:
        self.put(pre=las(pre, **how), post=las(post, **how))
        return self.put(**polygons(FRAME, how.get("offset", (0, 0, 0))))

    def run(self, last: str = "measure") -> dict[str, Any]:
        for stage in STAGES[: STAGES.index(last) + 1]:
            run(stage, self.folder, Parameters.from_json(self.parameters), lambda _share, _detail: None)
        return WorkFolder(self.folder).facts(last) if last != "publish" else {}

    def refusal(self, last: str = "measure") -> Refused:
        with pytest.raises(Refused) as caught:
            self.run(last)
        assert not (self.folder / "temp").exists()
        return caught.value


@pytest.fixture
def survey(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Survey:
    # Threads that wait for each other on a busy machine take many times as long as one.
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return Survey(tmp_path)
