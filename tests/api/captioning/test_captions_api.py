import pytest

from captioning.models import Caption
from tests.captions import client_of, make_caption, make_dataset, make_image, make_perspective
from tests.workbench.rows import make_user

pytestmark = pytest.mark.django_db

URL = "/api/captions"


@pytest.fixture
def ada():
    return make_user("ada")


@pytest.fixture
def client(ada):
    return client_of(ada)


@pytest.fixture
def image(ada):
    return make_image(make_dataset(ada))


@pytest.fixture
def plain():
    return make_perspective("plain")


def ids(answer) -> list[int]:
    assert answer.status_code == 200, answer.content
    return [one["id"] for one in answer.json()["captions"]]


def test_a_caption_is_shown_with_everything_that_is_known_of_it(client, image, plain):
    caption = make_caption(image, plain, model="tiny-vlm", parameters={"top_p": 1}, provenance={"mode": "native"})

    shown = client.get(f"{URL}/{caption.pk}").json()

    assert shown == {
        "id": caption.pk,
        "image": image.pk,
        "perspective": "plain",
        "perspectiveVersion": "1",
        "source": "model",
        "provider": "remote",
        "model": "tiny-vlm",
        "parameters": {"top_p": 1},
        "result": {"caption": "A red square."},
        "text": "A red square.",
        "provenance": {"mode": "native"},
        "review": "proposed",
        "reviewReason": "",
        "author": None,
        "reviewedBy": None,
        "isCurrent": True,
        "createdAt": shown["createdAt"],
        "supersedes": None,
    }


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, ["human", "model"]),
        ({"dataset": "birds"}, ["human", "model"]),
        ({"perspective": "plain"}, ["model"]),
        ({"source": "human"}, ["human"]),
        ({"review": "accepted"}, ["human"]),
        ({"provider": "remote"}, ["model"]),
        ({"search": "owls"}, ["human"]),
        ({"ordering": "createdAt"}, ["model", "human"]),
    ],
)
def test_the_list_filters_and_sorts(client, image, plain, query, expected):
    named = {
        "model": make_caption(image, plain),
        "human": make_caption(
            image, make_perspective("other"), source="human", provider="", review="accepted", text="an owl"
        ),
    }
    make_caption(image, plain, is_current=False)

    assert ids(client.get(URL, query)) == [named[name].pk for name in expected]


def test_the_list_of_one_image(client, image, plain):
    caption = make_caption(image, plain)
    make_caption(make_image(image.dataset, "b.png"), plain)

    assert ids(client.get(URL, {"image": image.pk})) == [caption.pk]


@pytest.mark.parametrize(
    "query",
    [
        {"dataset": "nowhere"}, {"perspective": "unheard"}, {"source": "bird"}, {"review": "maybe"}, {"image": "x"},
        {"image": 0}, {"ordering": "length"}, {"colour": "red"}, {"limit": 501}, {"offset": -1},
    ],
)  # fmt: skip
def test_an_unknown_filter_is_refused(client, query):
    answer = client.get(URL, query)

    assert answer.status_code == 400
    assert answer.json()["errors"].keys() == query.keys()


def test_the_list_costs_the_same_however_long_it_is(client, image, plain, django_assert_num_queries):
    for number in range(5):
        make_caption(image, plain, provider=str(number))

    with django_assert_num_queries(2):
        client.get(URL)


def test_captions_of_others_do_not_exist(image, plain):
    caption = make_caption(image, plain)
    stranger = client_of(make_user("stranger"))

    assert ids(stranger.get(URL)) == []
    assert stranger.get(f"{URL}/{caption.pk}").status_code == 404
    assert stranger.get(f"{URL}/{caption.pk}/history").status_code == 404
    assert stranger.patch(f"{URL}/{caption.pk}", {"review": "accepted"}, format="json").status_code == 404
    assert stranger.get(URL, {"dataset": "birds"}).status_code == 400
    assert client_of(make_user("grace", is_staff=True)).get(f"{URL}/{caption.pk}").status_code == 200


