"""The daily look through everything that surveys have stored, in a local folder of many files."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from django.conf import settings

from uploads import storage
from volcal import products
from volcal.models import Product, ProductKind, Survey

N_SURVEYS, N_FILES = 1_000, 100  # of each

pytestmark = [pytest.mark.slow, pytest.mark.django_db]


def stored(survey: Survey) -> Iterator[Product]:
    """Store the files of a survey, all of them named by a row yet to be saved."""
    (Path(settings.MEDIA_ROOT) / "surveys" / str(survey.task_id) / "ab").mkdir(parents=True)
    for n in range(N_FILES):
        key = f"surveys/{survey.task_id}/ab/{n}"
        (Path(settings.MEDIA_ROOT) / key).touch()
        yield Product(survey=survey, kind=ProductKind.DOWNLOAD, name=str(n), filename=str(n), key=key, size=0)


def test_a_sweep_of_many_files():
    for survey in Survey.objects.bulk_create(Survey(task_id=uuid4()) for _ in range(N_SURVEYS)):
        Product.objects.bulk_create(stored(survey))

    begun = time.perf_counter()
    products.sweep()
    seconds = time.perf_counter() - begun
    tracemalloc.start()  # in a run of its own: it slows
    products.sweep()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    n_left = sum(len(keys) for keys in storage.pages_of("surveys"))
    print(f"\n{n_left:,} files that are all named: {seconds:.1f} s, {peak / 2**20:.1f} MiB at most")
    assert n_left == N_SURVEYS * N_FILES
