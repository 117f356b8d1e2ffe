"""The description of the API and the pages that show it"""

import re

import pytest
from django.core.management import call_command

pytestmark = pytest.mark.django_db

SCHEMA_PATHS = ["/api/schema", "/openapi.json", "/api/schema/"]


@pytest.mark.parametrize("path", SCHEMA_PATHS)
def test_the_description_is_openapi_3_1_in_json(client, closed_desk, path):
    response = client.get(path)

    assert response.headers["Content-Type"].startswith("application/json")
    assert response.json()["openapi"].startswith("3.1")
    assert "/api/perspectives/batch/list" in response.json()["paths"]


def test_the_description_is_valid_and_complete(capsys):
    call_command("spectacular", validate=True, fail_on_warn=True)

    assert "openapi: 3.1" in capsys.readouterr().out


def test_every_operation_describes_its_refusals(client):
    paths = client.get("/api/schema").json()["paths"]

    for path, operations in paths.items():
        for method, operation in operations.items():
            refusal = operation["responses"]["400"]["content"]
            assert list(refusal) == ["application/problem+json"], (method, path)


def test_operations_have_names_of_their_own(client):
    paths = client.get("/api/schema").json()["paths"]
    names = [operation["operationId"] for operations in paths.values() for operation in operations.values()]

    assert len(names) == len(set(names))


@pytest.mark.parametrize("path", ["/api/docs", "/docs", "/api/redoc", "/redoc"])
def test_pages_load_nothing_from_elsewhere_and_run_nothing_inline(client, path):
    response = client.get(path)

    page = response.content.decode()
    assert response.status_code == 200
    assert not re.search(r"""(?:src|href)=["'](?:https?:)?//""", page)
    assert not re.search(r"<script(?![^>]*\bsrc=)", page)
    script_sources = re.search(r"script-src ([^;]*)", response.headers["Content-Security-Policy"])[1]
    assert script_sources == "'self'"


def test_what_the_pages_load_is_there(client):
    page = client.get("/api/docs").content.decode()

    sources = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(sources) >= 5
    for source in sources:
        assert client.get(source.replace("&amp;", "&")).status_code == 200, source
