"""Deleted pictures, and how they come back"""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db.models.functions import Now

from captioning import trash
from captioning.models import Caption, Dataset, Image
from tests.captions import make_caption, make_dataset, make_image, make_perspective
from uploads import storage

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def store(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path / "media"


def age(thrown: Dataset) -> None:
    Dataset.objects.filter(pk=thrown.pk).update(thrown_at=Now() - 2 * trash.KEPT)


def test_deleted_pictures_are_nowhere_to_be_seen(ada, staff):
    dataset = make_dataset(ada)
    image = make_image(dataset)
    caption = make_caption(image, make_perspective())

    thrown, n_images = trash.throw_away(dataset.images.all(), dataset, by=ada)

    assert n_images == 1
    for user in (ada, staff):
        assert not Image.objects.visible_to(user).filter(pk=image.pk).exists()
        assert not Caption.objects.visible_to(user).filter(pk=caption.pk).exists()
        assert list(Dataset.objects.visible_to(user)) == [dataset]
    assert list(trash.of(dataset)) == [thrown]


def test_what_was_deleted_comes_back_as_it_was(ada):
    dataset = make_dataset(ada)
    image = make_image(dataset)
    caption = make_caption(image, make_perspective())
    thrown, _ = trash.throw_away(dataset.images.all(), dataset, by=ada)

    assert trash.restore(thrown) == (1, 0)

    assert list(dataset.images.all()) == [image]
    assert list(Caption.objects.visible_to(ada)) == [caption]
    assert not trash.of(dataset).exists()


def test_a_picture_that_was_uploaded_again_stays_once(ada):
    dataset = make_dataset(ada)
    make_image(dataset)
    thrown, _ = trash.throw_away(dataset.images.all(), dataset, by=ada)
    again = make_image(dataset)

    assert trash.restore(thrown) == (0, 1)

    assert list(Image.objects.all()) == [again]
    assert storage.exists(again.stored_as)


def test_only_what_belongs_to_the_data_set_is_thrown_away(ada):
    dataset, other = make_dataset(ada), make_dataset(ada, "other")
    make_image(dataset, "a.png")
    make_image(other, "b.png")

    trash.throw_away(Image.objects.all(), dataset, by=ada)

    assert other.images.count() == 1


def test_nothing_thrown_away_leaves_no_trash(ada):
    dataset = make_dataset(ada)

    assert trash.throw_away(dataset.images.all(), dataset, by=ada)[1] == 0
    assert not trash.of(dataset).exists()


def test_the_trash_is_emptied_after_its_hour_and_not_before(ada, django_capture_on_commit_callbacks):
    dataset = make_dataset(ada)
    old, new = make_image(dataset, "old.png"), make_image(dataset, "new.png")
    age(trash.throw_away(dataset.images.filter(pk=old.pk), dataset, by=ada)[0])
    recent, _ = trash.throw_away(dataset.images.filter(pk=new.pk), dataset, by=ada)

    with django_capture_on_commit_callbacks(execute=True):
        assert trash.empty() == 1

    assert timedelta(minutes=1) < trash.KEPT
    assert not storage.exists(old.stored_as)
    assert storage.exists(new.stored_as)
    assert list(trash.of(dataset)) == [recent]


# --- Whole data sets


def test_a_deleted_data_set_is_nowhere_to_be_seen_and_its_name_is_free(ada, staff):
    dataset = make_dataset(ada)
    caption = make_caption(make_image(dataset), make_perspective())

    assert trash.throw_away_whole(dataset, by=ada)

    for user in (ada, staff):
        assert not Dataset.objects.visible_to(user).exists()
        assert not Image.objects.visible_to(user).exists()
        assert not Caption.objects.visible_to(user).filter(pk=caption.pk).exists()
    assert make_dataset(ada, dataset.name).pk != dataset.pk


def test_a_deleted_data_set_comes_back_as_it_was_with_what_was_deleted_from_it(ada):
    dataset = make_dataset(ada)
    kept, gone = make_image(dataset, "kept.png"), make_image(dataset, "gone.png")
    part, _ = trash.throw_away(dataset.images.filter(pk=gone.pk), dataset, by=ada)
    before = Dataset.objects.values("name", "description", "owner", "created_at").get(pk=dataset.pk)
    trash.throw_away_whole(dataset, by=ada)

    assert trash.restore(trash.whole(ada).get()) == (1, 0)

    assert Dataset.objects.values("name", "description", "owner", "created_at").get(pk=dataset.pk) == before
    assert list(Image.objects.visible_to(ada)) == [kept]
    assert not trash.whole(ada).exists()
    assert trash.restore(trash.of(dataset).get(pk=part.pk)) == (1, 0)


def test_a_data_set_whose_name_was_taken_stays_in_the_trash_until_the_name_is_free(ada):
    dataset = make_dataset(ada)
    trash.throw_away_whole(dataset, by=ada)
    other = make_dataset(ada, dataset.name)

    with pytest.raises(trash.NameTakenMeanwhile, match="Rename or delete that one"):
        trash.restore(trash.whole(ada).get())

    other.delete()
    trash.restore(trash.whole(ada).get())
    assert Dataset.objects.visible_to(ada).get() == dataset


def test_what_is_deleted_or_put_back_twice_changes_nothing(ada):
    dataset = make_dataset(ada)
    trash.throw_away_whole(dataset, by=ada)
    thrown = trash.whole(ada).get()

    assert not trash.throw_away_whole(dataset, by=ada)
    trash.restore(thrown)

    assert trash.restore(thrown) == (0, 0)
    assert Dataset.objects.visible_to(ada).get().name == "birds"


def test_only_its_owner_and_staff_see_a_deleted_data_set(ada, bob, staff):
    trash.throw_away_whole(make_dataset(ada), by=ada)

    assert [trash.whole(user).count() for user in (ada, bob, staff)] == [1, 0, 1]


def test_a_deleted_data_set_is_gone_for_good_after_its_hour(ada, django_capture_on_commit_callbacks):
    old, new = make_dataset(ada, "old"), make_dataset(ada, "new")
    lost, kept = make_image(old, "lost.png"), make_image(new, "kept.png")
    trash.throw_away_whole(new, by=ada)
    trash.throw_away_whole(old, by=ada)
    age(old)

    with django_capture_on_commit_callbacks(execute=True):
        assert trash.empty() == 1

    assert [one.thrown_name for one in trash.whole(ada)] == ["new"]
    assert not storage.exists(lost.stored_as)
    assert storage.exists(kept.stored_as)


def test_a_data_set_takes_its_trash_with_it(ada, django_capture_on_commit_callbacks):
    dataset = make_dataset(ada)
    image = make_image(dataset)
    trash.throw_away(dataset.images.all(), dataset, by=ada)

    with django_capture_on_commit_callbacks(execute=True):
        dataset.delete()

    assert not Image.objects.exists()
    assert not storage.exists(image.stored_as)
