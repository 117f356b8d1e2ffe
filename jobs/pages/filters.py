"""Which jobs a queue page shows: its filter, as the address bar says it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.db.models import Q
from django.http import QueryDict
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, pgettext_lazy

from jobs.querysets import JobQuerySet
from jobs.states import ACTIVE, FINAL, JobStatus
from orchestrator.problems import Invalid

# What the filter offers, in the order of a job's life.
STATUSES: dict[str, Q] = {
    "active": Q(archived=False, status__in=ACTIVE),
    "running": Q(archived=False, status=JobStatus.RUNNING, paused=False),
    "pending": Q(archived=False, status=JobStatus.PENDING),
    "waiting": Q(archived=False, status=JobStatus.WAITING),
    "paused": Q(archived=False, paused=True),
    "finished": Q(archived=False, status__in=FINAL),
    "failed": Q(archived=False, status__in=(JobStatus.FAILED, JobStatus.PARTIAL)),
    "archived": Q(archived=True),
}
LABELS: dict[str, Any] = {
    "active": pgettext_lazy("jobs", "open"),
    "running": pgettext_lazy("jobs", "running"),
    "pending": pgettext_lazy("jobs", "pending"),
    "waiting": pgettext_lazy("jobs", "waiting"),
    "paused": pgettext_lazy("jobs", "paused"),
    "finished": pgettext_lazy("jobs", "finished"),
    "failed": pgettext_lazy("jobs", "with failures"),
    "archived": pgettext_lazy("jobs", "archived"),
}
_IN_ORDER_OF_THE_QUEUE = frozenset({"active", "running", "pending", "waiting", "paused"})
ALL = gettext_lazy("all jobs")
LONGEST_SEARCH = 200


@dataclass(frozen=True)
class JobFilter:
    """What somebody asked for; empty shows the open jobs and, below, those that finished last."""

    status: str = ""
    search: str = ""

    @classmethod
    def of(cls, query: QueryDict) -> JobFilter:
        """Read a query string or a form. Raises Invalid."""
        status = query.get("status", "")
        if status and status not in STATUSES:
            raise Invalid(
                _("There is no status “%(status)s” to filter by; try %(known)s.")
                % {"status": status, "known": ", ".join(STATUSES)}
            )
        search = query.get("search", "").strip()
        if len(search) > LONGEST_SEARCH or "\0" in search:
            raise Invalid(_("Search for at most %(n)d characters.") % {"n": LONGEST_SEARCH})
        return cls(status, search)

    @property
    def is_empty(self) -> bool:
        return not self.status and not self.search

    @property
    def is_in_order(self) -> bool:
        """Whether jobs stand as the queue runs them, so that moving a row means something; else newest first."""
        return self.is_empty or self.status in _IN_ORDER_OF_THE_QUEUE

    @property
    def query(self) -> str:
        """The query string that shows this again."""
        return urlencode({name: value for name, value in vars(self).items() if value})

    @property
    def words(self) -> str:
        """Say what is shown, as the rest of a sentence."""
        shown = str(LABELS[self.status]) if self.status else str(ALL if self.search else LABELS["active"])
        return _("%(shown)s, matching “%(search)s”") % {"shown": shown, "search": self.search} if self.search else shown

    def jobs(self, visible: JobQuerySet) -> JobQuerySet:
        """Choose among visible jobs, and sort as the page shows them."""
        if self.is_empty:
            return visible.filter(STATUSES["active"]).in_order()
        found = visible.filter(STATUSES[self.status]) if self.status else visible.filter(archived=False)
        if self.search:
            found = found.search(self.search)
        return found.in_order() if self.is_in_order else found.order_by("-pk")
