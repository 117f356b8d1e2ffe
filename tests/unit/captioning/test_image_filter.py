"""Which pictures match, how many there are of each state, and where the grid finds them"""

from __future__ import annotations

from itertools import product

import pytest
from django.contrib.auth.models import User

from captioning import image_filter, lookalikes, trash
from captioning.image_filter import STATES, ImageFilter
from captioning.models import Dataset
from tests.captions import make_caption, make_dataset, make_image, make_perspective

pytestmark = pytest.mark.django_db


PAIR = ("Owl-4.PNG", "Owl-5.PNG")


@pytest.fixture(autouse=True)
def store(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path / "media"


@pytest.fixture
def dataset(ada: User) -> Dataset:
    """Nine pictures: every third without a caption, of the others every second accepted; two look like one another."""
    dataset, perspective = make_dataset(ada), make_perspective("words")
    make_image(make_dataset(ada, "another"), path="Owl-elsewhere.png")
    for number in range(9):
        image = make_image(dataset, path=f"Owl-{number}.PNG" if number < 6 else f"été-{number}.png")
        if number % 3:
            caption = make_caption(image, perspective, text=f"A bird on branch {number}")
            if number % 2:
                caption.revise(by=ada, review="accepted")
    for image in dataset.images.order_by("pk"):
        lookalikes.place(image, look=0x0F0F_0F0F if image.path in PAIR else None)
    return dataset


CONDITIONS = (
    {},
    {"search": "branch"},
    {"search": "oWl-"},
    {"search": "ÉTÉ"},
    {"search": "100%_"},
    {"lacks": "words"},
    {"alike": "1"},
)

SEARCHES = (
    {"search": "branch"},
    {"search": "oWl-"},
    {"search": "100%_"},
    {"search": "branch", "lacks": "words"},
    {"search": "Owl", "lacks": "words"},
    {"search": "branch", "alike": "1"},
)


@pytest.mark.parametrize(("condition", "state"), list(product(CONDITIONS, ("", *STATES))))
def test_a_glance_tells_what_the_filter_finds(dataset, condition, state):
    wanted = ImageFilter.of(condition | {"state": state})
    found = {
        one: list(
            ImageFilter.of(condition | {"state": one}).apply(dataset.images.order_by("pk")).values_list("pk", flat=True)
        )
        for one in ("", *STATES)
    }

    glance = wanted.glance(dataset.images.all(), offset=1, n=2)

    assert glance.counts == {one: len(ids) for one, ids in found.items()}
    assert glance.ids == found[state][1:3]


@pytest.mark.parametrize("n_looked", [1, 2, 3, 9])
@pytest.mark.parametrize(("condition", "state"), list(product(SEARCHES, ("", *STATES))))
def test_a_glance_at_the_first_lists_the_same_and_counts_no_more(dataset, monkeypatch, condition, state, n_looked):
    exact = ImageFilter.of(condition | {"state": state}).glance(dataset.images.all(), n=9)
    monkeypatch.setattr(image_filter, "_LOOKED_THROUGH", n_looked)
    wanted = ImageFilter.of(condition | {"state": state})

    for offset in range(4):
        glance = wanted.glance(dataset.images.all(), offset=offset, n=2)

        assert glance.ids == exact.ids[offset : offset + 2]
        assert wanted.find(dataset.images.all(), offset=offset, n=2) == glance.ids
        if glance.is_counted:
            assert glance.counts == exact.counts
        else:  # there is another page, or all of the state were found; whoever asks is told how many there are
            assert all(glance.counts[one] <= n for one, n in exact.counts.items())
            assert glance.counts[state] == exact.counts[state] or offset + 2 < glance.counts[state]
            assert wanted.count(dataset.images.all()) == exact.counts


def test_a_word_that_many_have_is_not_counted_for_a_list(dataset, monkeypatch):
    monkeypatch.setattr(image_filter, "_LOOKED_THROUGH", 3)

    common = ImageFilter.of({"search": "branch"}).glance(dataset.images.all(), n=2)  # looks at six
    rare = ImageFilter.of({"search": "7"}).glance(dataset.images.all(), n=2)

    assert (common.is_counted, common.counts[""]) == (False, 4)
    assert (rare.is_counted, rare.counts[""]) == (True, 1)


def test_other_data_sets_are_left_out(dataset, ada, monkeypatch):
    """Their images lie between, and their captions have the word too."""
    monkeypatch.setattr(image_filter, "_LOOKED_THROUGH", 5)
    other = make_image(make_dataset(ada, "between"), path="Owl-between.png")
    perspective = make_perspective("more")
    make_caption(other, perspective, text="A bird on branch 1")
    last = make_image(dataset, path="last.png")
    make_caption(last, perspective, text="A bird on branch 9")

    glance = ImageFilter.of({"search": "branch"}).glance(dataset.images.all(), offset=4, n=2)
    rest = ImageFilter.of({"search": "branch"}).find(dataset.images.filter(pk__gt=glance.ids[-1]), n=2)

    assert rest == [last.pk]


@pytest.mark.parametrize(
    ("condition", "n"),
    [
        ({}, 9),
        ({"search": "branch"}, 6),
        ({"search": "oWl-"}, 6),
        ({"search": "ÉTÉ"}, 3),
        ({"search": "100%_"}, 0),
        ({"lacks": "words"}, 3),
        ({"alike": "1"}, 2),
    ],
)
def test_each_condition_finds_what_it_names(dataset, condition, n):
    assert ImageFilter.of(condition).apply(dataset.images.all()).count() == n


@pytest.mark.parametrize("gone", PAIR)
@pytest.mark.parametrize("is_for_good", [False, True])
def test_a_picture_whose_lookalike_was_deleted_has_none(dataset, ada, gone, is_for_good):
    lookalike = dataset.images.filter(path=gone)

    if is_for_good:
        lookalike.delete()
    else:
        trash.throw_away(lookalike, dataset, by=ada)

    assert not ImageFilter(alike=True).apply(dataset.images.all()).exists()


def test_what_is_known_already_is_not_counted_again(dataset, django_assert_num_queries):
    with django_assert_num_queries(1):
        glance = ImageFilter.of({}).glance(dataset.images.all(), n=3, known={"none": 3, "accepted": 6})

    assert (glance.counts[""], glance.counts["captioned"], len(glance.ids)) == (9, 6, 3)


def test_a_search_is_done_once(dataset, django_assert_num_queries):
    with django_assert_num_queries(2):  # which images are looked through; what of them matches
        ImageFilter.of({"search": "branch", "state": "accepted"}).glance(dataset.images.all(), n=3)


@pytest.mark.parametrize(
    ("condition", "n", "n_queries"),
    [({"lacks": "words"}, 0, 2), ({"alike": "1"}, 2, 2), ({"state": "none"}, 0, 3), ({"state": "accepted"}, 3, 3)],
)
def test_a_common_word_is_looked_for_in_those_that_all_else_leaves(
    dataset, monkeypatch, django_assert_num_queries, condition, n, n_queries
):
    """Six of nine have it. All of the few are looked through, wherever they lie, and not all that have the word."""
    monkeypatch.setattr(image_filter, "_LOOKED_THROUGH", 5)

    with django_assert_num_queries(n_queries):  # the first that may match, of the state too; what of them matches
        glance = ImageFilter.of({"search": "branch"} | condition).glance(dataset.images.all(), n=1)

    assert glance.counts[condition.get("state", "")] == n
