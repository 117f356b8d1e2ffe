"""A program that speaks the protocol of the survey engine and does what a plan says.

fake_engine.py PLAN STAGE FOLDER [--options]. PLAN is a JSON file {stage: {"do": …, …}}; next to it `runs` gets a line
for each start: stage and process id. do = measure (default), refuse, mumble, hang (ignores SIGTERM, with a child of its
own), wait (until the file `go` stands beside the plan), crash (dies of a signal while `times` lasts), bug, memory,
deadline, lie (a result that names a file that is not there).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

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


def say(**message: Any) -> None:
    print(json.dumps(message), flush=True)


def publish(folder: Path) -> None:
    products = folder / "products"
    products.mkdir(exist_ok=True)
    (products / "region-1.png").write_bytes(PIXEL)
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


def main(plan_file: str, stage: str, folder_name: str) -> int:
    plan = Path(plan_file)
    folder = Path(folder_name)
    todo = json.loads(plan.read_text()).get(stage, {})
    with (plan.parent / "runs").open("a") as runs:
        runs.write(f"{stage} {os.getpid()}\n")
    say(progress=0.5, detail=f"{stage} half")
    match todo.get("do", "measure"):
        case "refuse":
            say(error={"code": todo["code"], "detail": todo["detail"], "label": todo.get("label")})
            return 3
        case "mumble":
            print("a library prints what it likes", flush=True)
            print("[1, 2]", flush=True)
            print("x" * 200_000, flush=True)
        case "hang":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            child = subprocess.Popen(["/bin/sh", "-c", "trap '' TERM; sleep 600 & wait"])
            (plan.parent / "grandchild").write_text(str(child.pid))
            time.sleep(600)
        case "wait":
            while not (plan.parent / "go").exists():
                time.sleep(0.02)
        case "crash":
            n_runs = sum(line.startswith(f"{stage} ") for line in (plan.parent / "runs").read_text().splitlines())
            if n_runs <= todo["times"]:
                os.kill(os.getpid(), signal.SIGKILL)
        case "bug":
            raise ZeroDivisionError("a bug")
        case "memory":
            return 4
        case "deadline":
            return 5
        case "lie":
            publish(folder)
            (folder / "products" / "regions.geojson").unlink()
            return 0
    (folder / "state" / stage).mkdir(parents=True, exist_ok=True)
    if stage == "publish":
        publish(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4]))
