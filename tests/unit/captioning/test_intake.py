import hashlib
import os
import threading
from datetime import timedelta
from io import BytesIO

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection, transaction

from captioning import intake as intake_module
from captioning import thumbnails
from captioning.intake import DatasetGone, DatasetNamesTaken, intake, intake_path, register_path
from captioning.models import Dataset, Image
from captioning.pictures import PictureRefused
from captioning.workspace import PathRefused
from tests.pictures import encoded, gradient, jpeg, png
from uploads import storage

pytestmark = pytest.mark.django_db
committed = pytest.mark.django_db(transaction=True)  # slow: for threads, and for what happens on commit


@pytest.fixture(autouse=True)
def _own_folders(settings, tmp_path):
    settings.VAR_DIR = tmp_path
    settings.MEDIA_ROOT = tmp_path / "media"
    settings.WORKSPACE_PATH = tmp_path / "workspace"
    settings.WORKSPACE_PATH.mkdir()


@pytest.fixture
def dataset() -> Dataset:
    return Dataset.objects.create(name="birds")


def take(dataset: Dataset, content: bytes, name: str = "a.png") -> intake_module.Taken:
    return intake(dataset, name, BytesIO(content))


def stored(tmp_path) -> list[str]:
    return sorted(place.name for place in (tmp_path / "media").rglob("*") if place.is_file())


