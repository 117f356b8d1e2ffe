"""How far an image is, as the database keeps it"""

from __future__ import annotations

import threading

import pytest
from django.db import connection, transaction

from captioning.models import Caption, Image
from tests.captions import make_caption, make_dataset, make_image, make_perspective
from tests.workbench.waiting import wait_until

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def store(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path / "media"


def state_of(image: Image) -> tuple[str, int]:
    image.refresh_from_db()
    return image.state, image.n_captions


def test_the_least_settled_caption_decides(ada):
    image = make_image(make_dataset(ada))
    assert state_of(image) == ("none", 0)

    first = make_caption(image, make_perspective("one"))
    second = make_caption(image, make_perspective("two"))
    assert state_of(image) == ("proposed", 2)
    first.revise(by=ada, review="accepted")
    assert state_of(image) == ("proposed", 2)
    second = second.revise(by=ada, review="rejected")
    assert state_of(image) == ("rejected", 2)
    second.revise(by=ada, review="accepted")
    assert state_of(image) == ("accepted", 2)


def test_bulk_statements_count_too(ada):
    dataset, perspective = make_dataset(ada), make_perspective()
    images = [make_image(dataset, f"{n}.png") for n in range(3)]
    for image in images:
        make_caption(image, perspective)

    Caption.objects.filter(image__in=images[:2]).review("accepted", reason="", by=ada)
    Caption.objects.filter(image=images[2]).delete()

    assert [state_of(image) for image in images] == [("accepted", 1), ("accepted", 1), ("none", 0)]


@pytest.mark.django_db(transaction=True)
def test_two_who_write_at_once_are_both_counted(ada):
    image = make_image(make_dataset(ada))
    one, two = make_perspective("one"), make_perspective("two")

    def write_second() -> None:
        try:
            make_caption(image, two)
        finally:
            connection.close()

    other = threading.Thread(target=write_second)
    with transaction.atomic():
        make_caption(image, one)
        other.start()
        wait_until(_somebody_waits_for_a_lock, what="the second writer to wait for the first")
    other.join()

    assert state_of(image) == ("proposed", 2)


def _somebody_waits_for_a_lock() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")
        return bool(cursor.fetchone()[0])
