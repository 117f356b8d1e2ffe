"""`manage.py volcal`: the real engine from the command line."""

import io
import json
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from tests.unit.volcal.engine.conftest import FRAME, las, polygons, surveyed


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    uploads = {"pre.laz": las(surveyed(1)), "post.laz": las(surveyed(2))}
    uploads |= {f"stable.{name}": content for name, content in polygons(FRAME).items()}
    for name, content in uploads.items():
        (tmp_path / name).write_bytes(content)
    return {name: tmp_path / name for name in uploads}


def measure(files: dict[str, Path], *options: str) -> tuple[str, str]:
    said, progress = io.StringIO(), io.StringIO()
    inputs = (str(files[name]) for name in ("pre.laz", "post.laz", "stable.shp"))
    call_command("volcal", *inputs, "--threads=1", *options, stdout=said, stderr=progress)
    return said.getvalue(), progress.getvalue()


def test_volcal_says_the_volume_and_leaves_the_files(files, tmp_path):
    said, progress = measure(files, "--out", str(tmp_path / "out"), "--parameter", "alignment=given")

    assert said.startswith("net ")
    assert "100%  loaded" in progress
    assert "publish" in progress
    assert "summary" in json.loads((tmp_path / "out" / "result.json").read_text())


def test_volcal_says_why_a_file_is_refused(files):
    files["post.laz"].write_bytes(b"no cloud")

    with pytest.raises(CommandError, match="LAS"):
        measure(files)
