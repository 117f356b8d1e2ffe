"""Delivery to the message broker: order, retries, parking, replay, signature. A real HTTP server is the broker."""

import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from concurrent.futures import wait
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models.functions import Now
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from jobs import broker, outbox
from jobs.models import BrokerDelivery, EventStream, JobEvent
from jobs.states import EventType
from tests.workbench.rows import make_job
from tests.workbench.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)
SECRET = "between-us"


class Receiver:
    """What the broker took, and how it answers: `answer` gives the status for an envelope."""

    def __init__(self, server: HTTPServer) -> None:
        self.url = server.url_for("/events?queue=desk")
        self.taken: list[tuple[dict, dict[str, str], bytes]] = []
        self.answer = lambda envelope: 204
        server.expect_request("/events", method="POST", query_string="queue=desk").respond_with_handler(self._take)

    def _take(self, request: Request) -> Response:
        body = request.get_data()
        envelope = json.loads(body)
        status = self.answer(envelope)
        if status < 300:
            self.taken.append((envelope, dict(request.headers), body))
        return Response("no", status=status)

    def sequences(self, job) -> list[int]:
        return [envelope["sequence"] for envelope, _, _ in self.taken if envelope["jobId"] == str(job.job_id)]


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    with HTTPServer(threaded=True) as server:  # the shared one answers one request at a time
        yield server


@pytest.fixture
def receiver(server, settings) -> Receiver:
    receiver = Receiver(server)
    settings.MESSAGE_BROKER_URL = receiver.url
    settings.MESSAGE_BROKER_SECRET = SECRET
    settings.DATABASE_DIRECT_URL = settings.DATABASE_URL.rpartition("/")[0] + "/" + connection.settings_dict["NAME"]
    return receiver


@pytest.fixture
def desk_broker(receiver):
    desk_broker = broker.Broker(receiver.url, SECRET)
    yield desk_broker
    desk_broker.close()


def make_published_job(n_more: int = 0):
    """Make a job with two published events, created and started, and n_more."""
    job = make_job()
    for _ in range(n_more):
        JobEvent.objects.create(job=job, type=EventType.JOB_PAUSED)
    while outbox.publish(job.pk, force=True):
        pass
    return job


def delivery_of(job) -> BrokerDelivery:
    return BrokerDelivery.objects.get(stream__job=job)


def deliver(desk_broker: broker.Broker) -> None:
    """Start what is due and wait until it has ended."""
    wait(desk_broker.start_due())


def make_due() -> None:
    BrokerDelivery.objects.filter(next_attempt_at__isnull=False).update(next_attempt_at=Now())


def test_every_event_arrives_in_order_and_then_nothing_is_due(receiver, desk_broker):
    job = make_published_job(5)

    deliver(desk_broker)

    assert receiver.sequences(job) == list(range(1, 8))
    assert EventStream.objects.get(job=job).sequence == 7
    assert delivery_of(job).next_attempt_at is None
    deliver(desk_broker)
    assert len(receiver.sequences(job)) == 7


def test_a_delivery_carries_the_envelope_its_key_and_its_signature(receiver, desk_broker):
    job = make_published_job()

    deliver(desk_broker)

    envelope, headers, body = receiver.taken[0]
    event = JobEvent.objects.get(job=job, sequence=1)
    assert set(envelope) == {"messageId", "sequence", "type", "jobId", "timestamp", "data"}
    assert (envelope["type"], envelope["messageId"]) == ("JOB_CREATED", str(event.message_id))
    assert headers["Idempotency-Key"] == envelope["messageId"]
    assert headers["X-Signature"] == hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    assert headers["Content-Type"] == "application/json"


def test_a_refused_event_holds_up_its_own_stream_only(receiver, desk_broker):
    stuck, free = make_published_job(3), make_published_job(3)
    receiver.answer = lambda envelope: (
        503 if envelope["jobId"] == str(stuck.job_id) and envelope["sequence"] == 2 else 200
    )

    deliver(desk_broker)

    assert receiver.sequences(stuck) == [1]
    assert receiver.sequences(free) == [1, 2, 3, 4, 5]
    delivery = delivery_of(stuck)
    assert (delivery.delivered_sequence, delivery.attempts, delivery.last_error) == (1, 1, "HTTP 503: no")
    assert delivery.failing_since is not None


def test_a_stream_that_hangs_lets_the_others_go_on(receiver, desk_broker):
    hanging, free = make_published_job(1), make_published_job(1)
    let_go = threading.Event()

    def answer(envelope) -> int:
        if envelope["jobId"] == str(hanging.job_id):
            let_go.wait(30)
        return 200

    receiver.answer = answer
    desk_broker.start_due()
    try:
        wait_until(lambda: receiver.sequences(free) == [1, 2, 3])
        assert receiver.sequences(hanging) == []
        desk_broker.start_due()  # while it runs it is not started a second time
    finally:
        let_go.set()
    wait_until(lambda: len(receiver.sequences(hanging)) >= 3)
    desk_broker.close()
    assert receiver.sequences(hanging) == [1, 2, 3]


