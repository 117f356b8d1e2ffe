"""Which captions a job page shows"""

import pytest

from captioning.templatetags.captions import latest_captions
from jobs import outbox
from tests.captions import make_caption, make_dataset, make_image, make_perspective
from tests.workbench.rows import make_job, work

pytestmark = pytest.mark.django_db


def test_the_captions_of_the_items_finished_last_come_first():
    job = make_job(3)
    work()
    outbox.publish(job.pk)
    image, perspective = make_image(make_dataset()), make_perspective()
    captions = [make_caption(image, perspective, item=item) for item in job.items.order_by("seq")]

    assert latest_captions(job, 2) == [captions[2], captions[1]]


def test_a_job_that_has_finished_nothing_shows_nothing():
    assert latest_captions(make_job()) == []
