"""One verb for many jobs at once, held back for a few seconds so that it can be taken back."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import models, transaction
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext_lazy

from orchestrator.problems import Conflict, Invalid

from . import wake
from .drain import is_draining
from .states import ACTIVE, FINAL, JobStatus

if TYPE_CHECKING:
    from django.contrib.auth.models import User

    from .models import Job
    from .querysets import JobQuerySet

logger = logging.getLogger(__name__)

HOLD_SECONDS = 10  # between the word and the deed; to take it back costs nothing until then
SHOWN_SECONDS = 60  # how long a finished action is still told of


@dataclass(frozen=True)
class BulkVerb:
    """What can be done to many jobs. `applies` says to which; the others are left alone."""

    label: Any
    applies: Q
    act: Callable[[Job, User | None, dict[str, Any]], object]
    doing: Any
    done: Any
    is_dangerous: bool = False
    parameters: tuple[str, ...] = field(default=())


def _set_priority(job: Job, by: User | None, parameters: dict[str, Any]) -> None:
    from . import ordering

    if not ordering.set_priority(job.job_id, parameters["priority"], by=by).updated:
        raise Conflict("The job has started meanwhile.")


_OPEN = Q(status__in=ACTIVE)
_PRESENT = Q(archived=False)
VERBS: dict[str, BulkVerb] = {
    "pause": BulkVerb(
        _("Pause"),
        _OPEN & Q(paused=False),
        lambda job, by, given: job.pause(by=by),
        ngettext_lazy("Pausing %(n)d job", "Pausing %(n)d jobs", "n"),
        ngettext_lazy("%(n)d job paused", "%(n)d jobs paused", "n"),
    ),
    "resume": BulkVerb(
        _("Resume"),
        _OPEN & Q(paused=True),
        lambda job, by, given: job.resume(by=by),
        ngettext_lazy("Resuming %(n)d job", "Resuming %(n)d jobs", "n"),
        ngettext_lazy("%(n)d job resumed", "%(n)d jobs resumed", "n"),
    ),
    "priority": BulkVerb(
        _("Set priority"),
        Q(status__in=(JobStatus.WAITING, JobStatus.PENDING)),
        _set_priority,
        ngettext_lazy("Giving %(n)d job another priority", "Giving %(n)d jobs another priority", "n"),
        ngettext_lazy("%(n)d job has its new priority", "%(n)d jobs have their new priority", "n"),
        parameters=("priority",),
    ),
    "retry": BulkVerb(
        _("Retry failed"),
        _PRESENT & Q(status__in=(JobStatus.PARTIAL, JobStatus.FAILED)),
        lambda job, by, given: job.retry_failed(by=by),
        ngettext_lazy("Retrying %(n)d job", "Retrying %(n)d jobs", "n"),
        ngettext_lazy("%(n)d job goes back into the queue", "%(n)d jobs go back into the queue", "n"),
    ),
    "archive": BulkVerb(
        _("Archive"),
        _PRESENT & Q(status__in=FINAL),
        lambda job, by, given: job.archive(by=by),
        ngettext_lazy("Archiving %(n)d job", "Archiving %(n)d jobs", "n"),
        ngettext_lazy("%(n)d job archived", "%(n)d jobs archived", "n"),
    ),
    "restore": BulkVerb(
        _("Restore"),
        Q(archived=True),
        lambda job, by, given: job.restore(by=by),
        ngettext_lazy("Restoring %(n)d job", "Restoring %(n)d jobs", "n"),
        ngettext_lazy("%(n)d job restored", "%(n)d jobs restored", "n"),
    ),
    "cancel": BulkVerb(
        _("Cancel"),
        _OPEN,
        lambda job, by, given: job.cancel(by=by),
        ngettext_lazy("Cancelling %(n)d job", "Cancelling %(n)d jobs", "n"),
        ngettext_lazy("%(n)d job cancelled", "%(n)d jobs cancelled", "n"),
        is_dangerous=True,
    ),
}


class NumberChanged(Conflict):
    """Other jobs match now than when you looked"""


class TooLate(Conflict):
    """The action has already begun"""


class BulkActionQuerySet(models.QuerySet):
    def shown_to(self, user: Any) -> BulkActionQuerySet:
        """The user's actions that wait, run, or ended a moment ago."""
        since = Now() - timedelta(seconds=SHOWN_SECONDS)
        recent = Q(completed_at__gte=since) | Q(stopped_at__gte=since)
        return self.filter(Q(completed_at=None, stopped_at=None) | recent, user_id=user.pk).order_by("-pk")

    def overdue(self) -> BulkActionQuerySet:
        """Actions that should have begun and have not ended: their task was lost, or waits for a worker."""
        return self.filter(starts_at__lte=Now(), completed_at=None, stopped_at=None)


