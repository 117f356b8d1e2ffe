"""The folder of one survey: inputs, the state between stages, products."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


class WorkFolder:
    """input/ holds what was uploaded, state/<stage>/ what later stages need, products/ the results.

    A stage writes below temp/ and renames when whole: a state folder is complete or absent.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.temp = folder / "temp"

    def input(self, label: str) -> Path | None:
        """Return the place of an upload, None if there is none."""
        place = self.folder / "input" / label
        return place if place.is_file() else None

    def state(self, stage: str) -> Path:
        return self.folder / "state" / stage

    @property
    def products(self) -> Path:
        return self.folder / "products"

    @contextmanager
    def writing(self, whole: Path) -> Iterator[Path]:
        """Give an empty folder that becomes `whole` when the block ends, and vanishes if it raises."""
        draft = self.temp / whole.name
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        try:
            yield draft
            shutil.rmtree(whole, ignore_errors=True)
            whole.parent.mkdir(parents=True, exist_ok=True)
            draft.rename(whole)
        finally:
            shutil.rmtree(self.temp, ignore_errors=True)

    def array(self, stage: str, name: str) -> NDArray[Any]:
        """Map an array of an earlier stage into memory, read-only."""
        return np.load(self.state(stage) / f"{name}.npy", mmap_mode="r", allow_pickle=False)

    def facts(self, stage: str) -> dict[str, Any]:
        facts: dict[str, Any] = json.loads((self.state(stage) / "facts.json").read_text(encoding="utf-8"))
        return facts


def write_facts(folder: Path, facts: dict[str, Any], name: str = "facts.json") -> None:
    """Write JSON without NaN: an unknown number is null, and saying so is the caller's task."""
    (folder / name).write_text(json.dumps(facts, allow_nan=False, indent=1), encoding="utf-8")