def test_a_refused_event_is_tried_again_until_it_is_taken(receiver, desk_broker):
    job = make_published_job()
    receiver.answer = lambda envelope: 500
    for _ in range(4):
        make_due()
        deliver(desk_broker)
    attempts = delivery_of(job).attempts

    receiver.answer = lambda envelope: 200
    make_due()
    deliver(desk_broker)

    assert attempts == 4
    assert receiver.sequences(job) == [1, 2]
    assert (delivery_of(job).attempts, delivery_of(job).failing_since, delivery_of(job).last_error) == (0, None, "")


@pytest.mark.parametrize(
    ("attempts", "seconds"), [(0, 1.0), (1, 2.0), (5, 32.0), (8, 256.0), (9, 300.0), (5000, 300.0)]
)
def test_the_pause_doubles_up_to_a_limit(attempts, seconds):
    assert broker.pause_seconds(attempts) == seconds


def test_after_a_day_of_refusals_a_stream_is_parked_and_replayed_from_where_it_stopped(receiver, desk_broker):
    job = make_published_job(2)
    receiver.answer = lambda envelope: 200 if envelope["sequence"] == 1 else 410
    deliver(desk_broker)
    BrokerDelivery.objects.update(failing_since=Now() - timedelta(hours=24, seconds=1), next_attempt_at=Now())

    deliver(desk_broker)

    assert delivery_of(job).parked_at is not None
    receiver.answer = lambda envelope: 200
    JobEvent.objects.create(job=job, type=EventType.JOB_RESUMED)
    outbox.publish(job.pk, force=True)
    make_due()
    deliver(desk_broker)
    assert receiver.sequences(job) == [1]

    broker.replay(delivery_of(job))
    deliver(desk_broker)
    assert receiver.sequences(job) == [1, 2, 3, 4, 5]
    assert delivery_of(job).parked_at is None


def test_a_broker_that_does_not_answer_counts_as_refusing(receiver, desk_broker, server):
    job = make_published_job()
    server.stop()
    try:
        deliver(desk_broker)

        assert delivery_of(job).attempts == 1
        assert delivery_of(job).last_error.startswith("ConnectError")
    finally:
        server.start()


def test_a_redirect_is_a_refusal_and_not_followed(receiver, desk_broker):
    job = make_published_job()
    receiver.answer = lambda envelope: 307

    deliver(desk_broker)

    assert delivery_of(job).delivered_sequence == 0
    assert delivery_of(job).last_error.startswith("HTTP 307")


def test_a_long_stream_takes_turns_with_others(receiver, desk_broker, monkeypatch):
    monkeypatch.setattr(broker, "EVENTS_A_TURN", 2)
    job = make_published_job(3)

    deliver(desk_broker)
    assert receiver.sequences(job) == [1, 2]
    deliver(desk_broker)
    deliver(desk_broker)

    assert receiver.sequences(job) == [1, 2, 3, 4, 5]
    assert delivery_of(job).next_attempt_at is None


def test_an_old_desk_tells_a_new_broker_only_what_happens_from_then_on(receiver, desk_broker, settings):
    settings.MESSAGE_BROKER_URL = ""
    job = make_published_job(2)
    settings.MESSAGE_BROKER_URL = receiver.url
    JobEvent.objects.create(job=job, type=EventType.JOB_RESUMED)
    outbox.publish(job.pk, force=True)

    deliver(desk_broker)

    assert receiver.sequences(job) == [5]


def test_a_deliverer_that_was_replaced_writes_nothing(receiver, desk_broker):
    job = make_published_job(3)

    def answer(envelope) -> int:
        if envelope["sequence"] == 2:  # meanwhile another process has come further
            BrokerDelivery.objects.filter(stream__job=job).update(delivered_sequence=4)
            connection.close()
        return 200

    receiver.answer = answer
    deliver(desk_broker)

    assert receiver.sequences(job) == [1, 2]
    assert delivery_of(job).delivered_sequence == 4


def test_only_one_of_several_processes_delivers(receiver):
    job = make_published_job(1)
    stopping = threading.Event()
    failures = []

    def run() -> None:
        try:
            broker.run(stopping.wait)
        except Exception as error:
            failures.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: delivery_of(job).delivered_sequence == 3 and delivery_of(job).next_attempt_at is None)
    finally:
        stopping.set()
        for thread in threads:
            thread.join()

    assert failures == []
    assert receiver.sequences(job) == [1, 2, 3]
