"""From a new task to a job that runs, once."""

import threading
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.db.models.functions import Now

from jobs.models import Job, JobEvent
from orchestrator.problems import Conflict, Invalid
from tests.surveys import committed, fresh, make_survey, measure, send, status_of, upload_all, upload_of
from tests.workbench.rows import statuses
from uploads import rows, storage
from uploads.holds import Hold
from uploads.models import Upload
from uploads.sweeping import sweep
from volcal import intake
from volcal.intake import AlreadyMeasured, FilesMissing, TaskNotFound
from volcal.models import Label, Product, Survey
from volcal.states import reason_of


def n_ready(survey):
    return JobEvent.objects.filter(job=fresh(survey).job, type="JOB_READY").count()


def test_a_new_task_has_four_open_slots_and_a_job_that_waits(ada, engine):
    survey = make_survey(ada, with_files=False, name="Quarry north")

    assert survey.missing() == ["pre", "post", "shp", "shx"]
    assert (survey.job.status, survey.job.type, survey.job.cluster, survey.job.name) == (
        "waiting",
        "SURVEY",
        "heavy",
        "Quarry north",
    )
    items = list(survey.job.items.order_by("seq").values_list("perspective", "status"))
    assert [stage for stage, _ in items] == ["load", "align", "compare", "measure", "publish"]
    assert [status for _, status in items] == ["pending"] + ["waiting"] * 4
    assert status_of(survey) == "waiting"
    measure(survey)
    assert engine.runs() == []


def test_the_last_file_starts_the_task(ada):
    survey = make_survey(ada, with_files=False)

    upload_all(survey, without=("shx",))
    assert (status_of(survey), n_ready(survey)) == ("waiting", 0)
    send(upload_of(survey, "shx"), b"index")

    assert (status_of(survey), n_ready(survey)) == ("running", 1)


