"""The seam that other apps use, with the bytes of a client put through the same parts that its requests use."""

import hashlib
from datetime import timedelta

import pytest
from django.db.models.functions import Now
from django.test import RequestFactory

from uploads import intake, storage
from uploads.finishing import finish
from uploads.holds import Hold, HoldLost, UploadBusy, UploadMissing
from uploads.models import Upload
from uploads.signals import upload_finished
from uploads.sinks import sink_of

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _own_folder(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path / "media"


@pytest.fixture
def finished():
    heard: list[Upload] = []

    def hear(sender, upload, **kwargs):
        heard.append(upload)

    upload_finished.connect(hear)
    yield heard
    upload_finished.disconnect(hear)


def send(upload: Upload, content: bytes) -> Upload:
    """Put bytes at the end of an upload, as a request does."""
    with Hold.take(upload.pk) as hold, sink_of(hold.load()) as sink:
        sink.append([content[:3], content[3:]])
        return hold.save_offset(*sink.settle())


def request_from(**headers: str):
    return RequestFactory().get("/", **headers)


def test_a_closed_slot_is_whole_and_readable_and_told_once(finished):
    slot = intake.open_slot(label="pre")
    send(slot, b"point")
    send(slot, b" cloud")

    assert intake.close_slot(slot)
    assert intake.close_slot(slot)

    slot.refresh_from_db()
    assert [upload.pk for upload in finished] == [slot.pk]
    assert (slot.length, slot.sha256) == (11, hashlib.sha256(b"point cloud").hexdigest())
    assert slot.expires_at is None
    with intake.open_finished(slot) as file:
        assert file.read() == b"point cloud"
        file.seek(6)
        assert file.read() == b"cloud"


def test_a_slot_without_a_byte_stays_open(finished):
    slot = intake.open_slot(label="pre")

    assert not intake.close_slot(slot)

    slot.refresh_from_db()
    assert slot.length is None
    assert finished == []


def test_a_slot_whose_declared_length_has_not_arrived_stays_open(finished):
    slot = intake.open_slot(label="pre")
    send(slot, b"half")
    Upload.objects.filter(pk=slot.pk).update(length=8)

    assert not intake.close_slot(slot)

    assert finished == []
    with pytest.raises(intake.UploadNotFinished):
        intake.open_finished(slot)


def test_a_receiver_that_fails_leaves_the_upload_unfinished_and_it_is_told_again(finished):
    slot = intake.open_slot(label="pre")
    send(slot, b"bytes")

    def fail(sender, upload, **kwargs):
        raise RuntimeError("no")

    upload_finished.connect(fail)
    with pytest.raises(RuntimeError):
        intake.close_slot(slot)
    upload_finished.disconnect(fail)

    slot.refresh_from_db()
    assert not slot.is_finished
    assert intake.close_slot(slot)
    assert len(finished) == 2  # once in the transaction that was rolled back, once in the one that counts


def test_a_discarded_upload_leaves_neither_row_nor_file():
    slot = intake.open_slot(label="pre")
    send(slot, b"bytes")
    part = intake.new_upload(slot=slot, concat="partial", max_size=10)
    send(part, b"more")

    intake.discard(slot)
    intake.discard(slot)

    assert not Upload.objects.exists()
    assert not storage.exists(slot.key)
    assert not storage.exists(part.key)


def test_what_was_written_beyond_the_offset_is_cut_off():
    slot = intake.open_slot(label="pre")
    send(slot, b"safe")
    with Hold.take(slot.pk) as hold, sink_of(hold.load()) as sink:
        sink.append([b" and lost with its process"])

    send(slot, b" ly sent")
    assert intake.close_slot(slot)

    slot.refresh_from_db()
    with intake.open_finished(slot) as file:
        assert file.read() == b"safe ly sent"


def test_a_holder_that_does_not_let_go_makes_others_wait_in_vain():
    slot = intake.open_slot(label="pre")
    with Hold.take(slot.pk) as hold:
        with pytest.raises(UploadBusy) as refusal:
            Hold.take(slot.pk, patience_seconds=0.2)

        assert refusal.value.status == 423
        assert hold.renew().is_wanted

    Hold.take(slot.pk, patience_seconds=0).release()


def test_a_holder_whose_lease_ran_out_can_write_nothing_more():
    slot = intake.open_slot(label="pre")
    late = Hold.take(slot.pk)
    Upload.objects.filter(pk=slot.pk).update(hold_expires_at=Now() - timedelta(seconds=1))
    with Hold.take(slot.pk, patience_seconds=0):
        for write in (late.renew, late.load, lambda: late.save_offset(5, {}), lambda: finish(late)):
            with pytest.raises(HoldLost):
                write()


def test_a_hold_of_nothing_is_refused():
    slot = intake.open_slot(label="pre")
    intake.discard(slot)

    with pytest.raises(UploadMissing):
        Hold.take(slot.pk)


def test_no_more_is_called_safe_than_the_length_says():
    slot = intake.open_slot(label="pre")
    with Hold.take(slot.pk) as hold, sink_of(hold.load()) as sink:
        sink.append([b"too many bytes"])
        Upload.objects.filter(pk=slot.pk).update(length=3)

        assert hold.save_offset(*sink.settle()).offset == 3

    assert intake.close_slot(slot)
    slot.refresh_from_db()
    with intake.open_finished(slot) as file:
        assert file.read() == b"too"


@pytest.mark.parametrize(
    ("configured", "headers", "base"),
    [
        ({}, {}, "http://testserver:1080"),
        ({}, {"HTTP_HOST": "localhost:8000"}, "http://localhost:1080"),
        ({}, {"HTTP_HOST": "[::1]:8000"}, "http://[::1]:1080"),
        ({}, {"HTTP_HOST": "[::1]"}, "http://[::1]:1080"),
        ({"TUS_ENDPOINT": "http://10.0.0.5:1080/files"}, {}, "http://10.0.0.5:1080"),
        ({"TUS_ENDPOINT": "https://tus.example"}, {}, "https://tus.example"),
        ({"PUBLIC_URL": "https://desk.example"}, {}, "https://desk.example"),
        ({"TRUSTED_PROXIES": ["127.0.0.1"]}, {"HTTP_X_FORWARDED_FOR": "10.1.1.1"}, "http://testserver"),
        ({"TRUSTED_PROXIES": ["127.0.0.1"]}, {}, "http://testserver:1080"),
    ],
)
def test_an_address_is_where_the_client_can_reach_it(settings, configured, headers, base):
    settings.ALLOWED_HOSTS = ["*"]
    settings.TUS_PORT = 1080
    for name, value in configured.items():
        setattr(settings, name, value)
    slot = intake.open_slot(label="pre")

    assert intake.address_of(slot, request_from(**headers)) == f"{base}/files/{slot.pk}"