def at_once(*tasks) -> list:
    """Run the tasks in threads that start together; returns what each returned or raised."""
    start, results = threading.Barrier(len(tasks)), [None] * len(tasks)

    def run(number, task):
        start.wait()
        try:
            results[number] = task()
        except Exception as error:
            results[number] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(tasks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


# --- One picture


def test_a_picture_becomes_a_row_and_a_file(dataset, tmp_path):
    content = jpeg()

    image = take(dataset, content, "owl.jpg").image

    sha256 = hashlib.sha256(content).hexdigest()
    assert (image.path, image.sha256, image.format, image.size) == ("owl.jpg", sha256, "JPEG", len(content))
    assert (image.width, image.height, image.n_frames) == (40, 30, 1)
    assert stored(tmp_path) == [f"{sha256}.jpg"]
    with storage.open_whole(image.stored_as) as file:
        assert file.read() == content


def test_a_lying_name_is_kept_and_the_format_tells_the_truth(dataset, tmp_path):
    image = take(dataset, png(), "holiday.jpg").image

    assert (image.path, image.format) == ("holiday.jpg", "PNG")
    assert stored(tmp_path)[0].endswith(".png")


def test_the_same_bytes_are_present_once_in_a_data_set(dataset):
    first = take(dataset, png(), "a.png")
    second = take(dataset, png(), "b.png")

    assert first.created
    assert not second.created
    assert second.image == first.image
    assert second.image.path == "a.png"


def test_two_data_sets_with_the_same_bytes_share_one_file(dataset, tmp_path):
    other = Dataset.objects.create(name="other")

    assert take(dataset, png()).image != take(other, png()).image
    assert len(stored(tmp_path)) == 1


@pytest.mark.parametrize("content", [b"", b"no picture", jpeg(width=400, height=300)[:-500]])
def test_a_refused_picture_leaves_no_row_and_no_file(dataset, tmp_path, content):
    with pytest.raises(PictureRefused):
        take(dataset, content)

    assert not Image.objects.exists()
    assert stored(tmp_path) == []


def test_a_file_beyond_the_limit_is_refused(dataset, settings):
    settings.IMAGE_MAX_BYTES = 100

    with pytest.raises(PictureRefused, match="larger than"):
        take(dataset, png())


@pytest.mark.parametrize(("name", "reason"), [("x" * 1001, "longer"), ("caf\udce9.png", "UTF-8"), ("a\0.png", "UTF-8")])
def test_a_name_that_cannot_be_stored_is_refused(dataset, name, reason):
    with pytest.raises(PictureRefused, match=reason):
        take(dataset, png(), name)


def test_exif_with_nul_characters_can_be_stored(dataset):
    from tests.unit.captioning.test_pictures import exif_of

    image = take(dataset, jpeg(exif=exif_of(Make="Ma\0ker\0", DateTime="2023:01:02 03:04:05"))).image

    image.refresh_from_db()
    assert image.exif["Make"] == "Maker"
    assert image.taken_at.isoformat() == "2023-01-02T03:04:05+00:00"


def test_bringing_a_picture_again_heals_a_store_that_lost_it(dataset):
    image = take(dataset, png()).image
    storage.delete(image.stored_as)

    take(dataset, png())

    assert storage.exists(image.stored_as)


def test_a_file_left_by_a_crash_is_used_again(dataset, tmp_path):
    content = png()
    key = storage.key_of("images", hashlib.sha256(content).hexdigest(), ".png")
    storage.put(key, BytesIO(content))

    assert take(dataset, content).created
    assert len(stored(tmp_path)) == 1


@committed
def test_a_data_set_deleted_meanwhile_is_said(dataset):
    gone = Dataset.objects.get(pk=dataset.pk)
    dataset.delete()

    with pytest.raises(DatasetGone):
        take(gone, png())

    assert not Image.objects.exists()


# --- Many at once


@committed
def test_the_same_bytes_from_many_at_once_give_one_row(dataset, tmp_path):
    results = at_once(*[lambda: take(dataset, png())] * 8)

    assert len({result.image.pk for result in results}) == 1
    assert sum(result.created for result in results) == 1
    assert Image.objects.count() == 1
    assert len(stored(tmp_path)) == 1


@committed
def test_whoever_brings_bytes_while_they_are_deleted_elsewhere_has_them_after(tmp_path):
    content = png()
    for round_number in range(15):
        old = take(Dataset.objects.create(name=f"old-{round_number}"), content).image
        new_dataset = Dataset.objects.create(name=f"new-{round_number}")

        _, taken = at_once(
            lambda old=old: Image.objects.filter(pk=old.pk).delete(),
            lambda new_dataset=new_dataset: take(new_dataset, content),
        )

        assert storage.exists(taken.image.stored_as), f"round {round_number}"
        Image.objects.all().delete()
        assert stored(tmp_path) == []


# --- Deleting


@committed
def test_a_file_goes_with_its_last_image(dataset, tmp_path):
    other = Dataset.objects.create(name="other")
    first, second = take(dataset, png()).image, take(other, png()).image
    thumbnails.thumbnail(first.sha256, first.stored_as, 96)

    Image.objects.filter(pk=first.pk).delete()
    assert storage.exists(second.stored_as)

    Image.objects.filter(pk=second.pk).delete()
    assert stored(tmp_path) == []
    assert [place for place in (tmp_path / "thumbnails").rglob("*") if place.is_file()] == []


@committed
def test_a_deletion_that_is_rolled_back_keeps_the_file(dataset):
    image = take(dataset, png()).image

    with transaction.atomic():
        Image.objects.filter(pk=image.pk).delete()
        transaction.set_rollback(True)

    assert storage.exists(image.stored_as)
    assert Image.objects.filter(pk=image.pk).exists()


@committed
def test_deleting_a_data_set_deletes_its_images_and_their_files_in_pieces(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr("captioning.querysets._BATCH", 2)
    for seed in range(5):
        take(dataset, png(seed))
    kept = take(Dataset.objects.create(name="other"), png(3)).image

    Dataset.objects.filter(pk=dataset.pk).delete()

    assert list(Image.objects.all()) == [kept]
    assert stored(tmp_path) == [f"{kept.sha256}.png"]


# --- Files of the workspace


@pytest.fixture
def workspace(settings):
    return settings.WORKSPACE_PATH


def place_file(workspace, path: str, content: bytes) -> str:
    (workspace / path).parent.mkdir(parents=True, exist_ok=True)
    (workspace / path).write_bytes(content)
    return path


def test_a_file_of_the_workspace_is_taken_by_its_path(dataset, workspace):
    path = place_file(workspace, "trip/day one/a.png", png())

    assert intake_path(dataset, path).image.path == "trip/day one/a.png"
    assert intake_path(dataset, f"/{path}").created is False
    assert intake_path(dataset, str(workspace / path)).created is False


def test_no_path_leads_out_of_the_workspace(dataset, workspace, tmp_path):
    (tmp_path / "secret.png").write_bytes(png())
    (tmp_path / "workspace-beside").mkdir()
    (tmp_path / "workspace-beside" / "secret.png").write_bytes(png())
    (workspace / "link.png").symlink_to(tmp_path / "secret.png")
    (workspace / "folder").symlink_to(tmp_path)
    (workspace / "circle").symlink_to(workspace / "circle")
    os.mkfifo(workspace / "pipe")

    for path in [
        "../secret.png",
        "a/../../secret.png",
        "../workspace-beside/secret.png",
        str(tmp_path / "secret.png"),
        "/etc/passwd",
        "link.png",
        "folder/secret.png",
        "circle",
        "pipe",
        ".",
        "",
        " ",
        "a\0b",
        "x" * 5000,
        "missing.png",
    ]:
        with pytest.raises(PathRefused):
            intake_path(dataset, path)

    assert not Image.objects.exists()


def test_a_link_inside_the_workspace_is_followed(dataset, workspace):
    place_file(workspace, "real/a.png", png())
    (workspace / "link.png").symlink_to(workspace / "real" / "a.png")

    assert intake_path(dataset, "link.png").image.path == "real/a.png"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a.png", "workspace"),
        ("trip/a.png", "workspace"),
        ("datasets/a.png", "workspace"),
        ("datasets/birds/a.png", "birds"),
        ("datasets/birds/2024/a.png", "birds"),
        ("datasets/Süd & Nord/a.png", "S_d_Nord"),
    ],
)
def test_a_loose_file_belongs_to_the_data_set_of_its_folder(workspace, path, name):
    ada = User.objects.create_user("ada")
    place_file(workspace, path, png())

    image = register_path(path, ada)

    assert (image.dataset.name, image.dataset.owner) == (name, ada)
    assert register_path(path, ada) == image


