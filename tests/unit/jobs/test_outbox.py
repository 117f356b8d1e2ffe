"""Numbering, merging and throttling of events on real rows."""

import json
import threading
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.db.models.functions import Now

from jobs import connections, outbox
from jobs.models import EventStream, Job, JobEvent, JobItem
from jobs.states import EventType
from tests.workbench.rows import make_job, work
from tests.workbench.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def direct_url(settings):
    """Point what connects by itself at the database of the tests."""
    settings.DATABASE_DIRECT_URL = settings.DATABASE_URL.rpartition("/")[0] + "/" + connection.settings_dict["NAME"]


def make_quiet_job(items=1) -> Job:
    """Make a job whose creation is published already, so that a test sees only its own events."""
    job = make_job(items)
    outbox.publish(job.pk, force=True)
    return job


def close_items(job: Job, *seqs: int, kind: EventType = EventType.JOB_ITEM_COMPLETED, error_code=None) -> JobEvent:
    """Write what STEP writes for a batch."""
    items = JobItem.objects.filter(job=job, seq__in=seqs).order_by("seq")
    return JobEvent.objects.create(
        job=job, type=kind, data={"items": [[item.pk, item.seq, 12, error_code] for item in items]}
    )


def tell(job: Job | None, kind: EventType, **data) -> JobEvent:
    return JobEvent.objects.create(job=job, type=kind, data=data)


def published_after(job: Job | None, sequence: int) -> list[JobEvent]:
    return list(JobEvent.objects.filter(job=job, sequence__gt=sequence).order_by("sequence"))


def sequence_of(job: Job | None) -> int:
    return EventStream.objects.get(job=job).sequence


def let_interval_pass(job: Job | None) -> None:
    EventStream.objects.filter(job=job).update(published_at=Now() - timedelta(seconds=1))


def test_events_are_numbered_from_one_in_the_order_they_were_written():
    job = make_quiet_job()

    assert [event.sequence for event in published_after(job, 0)] == list(range(1, sequence_of(job) + 1))
    assert [event.type for event in published_after(job, 0)] == ["JOB_CREATED", "JOB_STARTED"]


def test_the_stream_of_the_queue_has_numbers_of_its_own():
    before = sequence_of(None)
    tell(None, EventType.LIMITS_CHANGED)
    tell(None, EventType.QUEUE_REORDERED)

    assert outbox.publish(None, force=True) == 2

    events = published_after(None, before)
    assert [(event.sequence, event.type) for event in events] == [
        (before + 1, "LIMITS_CHANGED"),
        (before + 2, "QUEUE_REORDERED"),
    ]
    assert outbox.envelope(events[0])["jobId"] is None


def test_items_of_one_window_become_one_message_an_outcome_and_one_of_progress():
    job = make_quiet_job(5)
    before = sequence_of(job)
    close_items(job, 0, 1)
    close_items(job, 2, kind=EventType.JOB_ITEM_FAILED, error_code="never")
    close_items(job, 3)
    JobItem.objects.filter(job=job, seq=2).update(error="It will never do.")

    assert outbox.publish(job.pk, force=True) == 3

    completed, failed, progress = published_after(job, before)
    assert [completed.type, failed.type, progress.type] == ["JOB_ITEM_COMPLETED", "JOB_ITEM_FAILED", "JOB_PROGRESS"]
    assert (completed.data["count"], completed.data["truncated"]) == (3, False)
    assert [item["imagePath"] for item in completed.data["items"]] == ["0.jpg", "1.jpg", "3.jpg"]
    assert failed.data["items"] == [
        {
            "itemId": JobItem.objects.get(job=job, seq=2).pk,
            "imagePath": "2.jpg",
            "perspective": "plain",
            "status": "failed",
            "error": "It will never do.",
            "errorCode": "never",
            "processingTime": 12,
        }
    ]
    assert progress.data == {
        "running": [],
        "totalImages": 5,
        "processedImages": 0,
        "failedImages": 0,
        "cancelledImages": 0,
        "progress": 0,
        "etaSeconds": None,  # no lane is at work
    }
    assert not JobEvent.objects.filter(job=job, sequence=None).exists()


def test_a_transition_stays_behind_the_items_before_it_and_before_those_after():
    job = make_quiet_job(4)
    before = sequence_of(job)
    close_items(job, 0)
    tell(job, EventType.JOB_PAUSED)
    close_items(job, 1)
    close_items(job, 2)
    tell(job, EventType.JOB_COMPLETED)

    outbox.publish(job.pk, force=True)

    events = published_after(job, before)
    assert [event.type for event in events] == [
        "JOB_ITEM_COMPLETED",
        "JOB_PAUSED",
        "JOB_ITEM_COMPLETED",
        "JOB_PROGRESS",
        "JOB_COMPLETED",
    ]
    assert [event.data["count"] for event in events if event.type == "JOB_ITEM_COMPLETED"] == [1, 2]


def test_beyond_the_limit_items_are_counted_but_not_listed(monkeypatch):
    monkeypatch.setattr(outbox, "LARGEST_LIST", 3)
    job = make_quiet_job(5)
    before = sequence_of(job)
    close_items(job, 0, 1)
    close_items(job, 2, 3, 4)

    outbox.publish(job.pk, force=True)

    data = published_after(job, before)[0].data
    assert (data["count"], data["truncated"], len(data["items"])) == (5, True, 3)


