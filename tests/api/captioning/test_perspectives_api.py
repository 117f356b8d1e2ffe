import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from captioning import library
from captioning.models import Perspective
from tests.captions import client_of, document, make_caption, make_dataset, make_image, make_perspective, make_provider
from tests.workbench.rows import make_staff, make_user

pytestmark = pytest.mark.django_db

URL = "/api/perspectives"


@pytest.fixture
def staff():
    return client_of(make_staff("grace"))


@pytest.fixture
def curator():
    return make_user("curator")


def names(answer) -> list[str]:
    assert answer.status_code == 200, answer.content
    return [one["name"] for one in answer.json()["perspectives"]]


def test_a_perspective_is_created_and_read_back_as_its_document(staff):
    made = staff.post(URL, document("mine", tags=["art"]), format="json")

    assert made.status_code == 201
    assert made.headers["Location"] == f"{URL}/mine"
    read = staff.get(f"{URL}/mine").json()
    assert read == made.json()
    assert {**document("mine", tags=["art"])}.items() <= read.items()
    assert read["version"] == "1"
    assert read.keys() >= {"id", "createdAt", "builds_on", "module", "deprecated", "replacement", "priority"}


def test_the_list_is_sorted_by_priority_and_pages(staff):
    for number, name in enumerate(("third", "second", "first")):
        make_perspective(name, priority=10 - number, module="ours")

    answer = staff.get(URL, {"module": "ours", "limit": 2})

    assert names(answer) == ["first", "second"]
    assert answer.json()["total"] == 3


def test_the_list_costs_the_same_however_long_it_is(staff):
    def n_queries() -> int:
        with CaptureQueriesContext(connection) as queries:
            staff.get(URL, {"limit": 500})
        return len(queries)

    make_perspective("one")
    before = n_queries()
    for number in range(5):
        make_perspective(f"more-{number}")

    assert n_queries() == before


def test_the_list_names_what_a_provider_can_answer(staff):
    make_provider()
    make_perspective("needs-language", module="ours")

    assert names(staff.get(URL, {"provider": "remote", "module": "ours"})) == ["needs-language"]
    assert names(staff.get(URL, {"provider": "local-vision", "module": "ours"})) == []


@pytest.mark.parametrize(
    "query", [{"provider": "unheard"}, {"colour": "red"}, {"ordering": "size"}, {"limit": 0}, {"enabled": "maybe"}]
)
def test_an_unknown_filter_is_refused(staff, query):
    assert staff.get(URL, query).status_code == 400


def test_put_writes_a_version_and_all_are_listed(staff):
    make_perspective("mine")

    written = staff.put(f"{URL}/mine", document("mine", prompt="New."), format="json")

    assert (written.status_code, written.json()["version"]) == (200, "2")
    versions = staff.get(f"{URL}/mine/versions").json()["perspectives"]
    assert [(one["version"], one["prompt"]) for one in versions] == [
        ("2", "New."),
        ("1", "Say what the picture shows."),
    ]


def test_patch_changes_only_what_it_names(staff):
    make_perspective("mine", tags=["art"])

    written = staff.patch(f"{URL}/mine", {"prompt": "New."}, format="json").json()

    assert (written["prompt"], written["tags"], written["version"]) == ("New.", ["art"], "2")


def test_an_answer_can_be_sent_back_as_it_is(staff):
    make_perspective("mine")
    read = staff.get(f"{URL}/mine").json()

    assert staff.put(f"{URL}/mine", read, format="json").json() == read


def test_a_perspective_is_switched_off_and_on_without_a_new_version(staff):
    make_perspective("mine", module="ours")

    staff.patch(f"{URL}/mine", {"enabled": False}, format="json")

    assert names(staff.get(URL, {"module": "ours"})) == []
    assert names(staff.get(URL, {"module": "ours", "enabled": "false"})) == ["mine"]
    assert staff.patch(f"{URL}/mine", {"enabled": True}, format="json").json()["version"] == "1"


def test_delete_removes_what_nobody_used_and_disables_what_captions_name(staff):
    make_perspective("unused")
    make_caption(make_image(make_dataset()), make_perspective("used"))

    assert staff.delete(f"{URL}/unused").status_code == 204
    disabled = staff.delete(f"{URL}/used")
    assert (disabled.status_code, disabled.json()["enabled"]) == (200, False)
    assert staff.get(f"{URL}/unused").status_code == 404


def test_errors_are_named_by_path(staff):
    answer = staff.post(URL, document("mine", schema_fields=[{"name": "a", "type": "poem"}]), format="json")

    assert answer.status_code == 400
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert list(answer.json()["errors"]) == ["schema_fields[0].type"]


@pytest.mark.parametrize("name", ["batch", "modules", "caption-from-path"])
def test_names_of_routes_are_refused(staff, name):
    assert "name" in staff.post(URL, document(name), format="json").json()["errors"]


def test_a_taken_name_is_a_conflict(staff):
    make_perspective("mine")

    assert staff.post(URL, document("mine"), format="json").status_code == 409


def test_a_repeated_post_with_a_key_gets_the_first_answer(staff):
    first = staff.post(URL, document("mine"), format="json", headers={"Idempotency-Key": "k1"})
    second = staff.post(URL, document("mine"), format="json", headers={"Idempotency-Key": "k1"})

    assert (second.status_code, second.json()) == (201, first.json())
    assert Perspective.objects.filter(name="mine").count() == 1


def test_people_change_their_own_and_staff_changes_all(curator):
    library.create(document("mine"), by=curator)
    make_perspective("theirs")
    client = client_of(curator)

    assert client.patch(f"{URL}/mine", {"prompt": "x"}, format="json").status_code == 200
    assert client.patch(f"{URL}/theirs", {"prompt": "x"}, format="json").status_code == 403
    assert client.delete(f"{URL}/theirs").status_code == 403
    assert client.get(f"{URL}/theirs").status_code == 200


def test_modules_are_counted(staff):
    make_perspective("one", module="odd_ones")
    make_perspective("two", module="odd_ones")

    modules = {one["name"]: one for one in staff.get(f"{URL}/modules").json()["modules"]}

    assert modules["odd_ones"]["perspective_count"] == 2
    assert modules["odd_ones"]["display_name"] == "Odd ones"


def test_nothing_there_and_wrong_methods(staff):
    assert staff.get(f"{URL}/nothing").status_code == 404
    assert staff.get(f"{URL}/nothing/versions").status_code == 404
    assert staff.delete(URL).status_code == 405
    assert staff.post(f"{URL}/modules").status_code == 405
    assert staff.put(f"{URL}/mine/versions").status_code in (404, 405)


def test_an_unchanged_answer_is_spared(staff):
    make_perspective("mine")
    etag = staff.get(f"{URL}/mine").headers["ETag"]

    assert staff.get(f"{URL}/mine", headers={"If-None-Match": etag}).status_code == 304
    staff.patch(f"{URL}/mine", {"prompt": "x"}, format="json")
    assert staff.get(f"{URL}/mine", headers={"If-None-Match": etag}).status_code == 200
