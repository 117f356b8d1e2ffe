"""The websockets of one job and of the queue. What they say: docs/reference/events.md."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar
from uuid import UUID

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings
from django.contrib.auth.models import AbstractUser
from django.core.serializers.json import DjangoJSONEncoder
from django.db import Error
from django.db.models import Count

from orchestrator.sockets import NOT_FOUND, SocketRefused, query_of, visitor

from .live import Message, Subscription, listener
from .models import EventStream, Job, JobEvent, Queue
from .ordering import queue_version
from .serializers import QueueSerializer, for_clients, render_jobs
from .states import ACTIVE

logger = logging.getLogger(__name__)
T = TypeVar("T")

INTERNAL_ERROR = 1011
UNAVAILABLE = 1013  # "try again later"
LARGEST_REPLAY = 500  # events read at once when a socket catches up
MOST_STREAMS = 50  # that one socket may follow
MOST_JOBS = 100  # that a snapshot of the queue lists
RETRY_SECONDS = 1.0


class UnknownJob(SocketRefused):
    def __init__(self) -> None:
        super().__init__(NOT_FOUND, "not_found", "There is no such job.")


class LiveSocket(AsyncWebsocketConsumer):
    """A viewer: follows streams number by number, so that after every loss it knows what it has not sent yet."""

    async def connect(self) -> None:
        self.subscription = Subscription()
        self.sent: dict[int | None, int] = {}  # last number sent, by stream
        self.job_ids: dict[int, UUID] = {}
        # Messages that come in and events that go out would otherwise mix.
        self.turn = asyncio.Lock()
        self.tasks: list[asyncio.Task[None]] = []
        await self.accept()  # before any refusal: a browser sees close codes only of sockets that were open
        try:
            self.user = await _in_database(lambda: visitor(self.scope))
            await self.begin()
        except SocketRefused as refusal:
            await self.turn_away(refusal)
            return
        except Error:
            logger.exception("a socket could not begin")
            await self.close(UNAVAILABLE)
            return
        self.tasks = [asyncio.create_task(self.keep_sending()), asyncio.create_task(self.keep_checking())]

    async def begin(self) -> None:
        """Say hello and start with what this address is about. Raises SocketRefused."""
        raise NotImplementedError

    async def disconnect(self, code: int) -> None:
        listener.leave(self.subscription)
        for task in self.tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    # --- from the client

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if not self.tasks:
            return  # refused; the close is on its way
        try:
            message = json.loads(text_data or "")
            type_ = message["type"]
        except (ValueError, TypeError, KeyError):
            await self.refuse("malformed", 'Send JSON objects with a "type": SUBSCRIBE or PING.')
            return
        if type_ == "PING":
            await self.say("PONG")
        elif type_ == "SUBSCRIBE":
            await self.subscribe(message)
        else:
            await self.refuse("unknown_type", f"Unknown type {str(type_)[:40]!r}: send SUBSCRIBE or PING.")

    async def subscribe(self, message: dict[str, Any]) -> None:
        after = message.get("after")
        if after is not None and (type(after) is not int or after < 0):
            await self.refuse("malformed", '"after" is the number of the last event that you have.')
            return
        async with self.turn:
            try:
                job_pk = await self.stream_named(message.get("jobId"))
                if job_pk not in self.sent and len(self.sent) >= MOST_STREAMS:
                    await self.refuse("too_many", f"One socket follows at most {MOST_STREAMS} jobs; open another.")
                elif job_pk not in self.sent or after is not None:
                    await self.follow(job_pk, after)
            except SocketRefused as refusal:
                await self.refuse(refusal.code, refusal.detail)
            except Error:
                logger.exception("a subscription failed")
                await self.close(UNAVAILABLE)

    async def stream_named(self, job_id: object) -> int | None:
        """Find the stream that a client means; without a job, that of this address. Raises UnknownJob."""
        if job_id is None:
            return next(iter(self.sent))
        return await self.find(job_id)

    async def find(self, job_id: object) -> int:
        try:
            wanted = UUID(str(job_id))
        except ValueError:
            raise UnknownJob from None
        visible = Job.objects.visible_to(self.user).filter(job_id=wanted)
        job_pk = await _in_database(lambda: visible.values_list("pk", flat=True).first())
        if job_pk is None:
            raise UnknownJob
        self.job_ids[job_pk] = wanted
        return int(job_pk)

    # --- to the client

    async def follow(self, job_pk: int | None, after: int | None) -> None:
        """Send a snapshot, then every event behind `after`, or behind the snapshot, then what comes."""
        # First the live feed, then the table: what lies in both is sent once, by its number.
        listener.follow(job_pk, self.subscription)
        sequence, snapshot = await _in_database(lambda: self.snapshot(job_pk))
        await self.say("SNAPSHOT", sequence=sequence, jobId=self.job_id_of(job_pk), **snapshot)
        if after is not None and after > sequence:
            await self.refuse("unknown_sequence", f"The last event of this stream is {sequence}; going on from there.")
            after = None
        self.sent[job_pk] = sequence if after is None else after
        await self.catch_up(job_pk)

    async def keep_sending(self) -> None:
        try:
            while True:
                await self.send_news()
        except Exception:
            # A client that hears no more without knowing it would wait for ever.
            logger.exception("a socket failed")
            await self.close(INTERNAL_ERROR)

    async def keep_checking(self) -> None:
        """Close the socket of somebody who logged out, was shut out, or whose token ended."""
        while True:
            await asyncio.sleep(settings.SOCKET_RECHECK_SECONDS)
            try:
                self.user = await _in_database(lambda: visitor(self.scope))
            except SocketRefused as refusal:
                listener.leave(self.subscription)
                await self.turn_away(refusal)
                return
            except Error:
                logger.warning("could not check who listens; asking again")

    async def send_news(self) -> None:
        has_lost, messages = await self.subscription.receive()
        async with self.turn:
            try:
                if has_lost:
                    await self.resume()
                for message in messages:
                    await self.pass_on(message)
            except Error:
                # The database is away. Whatever these messages were, the table has them.
                logger.warning("a socket could not catch up; trying again")
                self.subscription.loop.call_later(RETRY_SECONDS, self.subscription.lose)

    async def resume(self) -> None:
        """Send what was missed of every stream."""
        for job_pk in list(self.sent):
            await self.catch_up(job_pk)

    async def pass_on(self, message: Message) -> None:
        if message.job_pk not in self.sent:
            return
        if message.sequence == self.sent[message.job_pk] + 1:
            await self.send(text_data=message.text)
            self.sent[message.job_pk] = message.sequence
        elif message.sequence > self.sent[message.job_pk]:
            await self.catch_up(message.job_pk)

    async def catch_up(self, job_pk: int | None) -> None:
        """Send what the table has behind the last number sent."""
        while messages := await _in_database(lambda: _numbered(job_pk, self.sent[job_pk])):
            for message in messages:
                await self.send(text_data=message.text)
                self.sent[job_pk] = message.sequence
            if len(messages) < LARGEST_REPLAY:
                return

    def snapshot(self, job_pk: int | None) -> tuple[int, dict[str, Any]]:
        """Read the number of the last event of a stream, and then the state, which is at least as new."""
        sequence = EventStream.objects.filter(job=job_pk).values_list("sequence", flat=True).first() or 0
        if job_pk is None:
            return sequence, {"queue": _queue_summary(self.user)}
        return sequence, {"job": render_jobs(for_clients(Job.objects.filter(pk=job_pk)))[0]}

    def job_id_of(self, job_pk: int | None) -> str | None:
        return None if job_pk is None else str(self.job_ids[job_pk])

    async def say(self, type_: str, **members: Any) -> None:
        text = json.dumps({"type": type_, **members}, cls=DjangoJSONEncoder, ensure_ascii=False, separators=(",", ":"))
        await self.send(text_data=text)

    async def refuse(self, code: str, detail: str) -> None:
        await self.say("ERROR", code=code, detail=detail)

    async def turn_away(self, refusal: SocketRefused) -> None:
        await self.refuse(refusal.code, refusal.detail)
        await self.close(refusal.close_code)

    def after_of_address(self) -> int | None:
        """Read `?after=`; anything but a number is as good as none."""
        text = query_of(self.scope).get("after", "")
        return int(text) if text.isdecimal() else None


class JobSocket(LiveSocket):
    """`/api/ws/jobs/{jobId}`: everything of one job."""

    async def begin(self) -> None:
        job_pk = await self.find(self.scope["url_route"]["kwargs"]["job_id"])
        await self.say("CONNECTED", jobId=self.job_id_of(job_pk))
        await self.follow(job_pk, self.after_of_address())


class QueueSocket(LiveSocket):
    """`/api/ws/job-queue`: the queue's own events, and of every visible job all but its items."""

    async def begin(self) -> None:
        await self.say("CONNECTED", jobId=None)
        listener.watch(self.subscription)
        await self.follow(None, self.after_of_address())

    async def resume(self) -> None:
        # Jobs that it only watches have no number to go on from: their state is told anew.
        sequence, snapshot = await _in_database(lambda: self.snapshot(None))
        await self.say("SNAPSHOT", sequence=sequence, jobId=None, **snapshot)
        await super().resume()

    async def pass_on(self, message: Message) -> None:
        if message.job_pk in self.sent:
            await super().pass_on(message)
        elif self.user.is_staff or message.owner_id == self.user.pk:
            await self.send(text_data=message.text)


class NowhereSocket(AsyncWebsocketConsumer):
    """Every other address."""

    async def connect(self) -> None:
        await self.accept()
        await self.close(NOT_FOUND)


def _in_database(question: Callable[[], T]) -> Any:
    """Ask on a thread of its own: the one that Channels would share among all sockets is as slow as the slowest."""
    return database_sync_to_async(question, thread_sensitive=False)()


def _numbered(job_pk: int | None, after: int) -> list[Message]:
    events = JobEvent.objects.filter(job=job_pk, sequence__gt=after).select_related("job").order_by("sequence")
    return [Message.of(event) for event in events[:LARGEST_REPLAY]]


def _queue_summary(user: AbstractUser) -> dict[str, Any]:
    visible = Job.objects.visible_to(user).active()
    counts = dict(visible.order_by().values_list("status").annotate(n=Count("pk")))
    return {
        "queueVersion": queue_version(),
        "counts": {status.value: counts.get(status, 0) for status in ACTIVE},
        "queues": QueueSerializer(Queue.objects.order_by("name"), many=True).data,
        "jobs": render_jobs(for_clients(visible).in_order()[:MOST_JOBS]),
    }
