from uuid import uuid4

import pytest
from django.db.models.functions import Now

from orchestrator import roles
from orchestrator.access import make_token
from orchestrator.problems import Forbidden, Invalid, Unauthenticated
from tests.workbench.rows import make_user
from uploads import rows
from uploads.admission import authorize, base_of
from uploads.concatenation import plan
from uploads.holds import UploadMissing
from uploads.models import Upload
from uploads.protocol import Headers

pytestmark = pytest.mark.django_db
BASE = "http://127.0.0.1:1080"


def said(**headers: str) -> Headers:
    return Headers([(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()])


def test_token_mode_asks_for_a_token_of_scope_user(settings):
    settings.API_ACCESS = "token"
    ada = make_user()
    _, good = make_token(ada, name="phone", scopes=["user"])
    _, worker = make_token(ada, name="worker", scopes=["service"])

    assert authorize(said(Authorization=f"Bearer {good}"), BASE) == ada
    for headers, refusal in (
        (said(), Unauthenticated),
        (said(Authorization="Bearer desk_unknown"), Unauthenticated),
        (said(Authorization=f"Bearer {worker}"), Forbidden),
    ):
        with pytest.raises(refusal):
            authorize(headers, BASE)


@pytest.mark.parametrize("api_access", ["token", "open"])
@pytest.mark.parametrize("role", roles.ROLES, ids=lambda role: role.name)
def test_only_a_role_that_may_add_uploads_creates_any(settings, role, api_access):
    settings.API_ACCESS = api_access
    roles.write_down()
    user = make_user()
    roles.give(user, role)
    _, text = make_token(user, name="phone", scopes=["user"])

    if role is roles.VIEWER:
        with pytest.raises(roles.NotInRole, match="curator"):
            authorize(said(Authorization=f"Bearer {text}"), BASE)
    else:
        assert authorize(said(Authorization=f"Bearer {text}"), BASE) == user


def test_open_mode_takes_own_pages_and_programs_and_nobody_else(settings):
    settings.API_ACCESS, settings.PORT, settings.ALLOWED_HOSTS = "open", 8000, ["127.0.0.1"]

    assert authorize(said(), BASE).username == "local"
    assert authorize(said(Origin="http://127.0.0.1:8000"), BASE).username == "local"
    with pytest.raises(Forbidden):
        authorize(said(Origin="https://elsewhere.example"), BASE)
    with pytest.raises(Invalid):
        authorize(said(), "http://rebound.example:1080")


@pytest.mark.parametrize(
    ("configured", "headers", "base"),
    [
        ({}, {"Host": "10.0.0.5:1080"}, "http://10.0.0.5:1080"),
        ({"TUS_ENDPOINT": "https://tus.example/files"}, {"Host": "10.0.0.5"}, "https://tus.example"),
        ({"PUBLIC_URL": "https://desk.example"}, {"Host": "10.0.0.5"}, "https://desk.example"),
        ({"TRUSTED_PROXIES": ["10.0.0.1"]}, {"Host": "a.example", "X-Forwarded-Proto": "https"}, "https://a.example"),
        ({}, {"Host": "a.example", "X-Forwarded-Proto": "https"}, "http://a.example"),
    ],
)
def test_addresses_begin_where_the_client_is(settings, configured, headers, base):
    for name, value in configured.items():
        setattr(settings, name, value)

    assert base_of({"scheme": "http"}, Headers([(n.encode(), v.encode()) for n, v in headers.items()])) == base


def create(owner, length, concat=""):
    return rows.create(owner=owner, length=length, metadata_header="", concat=concat, slot=None)


def test_one_user_cannot_fill_the_disk_and_others_are_not_touched_by_it(settings):
    settings.UPLOAD_QUOTA_BYTES = 1000
    ada, bob = make_user(), make_user("bob")
    create(ada, 700)

    with pytest.raises(rows.QuotaReached) as refusal:
        create(ada, 400)
    assert refusal.value.status == 413
    create(ada, 300)
    create(bob, 1000)


def test_what_has_expired_does_not_count(settings):
    settings.UPLOAD_QUOTA_BYTES = 1000
    ada = make_user()
    create(ada, 1000)
    Upload.objects.update(expires_at=Now())

    create(ada, 1000)


def test_what_is_put_together_counts_as_often_as_its_parts_are_named(settings):
    settings.UPLOAD_QUOTA_BYTES = 350
    ada = make_user()
    part = create(ada, 100, concat="partial")
    Upload.objects.update(offset=100, sha256="0" * 64, finished_at=Now())

    plan([part.pk] * 2, owner=ada, concat="final;", metadata_header="")
    with pytest.raises(rows.QuotaReached):
        plan([part.pk], owner=ada, concat="final;", metadata_header="")


def test_an_address_of_nothing_is_missing():
    with pytest.raises(UploadMissing):
        rows.living(uuid4())
