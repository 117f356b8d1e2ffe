"""What an operator does to many rows at once"""

from __future__ import annotations

import json
import re
from uuid import uuid4

import pytest
from django.urls import reverse

from jobs import ordering
from jobs.models import Job, JobArchive, JobItem, Queue
from orchestrator.access import make_token, token_of
from orchestrator.models import ApiToken
from tests.workbench.rows import make_job, statuses, work

pytestmark = pytest.mark.django_db

JOBS = "/admin/jobs/job/"
ARCHIVE = "/admin/jobs/jobarchive/"


def act(console, action, rows, address=f"{JOBS}?standing=all", **fields):
    """Run an action on rows, as the list's form does."""
    form = {"action": action, "_selected_action": [row.pk for row in rows], "index": "0", "select_across": "0"}
    return console.post(address, form | fields, follow=True).content.decode()


def nothing_starts():
    Queue.objects.filter(name="default").update(max_jobs=0)


def cancelled(operator):
    job = make_job(by=operator)
    job.cancel(by=operator)
    return job


@pytest.mark.parametrize(
    ("action", "done"), [("pause_jobs", "paused"), ("archive_jobs", "archived"), ("retry_jobs", "retried")]
)
def test_an_action_skips_what_it_does_not_apply_to_and_reports_both_numbers(console, operator, action, done):
    partial = make_job([{}, {"do": "permanent"}], by=operator)
    work()
    rows = [make_job(by=operator), make_job(by=operator), partial, cancelled(operator)]
    expected = {"paused": (2, 2), "archived": (2, 2), "retried": (1, 3)}[done]

    page = act(console, action, rows)

    assert f"{expected[0]} {done}, {expected[1]} skipped." in page


def test_resume_goes_on_after_a_pause(console, operator):
    job = make_job(by=operator)
    act(console, "pause_jobs", [job])
    act(console, "resume_jobs", [job])

    job.refresh_from_db()
    assert not job.paused


def test_cancel_asks_first_with_numbers_and_then_takes_a_reason(console, operator):
    rows = [make_job(3, by=operator), make_job(4, by=operator), cancelled(operator)]

    asked = act(console, "cancel_jobs", rows)
    assert "Cancel 2 jobs?" in asked
    assert "7 open items" in asked
    assert not Job.objects.get(pk=rows[0].pk).is_final
    done = act(console, "cancel_jobs", rows, confirmed="yes", reason="wrong model")

    assert "2 cancelled, 1 skipped." in done
    assert statuses(rows[1]) == ["cancelled"] * 4
    assert rows[0].events.get(type="JOB_CANCELLED").data["reason"] == "wrong model"


def test_an_action_works_on_everything_that_matches_the_filter(console, operator):
    chosen = [make_job(by=operator, name="owls") for _ in range(60)]
    other = make_job(by=operator, name="cows")

    page = act(console, "pause_jobs", chosen[:1], address=f"{JOBS}?q=owls", select_across="1")

    assert "60 paused, 0 skipped." in page
    assert not Job.objects.get(pk=other.pk).paused


def test_run_next_puts_the_chosen_first_in_their_order(console, operator):
    nothing_starts()
    jobs = {name: make_job(by=operator, name=name) for name in "abcd"}

    page = act(console, "run_next", [jobs["d"], jobs["b"], cancelled(operator)])

    assert "2 run next, 1 skipped" in page
    assert [job.name for job in Job.objects.active().in_order()] == ["b", "d", "a", "c"]


def test_who_may_only_look_has_no_actions(onlooker, operator):
    job = make_job(by=operator)

    act(onlooker, "pause_jobs", [job])

    job.refresh_from_db()
    assert not job.paused


# --- Order by hand


def place(console, job_id, **wish):
    return console.post(
        reverse("admin:jobs_job_place"), json.dumps({"job": str(job_id), **wish}), content_type="application/json"
    )


def test_a_dragged_job_takes_its_new_place(console, operator):
    nothing_starts()
    first, _, last = (make_job(by=operator, name=name) for name in "abc")

    answer = place(console, last.job_id, before=str(first.job_id), queueVersion=ordering.queue_version())

    assert answer.json() == {"updated": 1, "queueVersion": ordering.queue_version()}
    assert [job.name for job in Job.objects.in_order()] == ["c", "a", "b"]


def test_a_list_that_is_out_of_date_is_refused(console, operator):
    nothing_starts()
    first, last = make_job(by=operator), make_job(by=operator)
    seen = ordering.queue_version()
    ordering.place(last.job_id, before=first.job_id, by=operator)

    answer = place(console, first.job_id, before=str(last.job_id), queueVersion=seen)

    assert answer.status_code == 409
    assert "read it again" in answer.json()["detail"]
    assert list(Job.objects.in_order()) == [last, first]


@pytest.mark.parametrize("wish", [{}, {"before": "nonsense", "queueVersion": 0}, {"queueVersion": "x"}])
def test_a_malformed_move_is_refused(console, operator, wish):
    assert place(console, make_job(by=operator).job_id, **wish).status_code == 400


