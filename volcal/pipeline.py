"""Surveys as the queue runs them: one item is one stage, and each builds on the one before."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from django.conf import settings

from jobs.clusters import Cluster
from jobs.models import Job, JobItem
from jobs.pipelines import Cancelled, Context, Finished, Outage, Permanent, Result, WorkItem, WorkJob
from jobs.states import FINAL, ItemStatus
from uploads.intake import UploadNotFinished, open_finished
from uploads.storage import FileMissing, StoreUnavailable

from . import stageprocess, workfolders
from .engine.stages import STAGES
from .intake import PIPELINE
from .models import Label, Survey
from .products import Measured, ResultUnusable, store_files, write_rows
from .workfolders import FolderBusy, WorkFolder

_BUSY_SECONDS = 2.0


class SurveyPipeline:
    name = PIPELINE
    deadline_seconds = float(settings.SURVEY_STAGE_SECONDS)

    def cluster_of(self, config: Mapping[str, Any]) -> Cluster:
        return Cluster.HEAVY

    def n_together(self, config: Mapping[str, Any]) -> int:
        return 1

    def run(self, item: WorkItem, context: Context) -> Result:
        """Run one stage in a child process. On a machine that has not run the stages before it, run these again first.

        Keeping the state between stages in the store was considered: it is as large as the clouds, and has to be
        written after every stage for the sake of a change of machine in the middle, which is rare.
        """
        ends_at = time.monotonic() + context.deadline_seconds
        try:
            survey = Survey.objects.filter(job_id=context.job.id).first()
            if survey is None:
                raise Permanent("The survey was deleted.", code="survey_gone")
            workfolders.sweep()
            with workfolders.opened(context.job.job_id) as folder:
                _bring_inputs(survey, folder, context)
                for stage in STAGES[: item.seq + 1]:
                    _run_stage(stage, folder, item, context, ends_at)
                measured = store_files(survey, folder.products) if item.seq == len(STAGES) - 1 else None
        except FolderBusy as busy:
            raise Outage(str(busy), code="folder_busy", after_seconds=_BUSY_SECONDS) from None
        except ResultUnusable as fault:
            raise Permanent(f"The engine left an unusable result: {fault}", code="engine") from fault
        except StoreUnavailable as fault:
            raise Outage(fault.detail, code="store_away", after_seconds=fault.retry_after) from fault
        except Cancelled:
            _clear_if_over(context.job)
            raise
        return Result({"regions": len(measured.hulls)} if measured else None, extra=measured)

    def store(self, job: WorkJob, finished: Sequence[Finished]) -> None:
        for done in finished:
            if isinstance(done.result.extra, Measured):
                survey = Survey.objects.select_for_update().filter(job_id=job.id).first()
                if survey is not None:
                    write_rows(survey, done.result.extra)

    def describe(self, item: WorkItem, job: WorkJob) -> Mapping[str, Any]:
        raise Permanent("Surveys are measured by this desk's own workers.", code="internal_only")

    def accept(self, item: WorkItem, job: WorkJob, value: Any) -> Result:
        raise Permanent("Surveys are measured by this desk's own workers.", code="internal_only")

    def collect(self, job: WorkJob) -> Any:
        """Give the summary. Raises Permanent if the last stage is not done: the stages before it are no result."""
        last = JobItem.objects.filter(job_id=job.id, seq=len(STAGES) - 1).values_list("status", flat=True).first()
        survey = Survey.objects.filter(job_id=job.id).first()
        if last != ItemStatus.COMPLETED or survey is None:
            raise Permanent("No volumes were measured.", code="incomplete")
        return {"summary": survey.summary}


def _bring_inputs(survey: Survey, folder: WorkFolder, context: Context) -> None:
    """Copy the uploads from the store, unless they are here already. Raises Permanent if one will never be there."""
    if missing := survey.missing():
        raise Permanent(survey.advice(missing), code="uploads_expired")
    folder.use_parameters(survey.parameters)
    for file in survey.files.select_related("upload"):
        if folder.has_input(file.label):
            continue
        if context.stopped():
            raise Cancelled
        context.report(0.0, f"Fetching {Label(file.label).label.lower()}")
        try:
            with open_finished(file.upload) as source:
                folder.take_input(file.label, source)
        except (FileMissing, UploadNotFinished):
            raise Permanent(
                f"{file.label}: The uploaded file is gone from the store; create a new task and upload it again.",
                code="file_gone",
            ) from None


def _run_stage(stage: str, folder: WorkFolder, item: WorkItem, context: Context, ends_at: float) -> None:
    if folder.has_done(stage):
        return
    is_repeated = stage != STAGES[item.seq]

    def report(share: float, detail: str) -> None:
        # A stage that runs again for the sake of this one is no progress of this one.
        context.report(*((0.0, f"Repeating {stage}: {detail}") if is_repeated else (share, detail)))

    deadline = ends_at - time.monotonic()
    if deadline <= 0:
        raise Permanent("The stage did not end in its time; thin the clouds.", code="deadline")
    stageprocess.run(stage, folder, deadline_seconds=deadline, report=report, stopped=context.stopped)
    folder.mark_done(stage)


def _clear_if_over(job: WorkJob) -> None:
    """Remove the folder of a cancelled job: who cancelled it found it in use."""
    if Job.objects.filter(pk=job.id, status__in=FINAL).exists():
        workfolders.sweep()
