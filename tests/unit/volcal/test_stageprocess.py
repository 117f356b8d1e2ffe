"""One stage as a child process: what it is told, and how it is ended."""

from __future__ import annotations

import os
import signal
import threading

import pytest
from django.db import connection

from jobs.models import JobItem
from jobs.pipelines import Cancelled, Permanent, RetryLater
from tests.surveys import assert_gone, lives, make_survey, measure, status_of
from tests.workbench.waiting import wait_until
from volcal import stageprocess, workfolders


def test_the_guardian_sees_none_of_our_secrets(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")

    assert not set(stageprocess._environment()) - {
        "PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PYTHONPATH", "VIRTUAL_ENV", "PYTHONUNBUFFERED"
    }  # fmt: skip


def test_the_folder_is_free_while_the_guardian_waits(ada, engine):
    survey = make_survey(ada)

    run_stage("load", survey)

    assert lives(*engine.guardians())
    with workfolders.opened(survey.job.job_id):
        pass


def test_a_thread_takes_its_guardian_along(ada, engine):
    survey = make_survey(ada)
    run_stage("load", survey)

    thread = threading.Thread(target=run_stage, args=("align", survey))
    thread.start()
    thread.join()
    run_stage("compare", survey)

    ours, theirs, again = engine.guardians()
    assert ours == again != theirs
    assert_gone([theirs])


@pytest.mark.django_db(transaction=True)
def test_a_fork_of_a_worker_starts_its_own_guardian(ada, engine):
    survey = make_survey(ada)
    run_stage("load", survey)

    os.waitpid(forked_to_run("align", survey), 0)
    run_stage("compare", survey)

    ours, theirs, again = engine.guardians()
    assert ours == again != theirs
    assert_gone([theirs])


def forked_to_run(stage, survey):
    connection.close()
    fork = os.fork()
    if fork == 0:
        try:
            run_stage(stage, survey)
        finally:
            os._exit(0)
    return fork


def run_stage(stage, survey, *, stopped=lambda: False, deadline_seconds=30.0):
    heard = []
    with workfolders.opened(survey.job.job_id) as folder:
        stageprocess.run(
            stage,
            folder,
            deadline_seconds=deadline_seconds,
            report=lambda share, detail: heard.append((share, detail)),
            stopped=stopped,
        )
    return heard


@pytest.mark.django_db(transaction=True)
def test_a_guardian_that_died_between_two_stages_costs_no_attempt(ada, engine):
    survey = make_survey(ada)
    run_stage("load", survey)
    (guardian,) = engine.guardians()

    os.kill(guardian, signal.SIGKILL)
    survey = measure(survey)

    assert status_of(survey) == "done"
    assert {item.attempts for item in JobItem.objects.filter(job=survey.job)} == {1}
    assert guardian not in engine.guardians()[1:]


def test_a_stage_past_its_deadline_is_ended(ada, engine, monkeypatch):
    monkeypatch.setattr(stageprocess, "GRACE_SECONDS", 0.3)
    engine.plan(load={"do": "hang"})

    with pytest.raises(Permanent) as outcome:
        run_stage("load", make_survey(ada), deadline_seconds=0.3)

    assert outcome.value.code == "deadline"
    assert_gone([*engine.pids(), *engine.guardians(), engine.grandchild()])


def test_a_stage_that_is_not_wanted_is_cancelled(ada, engine, monkeypatch):
    monkeypatch.setattr(stageprocess, "GRACE_SECONDS", 0.3)
    engine.plan(load={"do": "hang"})

    with pytest.raises(Cancelled):
        run_stage("load", make_survey(ada), stopped=lambda: bool(engine.grandchild()))

    assert_gone([*engine.pids(), *engine.guardians(), engine.grandchild()])


def test_a_stage_killed_from_outside_may_try_again(ada, engine):
    engine.plan(load={"do": "crash", "times": 1})

    with pytest.raises(RetryLater) as outcome:
        run_stage("load", make_survey(ada))

    assert outcome.value.code == "crashed"


@pytest.mark.django_db(transaction=True)
def test_the_child_dies_with_its_worker(ada, engine):
    """A worker that is killed takes the running stage along, so that another may begin it anew."""
    engine.plan(load={"do": "wait"})
    survey = make_survey(ada)
    worker = forked_to_run("load", survey)
    (pid,) = wait_until(engine.pids, what="the child")
    (guardian,) = engine.guardians()

    os.kill(worker, 9)
    os.waitpid(worker, 0)

    assert_gone([pid, guardian])
