"""What pages show of captions"""

import pytest

from captioning.templatetags.captions import Box, boxes, latest_captions
from jobs import outbox
from tests.captions import make_caption, make_dataset, make_image, make_perspective
from tests.workbench.rows import make_job, work

pytestmark = pytest.mark.django_db


def test_the_captions_of_the_items_finished_last_come_first():
    job = make_job(3)
    work()
    outbox.publish(job.pk, force=True)
    image, perspective = make_image(make_dataset()), make_perspective()
    captions = [make_caption(image, perspective, item=item) for item in job.items.order_by("seq")]

    assert latest_captions(job, 2) == [captions[2], captions[1]]


def test_a_job_that_has_finished_nothing_shows_nothing():
    assert latest_captions(make_job()) == []


def test_boxes_are_drawn_where_the_answer_says_in_pixels_of_the_picture():
    image = make_image(make_dataset())  # 64 x 48
    found = {"name": "owl", "box": {"left": 0.25, "top": 0.5, "right": 0.75, "bottom": 1.0}}
    caption = make_caption(
        image, make_perspective(), result={"boxes": [found, {"name": "no box"}], "summary": "An owl"}
    )

    assert boxes(caption) == [Box("owl", "object", 16.0, 24.0, 32.0, 24.0)]


@pytest.mark.parametrize("box", [[1, 2, 3, 4], {"left": 0.1}, {"left": "a", "top": 0, "right": 1, "bottom": 1}, None])
def test_a_box_of_another_form_is_not_drawn(box):
    caption = make_caption(
        make_image(make_dataset()), make_perspective(), result={"boxes": [{"name": "x", "box": box}]}
    )

    assert boxes(caption) == []