class BulkAction(models.Model):
    """One verb for the jobs that matched when somebody said so."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.CASCADE, related_name="+")
    verb = models.TextField()
    parameters = models.JSONField(default=dict, db_default={})
    job_pks = models.JSONField(default=list)
    n_jobs = models.PositiveIntegerField()
    n_done = models.PositiveIntegerField(default=0, db_default=0)
    n_skipped = models.PositiveIntegerField(default=0, db_default=0)  # had moved on by the time their turn came
    created_at = models.DateTimeField(db_default=Now())
    starts_at = models.DateTimeField()
    stopped_at = models.DateTimeField(null=True)
    completed_at = models.DateTimeField(null=True)

    objects = BulkActionQuerySet.as_manager()

    class Meta:
        indexes = [
            # What is still to be done; a handful among all there ever were.
            models.Index(
                fields=["starts_at"],
                name="bulk_action_open",
                condition=models.Q(completed_at__isnull=True, stopped_at__isnull=True),
            ),
            # What the queue page tells its viewer of.
            models.Index(fields=["user", "-id"], name="bulk_action_of_user"),
        ]

    def __str__(self) -> str:
        return f"{self.verb} {self.n_jobs} jobs"

    @property
    def says(self) -> str:
        """What it does or has done, with the number of jobs."""
        verb = VERBS[self.verb]
        if self.completed_at is not None:
            return str(verb.done % {"n": self.n_done})
        return str(verb.doing % {"n": self.n_jobs})

    @property
    def has_begun(self) -> bool:
        return self.n_done + self.n_skipped > 0

    @property
    def is_over(self) -> bool:
        return self.completed_at is not None or self.stopped_at is not None

    def stop(self) -> None:
        """Take it back; once begun, leave the rest undone. Raises TooLate if it has ended."""
        unfinished = BulkAction.objects.filter(pk=self.pk, completed_at=None, stopped_at=None)
        if not unfinished.update(stopped_at=Now()):
            raise TooLate(str(_("It has ended already; nothing is left to take back.")))
        self.refresh_from_db()

    def begin_now(self) -> None:
        """Do not wait for the seconds to pass. Raises TooLate if it has ended."""
        with transaction.atomic():
            waiting = BulkAction.objects.filter(pk=self.pk, completed_at=None, stopped_at=None)
            if not waiting.update(starts_at=Now()):
                raise TooLate(str(_("It has ended already.")))
            wake.bulk_action(self.pk)


def read_parameters(verb: BulkVerb, given: Any) -> dict[str, Any]:
    """Read what a verb needs from a form. Raises Invalid."""
    if "priority" not in verb.parameters:
        return {}
    text = given.get("priority", "").strip()
    if not text.isdecimal() or int(text) > 1000:
        raise Invalid(str(_("Choose a priority from 0 to 1000; a lower number runs first.")))
    return {"priority": int(text)}


def announce(
    verb: str, jobs: JobQuerySet, *, by: User, expected: int, parameters: dict[str, Any] | None = None
) -> BulkAction:
    """Hold the action back for HOLD_SECONDS, then have it done to those jobs that it applies to now.

    expected: the number that the user saw and agreed to. Raises NumberChanged if it is another one by now; Invalid if
    there is none.
    """
    applicable = jobs.filter(VERBS[verb].applies).order_by("priority", "rank", "id")
    pks = list(applicable.values_list("pk", flat=True))
    if len(pks) != expected:
        raise NumberChanged(
            str(_("It was %(expected)d jobs when you looked and is %(found)d now. Look again, then confirm."))
            % {"expected": expected, "found": len(pks)}
        )
    if not pks:
        raise Invalid(str(_("No job is in a state for this.")))
    with transaction.atomic():
        action = BulkAction.objects.create(
            user=by,
            verb=verb,
            parameters=parameters or {},
            job_pks=pks,
            n_jobs=len(pks),
            starts_at=Now() + timedelta(seconds=HOLD_SECONDS),
        )
        wake.bulk_action(action.pk, HOLD_SECONDS)
    action.refresh_from_db()
    return action


def run(action_pk: int) -> None:
    """Do it job by job, each in its own transaction.

    Any number of copies may run: whoever counts a job first goes on, the other stops. What is lost is found by
    reconcile and goes on where it stood.
    """
    from .models import Job

    action = BulkAction.objects.overdue().filter(pk=action_pk).select_related("user").first()
    if action is None:
        return
    act = VERBS[action.verb].act
    unfinished = BulkAction.objects.filter(pk=action.pk, completed_at=None, stopped_at=None)
    for at in range(action.n_done + action.n_skipped, action.n_jobs):
        if is_draining():
            return
        # Asked before the deed too: a user who stops it should not see one more job go.
        if not unfinished.annotate(at=F("n_done") + F("n_skipped")).filter(at=at).exists():
            return
        job = Job.objects.filter(pk=action.job_pks[at]).first()
        is_done = False
        if job is not None:
            try:
                act(job, action.user, action.parameters)
                is_done = True
            except Conflict:
                logger.info("job left out of a bulk action", extra={"job": str(job.job_id), "verb": action.verb})
        column = "n_done" if is_done else "n_skipped"
        counted = unfinished.annotate(at=F("n_done") + F("n_skipped")).filter(at=at)
        if not counted.update(**{column: F(column) + 1}):
            return
    unfinished.update(completed_at=Now())
    logger.info("bulk action done", extra={"action": action.pk, "verb": action.verb, "jobs": action.n_jobs})


def run_overdue() -> None:
    """Take up what a lost task has left undone."""
    for pk in BulkAction.objects.overdue().values_list("pk", flat=True):
        wake.bulk_action(pk)
