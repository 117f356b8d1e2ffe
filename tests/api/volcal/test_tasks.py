"""The three routes of survey tasks, as phone clients know them."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest
from django.db.models.functions import Now

from orchestrator.access import public_user
from tests.surveys import committed, fresh, make_survey, measure, send, upload_all, upload_of
from volcal.models import Allowance, Survey

pytestmark = pytest.mark.django_db

LABELS = ["pre", "post", "shp", "shx"]


@pytest.fixture
def public_desk(closed_desk, settings):
    settings.PUBLIC_FAMILIES = ["surveys"]


def create(client, body=None, **extra) -> Survey:
    answer = client.act("/create_task", body, **extra)
    assert answer.status_code == 200, answer.content
    return Survey.objects.get(task_id=answer.json()["task_id"])


# --- create_task


@pytest.mark.parametrize("path", ["/create_task", "/create_task/"])
def test_a_task_is_created_without_a_body(as_ada, path):
    answer = as_ada.act(path)

    body = answer.json()
    assert (answer.status_code, body["id"]) == (200, body["task_id"])
    assert list(body["upload_urls"]) == LABELS
    assert set(body) == {"id", "task_id", "upload_urls"}
    survey = Survey.objects.get(task_id=body["id"])
    assert survey.user.username == "ada"
    for label in LABELS:
        assert body["upload_urls"][label] == f"http://testserver:1080/files/{upload_of(survey, label).pk}"


def test_a_task_takes_its_choices(as_ada):
    survey = create(as_ada, {"crs": "EPSG:32633", "parameters": {"core_spacing": 4}, "name": "Quarry north"})

    assert (survey.crs, survey.parameters["core_spacing"], survey.name) == ("EPSG:32633", 4.0, "Quarry north")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"parameters": {"voxel": 1}}, "parameters.voxel"),
        ({"parameters": {"max_points": 10**400}}, "parameters.max_points"),
        ({"crs": "EPSG:32699"}, "crs"),
        ({"parameters": [1]}, "parameters"),
        ({"crs": "WGS 84"}, "crs"),
        ({"crs": 4326}, "crs"),
    ],
)
def test_bad_choices_are_400_and_name_the_field(as_ada, body, field):
    answer = as_ada.act("/create_task", body)

    assert (answer.status_code, list(answer.json()["errors"])) == (400, [field])
    assert not Survey.objects.exists()


def test_the_same_key_creates_one_task(as_ada):
    first, second = (as_ada.act("/create_task", headers={"Idempotency-Key": "abc"}) for _ in range(2))

    assert first.json() == second.json()
    assert Survey.objects.count() == 1


def test_create_task_is_a_post(as_ada):
    assert as_ada.get("/create_task").status_code == 405


# --- start_task


def test_start_names_the_missing_files(as_ada, ada):
    survey = make_survey(ada, with_files=False)
    send(upload_of(survey, "pre"), b"cloud")

    answer = as_ada.act(f"/start_task/{survey.task_id}")

    assert (answer.status_code, answer.json()["missing"]) == (400, ["post", "shp", "shx"])


def test_start_is_harmless_while_the_task_is_under_way(as_ada, ada):
    survey = make_survey(ada)

    for _ in range(3):
        answer = as_ada.act(f"/start_task/{survey.task_id}/")
        assert (answer.status_code, answer.json()) == (200, {"started": True})

    assert fresh(survey).job == survey.job


def test_start_of_a_paused_task_leaves_it_paused(as_ada, ada):
    survey = make_survey(ada)
    survey.job.pause(by=ada)

    assert as_ada.act(f"/start_task/{survey.task_id}").json() == {"started": True}
    assert as_ada.get(f"/query_task/{survey.task_id}").json()["status"] == "pending"


def test_start_of_a_task_that_is_done_is_409(as_ada, ada, engine):
    survey = measure(make_survey(ada))

    assert as_ada.act(f"/start_task/{survey.task_id}").status_code == 409


def test_start_runs_a_killed_and_a_failed_task_again(as_ada, ada, engine):
    killed = make_survey(ada)
    killed.job.cancel(by=ada)
    with committed():
        assert as_ada.act(f"/start_task/{killed.task_id}").json() == {"started": True}
    assert as_ada.get(f"/query_task/{killed.task_id}").json()["status"] == "running"
    measure(killed)

    engine.plan(load={"do": "refuse", "code": "empty", "detail": "No points.", "label": "pre"})
    failed = measure(make_survey(ada))
    engine.plan()
    assert as_ada.get(f"/query_task/{failed.task_id}").json()["status"] == "error"
    as_ada.act(f"/start_task/{failed.task_id}")
    measure(failed)

    assert as_ada.get(f"/query_task/{failed.task_id}").json()["status"] == "done"


# --- query_task


def test_a_new_task_waits_for_its_files(as_ada, ada):
    survey = make_survey(ada, with_files=False)

    answer = as_ada.get(f"/query_task/{survey.task_id}").json()

    assert answer == {"status": "waiting", "missing": LABELS, "progress": 0, "stage": "load"}


def test_a_task_in_the_queue_is_pending(as_ada, ada):
    make_survey(ada)
    second = make_survey(ada)  # one heavy job at a time

    answer = as_ada.get(f"/query_task/{second.task_id}").json()

    assert answer == {"status": "pending", "missing": [], "progress": 0, "stage": "load"}


def test_a_running_task_tells_stage_and_progress(as_ada, ada):
    survey = make_survey(ada)
    lane = survey.job.lanes.first()
    items = survey.job.items.order_by("seq")
    items.filter(seq=0).update(status="completed")
    lane.token = uuid4()
    lane.report = {"itemId": items[1].pk, "name": "align", "progress": 0.5, "detail": "Looking"}
    lane.save()
    items.filter(seq=1).update(status="running", lane_token=lane.token)

    answer = as_ada.get(f"/query_task/{survey.task_id}").json()

    assert answer == {"status": "running", "missing": [], "progress": 30, "stage": "align"}


def test_a_task_that_is_done_gives_its_results_with_signed_links(as_ada, ada, engine, client):
    survey = measure(make_survey(ada))

    answer = as_ada.get(f"/query_task/{survey.task_id}/").json()

    assert (answer["status"], answer["missing"], answer["progress"], answer["stage"]) == ("done", [], 100, None)
    (hull,) = answer["results"]["hulls"]
    assert {name: hull[name] for name in hull if not name.startswith("image")} == {
        "id": "1",
        "score": 0.94,
        "area": 1963.0,
        "cut_volume": 12741.0,
        "fill_volume": 8.0,
        "net_volume": -12733.0,
        "volume_uncertainty": 96.0,
        "polygon": {"type": "Polygon", "coordinates": [[[0, 0], [50, 0], [50, 40], [0, 0]]]},
    }
    picture = client.get(hull["image_url"].removeprefix("http://testserver"))
    assert (picture.status_code, picture["Content-Type"]) == (200, "image/png")
    regions = client.get(answer["results"]["downloads"]["regions"].removeprefix("http://testserver"))
    assert regions.status_code == 200
    assert answer["results"]["summary"]["net_volume"] == -12733.0


def test_a_failed_task_says_why_in_words(as_ada, ada, engine):
    engine.plan(
        align={"do": "refuse", "code": "ambiguous_registration", "detail": "The site is too flat.", "label": None}
    )
    survey = measure(make_survey(ada))

    answer = as_ada.get(f"/query_task/{survey.task_id}").json()

    assert (answer["status"], answer["stage"], answer["results"]) == ("error", "align", "The site is too flat.")


def test_a_cancelled_task_is_killed_and_never_done(as_ada, ada):
    survey = make_survey(ada)
    survey.job.cancel(by=ada)

    answer = as_ada.get(f"/query_task/{survey.task_id}").json()

    assert (answer["status"], "cancelled" in answer["results"]) == ("killed", True)


def test_an_unchanged_task_answers_304(as_ada, ada):
    survey = make_survey(ada, with_files=False)
    first = as_ada.get(f"/query_task/{survey.task_id}")

    again = as_ada.get(f"/query_task/{survey.task_id}", headers={"If-None-Match": first["ETag"]})

    assert again.status_code == 304
    assert as_ada.head(f"/query_task/{survey.task_id}").status_code == 200


def test_asking_takes_few_queries(as_ada, ada, engine, django_assert_max_num_queries):
    survey = measure(make_survey(ada))

    with django_assert_max_num_queries(10):
        as_ada.get(f"/query_task/{survey.task_id}")


# --- who may


@pytest.mark.parametrize("task_id", ["nonsense", "00000000-0000-0000-0000-000000000000"])
def test_an_unknown_or_malformed_id_is_the_documented_404(as_ada, task_id):
    for answer in (as_ada.act(f"/start_task/{task_id}"), as_ada.get(f"/query_task/{task_id}")):
        assert (answer.status_code, answer.json()["detail"]) == (404, "Task not found")


def test_somebody_elses_task_is_not_there(as_bob, as_staff, ada):
    survey = make_survey(ada)

    assert as_bob.get(f"/query_task/{survey.task_id}").status_code == 404
    assert as_bob.act(f"/start_task/{survey.task_id}").status_code == 404
    assert as_staff.get(f"/query_task/{survey.task_id}").status_code == 200


def test_without_a_login_nothing_is_open_by_default(closed_desk, client):
    assert client.act("/create_task").status_code == 401
    assert client.get(f"/query_task/{uuid4()}").status_code == 401


def test_another_public_family_opens_nothing_here(closed_desk, settings, client):
    settings.PUBLIC_FAMILIES = ["pictures"]

    assert client.act("/create_task").status_code == 401


def test_a_public_task_belongs_to_the_public_user_and_its_id_is_the_permission(public_desk, client, as_bob, engine):
    survey = create(client)
    upload_all(survey)
    measure(survey)

    assert survey.user == public_user()
    assert client.get(f"/query_task/{survey.task_id}").json()["status"] == "done"
    assert as_bob.get(f"/query_task/{survey.task_id}").status_code == 200


def test_public_clients_do_not_see_what_others_own(public_desk, client, ada):
    survey = make_survey(ada)

    assert client.get(f"/query_task/{survey.task_id}").status_code == 404
    assert client.act(f"/start_task/{survey.task_id}").status_code == 404


def test_a_public_family_opens_no_other_route(public_desk, client):
    assert client.get("/api/perspectives/batch/list").status_code == 401


def test_a_bad_token_is_refused_in_a_public_family_too(public_desk, client):
    assert client.act("/create_task", headers={"Authorization": "Bearer wrong"}).status_code == 401


def test_equal_keys_of_strangers_do_not_share_a_task(public_desk, client):
    first, second = (create(client, headers={"Idempotency-Key": "1"}) for _ in range(2))

    assert first != second


def test_strangers_create_only_so_many_tasks(public_desk, client, settings, as_ada):
    settings.SURVEY_TASKS_PER_MINUTE = 3

    answers = [client.act("/create_task") for _ in range(4)]

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert 1 <= int(answers[3]["Retry-After"]) <= 20
    assert client.act("/create_task", REMOTE_ADDR="203.0.113.9").status_code == 200
    assert as_ada.act("/create_task").status_code == 200  # who is known is not counted


def test_an_allowance_comes_back_with_time(public_desk, client, settings):
    settings.SURVEY_QUERIES_PER_MINUTE = 2
    path = f"/query_task/{uuid4()}"
    assert [client.get(path).status_code for _ in range(3)] == [404, 404, 429]

    Allowance.objects.update(counted_at=Now() - timedelta(seconds=31))

    assert [client.get(path).status_code for _ in range(2)] == [404, 429]


def test_addresses_behind_a_trusted_proxy_count_each_for_themselves(public_desk, client, settings):
    settings.SURVEY_TASKS_PER_MINUTE = 1
    settings.TRUSTED_PROXIES = ["127.0.0.0/8"]

    def ask(forwarded, peer="127.0.0.1"):
        return client.act("/create_task", headers={"X-Forwarded-For": forwarded}, REMOTE_ADDR=peer).status_code

    assert [ask("198.51.100.1"), ask("198.51.100.2"), ask("198.51.100.1")] == [200, 200, 429]
    assert ask("1.2.3.4, 198.51.100.2") == 429  # what the client itself put in front says nothing
    assert [ask("198.51.100.7", peer="203.0.113.1"), ask("198.51.100.8", peer="203.0.113.1")] == [200, 429]


def test_an_ipv6_client_is_all_of_its_network(public_desk, client, settings):
    settings.SURVEY_TASKS_PER_MINUTE = 1

    answers = [client.act("/create_task", REMOTE_ADDR=f"2001:db8::{n}").status_code for n in (1, 2)]

    assert answers == [200, 429]


def test_full_buckets_are_forgotten(public_desk, client):
    client.act("/create_task", REMOTE_ADDR="203.0.113.1")
    Allowance.objects.update(counted_at=Now() - timedelta(hours=2))

    client.act("/create_task", REMOTE_ADDR="203.0.113.2")

    assert list(Allowance.objects.values_list("client", flat=True)) == ["change 203.0.113.2"]


# --- elsewhere


def test_surveys_are_jobs_of_the_queue(as_ada, ada, engine):
    survey = measure(make_survey(ada, name="Quarry"))

    job = as_ada.get(f"/api/perspectives/batch/status/{survey.job.job_id}").json()

    assert (job["job"]["type"], job["job"]["status"], job["job"]["processedImages"]) == ("SURVEY", "completed", 5)
    assert job["result"]["summary"]["net_volume"] == -12733.0


def test_the_routes_are_described(client, db):
    schema = client.get("/api/schema", headers={"Accept": "application/json"}).json()

    assert {"/create_task", "/start_task/{task_id}", "/query_task/{task_id}"} <= set(schema["paths"])
    assert schema["paths"]["/create_task"]["post"]["security"]
