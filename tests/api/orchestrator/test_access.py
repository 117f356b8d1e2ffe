"""Who gets in, and as whom."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db.models.functions import Now

from orchestrator.access import make_token, token_of
from orchestrator.models import ApiToken
from tests.api.conftest import ApiClient
from tests.workbench.rows import make_job, make_user

pytestmark = pytest.mark.django_db

LIST = "/api/perspectives/batch/list"
LIMITS = "/api/perspectives/batch/limits"
REORDER = "/api/perspectives/batch/reorder"


def test_open_mode_acts_as_the_local_user(client):
    job = make_job(by=None)

    response = client.act(f"/api/perspectives/batch/cancel/{job.job_id}")

    assert response.status_code == 200
    local = User.objects.get(username="local")
    assert local.is_staff
    assert not local.has_usable_password()
    assert job.events.get(type="JOB_CANCELLED").user == local


def test_open_mode_lets_a_login_act_as_itself(client, ada):
    make_job(by=None)
    client.force_login(ada)

    assert client.get(LIST).json()["jobs"] == []


def test_open_mode_opens_the_admin(client):
    assert client.get("/admin/").status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://testserver", "http://testserver.evil"])
def test_open_mode_refuses_changes_from_pages_of_other_sites(client, origin):
    response = client.act(REORDER, headers={"Origin": origin})

    assert response.status_code == 403
    assert response.json()["error_code"] == "foreign_origin"


def test_open_mode_refuses_a_cross_site_request_without_origin(client):
    assert client.act(REORDER, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403


def test_open_mode_takes_changes_from_its_own_pages(client):
    assert client.act(REORDER, headers={"Origin": "http://testserver"}).status_code == 400


def test_reading_from_another_site_gets_no_permission_to_read_the_answer(client):
    response = client.get(LIST, headers={"Origin": "http://evil.example"})

    assert "Access-Control-Allow-Origin" not in response.headers


def test_an_unknown_host_is_refused(client):
    assert client.get(LIST, headers={"Host": "evil.example"}).status_code == 400


def test_token_mode_refuses_strangers(client, closed_desk):
    response = client.get(LIST)

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


def test_token_mode_takes_a_bearer_token(as_ada):
    assert as_ada.get(LIST).status_code == 200


def test_token_mode_takes_a_login(client, closed_desk, ada):
    client.force_login(ada)

    assert client.get(LIST).status_code == 200


def test_a_login_needs_its_csrf_token_for_changes(closed_desk, ada):
    client = ApiClient(enforce_csrf_checks=True)
    client.force_login(ada)

    response = client.act(REORDER)

    assert response.status_code == 403
    assert "CSRF" in response.json()["detail"]


def test_a_bearer_token_needs_no_csrf_token(closed_desk, ada):
    _, text = make_token(ada, name="program", scopes=["user"])

    response = ApiClient(enforce_csrf_checks=True).act(REORDER, headers={"Authorization": f"Bearer {text}"})

    assert response.status_code == 400


@pytest.mark.parametrize(
    "spoil",
    [
        {"revoked_at": Now()},
        {"expires_at": Now() - timedelta(seconds=1)},
        {"digest": "0" * 64},
    ],
    ids=["revoked", "expired", "unknown"],
)
def test_a_token_that_does_not_live_is_refused(as_ada, spoil):
    ApiToken.objects.update(**spoil)

    assert as_ada.get(LIST).status_code == 401


def test_a_token_of_a_deactivated_user_is_refused(as_ada, ada):
    ada.is_active = False
    ada.save(update_fields=["is_active"])

    assert as_ada.get(LIST).status_code == 401


def test_a_bad_token_is_refused_in_open_mode_too(client):
    assert client.get(LIST, headers={"Authorization": "Bearer nonsense"}).status_code == 401


def test_a_token_is_stored_as_a_hash_only(ada):
    token, text = make_token(ada, name="program", scopes=["user"])

    assert text not in str(ApiToken.objects.values().get(pk=token.pk))
    assert text.startswith(token.prefix)


def test_the_use_of_a_token_is_noted_at_most_once_a_minute(ada):
    token, text = make_token(ada, name="program", scopes=["user"])
    token_of(text)
    first = ApiToken.objects.get(pk=token.pk).last_used_at

    token_of(text)
    soon = ApiToken.objects.get(pk=token.pk).last_used_at
    ApiToken.objects.update(last_used_at=Now() - timedelta(seconds=61))
    token_of(text)
    later = ApiToken.objects.get(pk=token.pk).last_used_at

    assert first is not None
    assert soon == first
    assert later >= first


def test_a_service_token_is_no_user(as_worker):
    response = as_worker.get(LIST)

    assert response.status_code == 403
    assert "user" in response.json()["detail"]


def test_a_user_token_is_no_worker(as_ada):
    assert as_ada.act("/api/perspectives/batch/items/claim").status_code == 403


def test_open_mode_grants_no_service_scope(client):
    assert client.act("/api/perspectives/batch/items/claim").status_code == 403


def test_a_token_with_both_scopes_may_do_both(closed_desk, ada, bearer):
    client = bearer(ada, "user", "service")

    assert client.get(LIST).status_code == 200
    assert client.act("/api/perspectives/batch/items/claim").status_code == 400


def test_limits_are_read_by_all_and_changed_by_staff(as_ada, as_staff):
    change = {"paused": True}

    assert as_ada.get(LIMITS).status_code == 200
    assert as_ada.act(LIMITS, change).status_code == 403
    assert as_staff.act(LIMITS, change).status_code == 200


def test_first_operator_prints_a_password_that_works(client, closed_desk, capsys):
    call_command("first_operator")

    lines = dict(line.split("=", 1) for line in capsys.readouterr().out.splitlines())
    assert lines["operator"] == "operator"
    assert client.login(username=lines["operator"], password=lines["password"])
    assert User.objects.get(username="operator").is_superuser


def test_first_operator_says_nothing_the_second_time(capsys):
    call_command("first_operator")
    capsys.readouterr()

    call_command("first_operator")

    assert capsys.readouterr().out == ""


def test_first_operator_does_not_count_the_local_user(client, capsys):
    client.get(LIST)

    call_command("first_operator")

    assert "password=" in capsys.readouterr().out


def test_first_operator_leaves_a_person_of_that_name_alone(capsys):
    person = make_user("operator")

    call_command("first_operator")

    person.refresh_from_db()
    assert not person.is_superuser
    assert "operator=operator2" in capsys.readouterr().out


def test_make_token_prints_a_token_that_works(client, closed_desk, ada, capsys):
    call_command("make_token", user="ada", name="laptop", days=2)

    text = capsys.readouterr().out.strip()
    assert client.get(LIST, headers={"Authorization": f"Bearer {text}"}).status_code == 200
    token = ApiToken.objects.get()
    assert token.scopes == ["user"]
    assert timedelta(days=1, hours=23) < token.expires_at - token.created_at < timedelta(days=2, minutes=1)


def test_make_token_takes_several_scopes(ada, capsys):
    call_command("make_token", user="ada", name="box", scope=["service", "user"])

    assert ApiToken.objects.get().scopes == ["service", "user"]


def test_make_token_refuses_an_unknown_user():
    with pytest.raises(CommandError, match="nobody"):
        call_command("make_token", user="nobody", name="x")