def test_a_second_publication_within_the_interval_waits_and_a_forced_one_does_not():
    job = make_quiet_job()
    tell(job, EventType.JOB_PAUSED)

    assert outbox.publish(job.pk) == 0
    assert outbox.publish(job.pk, force=True) == 1
    tell(job, EventType.JOB_RESUMED)
    let_interval_pass(job)
    assert outbox.publish(job.pk) == 1


def test_what_had_to_wait_is_listed_with_the_time_until_it_is_due():
    job, other = make_quiet_job(), make_quiet_job()
    tell(job, EventType.JOB_PAUSED)
    tell(other, EventType.JOB_PAUSED)
    let_interval_pass(other)

    pending = dict(outbox.pending_streams())

    assert pending.keys() >= {job.pk, other.pk}
    assert 0 < pending[job.pk] <= outbox.PUBLISH_INTERVAL_SECONDS
    assert pending[other.pk] == 0


def test_a_stream_is_made_where_there_is_none():
    job = make_quiet_job()
    EventStream.objects.filter(job=job).delete()
    JobEvent.objects.filter(job=job).update(sequence=None)

    assert outbox.publish(job.pk) == 2
    assert sequence_of(job) == 2


def test_many_publishers_number_every_event_once_and_without_a_gap():
    job = make_quiet_job(200)
    before = sequence_of(job)
    barrier = threading.Barrier(6)
    is_writing = threading.Event()
    is_writing.set()
    failures = []

    def write(first: int) -> None:
        try:
            barrier.wait()
            for seq in range(first, 200, 3):
                close_items(job, seq)
                tell(job, EventType.JOB_PAUSED)
        except Exception as error:
            failures.append(error)
        finally:
            connection.close()

    def publish() -> None:
        try:
            barrier.wait()
            while is_writing.is_set():
                outbox.publish(job.pk, force=True)
        except Exception as error:
            failures.append(error)
        finally:
            connection.close()

    writers = [threading.Thread(target=write, args=(n,)) for n in range(3)]
    publishers = [threading.Thread(target=publish) for _ in range(3)]
    for thread in writers + publishers:
        thread.start()
    for thread in writers:
        thread.join()
    is_writing.clear()
    for thread in publishers:
        thread.join()
    outbox.publish(job.pk, force=True)

    assert failures == []
    events = published_after(job, before)
    assert [event.sequence for event in events] == list(range(before + 1, sequence_of(job) + 1))
    listed = [item["itemId"] for event in events if "items" in event.data for item in event.data["items"]]
    assert sorted(listed) == sorted(JobItem.objects.filter(job=job).values_list("pk", flat=True))
    assert sum(event.type == "JOB_PAUSED" for event in events) == 200


def test_a_publisher_passes_over_a_stream_that_another_one_holds():
    job = make_quiet_job()
    tell(job, EventType.JOB_PAUSED)
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic():
            EventStream.objects.select_for_update().get(job=job)
            held.set()
            done.wait(30)
        connection.close()

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(30)

    assert outbox.publish(job.pk, force=True) == 0

    done.set()
    holder.join()
    assert outbox.publish(job.pk, force=True) == 1


def test_a_publication_is_one_notification_that_names_the_new_numbers():
    job = make_quiet_job(3)
    before = sequence_of(job)
    close_items(job, 0, 1)
    tell(job, EventType.JOB_PAUSED)

    with connections.direct("test") as ear:
        ear.execute(f"LISTEN {outbox.CHANNEL}")
        outbox.publish(job.pk, force=True)
        calls = [json.loads(call.payload) for call in ear.notifies(timeout=5, stop_after=1)]

    assert calls == [{"pk": job.pk, "first": before + 1, "sequence": before + 3}]


def test_publishing_later_never_raises_and_leaves_the_rest_to_the_relay(monkeypatch, caplog):
    job = make_quiet_job()
    tell(job, EventType.JOB_PAUSED)
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE jobs_eventstream RENAME TO hidden")
    try:
        monkeypatch.setattr(outbox, "_tried_at", {})

        outbox.publish_later(job.pk)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE hidden RENAME TO jobs_eventstream")

    assert "publication failed" in caplog.text
    assert outbox.publish(job.pk, force=True) == 1


def test_a_real_job_ends_with_everything_published_in_order():
    job = make_job([{}] * 7 + [{"do": "permanent"}])

    work()
    wait_until(lambda: outbox.publish(job.pk) or not JobEvent.objects.filter(job=job, sequence=None).exists())

    events = published_after(job, 0)
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    types = [event.type for event in events]
    assert types[:2] == ["JOB_CREATED", "JOB_STARTED"]
    assert types[-1] == "JOB_COMPLETED"
    assert events[-1].data["status"] == "partial"
    progress = [event for event in events if event.type == "JOB_PROGRESS"][-1]
    assert (progress.data["processedImages"], progress.data["failedImages"], progress.data["progress"]) == (7, 1, 100)
    listed = [item for event in events if event.type.startswith("JOB_ITEM") for item in event.data["items"]]
    assert len({item["itemId"] for item in listed}) == len(listed) == 8
