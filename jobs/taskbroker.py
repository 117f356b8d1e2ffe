"""Where Django-Q's tasks wait: its own table, by the database's clock, taken in one statement.

The broker that Django-Q brings compares its locks with the clock of each machine: one whose clock is five minutes slow
sees no task for five minutes, and one that is fast takes tasks which others work on. It also reads rows before it tries
to lock them, behind however many are locked already.
"""

from __future__ import annotations

from datetime import timedelta
from time import sleep

from django.db import connection, models
from django.db.models.functions import Now
from django_q.brokers.orm import ORM
from django_q.conf import Conf
from django_q.models import OrmQ


class TaskBroker(ORM):
    """delay_seconds: no cluster takes what is enqueued here before these have passed."""

    def __init__(self, list_key: str | None = None, *, delay_seconds: float = 0.0) -> None:
        super().__init__(list_key=list_key)
        self._delay = timedelta(seconds=delay_seconds)

    def enqueue(self, task: str) -> int:
        row = OrmQ.objects.create(key=self.list_key or Conf.CLUSTER_NAME, payload=task, lock=Now() + self._delay)
        return int(row.pk)

    def dequeue(self) -> list[tuple[int, str]] | None:
        """Take the next tasks; they come again after Conf.RETRY seconds. Waits a little if there are none."""
        self.get_connection()  # drops a connection that has gone stale
        with connection.cursor() as cursor:
            cursor.execute(
                """
                UPDATE django_q_ormq SET lock = now() + make_interval(secs => %s)
                WHERE id IN (
                    SELECT id FROM django_q_ormq WHERE key = %s AND lock <= now() ORDER BY id LIMIT %s
                    FOR UPDATE SKIP LOCKED
                )
                RETURNING id, payload
                """,
                [Conf.RETRY, self.list_key, Conf.BULK],
            )
            tasks = sorted(cursor.fetchall())
        if tasks:
            return tasks
        sleep(Conf.POLL)
        return None

    def queue_size(self) -> int:
        return takeable(str(self.list_key)).count()

    def lock_size(self) -> int:
        return OrmQ.objects.filter(key=self.list_key, lock__gt=Now()).count()


def takeable(cluster: str) -> models.QuerySet[OrmQ]:
    """Tasks that a cluster could take now."""
    return OrmQ.objects.filter(key=cluster, lock__lte=Now())