def test_a_person_writes_a_caption(client, image, plain):
    made = client.post(URL, {"image": image.pk, "perspective": "plain", "result": {"caption": "Mine."}}, format="json")

    assert made.status_code == 201
    shown = made.json()
    assert (shown["source"], shown["author"], shown["text"], shown["review"]) == ("human", "ada", "Mine.", "proposed")
    assert client.get(made.headers["Location"]).json() == shown


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"image": 999_999}, "image"),
        ({"image": "a.png"}, "image"),
        ({"image": True}, "image"),
        ({"perspective": "unheard"}, "perspective"),
        ({"perspective": 5}, "perspective"),
        ({"result": {"caption": 5}}, "result"),
        ({"result": {}}, "result"),
        ({"text": 5}, "text"),
        ({"review": "maybe"}, "review"),
        ({"reviewReason": []}, "reviewReason"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_caption_is_refused_by_the_field_that_is_wrong(client, image, plain, change, field):
    form = {"image": image.pk, "perspective": "plain", "result": {"caption": "x"}, **change}

    answer = client.post(URL, form, format="json")

    assert answer.status_code == 400
    assert field in answer.json()["errors"]
    assert not Caption.objects.exists()


def test_a_change_is_a_new_version_and_the_history_has_both(client, image, plain):
    first = make_caption(image, plain)

    changed = client.patch(f"{URL}/{first.pk}", {"text": "Better words."}, format="json").json()

    assert (changed["source"], changed["supersedes"], changed["text"]) == ("human", first.pk, "Better words.")
    assert ids(client.get(URL)) == [changed["id"]]
    assert ids(client.get(f"{URL}/{first.pk}/history")) == [changed["id"], first.pk]
    assert client.get(f"{URL}/{first.pk}").json()["isCurrent"] is False


@pytest.mark.parametrize("change", [{}, {"review": "maybe"}, {"result": {"wrong": 1}}, {"source": "human"}])
def test_a_change_that_is_none_or_wrong_is_refused(client, image, plain, change):
    caption = make_caption(image, plain)

    assert client.patch(f"{URL}/{caption.pk}", change, format="json").status_code == 400
    assert Caption.objects.count() == 1


def test_a_replaced_version_cannot_be_changed(client, image, plain):
    caption = make_caption(image, plain)
    client.patch(f"{URL}/{caption.pk}", {"review": "accepted"}, format="json")

    assert client.patch(f"{URL}/{caption.pk}", {"review": "rejected"}, format="json").status_code == 409


def test_many_are_judged_at_once(client, image, plain):
    captions = [make_caption(image, plain, provider=str(n)) for n in range(3)]

    answer = client.post(
        f"{URL}/bulk",
        {"ids": [caption.pk for caption in captions], "review": "rejected", "reason": "dark"},
        format="json",
    )

    assert answer.json() == {"updated": 3, "unchanged": 0, "ignored": []}
    assert {one["reviewReason"] for one in client.get(URL, {"review": "rejected"}).json()["captions"]} == {"dark"}


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"ids": [1]},
        {"review": "accepted"},
        {"ids": [], "review": "accepted"},
        {"ids": "all", "review": "accepted"},
        {"ids": [True], "review": "accepted"},
        {"ids": [1], "filter": {"dataset": "birds"}, "review": "accepted"},
        {"filter": {}, "review": "accepted"},
        {"filter": {"colour": "red"}, "review": "accepted"},
        {"filter": {"dataset": 5}, "review": "accepted"},
        {"filter": {"source": "bird"}, "review": "accepted"},
        {"filter": {"dataset": "nowhere"}, "review": "accepted"},
        {"ids": [1], "review": "perhaps"},
        {"ids": [1], "review": "accepted", "reason": 5},
    ],
)
def test_a_verdict_that_is_unclear_is_refused(client, image, plain, form):
    make_caption(image, plain)

    assert client.post(f"{URL}/bulk", form, format="json").status_code == 400
    assert Caption.objects.current().get().review == "proposed"


def test_nothing_there_malformed_and_wrong_methods(client):
    assert client.get(f"{URL}/999999").status_code == 404
    assert client.get(f"{URL}/x").status_code == 404
    assert client.get(f"{URL}/{10**30}").status_code == 404
    assert client.delete(f"{URL}/1").status_code == 405
    assert client.get(f"{URL}/bulk").status_code == 405
    assert client.put(URL).status_code == 405
