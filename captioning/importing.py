"""Imports: pictures that lie on the server come into a data set as a job, in pieces of some files each."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from jobs.clusters import Cluster
from jobs.creation import JobDraft, create
from jobs.models import JobItem
from jobs.pipelines import Cancelled, Context, Finished, NewItem, Outage, Permanent, Result, WorkItem, WorkJob
from jobs.states import ItemStatus
from orchestrator.problems import Invalid
from orchestrator.texts import is_storable
from uploads.storage import StoreUnavailable

from . import workspace
from .intake import DatasetGone, intake_path
from .models import Dataset
from .pictures import PictureRefused

if TYPE_CHECKING:
    from django.contrib.auth.models import User

    from jobs.models import Job

FORMATS = ("folder",)
PIPELINE = "import"
TYPE = "IMPORT"
CHUNK = 50  # files an item: some seconds of work, and one row for fifty pictures
MAX_FILES = 500_000
MAX_REFUSED_LISTED = 1000  # of the report; the items list all of theirs


def start(dataset: Dataset, *, format_name: str, source: str, by: User | None) -> Job:
    """Queue the import of everything below a folder of the workspace.

    Raises Invalid: unknown format, no such folder, nothing in it, more than MAX_FILES.
    """
    if format_name not in FORMATS:
        message = f"{format_name!r} is no import format here. Known: {', '.join(FORMATS)}."
        raise Invalid(message, errors={"format": [message]})
    # Listed before the transaction: a slow disk must not hold its locks.
    paths = list(itertools.islice(workspace.files_below(workspace.folder_at(source)), MAX_FILES + 1))
    if not paths:
        raise Invalid(f"There are no files in {source!r}.", errors={"source": ["The folder is empty."]})
    if len(paths) > MAX_FILES:
        message = f"There are more than {MAX_FILES} files in {source!r}; import its folders one by one."
        raise Invalid(message, errors={"source": [message]})
    unnameable = [path for path in paths if not is_storable(path)]
    if unnameable:
        message = f"{len(unnameable)} file names are not valid UTF-8; rename them, first {unnameable[0]!a}."
        raise Invalid(message, errors={"source": [message]})
    return create(
        JobDraft(
            type=TYPE,
            pipeline=PIPELINE,
            name=f"Import into {dataset.name}",
            config={"dataset": dataset.name, "datasetId": dataset.pk, "format": format_name, "source": source},
            items=_chunks(paths),
        ),
        by=by,
    )


def _chunks(paths: Sequence[str]) -> Iterator[NewItem]:
    for first in range(0, len(paths), CHUNK):
        chunk = paths[first : first + CHUNK]
        yield NewItem(image_path=chunk[0], payload={"paths": chunk})


class ImportPipeline:
    """Takes files into a data set. Running twice takes nothing twice: equal bytes are present already."""

    name = PIPELINE
    deadline_seconds = 600.0

    def cluster_of(self, config: Mapping[str, Any]) -> Cluster:
        return Cluster.DEFAULT

    def n_together(self, config: Mapping[str, Any]) -> int:
        return 1

    def run(self, item: WorkItem, context: Context) -> Result:
        """Return `{taken: [image id], present: [image id], refused: [{name, reason}]}` of this item's files."""
        dataset = Dataset.objects.filter(pk=context.job.config["datasetId"]).first()
        if dataset is None:
            raise Permanent("The data set was deleted.", code="dataset_gone")
        taken: list[int] = []
        present: list[int] = []
        refused: list[dict[str, str]] = []
        for path in item.payload["paths"]:
            if context.stopped():
                raise Cancelled
            try:
                result = intake_path(dataset, path)
            except (PictureRefused, workspace.PathRefused) as refusal:
                refused.append({"name": path, "reason": refusal.detail})
            except DatasetGone as refusal:
                raise Permanent(refusal.detail, code="dataset_gone") from None
            except StoreUnavailable as fault:
                raise Outage(fault.detail, code="store_away", after_seconds=fault.retry_after) from fault
            else:
                (taken if result.created else present).append(result.image.pk)
        return Result({"taken": taken, "present": present, "refused": refused})

    def store(self, job: WorkJob, finished: Sequence[Finished]) -> None:
        """Write nothing: each picture was committed on its own, so that a cut import keeps what it has."""

    def describe(self, item: WorkItem, job: WorkJob) -> Mapping[str, Any]:
        raise Permanent("Files of this server cannot be imported by a worker elsewhere.", code="internal_only")

    def accept(self, item: WorkItem, job: WorkJob, value: Any) -> Result:
        raise Permanent("Files of this server cannot be imported by a worker elsewhere.", code="internal_only")

    def collect(self, job: WorkJob) -> dict[str, Any]:
        """Add the items up: `{taken, present, nRefused, refused: [{name, reason}]}`, the first thousand listed."""
        taken = present = n_refused = 0
        listed: list[dict[str, str]] = []
        items = JobItem.objects.filter(job_id=job.id).order_by("seq")
        for status, payload, result, error in items.values_list("status", "payload", "result", "error").iterator(500):
            if status == ItemStatus.COMPLETED and result is not None:
                taken += len(result["taken"])
                present += len(result["present"])
                refused = result["refused"]
            else:
                reason = error or "Not reached: the import was stopped."
                refused = [{"name": path, "reason": reason} for path in payload["paths"]]
            n_refused += len(refused)
            listed += refused[: MAX_REFUSED_LISTED - len(listed)]
        return {"taken": taken, "present": present, "nRefused": n_refused, "refused": listed}
