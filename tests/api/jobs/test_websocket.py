"""The websockets of jobs and of the queue, over real sockets and a real LISTEN connection."""

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
from django.db import connection
from django.db.models.functions import Now

from jobs import outbox
from jobs.models import EventStream, Job, JobEvent, JobItem
from jobs.states import EventType
from orchestrator import access
from orchestrator.models import ApiToken
from tests.workbench.rows import make_job, make_user
from tests.workbench.viewer import Viewer
from tests.workbench.waiting import wait_until
from tests.workbench.web import web

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

QUEUE = "/api/ws/job-queue"


@pytest.fixture(scope="module")
def open_server(django_db_setup: None) -> Iterator[int]:
    with web(API_ACCESS="open") as port:
        yield port


@pytest.fixture(scope="module")
def token_server(django_db_setup: None) -> Iterator[int]:
    with web(API_ACCESS="token", SOCKET_RECHECK_SECONDS="1") as port:
        yield port


_listening: set[int] = set()


def until_listening(port: int, **viewer: Any) -> int:
    """Be the first viewer of a web process, for whom it begins to listen.

    Once it does, it tells the state anew, in case that something went unheard; no later test shall be told twice.
    """
    if port not in _listening:
        with Viewer(port, QUEUE, **viewer) as first:
            for _ in range(2):
                first.hear_until(type="SNAPSHOT")
        _listening.add(port)
    return port


@pytest.fixture
def open_port(open_server: int) -> int:
    return until_listening(open_server)


@pytest.fixture
def token_port(token_server: int) -> int:
    if token_server in _listening:
        return token_server
    return until_listening(token_server, origin=None, token=token_of(make_user("first"), access.USER_SCOPE))


def address_of(job: Job) -> str:
    return f"/api/ws/jobs/{job.job_id}"


def publish(job: Job | None) -> None:
    pk = job.pk if job is not None else None
    wait_until(lambda: outbox.publish(pk, force=True) or not JobEvent.objects.filter(job=pk, sequence=None).exists())


def make_published_job(items: int = 1, **draft) -> Job:
    job = make_job(items, **draft)
    publish(job)
    return job


def tell(job: Job | None, kind: EventType, n: int = 1, **data) -> None:
    """Write and publish n events, each in a publication of its own."""
    for _ in range(n):
        JobEvent.objects.create(job=job, type=kind, data=data)
        publish(job)


def last_of(job: Job | None) -> int:
    return EventStream.objects.get(job=job).sequence


def session_of(user: User) -> str:
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.create()
    return session.session_key


def token_of(user: User, *scopes: str, **columns) -> str:
    token, text = access.make_token(user, name="test", scopes=list(scopes))
    ApiToken.objects.filter(pk=token.pk).update(**columns)
    return text


