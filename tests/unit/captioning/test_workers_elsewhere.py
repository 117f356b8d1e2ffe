"""Captioning by workers elsewhere: what they are asked, and what becomes of items that nobody can be asked any more."""

import pytest

from captioning import batch
from captioning.models import Caption, Image
from jobs import leases
from jobs.creation import create
from jobs.models import JobItem
from jobs.states import JobStatus
from tests.captions import make_dataset, make_image, make_perspective
from tests.workbench.rows import assert_counters_are_exact, counted, statuses

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def images(ada):
    dataset = make_dataset(ada)
    return [make_image(dataset, f"{n}.png") for n in range(3)]


def make_external(ada, *perspectives):
    request = {
        "type": "MULTI_PERSPECTIVE",
        "dataset": "birds",
        "perspectives": list(perspectives),
        "options": {"executor": "external"},
    }
    return create(batch.draft(request, ada).job, by=ada)


def settle(claimed):
    leases.settle(claimed.item.pk, claimed.token, status="completed", result={"caption": "A bird."})


def test_a_claim_passes_over_a_deleted_image_and_fails_its_item(ada, images):
    make_perspective()
    job = make_external(ada, "plain")
    Image.objects.filter(pk=images[1].pk).delete()

    claimed = leases.claim("gpu-1", 5)

    assert [one.item.seq for one in claimed] == [0, 2]
    assert statuses(job) == ["running", "failed", "running"]
    gone = JobItem.objects.get(job=job, seq=1)
    assert (gone.error_code, gone.error_permanent, gone.attempts) == ("image_gone", True, 1)
    for one in claimed:
        settle(one)
    assert counted(job).status == JobStatus.PARTIAL
    assert Caption.objects.count() == 2
    assert_counters_are_exact(job)


def test_a_job_whose_images_are_all_deleted_ends_with_the_claim(ada, images):
    make_perspective()
    job = make_external(ada, "plain")
    Image.objects.all().delete()

    assert leases.claim("gpu-1", 5) == []

    assert counted(job).status == JobStatus.FAILED
    assert_counters_are_exact(job)


def test_what_builds_on_a_deleted_image_fails_with_it(ada, images):
    make_perspective()
    make_perspective("second", builds_on=["plain"])
    job = make_external(ada, "plain", "second")
    Image.objects.exclude(pk=images[0].pk).delete()

    while claimed := leases.claim("gpu-1", 5):
        for one in claimed:
            settle(one)

    assert sorted(statuses(job)) == ["completed"] * 2 + ["failed"] * 4
    assert counted(job).status == JobStatus.PARTIAL
    assert_counters_are_exact(job)
