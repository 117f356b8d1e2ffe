import os

import pytest
from django.contrib.auth.models import User

from captioning import importing
from captioning.importing import ImportPipeline
from captioning.models import Dataset, Image
from captioning.workspace import PathRefused
from jobs.models import JobItem
from jobs.pipelines import Cancelled, Context, Outage, Permanent, WorkItem, WorkJob
from jobs.states import JobStatus
from orchestrator.problems import Invalid
from tests.pictures import png
from tests.workbench.rows import work
from uploads import storage

pytestmark = pytest.mark.django_db
committed = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def workspace(settings, tmp_path):
    settings.VAR_DIR = tmp_path
    settings.MEDIA_ROOT = tmp_path / "media"
    settings.WORKSPACE_PATH = tmp_path / "workspace"
    settings.WORKSPACE_PATH.mkdir()
    return settings.WORKSPACE_PATH


@pytest.fixture
def ada() -> User:
    return User.objects.create_user("ada")


@pytest.fixture
def dataset(ada) -> Dataset:
    return Dataset.objects.create(name="birds", owner=ada)


def fill(workspace, **files: bytes) -> None:
    for name, content in files.items():
        place = workspace / "trip" / name.replace("__", "/").replace("_png", ".png")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)


def start(dataset: Dataset, source: str = "trip", format_name: str = "folder"):
    return importing.start(dataset, format_name=format_name, source=source, by=dataset.owner)


def run(job, *, stopped: bool = False):
    """Run the first item of a job as a worker would."""
    row = JobItem.objects.filter(job=job).order_by("seq").first()
    item = WorkItem(row.pk, row.seq, 1, 3, row.image_path, row.perspective, row.payload)
    worker_job = WorkJob(job.pk, job.job_id, job.type, job.pipeline, job.config, job.user_id, "", 3)
    return ImportPipeline().run(item, Context(worker_job, 600.0, lambda: stopped)).value


@committed
def test_a_folder_is_imported_with_a_report(workspace, dataset):
    fill(workspace, a_png=png(1), b_png=png(2), deep__er__c_png=png(3), copy_png=png(1), notes=b"about the trip")
    job = start(dataset)

    work()

    job.refresh_from_db()
    assert (job.type, job.status) == ("IMPORT", JobStatus.COMPLETED)
    assert job.result["taken"] == 3
    assert job.result["present"] == 1
    assert job.result["nRefused"] == 1
    assert [refused["name"] for refused in job.result["refused"]] == ["trip/notes"]
    assert "This is text" in job.result["refused"][0]["reason"]
    assert set(dataset.images.values_list("path", flat=True)) == {"trip/a.png", "trip/b.png", "trip/deep/er/c.png"}


@committed
def test_a_second_import_finds_everything_present(workspace, dataset):
    fill(workspace, a_png=png(1), b_png=png(2))
    start(dataset)
    work()

    job = start(dataset)
    work()

    job.refresh_from_db()
    assert (job.result["taken"], job.result["present"]) == (0, 2)
    assert Image.objects.count() == 2


@committed
def test_a_job_whose_data_set_is_deleted_fails_with_the_reason(workspace, dataset):
    fill(workspace, a_png=png(1))
    job = start(dataset)
    dataset.delete()

    work()

    job.refresh_from_db()
    assert job.status == JobStatus.FAILED
    assert job.result["refused"] == [{"name": "trip/a.png", "reason": "The data set was deleted."}]


def test_an_item_holds_fifty_files(workspace, dataset):
    fill(workspace, **{f"{number:03}_png": b"x" for number in range(120)})

    job = start(dataset)

    sizes = [len(payload["paths"]) for payload in JobItem.objects.filter(job=job).values_list("payload", flat=True)]
    assert sorted(sizes) == [20, 50, 50]


