"""From a new task to a running job: slots for four files, and the moment when the last of them is there."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from django.db import transaction
from django.dispatch import receiver

from jobs.admission import admit
from jobs.clusters import QueueName
from jobs.creation import JobDraft, create_within
from jobs.pipelines import NewItem
from jobs.states import JobStatus, JobType
from orchestrator.problems import Conflict, Invalid, NotFound
from uploads import intake
from uploads.holds import UploadBusy, UploadMissing
from uploads.models import Upload
from uploads.signals import upload_finished, upload_removed

from .engine.errors import InvalidParameter
from .engine.parameters import Parameters
from .engine.stages import STAGES
from .models import Label, Survey, SurveyFile
from .states import TaskStatus

if TYPE_CHECKING:
    from django.contrib.auth.models import User

logger = logging.getLogger(__name__)

PIPELINE = "volcal"


class TaskNotFound(NotFound):
    """Task not found"""

    def __init__(self) -> None:
        super().__init__("Task not found")  # the words that clients know


class FilesMissing(Invalid):
    """Files of the task are missing"""

    def __init__(self, survey: Survey, missing: list[str]) -> None:
        super().__init__(survey.advice(missing), missing=missing)


class AlreadyMeasured(Conflict):
    """The task is done"""


def create(*, by: User, crs: str | None = None, parameters: Mapping[str, Any] | None = None, name: str = "") -> Survey:
    """Make a task with a slot for each file. Its job waits until the last file is complete.

    Raises Invalid, naming the parameter that is unknown or out of its bounds; Unavailable if uploads are.
    """
    chosen = checked(crs, parameters or {})
    # Before the transaction, since a foreign server may have to be asked; a slot that comes to nothing expires.
    slots = {label: intake.open_slot(label=f"survey {label.value}", owner=by) for label in Label}
    with transaction.atomic():
        survey = Survey.objects.create(task_id=uuid4(), name=name.strip(), user=by, parameters=chosen)
        SurveyFile.objects.bulk_create(
            SurveyFile(survey=survey, label=label.value, upload=slot) for label, slot in slots.items()
        )
        survey.job = create_within(_draft(survey, held=True), by=by)
        survey.save(update_fields=["job"])
    logger.info("survey created", extra={"survey": str(survey.task_id), "job": str(survey.job.job_id)})
    return survey


def checked(crs: str | None, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Check what a person chose, and return only that: defaults may change with the engine. Raises Invalid."""
    chosen = dict(parameters) | ({"crs": crs} if crs else {})
    try:
        known = Parameters.from_json(chosen).as_json()
    except InvalidParameter as wrong:
        field = "crs" if crs and wrong.field == "crs" else f"parameters.{wrong.field}"
        raise Invalid(f"{field}: {wrong.detail}", errors={field: [wrong.detail]}) from None
    return {key: known[key] for key in chosen}


def find(task_id: str | UUID, among: Any) -> Survey:
    """Read a task by its id. among: the surveys that may be seen. Raises TaskNotFound, also for malformed ids."""
    try:
        wanted = UUID(str(task_id))
    except ValueError:
        raise TaskNotFound from None
    survey: Survey | None = among.select_related("job", "user").filter(task_id=wanted).first()
    if survey is None:
        raise TaskNotFound
    return survey


def start(survey: Survey, *, by: User | None) -> None:
    """Set a task going: for the first time, or again after an error or a cancellation. Harmless while it is under way.

    Files of which bytes have come but never a length are taken as complete.
    Raises AlreadyMeasured, FilesMissing.
    """
    if survey.status(survey.missing()) == TaskStatus.DONE:
        raise AlreadyMeasured("The task is done; query it for its results, or create a new one.")
    _close_slots(survey)
    with transaction.atomic():
        survey = _locked(survey)
        if missing := survey.missing():
            raise FilesMissing(survey, missing)
        job = survey.job
        if job is not None and job.status == JobStatus.FAILED:
            if job.archived:
                job.restore(by=by)
            job.retry_failed(by=by)
        elif job is None or job.status == JobStatus.CANCELLED:
            _begin_anew(survey)
        else:
            job.release()


def measure_again(survey: Survey, *, parameters: Mapping[str, Any] | None = None) -> None:
    """Measure the same files once more, from the first stage on; what was measured before stays until then.

    Raises Conflict while a run is under way, FilesMissing, Invalid for bad parameters.
    """
    chosen = None if parameters is None else checked(None, parameters)
    with transaction.atomic():
        survey = _locked(survey)
        if survey.job is not None and not survey.job.is_final:
            raise Conflict("The survey is under way; cancel it or let it finish first.")
        if missing := survey.missing():
            raise FilesMissing(survey, missing)
        if chosen is not None:
            survey.parameters = chosen
            survey.save(update_fields=["parameters"])
        _begin_anew(survey)


def discard(survey: Survey, *, by: User | None) -> None:
    """Delete a survey with its files and results. Raises Conflict while it runs, UploadBusy while a file arrives."""
    from .products import forget

    if survey.job is not None and not survey.job.is_final:
        survey.job.cancel(by=by, reason="The survey was deleted.")
    for file in survey.files.select_related("upload"):
        intake.discard(file.upload)
    keys = list(survey.products.values_list("key", flat=True))
    survey.delete()
    forget(keys)
    logger.info("survey deleted", extra={"survey": str(survey.task_id)})


@receiver(upload_finished, dispatch_uid="volcal.file_finished")
def file_finished(sender: type[Upload], upload: Upload, **kwargs: object) -> None:
    """Start the survey that this was the last file of, in the transaction that marks the file finished."""
    survey = Survey.objects.filter(files__upload=upload).first()
    if survey is None:
        return
    if survey.release_if_complete():
        logger.info("survey complete", extra={"survey": str(survey.task_id)})
    elif survey.has_lost_files():
        survey.give_up()
    else:  # a client that sends one file after the other is still at it
        intake.keep_waiting(survey.files.values_list("upload_id", flat=True))


@receiver(upload_removed, dispatch_uid="volcal.file_removed")
def file_removed(sender: type[Upload], upload: Upload, **kwargs: object) -> None:
    """End the survey that waited for this file, in the transaction that marks the file as gone."""
    survey = Survey.objects.filter(files__upload=upload).first()
    if survey is not None:
        survey.give_up()
        logger.info("survey given up", extra={"survey": str(survey.task_id), "label": upload.label})


def _close_slots(survey: Survey) -> None:
    """Take what came without a length as the whole. Outside the survey's lock: closing the last one takes that lock."""
    for file in survey.files.select_related("upload").filter(upload__finished_at=None):
        try:
            intake.close_slot(file.upload)
        except (UploadBusy, UploadMissing):
            continue  # still arriving, or gone: missing either way, and the answer says so


def _locked(survey: Survey) -> Survey:
    return Survey.objects.select_for_update(of=("self",)).select_related("job").get(pk=survey.pk)


def _begin_anew(survey: Survey) -> None:
    """Give the survey a new job: a cancelled one cannot go on, and one that is done has nothing left to do."""
    survey.job = create_within(_draft(survey, held=False), by=survey.user)
    survey.save(update_fields=["job"])
    transaction.on_commit(lambda: admit(QueueName.HEAVY))


def _draft(survey: Survey, *, held: bool) -> JobDraft:
    return JobDraft(
        type=JobType.SURVEY,
        pipeline=PIPELINE,
        name=str(survey),
        config={"task": str(survey.task_id)},
        items=[
            NewItem(perspective=stage, depends_on=(number - 1,) if number else ())
            for number, stage in enumerate(STAGES)
        ],
        held=held,
    )
