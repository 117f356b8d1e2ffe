"""Clusters that live but do nothing: how they are told, and started again."""

import logging
import socket
import time
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import psycopg
from django.conf import settings

from orchestrator import env
from orchestrator.child import Child

logger = logging.getLogger(__name__)


class Watchdog:
    """Looks after the clusters of this machine, whose parent starts again what dies."""

    def __init__(self) -> None:
        # Signs of life that a database could not take are nobody's fault: monotonic time before which none is judged.
        self._judge_from = 0.0
        # On a machine too busy to start a cluster in time, starting it again only makes that worse.
        self._patience_seconds: defaultdict[str, float] = defaultdict(lambda: settings.CANARY_STALE_SECONDS)

    def look_after(self, clusters: Iterable[Child], database_url: str) -> None:
        """Kill those that had time to start and hang, as the database tells."""
        for child in clusters:
            patience_seconds = self._patience_seconds[child.name]
            if not child.is_started or child.age_seconds < patience_seconds:
                continue
            try:
                with _connect(database_url) as connection:
                    hangs = is_hung(connection, child.name, socket.gethostname(), settings.CANARY_STALE_SECONDS)
            except psycopg.Error:
                logger.warning("no answer from the database; clusters are not judged")
                self._judge_from = time.monotonic() + settings.CANARY_STALE_SECONDS
                return
            if not hangs:
                self._patience_seconds[child.name] = settings.CANARY_STALE_SECONDS
            elif time.monotonic() >= self._judge_from:
                logger.warning("cluster hangs; starting it again", extra={"role": child.name})
                child.kill()
                self._patience_seconds[child.name] = 2 * patience_seconds


def _connect(url: str) -> psycopg.Connection[Any]:
    return psycopg.connect(autocommit=True, **{"connect_timeout": 5} | env.connection_parameters(url))


def is_hung(connection: psycopg.Connection[Any], cluster: str, host: str, stale_seconds: float) -> bool:
    """Tell whether a cluster has tasks, but for stale_seconds has neither run a canary on this host nor renewed a lane.

    Lanes count, because workers that are all busy with long items run no canary. A cluster without any task was not
    rung: the web process, which rings, is down, or another host was quicker.
    """
    row = connection.execute(
        """
        SELECT EXISTS (SELECT FROM django_q_ormq WHERE key = %(cluster)s) AND coalesce(
            greatest(
                (SELECT max(beat_at) FROM jobs_clustercanary WHERE cluster = %(cluster)s AND host = %(host)s),
                (SELECT max(lane.renewed_at) FROM jobs_lane lane JOIN jobs_job job ON job.id = lane.job_id
                 WHERE job.cluster = %(cluster)s)
            ) < now() - make_interval(secs => %(stale_seconds)s), true)
        """,
        {"cluster": cluster, "host": host, "stale_seconds": stale_seconds},
    ).fetchone()
    return row is not None and bool(row[0])
