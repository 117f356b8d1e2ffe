"""Every GET answers with and without a trailing slash, under both prefixes, and to HEAD."""

import re

import pytest
from django.urls import URLPattern, URLResolver, get_resolver

from orchestrator.paths import canonical
from tests.workbench.rows import make_job

pytestmark = pytest.mark.django_db

EXAMPLES = {"name": "database"}


def api_routes() -> list[str]:
    """List the routes under /api of the apps that this part of the tests is about."""

    def walk(patterns, prefix):
        for pattern in patterns:
            route = prefix + str(pattern.pattern)
            if isinstance(pattern, URLResolver):
                yield from walk(pattern.url_patterns, route)
            elif isinstance(pattern, URLPattern) and route.startswith(("api/perspectives/batch/", "api/health")):
                yield route

    return sorted(set(walk(get_resolver().url_patterns, "")))


@pytest.mark.parametrize("route", api_routes())
def test_a_get_answers_both_slash_forms_both_prefixes_and_head(client, route):
    job = make_job(2)
    values = {"job_id": str(job.job_id), "item_id": str(job.items.first().pk), **EXAMPLES}
    path = "/" + re.sub(r"<(?:\w+:)?(\w+)>", lambda match: values[match[1]], route)

    plain = client.get(path)
    answers = [
        client.get(path + "/"),
        client.get(path.replace("/api/", "/api/v1/", 1)),
        client.head(path),
        client.head(path + "/"),
    ]

    assert plain.status_code in {200, 403, 405}
    assert {answer.status_code for answer in answers} == {plain.status_code}
    assert all(answer.content == b"" for answer in answers[2:])


@pytest.mark.parametrize(
    "path", ["/health", "/health/", "/health/db", "/openapi.json", "/docs", "/docs/", "/redoc", "/metrics", "/metrics/"]
)
def test_other_names_answer_without_a_redirect(client, path):
    assert client.get(path).status_code == 200
    assert client.head(path).status_code == 200


@pytest.mark.parametrize(
    ("asked", "routed"),
    [
        ("/", "/"),
        ("/queue/", "/queue"),
        ("/api/v1/perspectives/batch/list/", "/api/perspectives/batch/list"),
        ("/api/v1", "/api/v1"),
        ("/admin", "/admin/"),
        ("/admin/", "/admin/"),
        ("/admin/jobs/job/", "/admin/jobs/job/"),
        ("/static/", "/static/"),
        ("//", "/"),
    ],
)
def test_a_path_is_routed_by_one_form(asked, routed):
    assert canonical(asked) == routed


def test_a_post_with_a_slash_keeps_its_body(client):
    response = client.post("/api/v1/perspectives/batch/reorder/", {"jobIds": []}, content_type="application/json")

    assert response.status_code == 400
    assert "jobIds" in response.json()["errors"]
