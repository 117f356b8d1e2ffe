"""Measure the volume between two point clouds from the command line, without a server."""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from orchestrator.deathsig import die_with
from volcal.engine.errors import InvalidParameter
from volcal.engine.parameters import Parameters
from volcal.engine.process import Engine, Message
from volcal.engine.stages import STAGES

_STDERR = 2


class Command(BaseCommand):
    help = "Measure cut, fill and net volume between two LAS/LAZ clouds; STABLE is a shapefile or GeoJSON of polygons."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("pre", type=Path, help="cloud of the first survey")
        parser.add_argument("post", type=Path, help="cloud of the second survey")
        parser.add_argument("stable", type=Path, help="polygons of ground that did not move (.shp or GeoJSON)")
        parser.add_argument("--out", type=Path, help="folder for rasters, outlines, report; made new")
        parser.add_argument(
            "--parameter", action="append", default=[], metavar="NAME=VALUE", help="as alignment=given; may be repeated"
        )
        parser.add_argument("--threads", type=int, default=2)

    def handle(self, *args: Any, **options: Any) -> None:
        out: Path | None = options["out"]
        if out is not None and out.exists() and any(out.iterdir()):
            raise CommandError(f"{out} is not empty; name a new folder.")
        parameters = _parameters(options["parameter"])
        with tempfile.TemporaryDirectory(prefix="volcal-") as name:
            folder = Path(name)
            _place_inputs(folder / "input", options)
            (folder / "parameters.json").write_text(json.dumps(parameters.as_json()), encoding="utf-8")
            with _engine(options["threads"]) as engine:
                for stage in STAGES:
                    self._run(engine, stage, folder)
            result = json.loads((folder / "products" / "result.json").read_text(encoding="utf-8"))
            if out is not None:
                shutil.copytree(folder / "products", out, dirs_exist_ok=True)
        self._say(result, out)

    def _run(self, engine: Engine, stage: str, folder: Path) -> None:
        error: Message = {}
        for message in engine.run(stage, folder, log=_STDERR):
            match message:
                case {"progress": share, "detail": detail}:
                    self.stderr.write(f"{stage:8} {share:4.0%}  {detail}")
                case {"error": told}:
                    error = told
                case {"ended": int(code)} if code:
                    raise CommandError(error.get("detail", f"{stage} ended with code {code}"))

    def _say(self, result: dict[str, Any], out: Path | None) -> None:
        summary = result["summary"]
        say = self.stdout.write
        say(f"net {summary['net_volume']:+,.1f} m3 +- {summary['volume_uncertainty']:,.1f} m3 (95 %)")
        say(f"cut {summary['cut_volume']:,.1f} m3, fill {summary['fill_volume']:,.1f} m3, {summary['area']:,.0f} m2")
        for one in result["hulls"]:
            net, half = one["net_volume"], one["volume_uncertainty"]
            rest = f"{one['area']:,.0f} m2, score {one['score']:.2f}"
            say(f"  {one['kind']} {one['id']}: {net:+,.1f} m3 +- {half:,.1f} m3, {rest}")
        for one in summary["warnings"]:
            say(f"note: {one}")
        if out is not None:
            say(f"files: {out}")


def _engine(threads: int) -> Engine:
    bound = die_with(os.getpid(), by=signal.SIGKILL)
    return Engine(settings.SURVEY_ENGINE, threads=threads, cwd=settings.BASE_DIR, preexec_fn=bound)


def _parameters(pairs: list[str]) -> Parameters:
    document: dict[str, Any] = {}
    for pair in pairs:
        name, _, text = pair.partition("=")
        try:
            document[name] = json.loads(text)
        except ValueError:
            document[name] = text
    try:
        return Parameters.from_json(document)
    except InvalidParameter as wrong:
        raise CommandError(str(wrong)) from wrong


def _place_inputs(folder: Path, options: dict[str, Any]) -> None:
    """Link the files under the names that the engine knows; the shapefile's companions come along."""
    folder.mkdir()
    stable: Path = options["stable"]
    places = {"pre": options["pre"], "post": options["post"], "shp": stable}
    places |= {name: stable.with_suffix(f".{name}") for name in ("shx", "prj", "dbf")}
    for label, place in places.items():
        if place.is_file():
            (folder / label).symlink_to(place.resolve())
        elif label in ("pre", "post", "shp"):
            raise CommandError(f"{place} is not a file.")
