"""Stored products and their rows: what no row names goes in the end, and nothing else."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from uuid import uuid4

import pytest
from django.apps import apps
from django.conf import settings

from tests.surveys import fresh, make_survey, measure, status_of
from uploads import storage
from volcal import intake, products
from volcal.models import Product, Survey


def leave_behind(place: str) -> str:
    """Store a file that no row names; returns its key."""
    key = storage.key_of(f"surveys/{place}", "ab" * 32, ".png")
    storage.put(key, BytesIO(b"of a run that came to nothing"))
    return key


def in_the_way(key: str) -> None:
    """Make the store fail at a key: what lies there cannot be deleted."""
    place = Path(settings.MEDIA_ROOT) / key
    place.mkdir(parents=True)
    (place / "stuck").touch()


def test_a_file_that_no_product_names_is_swept_and_products_stay(ada, engine):
    survey = measure(make_survey(ada))
    left = leave_behind(str(survey.task_id))

    products.sweep()

    assert not storage.exists(left)
    keys = [product.key for product in Product.objects.all()]
    assert keys != []
    assert all(storage.exists(key) for key in keys)


@pytest.mark.parametrize("has_job", [True, False])
def test_what_a_cancelled_run_has_stored_is_swept(ada, has_job):
    survey = make_survey(ada)
    survey.job.cancel(by=ada)
    if not has_job:
        survey.job.delete()
    left = leave_behind(str(survey.task_id))

    products.sweep()

    assert not storage.exists(left)


def test_what_is_left_of_a_deleted_survey_is_swept(ada):
    left = leave_behind(str(uuid4()))

    products.sweep()

    assert not storage.exists(left)


def test_what_a_run_under_way_has_stored_is_left_alone(ada):
    survey = make_survey(ada)
    left = leave_behind(str(survey.task_id))

    products.sweep()

    assert storage.exists(left)


def test_files_that_are_no_products_are_left_alone(ada):
    image = storage.key_of("images", "ab" * 32, ".png")
    storage.put(image, BytesIO(b"a picture"))
    other = leave_behind("not-a-task")

    products.sweep()

    assert storage.exists(image)
    assert storage.exists(other)


def test_a_survey_that_is_measured_again_is_done_though_its_old_files_cannot_be_deleted(ada, engine, caplog):
    survey = measure(make_survey(ada))
    old = f"surveys/{survey.task_id}/ab/old.png"
    in_the_way(old)
    survey.products.filter(kind="picture").update(key=old)

    intake.measure_again(survey)

    assert status_of(measure(survey)) == "done"
    assert "products left to the sweep" in [record.message for record in caplog.records]


def test_a_survey_is_deleted_though_its_files_cannot_be(ada, engine):
    survey = measure(make_survey(ada))
    old = f"surveys/{survey.task_id}/ab/old.png"
    in_the_way(old)
    survey.products.filter(kind="picture").update(key=old)

    intake.discard(fresh(survey), by=ada)

    assert not Survey.objects.exists()


def test_a_worker_is_told_to_sweep(db):
    assert apps.get_model("django_q", "Schedule").objects.filter(func="volcal.products.sweep").count() == 1