def test_a_known_loose_file_is_not_read_again(workspace, monkeypatch):
    ada = User.objects.create_user("ada")
    path = place_file(workspace, "a.png", png())
    image = register_path(path, ada)
    Image.objects.filter(pk=image.pk).update(created_at=image.created_at + timedelta(minutes=1))
    monkeypatch.setattr(intake_module, "intake_path", lambda *args: pytest.fail("read again"))

    assert register_path(path, ada) == image


def test_a_loose_file_that_changed_is_another_image(workspace):
    ada = User.objects.create_user("ada")
    path = place_file(workspace, "a.bmp", encoded(gradient(seed=1), "BMP"))
    before = register_path(path, ada)
    # Changed while its bytes were read: before the row was made.
    Image.objects.filter(pk=before.pk).update(created_at=before.created_at + timedelta(seconds=1))

    place_file(workspace, "a.bmp", encoded(gradient(seed=2), "BMP"))  # as many bytes as before
    after = register_path(path, ada)

    assert after.size == before.size
    assert after.sha256 != before.sha256


def test_a_second_user_has_loose_files_in_a_data_set_of_their_own(workspace):
    ada, bob = User.objects.create_user("ada"), User.objects.create_user("bob")
    staff = User.objects.create_user("root", is_staff=True)
    path = place_file(workspace, "a.png", png())

    assert register_path(path, ada).dataset.name == "workspace"
    assert register_path(path, bob).dataset.name == f"workspace-{bob.pk}"
    assert register_path(path, bob).dataset.owner == bob
    assert register_path(path, staff).dataset.name == "workspace"


def test_a_loose_file_never_enters_somebody_elses_data_set(workspace):
    ada, bob = User.objects.create_user("ada"), User.objects.create_user("bob")
    path = place_file(workspace, "a.png", png())
    for name in ("workspace", f"workspace-{bob.pk}"):
        Dataset.objects.create(name=name, owner=ada)

    with pytest.raises(DatasetNamesTaken):
        register_path(path, bob)


# --- The demo


def test_the_demo_is_loaded_once(capsys):
    call_command("load_demo")
    call_command("load_demo")

    demo = Dataset.objects.get(name="demo")
    assert demo.images.count() == 7
    assert "0 photographs added, 7 in all" in capsys.readouterr().out
