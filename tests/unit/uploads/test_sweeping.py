from datetime import timedelta

import pytest
from django.apps import apps
from django.db.models.functions import Now

from uploads import intake, rows, storage
from uploads.finishing import finish
from uploads.holds import Hold
from uploads.models import Upload
from uploads.sinks import sink_of
from uploads.sweeping import sweep

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _own_folder(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path / "media"


def make_upload(content: bytes = b"bytes", **columns: object) -> Upload:
    return send(intake.new_upload(**{"max_size": 100} | columns), content)


def send(upload: Upload, content: bytes) -> Upload:
    with Hold.take(upload.pk) as hold, sink_of(hold.load()) as sink:
        sink.append([content])
        return hold.save_offset(*sink.settle())


def let_expire(upload: Upload, days: int = 1) -> None:
    Upload.objects.filter(pk=upload.pk).update(expires_at=Now() - timedelta(days=days))


def test_an_expired_upload_loses_its_bytes_and_is_remembered_for_a_week():
    upload = make_upload()
    let_expire(upload)

    sweep()
    sweep()

    upload.refresh_from_db()
    assert upload.removed_at is not None
    assert not storage.exists(upload.key)
    Upload.objects.filter(pk=upload.pk).update(removed_at=Now() - timedelta(days=8))
    sweep()
    assert not Upload.objects.filter(pk=upload.pk).exists()


def test_the_row_of_an_expired_slot_stays_for_the_app_that_opened_it():
    slot = make_upload(is_slot=True)
    let_expire(slot)
    sweep()
    Upload.objects.filter(pk=slot.pk).update(removed_at=Now() - timedelta(days=100))

    sweep()

    assert Upload.objects.filter(pk=slot.pk).exists()


def test_what_is_young_or_kept_stays():
    young, kept = make_upload(), make_upload()
    intake.keep(kept)
    Upload.objects.filter(pk=kept.pk).update(created_at=Now() - timedelta(days=1000))

    sweep()

    assert Upload.objects.filter(removed_at=None).count() == 2
    assert storage.exists(young.key)


def test_an_upload_that_somebody_writes_to_is_left_alone():
    upload = make_upload()
    with Hold.take(upload.pk):
        let_expire(upload)

        sweep()

        assert storage.exists(upload.key)


def test_a_whole_upload_that_nobody_finished_is_finished():
    upload = make_upload(b"whole", is_slot=True)
    Upload.objects.filter(pk=upload.pk).update(length=5)

    sweep()

    upload.refresh_from_db()
    assert upload.is_finished


def test_one_that_cannot_be_swept_does_not_keep_the_others_waiting(settings, tmp_path):
    lost, well = make_upload(b"whole"), make_upload(b"whole")
    Upload.objects.update(length=5)
    (tmp_path / "media" / lost.key).unlink()

    sweep()

    lost.refresh_from_db()
    well.refresh_from_db()
    assert (lost.is_finished, well.is_finished) == (False, True)


def test_parts_that_arrive_keep_their_slot_and_each_other():
    slot = make_upload(b"", is_slot=True)
    whole, other = (make_upload(slot=slot, concat="partial", length=length) for length in (5, 9))
    with Hold.take(whole.pk) as hold:
        finish(hold)
    Upload.objects.update(expires_at=Now() + timedelta(seconds=5))

    send(other, b"more")

    assert not Upload.objects.filter(expires_at__lt=Now() + timedelta(hours=1)).exists()
    slot.refresh_from_db()
    assert slot.expires_at is not None


def test_a_new_part_keeps_its_slot():
    slot = make_upload(b"", is_slot=True)
    Upload.objects.update(expires_at=Now() + timedelta(seconds=5))

    rows.create(owner=None, length=10, metadata_header="", concat="partial", slot=slot)

    assert not Upload.objects.filter(expires_at__lt=Now() + timedelta(hours=1)).exists()


def test_a_part_that_arrives_late_does_not_bring_back_what_was_given_up():
    slot = make_upload(b"", is_slot=True)
    part = make_upload(slot=slot, concat="partial")
    intake.let_go([slot.pk])

    send(part, b"late")
    sweep()

    slot.refresh_from_db()
    assert slot.removed_at is not None


def test_a_worker_is_told_to_sweep():
    assert apps.get_model("django_q", "Schedule").objects.filter(func="uploads.sweeping.sweep").count() == 1
