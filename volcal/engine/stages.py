"""The five stages of a survey, in their order."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from .parameters import Parameters

STAGES: tuple[str, ...] = ("load", "align", "compare", "measure", "publish")


def run(stage: str, folder: Path, parameters: Parameters, report: Callable[[float, str], None]) -> None:
    """Run one stage in this process; the ones before it have run in the same folder.

    report: called with the share that is done (0 to 1) and a word about what is being done.
    Raises Refused if the inputs carry no trustworthy result. Running a stage again replaces what it wrote.
    """
    if stage not in STAGES:
        raise ValueError(f"Unknown stage {stage}; the stages are {', '.join(STAGES)}.")
    # Imported here: a guardian's first stage must not wait for the libraries of the others, nor the desk, which only
    # names the stages, for any.
    from .workfolder import WorkFolder

    work = getattr(import_module(f"{__package__}.{stage}"), stage)
    work(WorkFolder(folder), parameters, report)