def cut_listeners() -> int:
    """End every LISTEN connection on the server's side. Returns how many there were."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE application_name = 'desk live' AND datname = current_database()"
        )
        return cursor.fetchone()[0]


# --- What a socket says


def test_a_job_socket_greets_shows_the_state_and_passes_on_events(open_port):
    job = make_published_job(3)

    with Viewer(open_port, address_of(job)) as viewer:
        connected, snapshot = viewer.hear(), viewer.hear()
        tell(job, EventType.JOB_PAUSED, reason="tea")
        event = viewer.hear()

    assert connected == {"type": "CONNECTED", "jobId": str(job.job_id)}
    assert (snapshot["type"], snapshot["sequence"]) == ("SNAPSHOT", 2)
    assert (snapshot["job"]["status"], snapshot["job"]["totalImages"]) == ("running", 3)
    stored = JobEvent.objects.get(job=job, sequence=3)
    assert event == outbox.envelope(stored)
    assert (event["type"], event["jobId"], event["data"]) == ("JOB_PAUSED", str(job.job_id), {"reason": "tea"})


def test_items_arrive_as_one_message_with_progress_behind_it(open_port):
    job = make_published_job(3)
    items = list(JobItem.objects.filter(job=job).order_by("seq"))

    with Viewer(open_port, address_of(job)) as viewer:
        viewer.hear_until(type="SNAPSHOT")
        for item in items:
            JobEvent.objects.create(
                job=job, type=EventType.JOB_ITEM_COMPLETED, data={"items": [[item.pk, item.seq, 5, None]]}
            )
        publish(job)
        closed, progress = viewer.hear(), viewer.hear()

    assert (closed["type"], progress["type"]) == ("JOB_ITEM_COMPLETED", "JOB_PROGRESS")
    assert [item["itemId"] for item in closed["data"]["items"]] == [item.pk for item in items]


@pytest.mark.parametrize("path", ["/api/ws/jobs/{}/", "/api/v1/ws/jobs/{}", "/api/v1/ws/jobs/{}/"])
def test_the_other_forms_of_the_address_are_the_same(open_port, path):
    job = make_published_job()

    with Viewer(open_port, path.format(job.job_id)) as viewer:
        assert viewer.hear_until(type="SNAPSHOT")[-1]["jobId"] == str(job.job_id)


def test_the_queue_socket_has_its_own_events_and_those_of_jobs_but_no_items(open_port):
    job = make_published_job(1)

    with Viewer(open_port, QUEUE) as viewer:
        snapshot = viewer.hear_until(type="SNAPSHOT")[-1]
        tell(job, EventType.JOB_ITEM_FAILED, items=[[JobItem.objects.get(job=job).pk, 0, 5, "never"]])
        tell(None, EventType.QUEUE_REORDERED)
        tell(job, EventType.JOB_PAUSED)
        heard = [viewer.hear() for _ in range(3)]

    assert [entry["jobId"] for entry in snapshot["queue"]["jobs"]] == [str(job.job_id)]
    assert snapshot["queue"]["counts"] == {"waiting": 0, "pending": 0, "running": 1}
    assert [queue["name"] for queue in snapshot["queue"]["queues"]] == ["default", "heavy"]
    assert [(event["type"], event["jobId"]) for event in heard] == [
        ("JOB_PROGRESS", str(job.job_id)),
        ("QUEUE_REORDERED", None),
        ("JOB_PAUSED", str(job.job_id)),
    ]


def test_a_ping_is_answered_and_nonsense_is_refused_without_closing(open_port):
    job = make_published_job()
    nonsense = [
        "{",
        "[]",
        "7",
        '{"type":"DANCE"}',
        '{"type":"SUBSCRIBE","after":"x"}',
        '{"type":"SUBSCRIBE","after":-1}',
    ]

    with Viewer(open_port, address_of(job)) as viewer:
        viewer.hear_until(type="SNAPSHOT")
        refusals = []
        for text in [*nonsense, b"\x00\x01"]:
            viewer.say_raw(text)
            refusals.append(viewer.hear())
        viewer.say("PING")
        pong = viewer.hear()

    assert [refusal["type"] for refusal in refusals] == ["ERROR"] * 7
    assert [refusal["code"] for refusal in refusals] == [
        *("malformed", "malformed", "malformed", "unknown_type", "malformed", "malformed", "malformed")
    ]
    assert all(refusal["detail"] for refusal in refusals)
    assert pong == {"type": "PONG"}


# --- Resuming


def test_a_client_that_comes_back_gets_what_it_missed_once_and_in_order(open_port):
    job = make_published_job()
    tell(job, EventType.JOB_PAUSED, 4)

    with Viewer(open_port, address_of(job), after=3) as viewer:
        snapshot = viewer.hear_until(type="SNAPSHOT")[-1]
        tell(job, EventType.JOB_RESUMED, 2)
        heard = viewer.hear_until(sequence=8)

    assert snapshot["sequence"] == 6
    assert [event["sequence"] for event in heard] == [4, 5, 6, 7, 8]


def test_a_subscription_rewinds_to_the_number_it_names(open_port):
    job = make_published_job()
    tell(job, EventType.JOB_PAUSED, 2)

    with Viewer(open_port, address_of(job)) as viewer:
        viewer.hear_until(type="SNAPSHOT")
        viewer.say("SUBSCRIBE", jobId=str(job.job_id), after=1)
        snapshot, *events = viewer.hear_until(type="JOB_PAUSED", sequence=4)
        tell(job, EventType.JOB_RESUMED)
        events.append(viewer.hear())

    assert snapshot["type"] == "SNAPSHOT"
    assert [event["sequence"] for event in events] == [2, 3, 4, 5]


def test_events_published_while_a_client_catches_up_come_once_and_in_order(open_port):
    job = make_published_job()
    tell(job, EventType.JOB_PAUSED, 30)
    firsts = range(0, 30, 3)

    with ExitStack() as stack:
        viewers = []
        for after in firsts:
            viewers.append(stack.enter_context(Viewer(open_port, address_of(job), after=after)))
            tell(job, EventType.JOB_RESUMED)
        last = last_of(job)
        heard = [viewer.hear_until(sequence=last, type="JOB_RESUMED") for viewer in viewers]

    for after, messages in zip(firsts, heard, strict=True):
        numbers = [message["sequence"] for message in messages if "messageId" in message]
        assert numbers == list(range(after + 1, last + 1))


def test_a_number_from_another_time_is_refused_and_the_stream_goes_on(open_port):
    job = make_published_job()

    with Viewer(open_port, address_of(job), after=99) as viewer:
        error = viewer.hear_until(type="ERROR")[-1]
        tell(job, EventType.JOB_PAUSED)
        event = viewer.hear()

    assert error["code"] == "unknown_sequence"
    assert event["sequence"] == 3


def test_the_queue_stream_resumes_by_its_own_numbers(open_port):
    tell(None, EventType.QUEUE_REORDERED, 3)
    last = last_of(None)

    with Viewer(open_port, QUEUE, after=last - 2) as viewer:
        heard = viewer.hear_until(sequence=last, type="QUEUE_REORDERED")

    assert [event["sequence"] for event in heard if "messageId" in event] == [last - 1, last]


def test_one_socket_may_follow_more_jobs(open_port):
    job, other = make_published_job(), make_published_job()

    with Viewer(open_port, QUEUE) as viewer:
        viewer.hear_until(type="SNAPSHOT")
        viewer.say("SUBSCRIBE", jobId=str(other.job_id), after=0)
        snapshot, *events = viewer.hear_until(sequence=2, jobId=str(other.job_id), type="JOB_STARTED")
        tell(other, EventType.JOB_ITEM_COMPLETED, items=[[JobItem.objects.get(job=other).pk, 0, 5, None]])
        tell(job, EventType.JOB_PAUSED)
        events += [viewer.hear() for _ in range(3)]

    assert (snapshot["type"], snapshot["jobId"]) == ("SNAPSHOT", str(other.job_id))
    assert [(event["type"], event["jobId"] == str(other.job_id)) for event in events] == [
        ("JOB_CREATED", True),
        ("JOB_STARTED", True),
        ("JOB_ITEM_COMPLETED", True),
        ("JOB_PROGRESS", True),
        ("JOB_PAUSED", False),
    ]


def test_a_lost_listener_comes_back_and_nobody_misses_an_event(open_port):
    job = make_published_job()

    with Viewer(open_port, address_of(job)) as viewer, Viewer(open_port, QUEUE) as queue:
        viewer.hear_until(type="SNAPSHOT")
        queue.hear_until(type="SNAPSHOT")
        for _ in range(3):
            assert cut_listeners() == 1
            # Nobody hears the notifications of these.
            tell(job, EventType.JOB_PAUSED, 2)
            wait_until(lambda: cut_listeners_are(1))
            tell(job, EventType.JOB_RESUMED)
        heard = viewer.hear_until(sequence=11)
        told_anew = queue.hear_until(type="SNAPSHOT")[-1]

    assert [event["sequence"] for event in heard] == list(range(3, 12))
    assert told_anew["queue"]["jobs"][0]["jobId"] == str(job.job_id)


def cut_listeners_are(n: int) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE application_name = 'desk live' AND datname = current_database() AND query LIKE 'LISTEN%'"
        )
        return cursor.fetchone()[0] == n


# --- Who may


def test_in_open_mode_a_page_of_ours_and_a_program_act_as_local(open_port):
    job = make_published_job()

    for origin in ("own", None):
        with Viewer(open_port, address_of(job), origin=origin) as viewer:
            assert viewer.hear()["type"] == "CONNECTED"


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1"])
def test_a_page_of_another_site_is_refused_even_with_a_token(open_port, origin):
    text = token_of(make_user(is_staff=True), access.USER_SCOPE)
    job = make_published_job()

    for query in ({}, {"token": text}):
        with Viewer(open_port, address_of(job), origin=origin, **query) as viewer:
            code, heard = viewer.hear_the_end()

        assert code == 4403
        assert [(message["type"], message["code"]) for message in heard] == [("ERROR", "foreign_origin")]


def test_a_host_name_that_is_not_ours_is_refused(open_port):
    job = make_published_job()

    with Viewer(open_port, address_of(job), host="evil.example", origin=f"http://evil.example:{open_port}") as viewer:
        assert viewer.hear_the_end()[0] == 4403


def test_without_a_login_nobody_comes_in_when_tokens_are_asked_for(token_port):
    job = make_published_job()

    for query in ({}, {"token": "desk_nonsense"}):
        with Viewer(token_port, address_of(job), **query) as viewer:
            code, heard = viewer.hear_the_end()
        assert (code, heard[0]["code"]) == (4401, "not_authenticated")


def test_a_session_counts_only_beside_an_origin_of_ours(token_port):
    user = make_user()
    job = make_published_job(by=user)
    session = session_of(user)

    with Viewer(token_port, address_of(job), session=session) as viewer:
        assert viewer.hear()["type"] == "CONNECTED"
    with Viewer(token_port, address_of(job), session=session, origin=None) as viewer:
        assert viewer.hear_the_end()[0] == 4401


def test_a_token_opens_a_socket_without_an_origin(token_port):
    user = make_user()
    job = make_published_job(by=user)

    with Viewer(token_port, address_of(job), origin=None, token=token_of(user, access.USER_SCOPE)) as viewer:
        assert viewer.hear()["type"] == "CONNECTED"


def test_a_token_that_expired_was_revoked_or_lacks_the_scope_is_refused(token_port):
    user = make_user()
    job = make_published_job(by=user)
    cases = [
        (token_of(user, access.USER_SCOPE, expires_at=Now() - timedelta(seconds=1)), 4401),
        (token_of(user, access.USER_SCOPE, revoked_at=Now()), 4401),
        (token_of(user, access.SERVICE_SCOPE), 4403),
    ]

    for text, expected in cases:
        with Viewer(token_port, address_of(job), origin=None, token=text) as viewer:
            assert viewer.hear_the_end()[0] == expected


def test_an_open_socket_ends_with_its_token(token_port):
    user = make_user()
    job = make_published_job(by=user)
    text = token_of(user, access.USER_SCOPE)

    with Viewer(token_port, address_of(job), origin=None, token=text) as viewer:
        viewer.hear_until(type="SNAPSHOT")
        ApiToken.objects.update(revoked_at=Now())
        code, heard = viewer.hear_the_end()

    assert code == 4401
    assert heard[-1]["code"] == "not_authenticated"


def test_the_job_of_somebody_else_is_as_good_as_none(token_port):
    user, other = make_user("ada"), make_user("bob")
    text = token_of(user, access.USER_SCOPE)
    foreign = make_published_job(by=other)

    for path in (
        address_of(foreign),
        "/api/ws/jobs/not-a-uuid",
        "/api/ws/jobs/6f8f1f43-6f0a-4d3e-9d0c-000000000000",
        "/api/ws/nowhere",
    ):
        with Viewer(token_port, path, origin=None, token=text) as viewer:
            assert viewer.hear_the_end()[0] == 4404
    with Viewer(token_port, QUEUE, origin=None, token=text) as viewer:
        viewer.hear_until(type="SNAPSHOT")
        viewer.say("SUBSCRIBE", jobId=str(foreign.job_id))
        assert (viewer.hear()["code"]) == "not_found"


def test_the_queue_socket_shows_each_user_their_own_jobs_and_staff_all(token_port):
    ada, bob, staff = make_user("ada"), make_user("bob"), make_user("eve", is_staff=True)
    job, foreign = make_published_job(by=ada), make_published_job(by=bob)

    with (
        Viewer(token_port, QUEUE, origin=None, token=token_of(ada, access.USER_SCOPE)) as own,
        Viewer(token_port, QUEUE, origin=None, token=token_of(staff, access.USER_SCOPE)) as all_of_them,
    ):
        snapshots = [viewer.hear_until(type="SNAPSHOT")[-1] for viewer in (own, all_of_them)]
        tell(foreign, EventType.JOB_PAUSED)
        tell(job, EventType.JOB_PAUSED)
        heard_by_owner = own.hear()
        heard_by_staff = [all_of_them.hear(), all_of_them.hear()]

    assert [len(snapshot["queue"]["jobs"]) for snapshot in snapshots] == [1, 2]
    assert heard_by_owner["jobId"] == str(job.job_id)
    assert [event["jobId"] for event in heard_by_staff] == [str(foreign.job_id), str(job.job_id)]
