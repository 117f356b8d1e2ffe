"""What each role may change over HTTP, and that no route was forgotten."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.contrib.auth.models import Group
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from rest_framework.views import APIView

from orchestrator import roles
from orchestrator.access import HasAccess
from tests.workbench.rows import make_job, make_staff, make_user

BATCH = "/api/perspectives/batch"
UNSAFE = {"post", "put", "patch", "delete"}


def client_of(user) -> Client:
    client = Client(headers={"Accept": "application/json"})
    client.force_login(user)
    return client


def views(resolver: URLResolver | None = None) -> Iterator[type[APIView]]:
    for pattern in (resolver or get_resolver()).url_patterns:
        if isinstance(pattern, URLResolver):
            yield from views(pattern)
        elif isinstance(pattern, URLPattern) and hasattr(pattern.callback, "cls"):
            yield pattern.callback.cls


def test_every_route_that_changes_something_says_what_it_takes():
    forgotten = {
        view.__name__
        for view in views()
        if any(issubclass(one, HasAccess) for one in view.permission_classes)
        and UNSAFE & set(vars(view))
        and not getattr(view, "needs", "")
    }
    assert forgotten == set()


@pytest.mark.django_db
def test_every_permission_that_a_route_takes_is_in_a_role():
    wanted = {view.needs for view in views() if getattr(view, "needs", "")}
    groups = Group.objects.filter(name="operator").prefetch_related("permissions__content_type")
    held = {f"{one.content_type.app_label}.{one.codename}" for one in groups.get().permissions.all()}

    assert wanted <= held


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("method", "path", "least"),
    [
        ("post", f"{BATCH}/analyze-images", "viewer"),
        ("post", f"{BATCH}/create", "curator"),
        ("post", f"{BATCH}/pause/{{job}}", "curator"),
        ("post", "/api/datasets", "curator"),
        ("post", "/api/captions/bulk", "curator"),
        ("post", "/api/perspectives", "curator"),
        ("post", f"{BATCH}/reorder", "operator"),
        ("post", f"{BATCH}/limits", "operator"),
        ("post", "/api/providers", "operator"),
    ],
)
def test_a_change_takes_a_role(closed_desk, method, path, least):
    path = path.format(job=make_job().job_id)
    order = [role.name for role in roles.ROLES]

    for role in roles.ROLES:
        answer = client_of(make_staff(role.name, role=role)).generic(
            method.upper(), path, "{}", content_type="application/json"
        )
        is_refused = answer.status_code == 403
        assert is_refused == (order.index(role.name) < order.index(least)), (role.name, answer.content)
        if is_refused:
            assert f"`{least}`" in answer.json()["detail"]


@pytest.mark.django_db
def test_a_viewer_sees_everybodys_work_and_a_stranger_none(closed_desk):
    job = make_job(by=make_user("ada"))
    address = f"{BATCH}/status/{job.job_id}"

    assert client_of(make_staff("vera", role=roles.VIEWER)).get(address).status_code == 200
    assert client_of(make_user("stranger")).get(address).status_code == 404
    assert Client().get(address).status_code == 401


@pytest.mark.django_db
def test_somebody_without_a_role_changes_what_is_their_own(closed_desk):
    ada = make_user("ada")
    job = make_job(by=ada)

    assert client_of(ada).post(f"{BATCH}/pause/{job.job_id}", content_type="application/json").status_code == 200
    assert (
        client_of(make_user("bob")).post(f"{BATCH}/pause/{job.job_id}", content_type="application/json").status_code
        == 404
    )


@pytest.mark.django_db
def test_staff_without_a_role_may_change_nothing(closed_desk):
    answer = client_of(make_user("new", is_staff=True)).post(f"{BATCH}/reorder", "{}", content_type="application/json")

    assert answer.status_code == 403
    assert answer.json()["error_code"] == "not_in_role"


@pytest.mark.django_db
def test_roles_are_put_right_by_the_next_migrate():
    Group.objects.get(name="viewer").permissions.clear()
    Group.objects.get(name="curator").delete()

    roles.write_down()

    looks = set(Group.objects.get(name="viewer").permissions.values_list("codename", flat=True))
    assert "view_job" in looks
    assert not any(codename.startswith(("add_", "change_", "delete_")) for codename in looks)
    assert Group.objects.get(name="curator").permissions.filter(codename="change_caption").exists()
