"""A lease that lasts as long as the work under it: here the reading of a file that takes longer than the lease."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable

import pytest
from django.core.files.base import File
from django.core.files.storage import FileSystemStorage
from django.db import connection

from tests.workbench.waiting import wait_until
from uploads import hooks, intake
from uploads.holds import Hold, HoldLost, UploadBusy
from uploads.models import TUSD_FOLDER, Upload
from uploads.sinks import sink_of
from uploads.sweeping import sweep

pytestmark = pytest.mark.django_db(transaction=True)


class SlowStore(FileSystemStorage):
    """A local store that opens no file for reading until it is told to."""

    is_asked, may_go = threading.Event(), threading.Event()

    def open(self, name: str, mode: str = "rb") -> File:
        if not name.endswith(".info"):
            self.is_asked.set()
            assert self.may_go.wait(60)
        return super().open(name, mode)


@pytest.fixture(autouse=True)
def store(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path / "media"
    settings.UPLOAD_LEASE_SECONDS = 1.0
    settings.STORAGES = settings.STORAGES | {"default": {"BACKEND": f"{__name__}.SlowStore"}}
    SlowStore.is_asked.clear()
    SlowStore.may_go.clear()
    yield
    SlowStore.may_go.set()


def make_whole(**columns: object) -> Upload:
    upload = intake.new_upload(max_size=100, is_slot=True, **columns)
    with Hold.take(upload.pk) as hold, sink_of(hold.load()) as sink:
        sink.append([b"whole"])
        hold.save_offset(*sink.settle())
    return upload


def make_whole_at_tusd(settings) -> Upload:
    settings.TUS_SERVER = "tusd"
    upload = make_whole(key=f"{TUSD_FOLDER}slow")
    (settings.MEDIA_ROOT / f"{upload.key}.info").write_text(json.dumps({"Size": 5}))
    return upload


def lease_end(upload: Upload):
    return Upload.objects.get(pk=upload.pk).hold_expires_at


@pytest.mark.parametrize("by", ["sweep", "close_slot", "hook"])
def test_a_file_that_is_read_for_longer_than_a_lease_is_finished_by_who_began(settings, by: str):
    upload = make_whole_at_tusd(settings) if by == "hook" else make_whole()
    if by == "sweep":
        Upload.objects.filter(pk=upload.pk).update(length=5)
    verb: Callable[[], object] = {
        "sweep": sweep,
        "close_slot": lambda: intake.close_slot(intake.find(upload.pk)),
        "hook": lambda: hooks.answer("post-finish", {"Upload": {"ID": str(upload.pk)}}),
    }[by]
    faults: list[BaseException] = []

    def run() -> None:
        try:
            verb()
        except BaseException as fault:
            faults.append(fault)
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    assert SlowStore.is_asked.wait(60)
    first_end = lease_end(upload)
    wait_until(lambda: lease_end(upload) > first_end, seconds=20, what="the lease to be renewed")
    SlowStore.may_go.set()
    thread.join(60)

    assert faults == []
    assert Upload.objects.get(pk=upload.pk).is_finished


def test_who_lost_a_lease_is_told_as_one_who_finds_it_taken():
    upload = make_whole()
    with Hold.take(upload.pk) as hold:
        Upload.objects.update(hold_token=None)

        with pytest.raises(UploadBusy) as refusal:
            hold.renew()

    assert isinstance(refusal.value, HoldLost)
    assert (refusal.value.status, refusal.value.headers["Retry-After"]) == (423, "1")


def test_a_lease_is_renewed_no_more_once_the_work_is_over(settings):
    upload = make_whole()
    with Hold.take(upload.pk) as hold, hold.beating():
        (heart,) = (thread for thread in threading.enumerate() if thread.name == f"heart {upload.log_name}")

    heart.join(60)
    assert not heart.is_alive()
    assert lease_end(upload) is None
