import pytest

from captioning.models import Provider
from tests.captions import client_of, completion, make_provider
from tests.workbench.rows import make_staff, make_user

pytestmark = pytest.mark.django_db

URL = "/api/providers"
FORM = {
    "name": "mine",
    "kind": "vllm",
    "environment": "local",
    "baseUrl": "http://10.0.0.7:8000/v1",
    "apiKey": "sk-very-secret",
    "models": ["a", {"name": "b", "isEnabled": False}],
    "rateLimits": {"requestsPerMinute": 10},
    "inputPriceUsd": 0.5,
}


@pytest.fixture
def staff():
    return client_of(make_staff("grace"))


@pytest.fixture
def anybody():
    return client_of(make_user("anybody"))


def test_a_provider_is_created_and_its_key_is_never_shown(staff):
    made = staff.post(URL, FORM, format="json")

    assert made.status_code == 201
    shown = made.json()
    assert (shown["hasApiKey"], shown["rateLimits"]) == (True, {"requestsPerMinute": 10, "tokensPerMinute": None})
    assert [(model["name"], model["isEnabled"]) for model in shown["models"]] == [("a", True), ("b", False)]
    for answer in (made, staff.get(made.headers["Location"]), staff.get(URL)):
        assert b"secret" not in answer.content
        assert b"apiKey" not in answer.content


def test_an_answer_can_be_sent_back_with_one_change(staff):
    provider = staff.post(URL, FORM, format="json").json()

    changed = staff.put(f"{URL}/{provider['id']}", {**provider, "isEnabled": False}, format="json")

    assert changed.status_code == 200, changed.content
    assert changed.json() == {**provider, "isEnabled": False, "updatedAt": changed.json()["updatedAt"]} | {
        "models": changed.json()["models"]
    }
    assert Provider.objects.get(name="mine").api_key == "sk-very-secret"


def test_a_key_is_cleared_by_an_empty_one(staff):
    provider = staff.post(URL, FORM, format="json").json()

    assert staff.patch(f"{URL}/{provider['id']}", {"apiKey": ""}, format="json").json()["hasApiKey"] is False


def test_everybody_looks_and_only_staff_changes(anybody):
    provider = make_provider()

    assert anybody.get(URL).status_code == 200
    assert anybody.get(f"{URL}/{provider.pk}").status_code == 200
    assert anybody.post(URL, FORM, format="json").status_code == 403
    assert anybody.patch(f"{URL}/{provider.pk}", {"isEnabled": False}, format="json").status_code == 403
    assert anybody.delete(f"{URL}/{provider.pk}").status_code == 403
    assert anybody.post(f"{URL}/{provider.pk}/test").status_code == 403


def test_errors_are_told_field_by_field(staff):
    answer = staff.post(URL, {"name": "x", "kind": "?", "environment": "?", "baseUrl": "?"}, format="json")

    assert answer.status_code == 400
    assert answer.json()["errors"].keys() == {"name", "kind", "environment", "baseUrl"}


def test_a_taken_name_is_a_conflict(staff):
    staff.post(URL, FORM, format="json")

    answer = staff.post(URL, FORM, format="json")

    assert answer.status_code == 409
    assert "name" in answer.json()["errors"]


def test_a_provider_is_deleted_but_local_vision_is_not(staff):
    provider = make_provider()
    local = Provider.objects.get(name="local-vision")

    assert staff.delete(f"{URL}/{provider.pk}").status_code == 204
    assert staff.delete(f"{URL}/{local.pk}").status_code == 409
    assert staff.get(f"{URL}/{provider.pk}").status_code == 404


def test_the_list_filters_by_kind_and_state(staff):
    make_provider(name="off", is_enabled=False)

    def names(**query) -> list[str]:
        return [one["name"] for one in staff.get(URL, query).json()["providers"]]

    assert names(kind="vllm") == ["off"]
    assert names(kind="vllm", enabled="true") == []
    assert staff.get(URL, {"colour": "red"}).status_code == 400


def test_the_list_costs_the_same_however_long_it_is(staff, django_assert_num_queries):
    for number in range(4):
        make_provider(name=f"provider-{number}").models.create(name="a")

    with django_assert_num_queries(3):
        staff.get(URL)


def test_a_provider_is_tried_out(staff, httpserver):
    httpserver.expect_request("/v1/models").respond_with_json({"data": [{"id": "tiny-vlm"}]})
    httpserver.expect_request("/v1/chat/completions").respond_with_json(completion({"left": "red", "right": "blue"}))
    provider = make_provider(httpserver.url_for("/v1"))

    tried = staff.post(f"{URL}/{provider.pk}/test", {"model": "tiny-vlm"}, format="json")

    assert tried.status_code == 200
    assert tried.json()["status"] == "success"
    steps = tried.json()["result"]["diagnostics"]["connection_steps"]
    assert [step["step"] for step in steps] == ["initialize_client", "list_models", "vision"]
    assert staff.get(f"{URL}/{provider.pk}").json()["lastProbe"] == tried.json()["result"]


def test_a_provider_that_does_not_answer_is_an_error_with_advice(staff):
    provider = make_provider("http://127.0.0.1:9/v1")

    tried = staff.post(f"{URL}/{provider.pk}/test").json()

    assert tried["status"] == "error"
    assert tried["result"]["error_code"] == "CONNECTION_ERROR"
    assert tried["result"]["suggestions"]


def test_local_vision_can_be_tried_out_too(staff):
    local = Provider.objects.get(name="local-vision")

    assert staff.post(f"{URL}/{local.pk}/test").json()["result"]["connected"] is True


def test_nothing_there_malformed_and_wrong_methods(staff):
    assert staff.get(f"{URL}/999999").status_code == 404
    assert staff.get(f"{URL}/x").status_code == 404
    assert staff.post(f"{URL}/999999/test").status_code == 404
    assert staff.delete(URL).status_code == 405
    assert staff.get(f"{URL}/999999/test").status_code == 405
    assert staff.post(f"{URL}/{make_provider().pk}/test", {"model": 5}, format="json").status_code == 400
