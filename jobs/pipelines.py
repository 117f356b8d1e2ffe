"""What a pipeline is to the queue, and the registry that knows them by name.

A pipeline is one class in an app of its own, registered from AppConfig.ready(); nothing in `jobs` changes for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Protocol
from uuid import UUID

from .clusters import Cluster


class Outcome(Exception):
    """How an item ended otherwise than by a result. cost_usd: what trying cost, where somebody knows."""

    code = "failed"
    cost_usd: Decimal | None = None


class RetryLater(Outcome):
    """It may go well another time. Costs one attempt.

    after_seconds: what the other side asked for (Retry-After); None leaves the wait to the queue's backoff.
    """

    def __init__(self, message: str, *, code: str = "retry", after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.after_seconds = after_seconds


class Outage(RetryLater):
    """Something that all items need is away (database, store). Costs no attempt."""


class Permanent(Outcome):
    """It will never go well as it stands."""

    def __init__(self, message: str, *, code: str = "failed") -> None:
        super().__init__(message)
        self.code = code


class Cancelled(Outcome):
    """The job was cancelled, or this worker must stop: the item is not done and nobody is to blame."""


@dataclass(frozen=True)
class WorkItem:
    """What a worker needs to know of one claimed item."""

    id: int
    seq: int
    attempts: int
    max_attempts: int
    image_path: str
    perspective: str
    payload: Mapping[str, Any]


@dataclass(frozen=True)
class WorkJob:
    """What a worker needs to know of the job; read once a slice."""

    id: int
    job_id: UUID
    type: str
    pipeline: str
    config: Mapping[str, Any]
    user_id: int | None
    request_id: str
    max_attempts: int


def _unheard(share: float, detail: str) -> None:
    """Take a report that nobody reads."""


@dataclass
class Context:
    """The way back from a running item to the queue."""

    job: WorkJob
    deadline_seconds: float
    stopped: Callable[[], bool]
    """True once the job was cancelled, the lease was lost or this worker must stop: raise Cancelled soon."""
    report: Callable[[float, str], None] = _unheard
    """Say how far a long item is, as a share of it and in words. Call it as often as you like: only news is written,
    and that at most four times a second; what was held back is written with a later call."""


@dataclass(frozen=True)
class Result:
    """What an item brought. `value` is stored with the item; `extra` only travels to `store`.

    cost_usd: None where nobody knows it.
    """

    value: Any
    cost_usd: Decimal | None = None
    extra: Any = None


@dataclass(frozen=True)
class Finished:
    """An item and its result, for `Pipeline.store`."""

    item: WorkItem
    result: Result


@dataclass(frozen=True)
class NewItem:
    """An item to be created. `depends_on` names the `seq` of items of the same job."""

    image_path: str = ""
    perspective: str = ""
    payload: Mapping[str, Any] = field(default_factory=dict)
    depends_on: Sequence[int] = ()


class Pipeline(Protocol):
    name: str
    deadline_seconds: float
    """Longest time for one item; past it the heartbeat stops and the lease runs out."""

    def cluster_of(self, config: Mapping[str, Any]) -> Cluster:
        """Name the cluster that a job with this config runs on."""

    def n_together(self, config: Mapping[str, Any]) -> int:
        """Say how many neighbouring items one worker should claim at once, because they share work; mostly 1."""

    def run(self, item: WorkItem, context: Context) -> Result:
        """Do the work, outside any transaction. Raises Outcome; any other exception is a bug and fails the item."""

    def store(self, job: WorkJob, finished: Sequence[Finished]) -> None:
        """Write what the results mean to this app, inside the transaction that settles the items."""

    def describe(self, item: WorkItem, job: WorkJob) -> Mapping[str, Any]:
        """Say what whoever works on this item is asked, for people to read; a worker elsewhere needs
        `{imageUrl, prompt, schema}`. Raises Outcome where it cannot be asked any more.
        """

    def accept(self, item: WorkItem, job: WorkJob, value: Any) -> Result:
        """Check a result that a worker elsewhere sent. Raises Permanent with what is wrong with it."""

    def collect(self, job: WorkJob) -> Any:
        """Give the job's own result, inside the transaction that closes it; None where the items say it all.

        Raises Permanent if the items that are done come to nothing without those that failed: the job has then failed.
        """


class Registry:
    def __init__(self) -> None:
        self._pipelines: dict[str, Pipeline] = {}

    def register(self, pipeline: Pipeline) -> None:
        if pipeline.name in self._pipelines:
            raise ValueError(f"Two pipelines are named {pipeline.name!r}.")
        self._pipelines[pipeline.name] = pipeline

    def __getitem__(self, name: str) -> Pipeline:
        return self._pipelines[name]

    def __contains__(self, name: str) -> bool:
        return name in self._pipelines

    def names(self) -> list[str]:
        return sorted(self._pipelines)


registry = Registry()
