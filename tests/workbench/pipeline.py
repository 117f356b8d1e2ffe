"""A pipeline whose items do what their payload says."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from jobs.clusters import Cluster
from jobs.pipelines import Cancelled, Context, Finished, Outage, Permanent, Result, RetryLater, WorkItem, WorkJob


class WorkbenchPipeline:
    """Payload keys: sleep_seconds, then one of do=permanent|retry|outage|fill|bug|unstorable|kill|child|file.

    do=retry fails while attempts <= times. do=unstorable brings what `store` cannot write. do=kill sends SIGKILL to the
    worker itself. do=child runs a native child that ignores SIGTERM. cost_usd is charged. Config: cluster, log (a file
    that gets a line for each run).
    """

    name = "workbench"
    deadline_seconds = 600.0

    def cluster_of(self, config: Mapping[str, Any]) -> Cluster:
        return Cluster(config.get("cluster", Cluster.DEFAULT))

    def n_together(self, config: Mapping[str, Any]) -> int:
        return int(config.get("together", 1))

    def run(self, item: WorkItem, context: Context) -> Result:
        if log := context.job.config.get("log"):
            with Path(log).open("a") as file:
                file.write(f"{item.seq} {item.attempts} {os.getpid()}\n")
        wait_until = time.monotonic() + item.payload.get("sleep_seconds", 0)
        while (left := wait_until - time.monotonic()) > 0:
            if item.payload.get("listens") and context.stopped():
                raise Cancelled
            time.sleep(min(0.02, left))
        getattr(self, f"_{item.payload.get('do', 'work')}")(item, context)
        cost = item.payload.get("cost_usd")
        return Result({"seq": item.seq}, cost_usd=Decimal(cost) if cost else None)

    def store(self, job: WorkJob, finished: Sequence[Finished]) -> None:
        """Nothing of its own to keep; do=unstorable writes a text that no database takes."""
        from jobs.models import Job  # the supervisor of a desk loads this app without that one

        if any(done.item.payload.get("do") == "unstorable" for done in finished):
            Job.objects.filter(pk=job.id).update(name="\0")

    def describe(self, item: WorkItem, job: WorkJob) -> Mapping[str, Any]:
        return {"imageUrl": None, "prompt": f"do {item.seq}", "schema": None}

    def accept(self, item: WorkItem, job: WorkJob, value: Any) -> Result:
        if not isinstance(value, dict):
            raise Permanent("The result must be an object.", code="invalid_result")
        return Result(value)

    def collect(self, job: WorkJob) -> Any:
        return None

    def _work(self, item: WorkItem, context: Context) -> None:
        pass

    def _permanent(self, item: WorkItem, context: Context) -> None:
        raise Permanent("It will never do.", code="never")

    def _unstorable(self, item: WorkItem, context: Context) -> None:
        pass

    def _retry(self, item: WorkItem, context: Context) -> None:
        if item.attempts <= item.payload["times"]:
            raise RetryLater("Not yet.", code="not_yet", after_seconds=item.payload.get("after_seconds"))

    def _outage(self, item: WorkItem, context: Context) -> None:
        marker = Path(item.payload["marker"])
        if not marker.exists():
            marker.touch()
            raise Outage("The store was away.", code="store_away", after_seconds=0)

    def _fill(self, item: WorkItem, context: Context) -> None:
        with Path("/dev/full").open("wb", buffering=0) as full:
            full.write(b"no room")

    def _bug(self, item: WorkItem, context: Context) -> None:
        raise ZeroDivisionError("a bug")

    def _kill(self, item: WorkItem, context: Context) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def _child(self, item: WorkItem, context: Context) -> None:
        """Work in a native process, as heavy pipelines do, and end it when the item is not wanted any more."""
        child = subprocess.Popen(["/bin/sh", "-c", "trap '' TERM; sleep 600 & wait"], start_new_session=True)
        Path(item.payload["pid_file"]).write_text(str(child.pid))
        try:
            while child.poll() is None:
                if context.stopped():
                    raise Cancelled
                time.sleep(0.05)
        finally:
            child.terminate()
            try:
                child.wait(0.5)
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()


class SilentPipeline(WorkbenchPipeline):
    """No-op items and nothing to store: what the queue itself costs."""

    name = "silent"
    store = None  # type: ignore[assignment]

    def run(self, item: WorkItem, context: Context) -> Result:
        return Result(None)
