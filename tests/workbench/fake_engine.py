"""A survey engine that does what a plan says, under the guardian of the real one.

python -m tests.workbench.fake_engine PLAN [options of volcal.engine]. PLAN is a JSON file {stage: {"do": …, …}}; next
to it `runs` gets a line for each start: stage, process id, the guardian's process id. do = measure (default), refuse,
mumble, look (notes in `seen` what is left of earlier surveys), litter (leaves a child of its own behind), hang (ignores
SIGTERM, as does a child of its own, and the guardian is stopped), wait (until the file `go` stands beside the plan),
crash (dies of a signal while `times` lasts), orphan (kills the guardian), bug, memory, deadline, lie (a result that
names a file that is not there). trailer: text behind the picture, which makes it another one.
"""

from __future__ import annotations

import errno
import functools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from volcal.engine.__main__ import main
from volcal.engine.errors import Refused
from volcal.engine.parameters import Parameters

PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360000002000001e221bc3300000000"
    "49454e44ae426082"
)
HULL = {
    "id": "1",
    "score": 0.94,
    "area": 1963.0,
    "cut_volume": 12741.0,
    "fill_volume": 8.0,
    "net_volume": -12733.0,
    "volume_uncertainty": 96.0,
    "polygon": {"type": "Polygon", "coordinates": [[[0, 0], [50, 0], [50, 40], [0, 0]]]},
    "picture": "region-1.png",
}


def publish(folder: Path, trailer: str = "") -> None:
    products = folder / "products"
    products.mkdir(exist_ok=True)
    (products / "region-1.png").write_bytes(PIXEL + trailer.encode())
    (products / "regions.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": []}))
    inputs = {label: (folder / "input" / label).stat().st_size for label in ("pre", "post", "shp", "shx")}
    summary = {
        "net_volume": -12733.0,
        "cut_volume": 12741.0,
        "fill_volume": 8.0,
        "volume_uncertainty": 96.0,
        "inputs": inputs,
        "parameters": json.loads((folder / "parameters.json").read_text()),
    }
    result = {"summary": summary, "hulls": [HULL], "downloads": {"regions": "regions.geojson"}}
    (products / "result.json").write_text(json.dumps(result))


def run(plan: Path, stage: str, folder: Path, _parameters: Parameters, report: Callable[[float, str], None]) -> None:
    todo = json.loads(plan.read_text()).get(stage, {})
    with (plan.parent / "runs").open("a") as runs:
        runs.write(f"{stage} {os.getpid()} {os.getppid()}\n")
    report(0.5, f"{stage} half")
    match todo.get("do", "measure"):
        case "refuse":
            raise Refused(todo["code"], todo["detail"], todo.get("label"))
        case "mumble":
            print("a library prints what it likes", flush=True)
            print('{"ended": 3}', flush=True)
            print("x" * 200_000, flush=True)
        case "look":
            look(plan.parent / "seen")
        case "litter":
            leave_behind(plan.parent / "grandchild")
        case "hang":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            os.kill(os.getppid(), signal.SIGSTOP)
            leave_behind(plan.parent / "grandchild")
            time.sleep(600)
        case "wait":
            while not (plan.parent / "go").exists():
                time.sleep(0.02)
        case "crash":
            n_runs = sum(line.startswith(f"{stage} ") for line in (plan.parent / "runs").read_text().splitlines())
            if n_runs <= todo["times"]:
                os.kill(os.getpid(), signal.SIGKILL)
        case "orphan":
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(600)
        case "bug":
            raise ZeroDivisionError("a bug")
        case "memory":
            raise MemoryError
        case "fill":
            raise OSError(errno.ENOSPC, "No space left on device")
        case "deadline":
            os._exit(5)
        case "lie":
            publish(folder)
            (folder / "products" / "regions.geojson").unlink()
            return
    (folder / "state" / stage).mkdir(parents=True, exist_ok=True)
    if stage == "publish":
        publish(folder, todo.get("trailer", ""))


def leave_behind(note: Path) -> None:
    child = subprocess.Popen(["/bin/sh", "-c", "trap '' TERM; sleep 600 & wait"])
    note.write_text(str(child.pid))


def look(note: Path) -> None:
    """Note what a stage could see of another survey, and leave traces for the next one to see."""
    files = [str(one.readlink()) for one in Path("/proc/self/fd").iterdir() if one.exists()]
    seen = {
        "cwd": str(Path.cwd()),
        "temporary": tempfile.gettempdir(),
        "files": files,
        "trace": os.environ.get("TRACE"),
    }
    with note.open("a") as notes:
        notes.write(json.dumps(seen) + "\n")
    os.environ["TRACE"] = tempfile.gettempdir()
    os.chdir(tempfile.gettempdir())


if __name__ == "__main__":
    sys.exit(main(sys.argv[2:], run=functools.partial(run, Path(sys.argv[1])), libraries=()))
