"""One LISTEN connection a process: it reads what was published once and hands it to every socket that wants it.

It has a thread of its own, so that a slow event loop delays no notification and a slow database no socket.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import psycopg

from . import connections
from .models import Job, JobEvent
from .outbox import CHANNEL, envelope
from .states import EventType

logger = logging.getLogger(__name__)

RECONNECT_SECONDS = 0.2
QUIET_SECONDS = 15.0  # without a notification, the connection is asked whether it still lives
LARGEST_BACKLOG = 256  # messages that may wait for one socket

_EVENTS = """
    SELECT event.message_id, event.sequence, event.type, event.data, event.created_at, job.job_id, job.user_id
    FROM jobs_jobevent event LEFT JOIN jobs_job job ON job.id = event.job_id
    WHERE {stream} AND event.sequence BETWEEN %(first)s AND %(sequence)s
    ORDER BY event.sequence
"""
_EVENTS_OF_JOB = _EVENTS.format(stream="event.job_id = %(pk)s")
_EVENTS_OF_QUEUE = _EVENTS.format(stream="event.job_id IS NULL")


@dataclass(frozen=True)
class Message:
    """A numbered event, ready to be sent. job_pk: its stream, None for the queue's own."""

    job_pk: int | None
    owner_id: int | None
    sequence: int
    type: str
    text: str

    @classmethod
    def of(cls, event: JobEvent) -> Message:
        owner_id = event.job.user_id if event.job is not None else None
        assert event.sequence is not None
        text = json.dumps(envelope(event), ensure_ascii=False, separators=(",", ":"))
        return cls(event.job_id, owner_id, event.sequence, event.type, text)

    @property
    def is_of_items(self) -> bool:
        return self.type in (EventType.JOB_ITEM_COMPLETED, EventType.JOB_ITEM_FAILED)


class Subscription:
    """What waits for one socket. Bounded: a socket that cannot keep up loses its backlog and must read the table."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._messages: deque[Message] = deque()
        self._has_lost = False
        self._news = asyncio.Event()

    async def receive(self) -> tuple[bool, list[Message]]:
        """Wait for news. Returns whether something was lost before these messages, and the messages."""
        await self._news.wait()
        self._news.clear()
        has_lost, self._has_lost = self._has_lost, False
        messages = list(self._messages)
        self._messages.clear()
        return has_lost, messages

    def put(self, messages: Iterable[Message]) -> None:
        self._messages.extend(messages)
        if len(self._messages) > LARGEST_BACKLOG:
            self.lose()
        self._news.set()

    def lose(self) -> None:
        self._messages.clear()
        self._has_lost = True
        self._news.set()


class Listener:
    """The process's ear at the database, and who wants to know what it hears."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._followers: dict[int | None, set[Subscription]] = defaultdict(set)
        self._watchers: set[Subscription] = set()

    # --- who wants to know

    def follow(self, job_pk: int | None, subscription: Subscription) -> None:
        """Send everything of one stream, from now on."""
        with self._lock:
            self._followers[job_pk].add(subscription)
        self.start()

    def watch(self, subscription: Subscription) -> None:
        """Send what the queue page shows of every job, from now on."""
        with self._lock:
            self._watchers.add(subscription)
        self.start()

    def leave(self, subscription: Subscription) -> None:
        with self._lock:
            self._watchers.discard(subscription)
            for job_pk in [pk for pk, members in self._followers.items() if subscription in members]:
                self._followers[job_pk].discard(subscription)
                if not self._followers[job_pk]:
                    del self._followers[job_pk]

    # --- the thread

    def start(self) -> None:
        """Begin to listen, once a process. Never before a fork: the thread would stay behind."""
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._stopping.clear()
                self._thread = threading.Thread(target=self._listen, name="live", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        """End the thread and wait for its end."""
        with self._lock:
            thread, self._thread = self._thread, None
        self._stopping.set()
        if thread is not None:
            thread.join()

    def _listen(self) -> None:
        is_away = False
        while not self._stopping.is_set():
            try:
                with connections.direct("desk live") as listening:
                    listening.execute(f"LISTEN {CHANNEL}")
                    if is_away:
                        logger.info("listening to the database again")
                    is_away = False
                    # What was published before LISTEN took hold went unheard.
                    self._resync()
                    self._hear(listening)
            except psycopg.Error as error:
                if not is_away:
                    logger.warning("lost the database while listening", extra={"error": str(error)})
                is_away = True
                self._stopping.wait(RECONNECT_SECONDS)
            except Exception:
                # Something on the channel that we do not understand; sockets catch up after the new start.
                logger.exception("listening failed; starting again")
                self._stopping.wait(RECONNECT_SECONDS)

    def _hear(self, listening: psycopg.Connection[Any]) -> None:
        quiet_seconds = 0.0
        while not self._stopping.is_set():
            heard = list(listening.notifies(timeout=0.5, stop_after=1))
            for notification in heard:
                self._heard(listening, json.loads(notification.payload))
            quiet_seconds = 0.0 if heard else quiet_seconds + 0.5
            if quiet_seconds >= QUIET_SECONDS:
                listening.execute("SELECT 1")
                quiet_seconds = 0.0

    def _heard(self, listening: psycopg.Connection[Any], call: dict[str, Any]) -> None:
        with self._lock:
            followers = set(self._followers.get(call["pk"], ()))
            watchers = self._watchers - followers
        if not followers and not watchers:
            return
        messages = self._read(listening, call)
        self._send(followers, messages)
        self._send(watchers, [message for message in messages if not message.is_of_items])

    def _read(self, listening: psycopg.Connection[Any], call: dict[str, Any]) -> list[Message]:
        statement = _EVENTS_OF_QUEUE if call["pk"] is None else _EVENTS_OF_JOB
        messages = []
        for message_id, sequence, type_, data, created_at, job_id, user_id in listening.execute(statement, call):
            job = Job(pk=call["pk"], job_id=job_id, user_id=user_id) if call["pk"] is not None else None
            event = JobEvent(
                message_id=message_id, sequence=sequence, type=type_, data=data, created_at=created_at, job=job
            )
            messages.append(Message.of(event))
        return messages

    def _resync(self) -> None:
        with self._lock:
            subscriptions = self._watchers.union(*self._followers.values())
        self._call(subscriptions, lambda subscription: subscription.lose())

    def _send(self, subscriptions: set[Subscription], messages: list[Message]) -> None:
        if messages:
            self._call(subscriptions, lambda subscription: subscription.put(messages))

    def _call(self, subscriptions: Iterable[Subscription], action: Callable[[Subscription], None]) -> None:
        """Do it to each subscription on its own event loop, waking every loop once."""
        by_loop: dict[asyncio.AbstractEventLoop, list[Subscription]] = defaultdict(list)
        for subscription in subscriptions:
            by_loop[subscription.loop].append(subscription)
        for loop, members in by_loop.items():
            try:
                loop.call_soon_threadsafe(_each, action, members)
            except RuntimeError:  # this loop has ended, and its sockets with it
                for subscription in members:
                    self.leave(subscription)


def _each(action: Callable[[Subscription], None], subscriptions: list[Subscription]) -> None:
    for subscription in subscriptions:
        action(subscription)


listener = Listener()