def test_an_unknown_neighbour_is_not_found(console, operator):
    job = make_job(by=operator)

    answer = place(console, job.job_id, before=str(uuid4()), queueVersion=ordering.queue_version())

    assert answer.status_code == 404


def test_moves_are_posted_by_who_may_change_jobs(console, onlooker, operator):
    job = make_job(by=operator)

    assert console.get(reverse("admin:jobs_job_place")).status_code == 405
    assert place(onlooker, job.job_id, queueVersion=0).status_code == 403


def test_only_jobs_that_can_be_moved_have_a_handle(console, operator):
    running = make_job(by=operator)
    nothing_starts()
    waiting = make_job(by=operator)
    assert Job.objects.get(pk=running.pk).status == "running"

    page = console.get(JOBS).content.decode()

    assert f'data-job="{waiting.job_id}"' in page
    assert f'data-job="{running.job_id}"' not in page


# --- The archive


def archived(operator, n_items=3):
    job = make_job(n_items, by=operator)
    job.cancel(by=operator)
    job.archive(by=operator, reason="old")
    return job


def test_the_archive_says_who_when_and_why(console, operator):
    archived(operator)

    page = console.get(ARCHIVE).content.decode()

    assert "operator" in page
    assert "old" in page
    assert "0 / 0 / 3 of 3" in page


def test_archived_jobs_are_restored(console, operator):
    job, restored = archived(operator), archived(operator)
    restored.restore(by=operator)

    page = act(console, "restore_jobs", JobArchive.objects.all(), address=ARCHIVE)

    job.refresh_from_db()
    assert not job.archived
    assert "1 restored, 1 skipped." in page


def test_a_purge_is_previewed_and_then_deletes_for_good(console, operator):
    job, kept, restored = archived(operator), make_job(2, by=operator), archived(operator)
    restored.restore(by=operator)
    n_events = job.events.count()

    preview = act(console, "purge_jobs", JobArchive.objects.all(), address=ARCHIVE)
    assert "Purge 1 job for good?" in preview
    assert f"3 items and {n_events} events" in preview
    assert Job.objects.filter(pk=job.pk).exists()
    done = act(console, "purge_jobs", JobArchive.objects.all(), address=ARCHIVE, confirmed="yes")

    assert "1 purged, 1 skipped." in done
    assert set(Job.objects.all()) == {kept, restored}
    assert not JobItem.objects.filter(job_id=job.pk).exists()


def test_a_purge_works_through_items_in_batches(console, operator, monkeypatch):
    monkeypatch.setattr("jobs.purging._BATCH", 2)
    job = archived(operator, 5)

    act(console, "purge_jobs", JobArchive.objects.all(), address=ARCHIVE, confirmed="yes")

    assert not Job.objects.filter(pk=job.pk).exists()
    assert not JobItem.objects.exists()


# --- Tokens


def test_a_token_is_shown_once_and_works(console, operator):
    form = {"name": "gpu box", "user": operator.pk, "scopes": ["service"], "lifetime_days": "30"}

    page = console.post("/admin/orchestrator/apitoken/add/", form, follow=True).content.decode()

    token = ApiToken.objects.get()
    text = page.split("it is not shown again: ")[1].split("<")[0].split()[0]
    assert token_of(text) == token
    assert (token.scopes, token.expires_at is not None) == (["service"], True)
    assert text not in console.get(f"/admin/orchestrator/apitoken/{token.pk}/change/").content.decode()


def test_revoked_tokens_no_longer_work(console, operator):
    token, text = make_token(operator, name="old", scopes=["user"])
    make_token(operator, name="older", scopes=["user"])
    ApiToken.objects.filter(name="older").update(revoked_at=token.created_at)

    page = act(console, "revoke", ApiToken.objects.all(), address="/admin/orchestrator/apitoken/")

    assert "1 revoked, 1 skipped" in page
    assert token_of(text) is None


def buttons_of(console, job):
    page = console.get(f"{JOBS}{job.pk}/change/").content.decode()
    return set(re.findall(r'<button name="action" value="(\w+)"', page))


def test_the_page_of_a_job_offers_what_makes_sense_for_it(console, operator):
    nothing_starts()
    job = make_job(by=operator)
    assert buttons_of(console, job) == {"run_next", "pause_jobs", "cancel_jobs"}

    job.cancel(by=operator)
    assert buttons_of(console, job) == {"archive_jobs"}

    job.archive(by=operator)
    assert buttons_of(console, job) == {"restore_jobs"}


def test_an_action_from_the_page_of_a_job_asks_and_comes_back_to_it(console, operator):
    nothing_starts()
    job = make_job(by=operator)

    assert "Cancel 1 job?" in act(console, "cancel_jobs", [job], _on_its_page="1")
    form = {"action": "cancel_jobs", "_selected_action": job.pk, "index": "0", "_on_its_page": "1", "confirmed": "yes"}
    answer = console.post(f"{JOBS}?standing=all", form)

    assert answer.url == f"{JOBS}{job.pk}/change/"
    job.refresh_from_db()
    assert job.status == "cancelled"


def test_an_onlooker_is_offered_no_action(onlooker, operator):
    assert buttons_of(onlooker, make_job(by=operator)) == set()