def test_hidden_files_and_linked_folders_are_left_out(workspace, dataset, tmp_path):
    fill(workspace, a_png=png(1), _hidden=png(2))
    (workspace / "trip" / "_hidden").rename(workspace / "trip" / ".hidden")
    (workspace / "trip" / ".git").mkdir()
    (workspace / "trip" / ".git" / "b.png").write_bytes(png(3))
    (workspace / "trip" / "circle").symlink_to(workspace / "trip")

    job = start(dataset)

    assert JobItem.objects.get(job=job).payload == {"paths": ["trip/a.png"]}


def test_a_link_that_leads_out_is_refused_and_the_rest_taken(workspace, dataset, tmp_path):
    fill(workspace, a_png=png(1))
    (tmp_path / "secret.png").write_bytes(png(2))
    (workspace / "trip" / "b.png").symlink_to(tmp_path / "secret.png")

    result = run(start(dataset))

    assert len(result["taken"]) == 1
    assert [refused["name"] for refused in result["refused"]] == ["trip/b.png"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_refused_with_the_reason(workspace, dataset):
    fill(workspace, a_png=png(1))
    (workspace / "trip" / "a.png").chmod(0)

    assert "Permission" in run(start(dataset))["refused"][0]["reason"]


def test_a_file_that_went_away_is_refused_and_not_a_bug(workspace, dataset):
    fill(workspace, a_png=png(1))
    job = start(dataset)
    (workspace / "trip" / "a.png").unlink()

    assert "no such place" in run(job)["refused"][0]["reason"]


def test_a_stopped_import_gives_up_between_two_files(workspace, dataset):
    fill(workspace, a_png=png(1))
    job = start(dataset)

    with pytest.raises(Cancelled):
        run(job, stopped=True)

    assert not Image.objects.exists()


def test_a_store_that_is_away_costs_no_attempt(workspace, dataset, settings, tmp_path):
    fill(workspace, a_png=png(1))
    job = start(dataset)
    (tmp_path / "file").write_text("not a folder")
    settings.MEDIA_ROOT = tmp_path / "file"

    with pytest.raises(Outage):
        run(job)


def test_a_data_set_that_is_gone_is_permanent(workspace, dataset):
    fill(workspace, a_png=png(1))
    job = start(dataset)
    Dataset.objects.filter(pk=dataset.pk).delete()

    with pytest.raises(Permanent, match="deleted"):
        run(job)


@pytest.mark.parametrize("format_name", ["zip", "coco", "Folder", ""])
def test_an_unknown_format_is_refused_and_the_known_ones_named(dataset, format_name):
    with pytest.raises(Invalid, match="folder"):
        start(dataset, format_name=format_name)


def test_an_empty_folder_is_refused(workspace, dataset):
    (workspace / "trip").mkdir()

    with pytest.raises(Invalid, match="no files"):
        start(dataset)


@pytest.mark.parametrize("source", ["..", "../..", "/etc", "trip/../..", "missing", "trip/a.png", "link", "a\0b"])
def test_a_source_that_is_no_folder_of_the_workspace_is_refused(workspace, dataset, tmp_path, source):
    fill(workspace, a_png=png(1))
    (workspace / "link").symlink_to(tmp_path)

    with pytest.raises(PathRefused):
        start(dataset, source)


def test_too_many_files_are_refused(workspace, dataset, monkeypatch):
    monkeypatch.setattr(importing, "MAX_FILES", 2)
    fill(workspace, a=b"1", b=b"2", c=b"3")

    with pytest.raises(Invalid, match="more than 2 files"):
        start(dataset)


def test_a_file_name_that_is_not_utf_8_is_said(workspace, dataset):
    (workspace / "trip").mkdir()
    (workspace / "trip" / os.fsdecode(b"caf\xe9.png")).write_bytes(png())

    with pytest.raises(Invalid, match="not valid UTF-8"):
        start(dataset)


def test_bytes_lie_in_the_store_and_not_in_the_workspace(workspace, dataset):
    fill(workspace, a_png=png(1))
    run(start(dataset))
    (workspace / "trip" / "a.png").unlink()

    with storage.open_whole(Image.objects.get().stored_as) as file:
        assert file.read() == png(1)