@pytest.mark.django_db(transaction=True)
def test_two_last_files_at_the_same_moment_start_it_once(ada):
    for _ in range(5):
        survey = make_survey(ada, with_files=False)
        upload_all(survey, without=("shp", "shx"))
        gate = threading.Barrier(2)

        def arrive(label, survey=survey, gate=gate):
            upload = upload_of(survey, label)
            gate.wait()
            send(upload, b"content")
            connection.close()

        threads = [threading.Thread(target=arrive, args=(label,)) for label in ("shp", "shx")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert (fresh(survey).missing(), n_ready(survey)) == ([], 1)


def test_a_file_that_is_told_again_does_nothing(ada):
    survey = make_survey(ada)
    before = n_ready(survey)

    with transaction.atomic():
        intake.file_finished(Upload, upload_of(survey, "pre"))
    intake.start(survey, by=ada)
    intake.start(fresh(survey), by=ada)

    assert (before, n_ready(survey), Job.objects.count()) == (1, 1, 1)


def test_an_upload_that_is_nobodys_file_is_passed_over(ada):
    from uploads.intake import open_slot

    slot = open_slot(label="something else")

    send(slot, b"bytes")

    slot.refresh_from_db()
    assert slot.is_finished


def test_start_names_what_is_missing(ada):
    survey = make_survey(ada, with_files=False)
    upload_all(survey, without=("post", "shx"))

    with pytest.raises(FilesMissing) as refusal:
        intake.start(fresh(survey), by=ada)

    assert refusal.value.members == {"missing": ["post", "shx"]}


def test_start_takes_bytes_without_a_length_as_the_whole(ada):
    survey = make_survey(ada, with_files=False)
    for label in Label:
        send(upload_of(survey, label.value), b"some bytes", is_last=False)
    assert status_of(survey) == "waiting"

    with committed():
        intake.start(fresh(survey), by=ada)

    assert (status_of(survey), n_ready(survey)) == ("running", 1)
    assert upload_of(survey, "pre").length == 10


@pytest.mark.parametrize(
    ("crs", "parameters", "field"),
    [
        (None, {"voxel": 3}, "parameters.voxel"),
        (None, {"core_spacing": 1000}, "parameters.core_spacing"),
        ("Mars", {}, "crs"),
        (None, {"crs": 5}, "parameters.crs"),
    ],
)
def test_bad_choices_are_refused_by_name_and_leave_nothing(ada, crs, parameters, field):
    with pytest.raises(Invalid) as refusal:
        intake.create(by=ada, crs=crs, parameters=parameters)

    assert list(refusal.value.errors) == [field]
    assert (Survey.objects.count(), Job.objects.count(), Upload.objects.count()) == (0, 0, 0)


def test_only_what_was_chosen_is_kept(ada):
    survey = make_survey(ada, with_files=False, crs="epsg:32633", parameters={"core_spacing": 4})

    assert survey.parameters == {"core_spacing": 4.0, "crs": "EPSG:32633"}


@pytest.mark.parametrize("task_id", ["", "x", "0" * 32, "00000000-0000-0000-0000-000000000000", "…"])
def test_an_unknown_or_malformed_id_is_not_found(ada, task_id):
    with pytest.raises(TaskNotFound, match="^Task not found$"):
        intake.find(task_id, Survey.objects.all())


def test_a_task_that_is_done_is_not_started_again(ada, engine):
    survey = measure(make_survey(ada))
    assert status_of(survey) == "done"

    with pytest.raises(AlreadyMeasured):
        intake.start(survey, by=ada)


def test_a_cancelled_task_starts_again_with_a_new_job(ada, engine):
    survey = make_survey(ada)
    first = survey.job
    first.cancel(by=ada)
    assert status_of(survey) == "killed"

    intake.start(fresh(survey), by=ada)
    survey = measure(survey)

    assert (survey.job != first, status_of(survey)) == (True, "done")


def test_a_task_cancelled_while_files_were_missing_starts_when_asked(ada, engine):
    survey = make_survey(ada, with_files=False)
    survey.job.cancel(by=ada)
    upload_all(survey)
    assert status_of(survey) == "killed"

    intake.start(fresh(survey), by=ada)

    assert status_of(measure(survey)) == "done"


def test_a_failed_task_goes_on_where_it_failed(ada, engine):
    engine.plan(align={"do": "refuse", "code": "ambiguous_registration", "detail": "Too flat."})
    survey = measure(make_survey(ada))
    assert status_of(survey) == "error"
    engine.plan()

    intake.start(survey, by=ada)
    survey = measure(survey)

    assert (status_of(survey), statuses(survey.job)) == ("done", ["completed"] * 5)


def test_a_failed_task_that_was_archived_comes_back(ada, engine):
    engine.plan(load={"do": "refuse", "code": "empty", "detail": "No points."})
    survey = measure(make_survey(ada))
    survey.job.archive(by=ada)
    engine.plan()

    intake.start(fresh(survey), by=ada)

    assert status_of(measure(survey)) == "done"


def test_measuring_again_uses_new_choices_and_keeps_results_until_then(ada, engine):
    survey = measure(make_survey(ada))
    keys = set(survey.products.values_list("key", flat=True))

    intake.measure_again(survey, parameters={"core_spacing": 5})
    assert fresh(survey).summary["parameters"] == {}
    survey = measure(survey)

    assert survey.summary["parameters"] == {"core_spacing": 5.0}
    assert set(survey.products.values_list("key", flat=True)) == keys
    assert all(storage.exists(key) for key in keys)


def test_measuring_again_waits_for_the_run_under_way(ada):
    survey = make_survey(ada)

    with pytest.raises(Conflict):
        intake.measure_again(survey)


def test_a_survey_whose_job_was_purged_keeps_its_results_and_can_run_again(ada, engine):
    survey = measure(make_survey(ada))
    survey.job.delete()
    assert status_of(survey) == "done"

    intake.measure_again(fresh(survey))

    assert status_of(measure(survey)) == "done"


def test_a_deleted_survey_leaves_nothing(ada, engine):
    survey = measure(make_survey(ada))
    keys = [*survey.products.values_list("key", flat=True), *Upload.objects.values_list("key", flat=True)]

    intake.discard(survey, by=ada)

    assert (Survey.objects.count(), Upload.objects.count(), Product.objects.count()) == (0, 0, 0)
    assert not any(storage.exists(key) for key in keys)


def test_deleting_a_survey_that_runs_cancels_it(ada):
    survey = make_survey(ada)

    intake.discard(survey, by=ada)

    assert Job.objects.get().status == "cancelled"


# --- files that never come


def let_expire(survey: Survey, *labels: str) -> None:
    Upload.objects.filter(survey_file__survey=survey, survey_file__label__in=labels).update(
        expires_at=Now() - timedelta(seconds=1)
    )


def swept() -> None:
    with committed():
        sweep()


def test_a_survey_whose_file_expired_ends_once_with_what_to_do(ada, engine):
    survey = make_survey(ada, with_files=False)
    upload_all(survey, without=("post", "shx"))
    let_expire(survey, "post", "shx")

    swept()
    survey = measure(survey)
    swept()
    survey = measure(survey)

    load = survey.job.items.get(seq=0)
    assert (status_of(survey), load.error_code) == ("error", "uploads_expired")
    assert reason_of(survey.job).startswith("post, shx: The upload expired or was withdrawn")
    assert engine.runs() == []
    assert JobEvent.objects.filter(job=survey.job, type="JOB_FAILED").count() == 1
    with pytest.raises(FilesMissing, match="Create a new task"):
        intake.start(survey, by=ada)


def test_the_files_that_did_arrive_are_removed_with_it(ada, engine, settings):
    survey = make_survey(ada, with_files=False)
    upload_all(survey, without=("shx",))
    let_expire(survey, "shx")

    swept()
    swept()

    assert Upload.objects.filter(removed_at=None).count() == 0
    assert [path for path in settings.MEDIA_ROOT.rglob("*") if path.is_file()] == []


def test_a_file_that_ends_after_another_expired_is_not_kept(ada, engine, settings):
    survey = make_survey(ada, with_files=False)
    let_expire(survey, "pre")
    swept()

    send(upload_of(survey, "post"), b"too late")
    swept()

    assert Upload.objects.filter(removed_at=None).count() == 0


def test_a_file_that_its_client_withdrew_ends_the_survey_too(ada, engine):
    survey = make_survey(ada, with_files=False)

    with committed(), Hold.take(upload_of(survey, "pre").pk) as hold:
        rows.terminate(hold)

    assert status_of(measure(survey)) == "error"


def test_each_file_that_arrives_gives_the_others_time(ada):
    survey = make_survey(ada, with_files=False)
    Upload.objects.update(expires_at=Now() + timedelta(seconds=5))

    send(upload_of(survey, "pre"), b"after a long night")

    left = Upload.objects.filter(finished_at=None)
    assert left.count() == 3
    assert not left.filter(expires_at__lt=Now() + timedelta(hours=1)).exists()


def test_a_survey_that_was_cancelled_is_not_woken_by_what_expires(ada, engine):
    survey = make_survey(ada, with_files=False)
    survey.job.cancel(by=ada)
    let_expire(survey, "pre", "post", "shp", "shx")

    swept()

    assert status_of(measure(survey)) == "killed"
