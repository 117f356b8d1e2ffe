"""The grid of a data set: what it shows, filters, takes in, deletes and brings back"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test.utils import CaptureQueriesContext

from captioning import lookalikes, trash
from captioning.models import Dataset, Image
from tests.captions import make_caption, make_dataset, make_image, make_perspective, picture_bytes

pytestmark = pytest.mark.django_db


def shown_in(html: str) -> list[int]:
    return [int(pk) for pk in re.findall(r'data-id="(\d+)"', html)]


def counts_in(html: str) -> dict[str, str]:
    return dict(re.findall(r'id="n-(\w+)"[^>]*>([^<]*)<', html))


def shelf(owner, states=("none", "proposed", "accepted", "rejected")) -> dict[str, Image]:
    """A data set with one picture in each of these states."""
    dataset, perspective = make_dataset(owner), make_perspective()
    images = {state: make_image(dataset, f"{state}.png") for state in states}
    for state, image in images.items():
        if state != "none":
            make_caption(image, perspective, review=state, text=f"An owl that is {state}.")
    return images


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("", {"none", "proposed", "accepted", "rejected"}),
        ("state=none", {"none"}),
        ("state=captioned", {"proposed", "accepted", "rejected"}),
        ("state=accepted", {"accepted"}),
        ("search=owls", {"proposed", "accepted", "rejected"}),
        ("search=ject", {"rejected"}),
        ("lacks=plain", {"none"}),
        ("state=accepted&search=none", set()),
        ("alike=1", set()),
    ],
)
def test_the_address_filters_the_grid(ada_browses, ada, query, wanted):
    images = shelf(ada)

    page = ada_browses.get(f"/datasets/birds?{query}").content.decode()
    piece = ada_browses.get(f"/datasets/birds/tiles?{query}&offset=0&limit=100").content.decode()

    assert set(shown_in(page)) == set(shown_in(piece)) == {images[name].pk for name in wanted}


def test_a_search_leaves_out_what_it_did_not_count(ada_browses, ada):
    """The whole data set has to be counted for its head and for what deleting it says."""
    shelf(ada)

    page = ada_browses.get("/datasets/birds").content.decode()
    found = ada_browses.get("/datasets/birds?search=owl").content.decode()

    for said in ("4 pictures · ", "/datasets/birds/delete"):
        assert said in page
        assert said not in found
    assert 'href="/review?dataset=birds"' in found
    assert "New job for these 3" in found


def test_states_are_counted_within_the_rest_of_the_filter(ada_browses, ada):
    shelf(ada)

    page = ada_browses.get("/datasets/birds?search=owl&state=accepted").content.decode()

    exact = {"any": "3", "none": "0", "captioned": "3", "proposed": "1", "rejected": "1", "accepted": "1"}
    assert counts_in(page) == exact


# --- A word that many captions have


@pytest.fixture
def owls(ada, monkeypatch) -> list[Image]:
    """Nine pictures with an owl, every third accepted, on pages of two; one with a wren; one without a caption.

    Five pictures are looked through for a page, before all are.
    """
    monkeypatch.setattr("captioning.pages.datasets.TILES_A_PAGE", 2)
    monkeypatch.setattr("captioning.image_filter._LOOKED_THROUGH", 2)
    dataset, perspective = make_dataset(ada), make_perspective()
    images = [make_image(dataset, f"{number}.png") for number in range(11)]
    for number, image in enumerate(images[:9]):
        make_caption(image, perspective, text="An owl.", review="proposed" if number % 3 else "accepted")
    make_caption(images[9], perspective, text="A wren.", review="accepted")
    return images[:9]


def test_a_common_word_is_counted_after_its_page(ada_browses, owls):
    page = ada_browses.get("/datasets/birds?search=owl").content.decode()

    assert shown_in(page) == [image.pk for image in owls[:2]]
    asked = re.search(r'hx-get="(/datasets/birds/counts\?[^"]*)" hx-trigger="load"', page)[1].replace("&amp;", "&")
    at_least = {"any": "5+", "none": "…", "captioned": "5+", "proposed": "3+", "rejected": "…", "accepted": "2+"}
    assert counts_in(page) == at_least
    for said in ("New job for all that match", "<span>all that match</span>", ">Page 1<", "data-counts-follow"):
        assert said in page
    counted = ada_browses.get(asked)
    exact = {"any": "9", "none": "0", "captioned": "9", "proposed": "6", "rejected": "0", "accepted": "3"}
    assert counts_in(counted.content.decode()) == exact
    assert "9 pictures match." in counted.content.decode()
    assert json.loads(counted.headers["HX-Trigger"]) == {"desk-counted": {"total": 9}}


def test_a_state_without_the_word_says_so_before_the_others_are_counted(ada_browses, owls):
    page = ada_browses.get("/datasets/birds?search=owl&state=none").content.decode()

    assert not shown_in(page)
    assert "/datasets/birds/counts?state=none&amp;search=owl" in page
    assert set(counts_in(page).values()) == {"…"}


def test_counts_that_follow_are_those_of_the_whole_filter(ada_browses, owls):
    lookalikes.place(owls[0], look=0x0F0F0F0F)
    lookalikes.place(owls[1], look=0x0F0F0F0E)

    state = ada_browses.get("/datasets/birds/counts?search=owl&state=proposed")
    lacks = ada_browses.get("/datasets/birds/counts?search=png&lacks=plain")
    alike = ada_browses.get("/datasets/birds/counts?search=owl&alike=1")

    assert counts_in(state.content.decode())["any"] == "9"
    assert json.loads(state.headers["HX-Trigger"]) == {"desk-counted": {"total": 6}}
    assert (counts_in(lacks.content.decode())["any"], counts_in(alike.content.decode())["any"]) == ("1", "2")
    assert "1 picture matches." in lacks.content.decode()


@pytest.mark.parametrize("query", ["search=wren", "search=zebra", "search=owl&alike=1", "state=accepted", ""])
def test_all_else_is_counted_with_its_page(ada_browses, owls, query):
    page = ada_browses.get(f"/datasets/birds?{query}").content.decode()

    assert "/datasets/birds/counts" not in page
    assert "+" not in "".join(counts_in(page).values())


def test_pages_of_a_common_word_follow_one_another(ada_browses, owls):
    """Without scripts there are links from page to page, and the last one knows how many there are."""
    found, address = [], "/datasets/birds?search=owl"
    while address:
        page = ada_browses.get(address).content.decode()
        found += shown_in(page)
        following = re.search(r'rel="next" href="(\?[^"]*)"', page)
        address = following and "/datasets/birds" + following[1].replace("&amp;", "&")

    assert found == [image.pk for image in owls]
    assert "Page 5 of 5 · 9 in all" in page


@pytest.mark.parametrize(
    "query", ["search=owl", "search=owl&state=proposed", "search=owl&lacks=graph", "state=proposed"]
)
def test_a_piece_goes_on_behind_the_picture_before_it(ada_browses, owls, query):
    whole = shown_in(ada_browses.get(f"/datasets/birds/tiles?{query}&limit=100").content.decode())
    found, html = [], ""
    for offset in range(0, len(whole), 2):
        after = f"&after={found[-1]}" if found else ""
        html = ada_browses.get(f"/datasets/birds/tiles?{query}&offset={offset}&limit=2{after}").content.decode()
        found += shown_in(html)

    assert found == whole
    assert re.findall(r'data-place="(\d+)"', html)[-1] == str(len(whole))


def test_counts_are_only_for_those_who_see_the_data_set(bob_browses, ada_browses, owls):
    assert bob_browses.get("/datasets/birds/counts?search=owl").status_code == 404
    assert ada_browses.get("/datasets/birds/counts?state=nonsense").status_code == 400
    assert ada_browses.post("/datasets/birds/counts").status_code == 405


def test_all_that_match_a_common_word_are_deleted(ada_browses, owls):
    choose(ada_browses, verb="delete", all="1", search="owl")

    assert Dataset.objects.get(name="birds").images.count() == 2


@pytest.mark.parametrize("query", ["", "state=proposed", "search=owl", "search=owl&state=proposed"])
def test_every_picture_is_on_one_page_and_a_page_too_far_is_the_last(ada_browses, ada, monkeypatch, query):
    monkeypatch.setattr("captioning.pages.datasets.TILES_A_PAGE", 2)
    dataset, perspective = make_dataset(ada), make_perspective()
    images = [make_image(dataset, f"{number}.png") for number in range(7)]
    for image in images:
        make_caption(image, perspective, text="An owl.")

    def shown_on(page: int) -> list[int]:
        return shown_in(ada_browses.get(f"/datasets/birds?{query}&page={page}").content.decode())

    assert [pk for page in (1, 2, 3, 4) for pk in shown_on(page)] == [image.pk for image in images]
    assert shown_on(99) == shown_on(4)


def test_a_state_that_is_none_is_refused(ada_browses, ada):
    make_dataset(ada)

    assert ada_browses.get("/datasets/birds?state=nonsense").status_code == 400


def test_any_piece_of_the_grid_can_be_asked_for(ada_browses, ada):
    dataset = make_dataset(ada)
    images = [make_image(dataset, f"{n}.png") for n in range(7)]

    piece = ada_browses.get("/datasets/birds/tiles?offset=4&limit=2").content.decode()

    assert shown_in(piece) == [images[4].pk, images[5].pk]
    assert re.findall(r'data-place="(\d+)"', piece) == ["5", "6"]
    assert shown_in(ada_browses.get("/datasets/birds/tiles?offset=99&limit=2").content.decode()) == []
    assert len(shown_in(ada_browses.get("/datasets/birds/tiles?offset=x&limit=-3").content.decode())) == 7


def test_a_piece_of_the_grid_costs_the_same_number_of_queries_however_large_it_is(ada_browses, ada):
    dataset = make_dataset(ada)
    make_image(dataset)
    ada_browses.get("/datasets/birds/tiles?limit=100")
    with CaptureQueriesContext(connection) as few:
        ada_browses.get("/datasets/birds/tiles?limit=100")
    for n in range(12):
        make_image(dataset, f"{n}.png")

    with CaptureQueriesContext(connection) as many:
        ada_browses.get("/datasets/birds/tiles?limit=100")

    assert len(many) == len(few)


def test_duplicates_and_lookalikes_wear_badges_over_data_sets_but_not_over_owners(ada_browses, ada, bob):
    here, there, elsewhere = make_dataset(ada, "here"), make_dataset(ada, "there"), make_dataset(bob, "elsewhere")
    for dataset in (here, there, elsewhere):
        lookalikes.place(make_image(dataset, "same.png"), look=0x0F0F0F0F)
    lookalikes.place(make_image(there, "other.png"), look=0x0F0F0F0E)

    page = ada_browses.get("/datasets/here").content.decode()

    assert re.findall(r'class="badge (\w+)"[^>]*>(. \d+)<', page) == [("twin", "= 1"), ("alike", "≈ 1")]
    assert len(shown_in(ada_browses.get("/datasets/here?alike=1").content.decode())) == 1


def test_a_picture_tells_how_it_was_taken_and_what_looks_like_it(ada_browses, ada):
    dataset = make_dataset(ada)
    image, other = make_image(dataset, "a.png"), make_image(dataset, "b.png")
    lookalikes.place(image, look=1)
    lookalikes.place(other, look=3)
    Image.objects.filter(pk=image.pk).update(
        exif={"Make": "Leica", "Model": "M6", "FNumber": 2.8, "ExposureTime": 0.004, "ISOSpeedRatings": 400},
        taken_at=datetime(2019, 3, 4, 17, 5, tzinfo=UTC),
    )

    page = ada_browses.get(f"/images/{image.pk}").content.decode()

    assert "Leica M6" in page
    assert "4 Mar 2019, 17:05" in page
    assert "f/2.8, 1/250 s, ISO 400" in page
    assert f'href="/images/{other.pk}"' in page
    assert "1 bit of 64 differs" in page


def test_odd_exif_data_do_not_break_the_page(ada_browses, ada):
    image = make_image(make_dataset(ada))
    Image.objects.filter(pk=image.pk).update(exif={"FNumber": "wide", "ExposureTime": 0, "Make": 7, "Model": None})

    assert ada_browses.get(f"/images/{image.pk}").status_code == 200


# --- Taking in


def test_a_file_is_taken_alone_and_its_fate_is_told(ada_browses, ada):
    make_dataset(ada)

    def take(name, content):
        return ada_browses.post("/datasets/birds/take", {"image": SimpleUploadedFile(name, content)}).json()

    assert take("red.png", picture_bytes("red")) == {"outcome": "added"}
    assert take("red again.png", picture_bytes("red")) == {"outcome": "present"}
    refused = take("letter.png", b"Dear Ada")
    assert refused["outcome"] == "refused"
    assert "text, not a picture" in refused["reason"]
    assert list(Image.objects.values_list("path", flat=True)) == ["red.png"]


def test_a_take_without_a_file_and_one_into_somebody_elses_data_set_are_refused(ada_browses, bob_browses, ada):
    make_dataset(ada)

    assert ada_browses.post("/datasets/birds/take").status_code == 400
    assert ada_browses.get("/datasets/birds/take").status_code == 405
    assert bob_browses.post("/datasets/birds/take").status_code == 404


# --- What is chosen


def choose(browser, **fields):
    return browser.post("/datasets/birds/selection", fields, follow=True)


def test_ticked_pictures_are_deleted_and_come_back(ada_browses, ada):
    images = shelf(ada)

    page = choose(ada_browses, verb="delete", images=[images["none"].pk], ids=f"{images['accepted'].pk},,x")

    html = page.content.decode()
    assert set(shown_in(html)) == {images["proposed"].pk, images["rejected"].pk}
    assert "ada deleted 2 pictures" in html
    thrown = trash.of(Dataset.objects.get(name="birds")).get()
    html = ada_browses.post(f"/datasets/birds/undo/{thrown.pk}", follow=True).content.decode()
    assert len(shown_in(html)) == 4
    assert "2 pictures are back" in html


def test_all_that_match_are_deleted_without_being_named(ada_browses, ada):
    images = shelf(ada)

    html = choose(ada_browses, verb="delete", all="1", state="captioned", search="owl").content.decode()

    assert shown_in(html) == [images["none"].pk]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"verb": "delete"}, "Choose at least one"),
        ({"verb": "explode", "all": "1"}, "nothing called"),
        ({"verb": "delete", "ids": "999999"}, "gone already"),
        ({"verb": "job", "ids": ",".join(str(n) for n in range(500))}, "At most 400"),
    ],
)
def test_a_choice_that_cannot_be_acted_on_is_refused_in_words(ada_browses, ada, fields, said):
    shelf(ada)

    assert said in choose(ada_browses, **fields).content.decode()
    assert Dataset.objects.get(name="birds").images.count() == 4


def test_a_choice_leads_to_a_new_job(ada_browses, ada):
    image = shelf(ada)["none"]

    one = ada_browses.post("/datasets/birds/selection", {"verb": "job", "images": [image.pk]})
    matching = ada_browses.post("/datasets/birds/selection", {"verb": "job", "all": "1", "state": "none"})

    assert one.headers["Location"] == f"/jobs/new?dataset=birds&images={image.pk}"
    assert matching.headers["Location"] == "/jobs/new?dataset=birds&state=none"


def test_nobody_touches_somebody_elses_pictures(ada_browses, bob_browses, ada):
    image = shelf(ada)["none"]
    thrown, _ = trash.throw_away(Image.objects.filter(pk=image.pk), image.dataset, by=ada)

    assert choose(bob_browses, verb="delete", all="1").status_code == 404
    assert bob_browses.post(f"/datasets/birds/undo/{thrown.pk}").status_code == 404
    assert bob_browses.get("/datasets/birds/tiles").status_code == 404
    assert Dataset.objects.get(name="birds").images.count() == 3


def test_a_deleted_data_set_comes_back_by_its_button(ada_browses, ada):
    shelf(ada)

    listed = ada_browses.post("/datasets/birds/delete", follow=True).content.decode()

    assert "ada deleted the data set “birds” with 4 pictures" in listed
    assert ada_browses.get("/datasets/birds").status_code == 404
    undo = re.search(r'action="(/datasets/undo/\d+)"', listed)[1]
    page = ada_browses.post(undo, follow=True)
    assert page.redirect_chain[-1][0] == "/datasets/birds"
    assert "“birds” is back with 4 pictures." in page.content.decode()
    assert "/datasets/undo/" not in ada_browses.get("/datasets").content.decode()
    assert ada_browses.post(undo).status_code == 404


def test_a_deleted_data_set_whose_name_was_taken_says_what_to_do(ada_browses, ada):
    shelf(ada)
    ada_browses.post("/datasets/birds/delete")
    make_dataset(ada, "birds")

    page = ada_browses.post(f"/datasets/undo/{trash.whole(ada).get().pk}", follow=True).content.decode()

    assert "Rename or delete that one, then undo." in page


def test_nobody_brings_back_somebody_elses_data_set(ada_browses, bob_browses, ada):
    shelf(ada)
    ada_browses.post("/datasets/birds/delete")

    assert bob_browses.post(f"/datasets/undo/{trash.whole(ada).get().pk}").status_code == 404
    assert "birds" not in bob_browses.get("/datasets").content.decode()


def test_pictures_of_another_data_set_are_not_chosen_by_their_ids(ada_browses, ada):
    shelf(ada)
    other = make_image(make_dataset(ada, "other"))

    choose(ada_browses, verb="delete", ids=str(other.pk))

    assert other.dataset.images.count() == 1
