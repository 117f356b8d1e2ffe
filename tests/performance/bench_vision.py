"""Measure local vision on the demo pictures: seconds a picture with and without reading text, and memory.

Run: .venv/bin/python tests/performance/bench_vision.py [rounds]
Every figure is a median over pictures and rounds; cpu seconds say what an idle machine would need of both cores, wall
seconds what this one needed beside its other load.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from PIL import Image

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from captioning.vision import LocalVision, colours, local_vision, pixels  # noqa: E402

DEMO = ROOT / "captioning" / "demo"
Figures = list[tuple[float, float]]


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Return wall and cpu seconds of one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def row(name: str, figures: Figures, whole: Figures) -> str:
    wall, cpu = (median(one[n] for one in figures) for n in (0, 1))
    share = cpu / median(one[1] for one in whole)
    return f"{name:<24}{wall:>10.3f}{cpu:>10.3f}{share:>9.2f}"


def rss_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(looker: LocalVision, pictures: list[Image.Image], rounds: int) -> dict[str, Figures]:
    detector, classifier, reader = looker._loaded()
    stages: dict[str, Callable[[Image.Image], object]] = {
        "whole look": looker.look,
        "detector, three views": detector.views,
        "classifier, three crops": classifier.labels,
        "text reader": reader.lines,
        "colours": colours.colours_of,
        "composition": pixels.composition_of,
    }
    figures: dict[str, Figures] = {name: [] for name in stages}
    for _ in range(rounds):
        for picture in pictures:
            for name, stage in stages.items():
                figures[name].append(timed(lambda stage=stage, picture=picture: stage(picture)))  # type: ignore[misc]
    whole, reading = figures["whole look"], figures["text reader"]
    figures["without reading"] = [(a - c, b - d) for (a, b), (c, d) in zip(whole, reading, strict=True)]
    return figures


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    pictures = [Image.open(path).convert("RGB") for path in sorted(DEMO.iterdir()) if path.suffix in (".jpg", ".webp")]
    large = pictures[0].resize((6000, 4000))
    looker = local_vision()
    if not looker.available():
        raise SystemExit(f"Install the extra local-vision; missing: {', '.join(looker.available().missing)}")
    wall, cpu = timed(looker._loaded)
    print(f"cores {len(os.sched_getaffinity(0))}, load {os.getloadavg()[0]:.1f}, {len(pictures)} pictures x {rounds}")
    print(f"loading: {wall:.2f} s wall, {cpu:.2f} s cpu")
    looker.look(pictures[0])  # the first picture pays for buffers
    figures = measure(looker, pictures, rounds)
    print(f"{'median seconds':<24}{'wall':>10}{'cpu':>10}{'ratio':>9}")
    for name in (
        "whole look",
        "without reading",
        *[name for name in figures if name not in ("whole look", "without reading")],
    ):
        print(row(name, figures[name], figures["whole look"]))
    print(f"peak memory: {rss_mb():.0f} MB on the demo pictures", end="")
    looker.look(large)
    print(f", {rss_mb():.0f} MB after one of 24 megapixels")


if __name__ == "__main__":
    main()
