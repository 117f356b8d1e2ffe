"""How refusals and faults look to clients."""

import json
import logging
from datetime import datetime

import pytest
from django.db import OperationalError

from jobs import statistics
from tests.workbench.rows import make_job

pytestmark = pytest.mark.django_db

BATCH = "/api/perspectives/batch"
MEMBERS = {"type", "title", "status", "detail", "instance", "request_id", "error", "error_code", "timestamp"}


def test_a_problem_has_every_member(client):
    response = client.get(f"{BATCH}/list?limit=0")

    problem = response.json()
    assert response.headers["Content-Type"] == "application/problem+json"
    assert set(problem) == MEMBERS | {"errors"}
    assert problem["type"] == "/problems/invalid"
    assert problem["title"] == "Invalid input"
    assert problem["status"] == response.status_code == 400
    assert problem["error"] == problem["detail"]
    assert problem["error_code"] == "invalid"
    assert problem["instance"] == f"{BATCH}/list"
    assert problem["request_id"] == response.headers["X-Request-ID"]
    assert datetime.fromisoformat(problem["timestamp"]).tzinfo is not None
    assert list(problem["errors"]) == ["limit"]


@pytest.mark.parametrize("path", ["/api/nothing", "/api/perspectives/batch/status/not-a-uuid", "/nothing"])
def test_unknown_routes_are_problems(client, path):
    response = client.get(path)

    assert response.status_code == 404
    assert response.headers["Content-Type"] == "application/problem+json"


def test_people_get_a_page_and_programs_a_problem(client):
    page = client.get("/nothing", headers={"Accept": "text/html"})
    under_api = client.get("/api/nothing", headers={"Accept": "text/html"})

    assert page.status_code == under_api.status_code == 404
    assert page.headers["Content-Type"].startswith("text/html")
    assert page.headers["X-Request-ID"]
    assert under_api.headers["Content-Type"] == "application/problem+json"


def test_a_wrong_method_names_the_right_one(client):
    response = client.delete(f"{BATCH}/list")

    assert response.status_code == 405
    assert "GET" in response.headers["Allow"]
    assert response.json()["error_code"] == "method_not_allowed"


def test_a_fault_is_logged_with_its_request_and_shows_no_trace(client, monkeypatch, caplog):
    def fail(*args, **kwargs):
        raise ZeroDivisionError("the secret inside")

    monkeypatch.setattr(statistics, "of_jobs_visible_to", fail)
    with caplog.at_level(logging.ERROR):
        response = client.get(f"{BATCH}/statistics", headers={"X-Request-ID": "my-request-1"})

    assert response.status_code == 500
    assert response.json()["request_id"] == "my-request-1"
    assert "secret inside" not in response.content.decode()
    assert "ZeroDivisionError" not in response.content.decode()
    faults = [record for record in caplog.records if record.exc_info]
    assert len(faults) == 1
    assert faults[0].exc_info[0] is ZeroDivisionError


def test_a_database_that_is_away_is_a_503_to_try_again(client, monkeypatch):
    def fail(*args, **kwargs):
        raise OperationalError("connection refused")

    monkeypatch.setattr(statistics, "of_jobs_visible_to", fail)
    response = client.get(f"{BATCH}/statistics")

    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) > 0
    assert "refused" not in response.json()["detail"]


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[1]",
        b'"text"',
        b"null",
        b'{"jobIds": NaN}',
        b'{"priority": 1e999}',
        b'{"jobId": "\\u0000"}',
        b'{"jobId": "\\ud800"}',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"a":' * 100 + b"1" + b"}" * 100,
        b'{"priority": ' + b"9" * 5000 + b"}",
    ],
    ids=["cut", "list", "text", "null", "nan", "infinite", "nul", "surrogate", "bytes", "deep", "nested", "digits"],
)
def test_a_body_that_is_no_usable_object_is_invalid(client, body):
    response = client.post(f"{BATCH}/reorder", body, content_type="application/json")

    assert response.status_code == 400
    assert response.json()["error_code"] == "invalid"


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "application/x-www-form-urlencoded", ""])
def test_an_action_needs_neither_body_nor_content_type(client, content_type):
    job = make_job()

    response = client.generic("POST", f"{BATCH}/pause/{job.job_id}", b"", content_type=content_type)

    assert response.status_code == 200


def test_a_body_of_another_type_is_unsupported(client):
    response = client.post(f"{BATCH}/reorder", b"<a/>", content_type="application/xml")

    assert response.status_code == 415


def test_a_body_beyond_the_limit_is_too_large(client, settings):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 100

    response = client.post(f"{BATCH}/reorder", json.dumps({"x": "y" * 200}), content_type="application/json")

    assert response.status_code == 413


def test_nested_messages_name_the_field_with_its_path():
    from orchestrator.problems import flatten

    assert flatten({"options": {"top_p": ["too high"]}, "images": [{}, {"path": ["missing"]}]}) == {
        "options.top_p": ["too high"],
        "images.1.path": ["missing"],
    }
    assert flatten({"non_field_errors": ["empty"]}) == {"body": ["empty"]}


@pytest.mark.parametrize("given", ["abcdefgh", "A.b_c-1234", "x" * 64])
def test_a_safe_request_id_is_kept(client, given):
    assert client.get("/api/health/live", headers={"X-Request-ID": given}).headers["X-Request-ID"] == given


@pytest.mark.parametrize("given", ["short", "x" * 65, "with spaces in it", "new\tline-1234"])
def test_an_unsafe_request_id_is_replaced(client, given):
    answered = client.get("/api/health/live", headers={"X-Request-ID": given}).headers["X-Request-ID"]

    assert answered != given
    assert len(answered) >= 8
