"""Surveys in the queue: how their stages run, wait, fail and begin again."""

from __future__ import annotations

import errno
import threading

import pytest
from django.db import connection

from jobs import lanes
from jobs.models import JobItem
from jobs.states import ItemStatus
from tests.surveys import assert_gone, fresh, make_survey, measure, status_of, upload_of, work_folders
from tests.workbench.rows import make_due, statuses
from tests.workbench.waiting import wait_until
from uploads import storage
from volcal import stageprocess, workfolders
from volcal.engine.stages import STAGES
from volcal.models import ProductKind, Survey
from volcal.states import failure_of, reason_of, stages_of
from volcal.workfolders import WorkFolder


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


def test_the_stages_run_in_their_order_and_leave_results(ada, engine):
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
    assert work_folders() == []


def test_a_refusal_names_the_file_and_is_not_tried_again(ada, engine):
    engine.plan(load={"do": "refuse", "code": "not_a_cloud", "detail": "This is no LAS file.", "label": "post"})

    survey = measure(make_survey(ada))

    assert engine.runs() == ["load"]
    assert (survey.job.status, statuses(survey.job)) == ("failed", ["failed"] * 5)
    assert (failure_of(survey.job).error_code, reason_of(survey.job)) == ("not_a_cloud", "post: This is no LAS file.")
    assert work_folders() == []


def test_a_late_refusal_fails_the_whole_survey(ada, engine):
    engine.plan(measure={"do": "refuse", "code": "no_ground", "detail": "No stable ground."})

    survey = measure(make_survey(ada))

    assert (survey.job.status, status_of(survey)) == ("failed", "error")
    assert (survey.summary, survey.regions.count()) == (None, 0)
    assert work_folders() == []


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
def test_a_stage_that_died_is_tried_again_and_nothing_before_it(ada, engine):
    engine.plan(compare={"do": "crash", "times": 1})
    survey = measure(make_survey(ada))
    assert JobItem.objects.get(job=survey.job, seq=2).error_code == "crashed"
    assert work_folders() == [str(survey.job.job_id)]

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
def test_a_stage_that_dies_each_time_ends_the_survey(ada, engine):
    engine.plan(compare={"do": "crash", "times": 99})
    survey = make_survey(ada)

    for _ in range(4):
        survey = measure(survey)
        make_due()

    assert (engine.runs().count("compare"), status_of(survey)) == (3, "error")
    assert work_folders() == []


@pytest.mark.django_db(transaction=True)
def test_a_machine_without_the_folder_runs_the_earlier_stages_again(ada, engine, settings):
    engine.plan(compare={"do": "crash", "times": 1})
    survey = measure(make_survey(ada))
    workfolders._remove(settings.VAR_DIR / "work" / str(survey.job.job_id))

    make_due()
    survey = measure(survey)

    assert engine.runs() == ["load", "align", "compare", "load", "align", "compare", "measure", "publish"]
    assert status_of(survey) == "done"


def test_parameters_that_change_on_the_way_hold_for_every_stage(ada, engine):
    engine.plan(compare={"do": "crash", "times": 1})
    survey = measure(make_survey(ada, parameters={"core_spacing": 4}))
    Survey.objects.update(parameters={"core_spacing": 5.0})

    make_due()
    survey = measure(survey)

    assert engine.runs() == ["load", "align", "compare", "load", "align", "compare", "measure", "publish"]
    assert survey.summary["parameters"] == {"core_spacing": 5.0}


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
def test_cancel_ends_the_child_with_its_own_children_and_clears_up(ada, engine, in_background, monkeypatch):
    monkeypatch.setattr(stageprocess, "GRACE_SECONDS", 0.5)  # this child ignores TERM
    engine.plan(load={"do": "hang"})
    survey = make_survey(ada)
    thread = in_background(survey)
    wait_until(engine.grandchild, what="the child to hang")

    fresh(survey).job.cancel(by=ada)
    thread.join(15)

    assert_gone([*engine.pids(), *engine.guardians(), engine.grandchild()])
    assert status_of(survey) == "killed"
    assert work_folders() == []


@pytest.mark.django_db(transaction=True)
def test_a_cancelled_survey_that_no_worker_holds_leaves_no_folder(ada, engine):
    engine.plan(compare={"do": "crash", "times": 1})
    survey = measure(make_survey(ada))
    assert work_folders() != []

    fresh(survey).job.cancel(by=ada)

    assert work_folders() == []


def test_a_folder_in_use_is_waited_for_without_an_attempt(ada, engine):
    survey = make_survey(ada)

    with workfolders.opened(survey.job.job_id):
        measure(survey)
        item = JobItem.objects.get(job=survey.job, seq=0)
        assert (item.status, item.error_code, item.attempts) == ("waiting", "folder_busy", 0)
    make_due()

    assert status_of(measure(survey)) == "done"
