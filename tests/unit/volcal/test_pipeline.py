"""Stages as child processes: how they run, end, and are ended."""

from __future__ import annotations

import errno
import os
import signal
import threading
from uuid import uuid4

import pytest
from django.db import connection
from django.utils.module_loading import import_string
from django_q.conf import Conf
from django_q.models import Schedule
from django_q.signals import post_spawn

from jobs import lanes
from jobs.models import JobItem, Lane
from jobs.pipelines import Cancelled, Permanent, RetryLater
from jobs.states import ItemStatus
from tests.surveys import assert_gone, fresh, lives, make_survey, measure, status_of, upload_of
from tests.workbench.rows import make_due, statuses, wait_until
from uploads import storage
from volcal import stageprocess, workfolders
from volcal.engine.stages import STAGES
from volcal.models import ProductKind
from volcal.states import failure_of, reason_of, stages_of
from volcal.workfolders import WorkFolder


def folders(settings) -> list[str]:
    root = settings.VAR_DIR / "work"
    return [path.name for path in root.iterdir()] if root.is_dir() else []


@pytest.fixture
def in_background():
    """Work on a thread, and wait for its end."""
    threads = []

    def begin(survey):
        def run():
            measure(survey)
            connection.close()

        thread = threading.Thread(target=run)
        threads.append(thread)
        thread.start()
        return thread

    yield begin
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()


def test_the_stages_run_in_their_order_and_leave_results(ada, engine, settings):
    survey = measure(make_survey(ada, parameters={"core_spacing": 4}))

    assert engine.runs() == list(STAGES)
    assert (len(set(engine.pids())), len(set(engine.guardians()))) == (5, 1)
    assert (status_of(survey), statuses(survey.job)) == ("done", ["completed"] * 5)
    assert survey.summary["net_volume"] == -12733.0
    assert survey.summary["inputs"] == {"pre": 12, "post": 13, "shp": 12, "shx": 12}
    assert survey.summary["parameters"] == {"core_spacing": 4.0}
    assert survey.job.result == {"summary": survey.summary}
    region = survey.regions.get()
    assert (region.score, region.net_volume_m3, region.volume_uncertainty_m3) == (0.94, -12733.0, 96.0)
    assert region.picture.kind == ProductKind.PICTURE
    with storage.open_whole(survey.products.get(name="regions").key) as file:
        assert file.read() == b'{"type": "FeatureCollection", "features": []}'
    assert folders(settings) == []


def test_a_refusal_names_the_file_and_is_not_tried_again(ada, engine, settings):
    engine.plan(load={"do": "refuse", "code": "not_a_cloud", "detail": "This is no LAS file.", "label": "post"})

    survey = measure(make_survey(ada))

    assert engine.runs() == ["load"]
    assert (survey.job.status, statuses(survey.job)) == ("failed", ["failed"] * 5)
    assert (failure_of(survey.job).error_code, reason_of(survey.job)) == ("not_a_cloud", "post: This is no LAS file.")
    assert folders(settings) == []


def test_a_late_refusal_fails_the_whole_survey(ada, engine, settings):
    engine.plan(measure={"do": "refuse", "code": "no_ground", "detail": "No stable ground."})

    survey = measure(make_survey(ada))

    assert (survey.job.status, status_of(survey)) == ("failed", "error")
    assert (survey.summary, survey.regions.count()) == (None, 0)
    assert folders(settings) == []


@pytest.mark.parametrize(
    ("do", "code", "words"),
    [("memory", "memory", "memory"), ("deadline", "deadline", "time"), ("bug", "engine", "trace")],
)
def test_what_no_repetition_mends_is_not_repeated(ada, engine, do, code, words):
    engine.plan(align={"do": do})

    survey = measure(make_survey(ada))

    assert engine.runs() == ["load", "align"]
    cause = failure_of(survey.job)
    assert (cause.error_code, cause.error_permanent) == (code, True)
    assert words in cause.error


def test_a_bug_of_the_engine_is_logged_with_its_trace(ada, engine, caplog):
    engine.plan(align={"do": "bug"})

    measure(make_survey(ada))

    (record,) = [record for record in caplog.records if record.message == "stage failed unexpectedly"]
    assert "ZeroDivisionError: a bug" in record.stderr


