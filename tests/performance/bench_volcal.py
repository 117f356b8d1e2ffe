"""Measure the survey engine on made-up scenes whose truth is known: accuracy, coverage, time, memory.

Run: .venv/bin/python tests/performance/bench_volcal.py accuracy|ambiguous|speed [most]
Each survey runs as the desk runs it, one child process a stage. CPU seconds are given beside wall seconds: they say
what an idle machine would need.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
# As in the engine's own child process.
os.environ |= {"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "1"}

import numpy as np  # noqa: E402

from tests.scenes import Scene, scene  # noqa: E402
from volcal.engine.pose import inverse, moved, turn_deg  # noqa: E402
from volcal.engine.stages import STAGES  # noqa: E402

TERRAINS = ("quarry", "ridge", "mound")
CHANGES = ((10, 6), (5, 3), (15, 9), (25, 15), None)
NOISES = (0.01, 0.05, 0.1)


@dataclass
class Outcome:
    """One survey: facts of its stages, or the refusal; seconds and peak memory over its processes."""

    facts: dict[str, Any]
    refusal: str | None
    wall_s: float
    cpu_s: float
    peak_mb: float

    @property
    def pose(self) -> np.ndarray:
        return np.array(self.facts["align"]["pose_site"])


def survey(made: Scene, folder: Path, stages: tuple[str, ...] = STAGES[:-1]) -> Outcome:
    """Write a scene and run the stages on it."""
    files = made.write(folder / "written")
    (folder / "input").mkdir()
    for label in ("pre", "post", "shp", "shx"):
        (folder / "input" / label).symlink_to(getattr(files, label))
    wall = cpu = peak = 0.0
    for stage in stages:
        start = time.perf_counter()
        child = subprocess.Popen(
            [sys.executable, "-m", "volcal.engine", stage, str(folder)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        lines = child.stdout.read().splitlines()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        wall += time.perf_counter() - start
        cpu += usage.ru_utime + usage.ru_stime
        peak = max(peak, usage.ru_maxrss / 1024)
        if child.returncode:
            return Outcome({}, json.loads(lines[-1])["error"]["code"], wall, cpu, peak)
    facts = {one: json.loads((folder / "state" / one / "facts.json").read_text()) for one in STAGES[:-1]}
    return Outcome(facts, None, wall, cpu, peak)


def varied(n_scenes: int) -> Iterator[tuple[dict[str, Any], Scene]]:
    """Make scenes that go through terrains, changes, noise, headings, and every fourth one a hard setting."""
    for seed in range(n_scenes):
        change = CHANGES[seed % len(CHANGES)]
        setting: dict[str, Any] = {
            "terrain": TERRAINS[seed % len(TERRAINS)],
            "n_points": 500_000 if change == (5, 3) else 300_000,
            "change": change if change is None or seed % 7 else (change[0], -change[1]),
            "noise": NOISES[seed // 2 % len(NOISES)],
            "yaw_deg": 5 + seed * 37 % 176,
            "tilt_deg": seed % 6,
            "shift_m": 5 + seed % 11,
            "overlap": 0.8 if seed % 4 == 1 else 1.0,
            "outliers": 0.02 if seed % 4 == 2 else 0.0,
            "density_gradient": seed % 4 == 3,
        }
        yield setting | {"seed": seed}, scene(seed, **setting)


def accuracy(n_scenes: int = 50) -> None:
    rows = []
    for setting, made in varied(n_scenes):
        with tempfile.TemporaryDirectory(prefix="bench-volcal-") as name:
            found = survey(made, Path(name))
        head = f"{setting['seed']:3} {setting['terrain']:7}{setting['noise']:5} {setting['yaw_deg']:4} deg"
        head += (
            f" overlap {setting['overlap']} outliers {setting['outliers']}{' gradient' * setting['density_gradient']}"
        )
        if found.refusal:
            print(f"{head}: refused, {found.refusal}", flush=True)
            continue
        error = found.pose @ inverse(made.pose)
        middle = made.post.mean(axis=0, keepdims=True)
        shift = float(np.linalg.norm(moved(found.pose, middle) - moved(made.pose, middle)))
        total = found.facts["measure"]["total"]
        row = {
            "turn_deg": turn_deg(error),
            "shift_m": shift,
            "truth": made.net,
            "error": total["net_m3"] - made.net,
            "half": total["uncertainty_m3"],
            "noise": setting["noise"],
            "n_regions": len(found.facts["measure"]["regions"]),
        }
        rows.append(row)
        share = f"{100 * row['error'] / abs(made.net):+.3f} %" if made.net else f"{row['n_regions']} regions"
        text = f"{head}: {row['turn_deg']:.5f} deg {1000 * shift:.1f} mm, {made.net:+.0f} m3 {share}, "
        print(f"{text}{row['error']:+.2f} of +-{row['half']:.2f} m3, {found.cpu_s:.1f} cpu s", flush=True)
    _summarise(rows)


def _summarise(rows: list[dict[str, Any]]) -> None:
    if not rows:
        return
    changed = [one for one in rows if one["truth"]]
    turn, shift = (max(one[name] for one in rows) for name in ("turn_deg", "shift_m"))
    print(f"pose: worst {turn:.5f} deg, {1000 * shift:.1f} mm of {len(rows)}")
    for name, low, high in (("about 100 m3", 0, 200), ("800 m3 and more", 200, np.inf)):
        for noise in NOISES:
            part = [one for one in changed if low < abs(one["truth"]) < high and one["noise"] == noise]
            if part:
                shares = [100 * abs(one["error"] / one["truth"]) for one in part]
                text = f"net, {name}, noise {noise}: median {median(shares):.3f} %, "
                print(f"{text}worst {max(shares):.3f} % of {len(part)}")
    if changed:
        covered = sum(abs(one["error"]) <= one["half"] for one in changed)
        spread = np.sqrt(np.mean([(one["error"] / one["half"]) ** 2 for one in changed])) * 1.96
        print(
            f"95 % interval covers {covered} of {len(changed)}; it is {1 / spread:.2f} x as wide as the errors ask for"
        )
    still = [one["n_regions"] for one in rows if not one["truth"]]
    if still:
        print(f"unchanged scenes with a region: {sum(n > 0 for n in still)} of {len(still)}")


def ambiguous(n_scenes: int = 8) -> None:
    for seed in range(n_scenes):
        made = scene(seed, terrain="flat", change=(10, 6), noise=0.05, yaw_deg=30 + 20 * seed, overlap=0.8)
        with tempfile.TemporaryDirectory(prefix="bench-volcal-") as name:
            print(f"flat {seed}: {survey(made, Path(name)).refusal or 'ACCEPTED'}", flush=True)


def speed(most: int = 5_000_000) -> None:
    for n_points in (200_000, 1_000_000, 5_000_000):
        if n_points > most:
            break
        made = scene(1, terrain="ridge", n_points=n_points, change=(25, 15), noise=0.05, yaw_deg=33)
        with tempfile.TemporaryDirectory(prefix="bench-volcal-") as name:
            found = survey(made, Path(name), STAGES)
        allowed = 500 + 200 * n_points / 1e6
        text = f"{n_points:>9,} points: {found.wall_s:.1f} s, {found.cpu_s:.1f} cpu s, "
        print(f"{text}peak {found.peak_mb:.0f} MB (allowed {allowed:.0f})", flush=True)


if __name__ == "__main__":
    chosen = {"accuracy": accuracy, "ambiguous": ambiguous, "speed": speed}[sys.argv[1]]
    chosen(*(int(one) for one in sys.argv[2:3]))