@pytest.mark.django_db(transaction=True)
def test_a_stage_that_died_is_tried_again_and_nothing_before_it(ada, engine, settings):
    engine.plan(compare={"do": "crash", "times": 1})
    survey = measure(make_survey(ada))
    assert JobItem.objects.get(job=survey.job, seq=2).error_code == "crashed"
    assert folders(settings) == [str(survey.job.job_id)]

    make_due()
    survey = measure(survey)

    assert engine.runs() == ["load", "align", "compare", "compare", "measure", "publish"]
    assert len(set(engine.guardians())) == 1
    assert status_of(survey) == "done"


@pytest.mark.django_db(transaction=True)
def test_files_that_find_no_room_wait_for_it(ada, engine, monkeypatch):
    def fill(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(WorkFolder, "take_input", fill)
        survey = measure(make_survey(ada))
    assert JobItem.objects.get(job=survey.job, seq=0).error_code == "disk_full"

    make_due()

    assert status_of(measure(survey)) == "done"


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


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("do", "code", "attempts", "words"),
    [("orphan", "crashed", 1, "died"), ("fill", "disk_full", 0, "The disk has no room")],
    ids=["its guardian died", "the disk is full"],
)
def test_a_stage_that_came_to_nothing_by_chance_is_tried_again(ada, engine, do, code, attempts, words):
    engine.plan(compare={"do": do})
    survey = measure(make_survey(ada))
    item = JobItem.objects.get(job=survey.job, seq=2)
    assert (item.status, item.error_code, item.attempts) == (ItemStatus.WAITING, code, attempts)
    assert words in item.error

    engine.plan()
    make_due()
    survey = measure(survey)

    assert engine.runs() == ["load", "align", "compare", "compare", "measure", "publish"]
    assert status_of(survey) == "done"


@pytest.mark.django_db(transaction=True)
def test_a_stage_that_dies_each_time_ends_the_survey(ada, engine, settings):
    engine.plan(compare={"do": "crash", "times": 99})
    survey = make_survey(ada)

    for _ in range(4):
        survey = measure(survey)
        make_due()

    assert (engine.runs().count("compare"), status_of(survey)) == (3, "error")
    assert folders(settings) == []


@pytest.mark.django_db(transaction=True)
def test_a_machine_without_the_folder_runs_the_earlier_stages_again(ada, engine, settings):
    engine.plan(compare={"do": "crash", "times": 1})
    survey = measure(make_survey(ada))
    workfolders._remove(settings.VAR_DIR / "work" / str(survey.job.job_id))

    make_due()
    survey = measure(survey)

    assert engine.runs() == ["load", "align", "compare", "load", "align", "compare", "measure", "publish"]
    assert status_of(survey) == "done"


def test_a_lost_worker_on_the_last_attempt_kills_the_task(ada, engine):
    survey = make_survey(ada)
    JobItem.objects.filter(job=survey.job, seq=0).update(status="failed", error_code="worker_lost", error="Lost.")
    lanes.settle_edges(survey.job.pk, [], [0])
    survey.job.settle()

    assert status_of(survey) == "killed"
    assert "worker was lost" in reason_of(fresh(survey).job)


def test_a_program_that_prints_other_things_is_understood(ada, engine):
    engine.plan(load={"do": "mumble"})

    assert status_of(measure(make_survey(ada))) == "done"


def test_a_result_that_names_no_file_is_an_error(ada, engine):
    engine.plan(publish={"do": "lie"})

    survey = measure(make_survey(ada))

    assert (status_of(survey), failure_of(survey.job).error_code) == ("error", "engine")
    assert survey.products.count() == 0


def test_a_file_that_the_store_has_lost_ends_the_survey_with_advice(ada, engine):
    survey = make_survey(ada)
    storage.delete(upload_of(survey, "post").key)

    survey = measure(survey)

    assert failure_of(survey.job).error_code == "file_gone"
    assert "upload it again" in reason_of(survey.job)


@pytest.mark.django_db(transaction=True)
def test_progress_within_a_stage_is_seen_while_it_runs(ada, engine, in_background):
    engine.plan(align={"do": "wait"})
    survey = make_survey(ada)

    in_background(survey)
    wait_until(lambda: [s for s in stages_of(fresh(survey).job) if s.name == "align" and s.progress], what="progress")
    stages = {stage.name: stage for stage in stages_of(fresh(survey).job)}
    engine.let_go()

    assert (stages["align"].status, stages["align"].progress, stages["align"].detail) == ("running", 0.5, "align half")
    assert (stages["load"].progress, stages["compare"].progress) == (1.0, 0.0)


@pytest.mark.django_db(transaction=True)
def test_cancel_ends_the_child_with_its_own_children_and_clears_up(ada, engine, settings, in_background, monkeypatch):
    monkeypatch.setattr(stageprocess, "GRACE_SECONDS", 0.5)  # this child ignores TERM
    engine.plan(load={"do": "hang"})
    survey = make_survey(ada)
    thread = in_background(survey)
    wait_until(engine.grandchild, what="the child to hang")

    fresh(survey).job.cancel(by=ada)
    thread.join(15)

    assert_gone([*engine.pids(), *engine.guardians(), engine.grandchild()])
    assert status_of(survey) == "killed"
    assert folders(settings) == []


@pytest.mark.django_db(transaction=True)
def test_a_cancelled_survey_that_no_worker_holds_leaves_no_folder(ada, engine, settings):
    engine.plan(compare={"do": "crash", "times": 1})
    survey = measure(make_survey(ada))
    assert folders(settings) != []

    fresh(survey).job.cancel(by=ada)

    assert folders(settings) == []


def test_a_folder_in_use_is_waited_for_without_an_attempt(ada, engine):
    survey = make_survey(ada)

    with workfolders.opened(survey.job.job_id):
        measure(survey)
        item = JobItem.objects.get(job=survey.job, seq=0)
        assert (item.status, item.error_code, item.attempts) == ("waiting", "folder_busy", 0)
    make_due()

    assert status_of(measure(survey)) == "done"


def test_a_child_keeps_the_folder_until_it_ends(ada, engine, settings):
    job_id = make_survey(ada).job.job_id
    import subprocess

    with workfolders.opened(job_id) as folder:
        child = subprocess.Popen(["/bin/sleep", "600"], pass_fds=[folder.lock])
    try:
        with pytest.raises(workfolders.FolderBusy), workfolders.opened(job_id):
            pass
    finally:
        child.kill()
        child.wait()
    with workfolders.opened(job_id):
        assert folders(settings) == [str(job_id)]


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


def test_sweeping_leaves_alone_what_is_still_open(ada, engine, settings):
    survey = make_survey(ada)
    with workfolders.opened(survey.job.job_id):
        pass
    (settings.VAR_DIR / "work" / "something").mkdir()

    workfolders.sweep()

    assert folders(settings) == [str(survey.job.job_id)]
    assert Lane.objects.filter(token__isnull=False).count() == 0


def test_a_worker_of_the_heavy_cluster_begins_with_sweeping_its_machine(db, settings, monkeypatch):
    left = settings.VAR_DIR / "work" / str(uuid4())
    left.mkdir(parents=True)

    for cluster in ("default", "vision"):
        monkeypatch.setattr(Conf, "CLUSTER_NAME", cluster)
        post_spawn.send(sender="django_q", proc_name="worker")
        assert left.exists()
    monkeypatch.setattr(Conf, "CLUSTER_NAME", "heavy")
    post_spawn.send(sender="django_q", proc_name="worker")

    assert not left.exists()


def test_the_heavy_cluster_sweeps_by_schedule(db, settings):
    left = settings.VAR_DIR / "work" / str(uuid4())
    left.mkdir(parents=True)
    schedule = Schedule.objects.get(name="sweep work folders")

    import_string(schedule.func)()

    assert (schedule.cluster, schedule.minutes, schedule.repeats) == ("heavy", 1, -1)
    assert not left.exists()
