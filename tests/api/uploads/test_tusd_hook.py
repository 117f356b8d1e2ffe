"""The hook of a foreign tusd, with bodies as its documentation shows them."""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db.models.functions import Now
from werkzeug import Response

from orchestrator import roles
from orchestrator.access import make_token
from tests.workbench.rows import make_user
from tests.workbench.tusd import hook_body
from uploads import intake, storage, tusd
from uploads.holds import UploadBusy, UploadMissing
from uploads.models import Upload
from uploads.signals import upload_finished
from uploads.sweeping import sweep

pytestmark = pytest.mark.django_db

SECRET = "a secret of the hook"
BASIC = {"Authorization": f"Basic {base64.b64encode(f'tusd:{SECRET}'.encode()).decode()}"}
CONTENT = b"forty-two bytes of a cloud of points......"


@pytest.fixture(autouse=True)
def _tusd_in_front(closed_desk, settings, tmp_path):
    settings.TUS_SERVER, settings.TUS_ENDPOINT = "tusd", "http://tus.example:1080/files"
    settings.TUSD_HOOK_SECRET, settings.MEDIA_ROOT = SECRET, tmp_path / "media"


@pytest.fixture
def finished():
    """Collect what is announced as finished."""
    heard: list[Upload] = []

    def hear(sender: type[Upload], upload: Upload, **_: object) -> None:
        heard.append(upload)

    upload_finished.connect(hear)
    yield heard
    upload_finished.disconnect(hear)


def make_slot(**columns: Any) -> Upload:
    return intake.new_upload(**{"label": "pre", "is_slot": True, "max_size": 1000} | columns)


def place_of(upload: Upload, settings: Any) -> Path:
    place = Path(settings.MEDIA_ROOT) / "tusd" / str(upload.pk)
    place.parent.mkdir(parents=True, exist_ok=True)
    return place


def bring(upload: Upload, settings: Any, content: bytes = CONTENT, *, size: int | None = len(CONTENT)) -> None:
    """Do what tusd does with its files while bytes come."""
    place = place_of(upload, settings)
    place.write_bytes(content)
    notes = {"ID": str(upload.pk), "Size": size or 0, "SizeIsDeferred": size is None, "Offset": 0, "MetaData": {}}
    place.with_name(f"{place.name}.info").write_text(json.dumps(notes))


def tell(client: Any, kind: str, upload: dict[str, Any], request: dict[str, Any] | None = None, **extra: Any) -> Any:
    return client.act("/tusd_hook", hook_body(kind, upload, request), headers=BASIC, **extra)


def finish_of(upload: Upload, **changes: Any) -> dict[str, Any]:
    storage = {"Type": "filestore", "Path": f"/srv/tusd/{upload.pk}", "InfoPath": f"/srv/tusd/{upload.pk}.info"}
    return {"ID": str(upload.pk), "Size": len(CONTENT), "Offset": len(CONTENT), "Storage": storage} | changes


# --- who may ask


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Basic",
        "Basic !!!",
        f"Basic {base64.b64encode(b'tusd:wrong').decode()}",
        f"Basic {base64.b64encode(SECRET.encode()).decode()}",
        "Bearer wrong",
        "Bearer ",
    ],
)
def test_whoever_does_not_know_the_secret_is_refused(client, settings, finished, authorization):
    slot = make_slot()
    bring(slot, settings)

    answer = client.act(
        "/tusd_hook", hook_body("post-finish", finish_of(slot)), headers={"Authorization": authorization}
    )

    assert answer.status_code == 401
    assert finished == []


def test_a_proxy_may_say_the_secret_as_a_bearer(client):
    answer = client.act(
        "/tusd_hook/", hook_body("post-create", {"ID": "x"}), headers={"Authorization": f"Bearer {SECRET}"}
    )

    assert (answer.status_code, answer.json()) == (200, {})


def test_no_secret_at_the_desk_is_no_way_in(client, settings):
    settings.TUSD_HOOK_SECRET = None

    assert client.act("/tusd_hook", hook_body("post-create", {})).status_code == 401
    assert tell(client, "post-create", {}).status_code == 401


def test_there_is_no_hook_without_a_tusd(client, settings):
    settings.TUS_SERVER = "built-in"

    assert tell(client, "post-create", {}).status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"Type": "post-finish"},
        {"Type": "post-finish", "Event": {"Upload": {}}},
        {"Type": 1, "Event": {"Upload": {}, "HTTPRequest": {"Header": {}}}},
        {"Type": "pre-create", "Event": {"Upload": {"Size": -1}, "HTTPRequest": {"Header": {}}}},
        {"Upload": {"ID": "1"}, "HTTPRequest": {"Method": "POST"}},  # as tusd 1 said it
    ],
)
def test_a_body_that_is_no_hook_is_400(client, body):
    assert client.act("/tusd_hook", body, headers=BASIC).status_code == 400


def test_the_hook_is_a_post(client):
    assert client.get("/tusd_hook", headers=BASIC).status_code == 405


# --- creation


def asked_by(token: str | None = None, **header: str) -> dict[str, Any]:
    said = {"Tus-Resumable": "1.0.0"} | header | ({"Authorization": f"Bearer {token}"} if token else {})
    return {"Header": {name: [value] for name, value in said.items()}}


def test_a_place_that_the_desk_asks_for_gets_its_own_id_and_forgets_the_proof(client, settings, httpserver):
    slot = make_slot()
    settings.TUS_ENDPOINT = httpserver.url_for("/files")
    created = {"Location": f"{settings.TUS_ENDPOINT}/{slot.pk}+2~multipart"}
    deferred = {"Upload-Defer-Length": "1"}
    httpserver.expect_request("/files/", "POST", headers=deferred).respond_with_data(status=201, headers=created)
    tusd.create(slot)
    name, _, value = httpserver.log[0][0].headers["Upload-Metadata"].partition(" ")
    proof = {name: base64.b64decode(value).decode()}

    answer = tell(client, "pre-create", {"SizeIsDeferred": True, "MetaData": proof}, asked_by())

    assert answer.json() == {"ChangeFileInfo": {"ID": str(slot.pk), "MetaData": {}}}
    slot.refresh_from_db()
    assert intake.address_of(slot, None) == created["Location"]


def test_somebody_with_a_token_creates_an_upload_of_their_own(client):
    ada = make_user()
    _, token = make_token(ada, name="phone", scopes=["user"])

    answer = tell(client, "pre-create", {"Size": 900}, asked_by(token, **{"Upload-Metadata": "filename cHJlLmxheg=="}))

    upload = Upload.objects.get()
    assert answer.json() == {"ChangeFileInfo": {"ID": str(upload.pk)}}
    assert (upload.owner, upload.length, upload.filename, upload.is_slot) == (ada, 900, "pre.laz", False)
    assert upload.key == f"tusd/{upload.pk}"


@pytest.mark.parametrize(
    ("metadata", "size", "status"),
    [
        ({}, 900, 401),
        ({"slot": "3f0c8e5c-0000-4000-8000-000000000000"}, 900, 401),  # an id is no proof
        ({}, 10**15, 413),
    ],
)
def test_creation_is_refused_in_the_words_that_tusd_shall_answer(client, metadata, size, status):
    _, token = make_token(make_user(), name="phone", scopes=["user"])
    request = asked_by(token if status == 413 else None)

    answer = tell(client, "pre-create", {"Size": size, "MetaData": metadata}, request).json()

    assert answer["RejectUpload"] is True
    assert answer["HTTPResponse"]["StatusCode"] == json.loads(answer["HTTPResponse"]["Body"])["status"] == status
    assert answer["HTTPResponse"]["Header"]["Content-Type"] == "application/problem+json"
    assert not Upload.objects.exists()


def test_a_viewer_creates_none(client):
    roles.write_down()
    viewer = make_user()
    roles.give(viewer, roles.VIEWER)
    _, token = make_token(viewer, name="phone", scopes=["user"])

    answer = tell(client, "pre-create", {"Size": 900}, asked_by(token)).json()

    assert answer["HTTPResponse"]["StatusCode"] == 403


# --- arrival


def test_a_finished_file_is_taken_over_where_it_lies_and_told_once(client, settings, finished):
    slot = make_slot()
    bring(slot, settings)

    answers = [tell(client, "post-finish", finish_of(slot)) for _ in range(3)]

    assert [(answer.status_code, answer.json()) for answer in answers] == [(200, {})] * 3
    slot.refresh_from_db()
    assert [upload.pk for upload in finished] == [slot.pk]
    assert (slot.length, slot.sha256, slot.expires_at) == (len(CONTENT), hashlib.sha256(CONTENT).hexdigest(), None)
    with intake.open_finished(slot) as file:
        assert file.read() == CONTENT


def test_on_s3_tusd_adds_to_the_id(client, settings, finished):
    slot = make_slot()
    bring(slot, settings)

    assert tell(client, "post-finish", finish_of(slot, ID=f"{slot.pk}+2~multipart")).status_code == 200
    assert [upload.pk for upload in finished] == [slot.pk]


@pytest.mark.parametrize("content", [None, CONTENT[:-1], CONTENT + b"!"])
def test_a_file_that_our_store_does_not_have_so_is_no_finished_one(client, settings, finished, content):
    slot = make_slot()
    if content is not None:
        bring(slot, settings, content)

    answer = tell(client, "post-finish", finish_of(slot))

    assert (answer.status_code, answer.json()["error_code"]) == (409, "store_not_shared")
    assert finished == []


def test_where_tusd_says_that_the_file_lies_is_not_looked_at(client, settings, finished, tmp_path):
    slot = make_slot()
    (tmp_path / "passwords").write_bytes(CONTENT)
    elsewhere = {"Type": "filestore", "Path": str(tmp_path / "passwords")}

    assert tell(client, "post-finish", finish_of(slot, Storage=elsewhere)).status_code == 409
    assert finished == []


@pytest.mark.parametrize("name", ["3f0c8e5c-0000-4000-8000-000000000000", "../../etc/passwd", "", "x+y"])
def test_an_unknown_upload_is_refused(client, finished, name):
    answer = tell(client, "post-finish", {"ID": name, "Size": 1, "Offset": 1})

    assert (answer.status_code, answer.json()["error_code"]) == (404, "upload_missing")


def test_an_upload_of_our_own_service_is_none_of_tusds(client, settings, finished):
    settings.TUS_SERVER = "built-in"
    upload = intake.new_upload(max_size=100)
    settings.TUS_SERVER = "tusd"

    for kind in ("post-finish", "post-terminate"):
        assert tell(client, kind, {"ID": str(upload.pk), "Size": 1, "Offset": 1}).status_code == 404


def test_one_that_has_expired_stays_gone(client, settings, finished):
    slot = make_slot()
    Upload.objects.update(expires_at=Now() - timedelta(seconds=1))
    bring(slot, settings)

    assert tell(client, "post-finish", finish_of(slot)).status_code == 410
    assert finished == []


def test_more_than_allowed_is_refused(client, settings, finished):
    slot = make_slot(max_size=10)
    bring(slot, settings)

    assert tell(client, "post-finish", finish_of(slot)).status_code == 413
    assert finished == []


def test_bytes_on_their_way_keep_the_place(client, settings):
    slot = make_slot(expires_at=Now() + timedelta(seconds=5))
    before = Upload.objects.get().expires_at

    assert tell(client, "post-receive", {"ID": str(slot.pk), "Size": 100, "Offset": 10}).json() == {}

    assert Upload.objects.get().expires_at > before + timedelta(hours=1)


# --- hooks that never came


def test_the_sweep_finds_a_file_whose_hook_was_lost(settings, finished):
    complete, coming, deferred = make_slot(), make_slot(), make_slot()
    bring(complete, settings)
    bring(coming, settings, CONTENT[:10])
    bring(deferred, settings, size=None)

    sweep()
    sweep()

    assert [upload.pk for upload in finished] == [complete.pk]


def test_a_slot_that_is_closed_takes_what_is_complete(settings, finished):
    complete, coming = make_slot(), make_slot()
    bring(complete, settings)
    bring(coming, settings, CONTENT[:10])

    assert intake.close_slot(complete)
    assert not intake.close_slot(coming)
    assert [upload.pk for upload in finished] == [complete.pk]


# --- a length that no client says


def test_a_slot_without_a_length_is_closed_as_a_client_would(settings, finished, httpserver):
    slot = make_slot()
    bring(slot, settings, size=None)
    settings.TUS_ENDPOINT = httpserver.url_for("/files")
    address, said = f"/files/{slot.pk}", {"Upload-Offset": str(len(CONTENT)), "Upload-Length": str(len(CONTENT))}
    httpserver.expect_ordered_request(address, "HEAD").respond_with_data(headers={"Upload-Offset": str(len(CONTENT))})

    def declare(request: Any) -> Response:
        bring(slot, settings)
        return Response(status=204)

    httpserver.expect_ordered_request(address, "PATCH", headers=said, data=b"").respond_with_handler(declare)

    assert intake.close_slot(slot)
    httpserver.check()
    assert [upload.sha256 for upload in finished] == [hashlib.sha256(CONTENT).hexdigest()]


@pytest.mark.parametrize(
    ("head", "patch", "error"),
    [(404, 500, UploadMissing), (500, 204, tusd.TusdUnavailable), (200, 409, UploadBusy), (200, 423, UploadBusy)],
)
def test_a_slot_that_tusd_does_not_close_stays_as_it_is(settings, finished, httpserver, head, patch, error):
    slot = make_slot()
    bring(slot, settings, size=None)
    settings.TUS_ENDPOINT = httpserver.url_for("/files")
    address, standing = f"/files/{slot.pk}", {"Upload-Offset": "9"}
    httpserver.expect_request(address, "HEAD").respond_with_data(status=head, headers=standing)
    httpserver.expect_request(address, "PATCH").respond_with_data(status=patch)

    with pytest.raises(error):
        intake.close_slot(slot)

    assert finished == []


def test_a_slot_without_a_byte_stays_open(settings, finished, httpserver):
    slot = make_slot()
    bring(slot, settings, b"", size=None)
    settings.TUS_ENDPOINT = httpserver.url_for("/files")
    httpserver.expect_oneshot_request(f"/files/{slot.pk}", "HEAD").respond_with_data(headers={"Upload-Offset": "0"})

    assert not intake.close_slot(slot)
    httpserver.check()


# --- the end


def test_a_terminated_upload_is_gone(client, settings):
    slot, other = make_slot(), make_slot(is_slot=False)

    for upload in (slot, other):
        assert tell(client, "pre-terminate", {"ID": str(upload.pk)}).json() == {}
        for _ in range(2 if upload is slot else 1):
            assert tell(client, "post-terminate", {"ID": str(upload.pk)}).status_code == 200

    assert Upload.objects.get().removed_at is not None


def test_a_file_that_an_app_has_taken_over_cannot_be_withdrawn(client, settings):
    slot = make_slot()
    bring(slot, settings)
    tell(client, "post-finish", finish_of(slot))

    answer = tell(client, "pre-terminate", {"ID": str(slot.pk)}).json()

    assert (answer["RejectTermination"], answer["HTTPResponse"]["StatusCode"]) == (True, 403)


@pytest.mark.parametrize("way", ["discard", "expire"])
def test_nothing_of_it_stays_in_the_store(client, settings, way):
    slot = make_slot()
    bring(slot, settings, CONTENT[:10])

    if way == "discard":
        intake.discard(slot)
    else:
        Upload.objects.update(expires_at=Now() - timedelta(seconds=1))
        sweep()

    assert [path for path in Path(settings.MEDIA_ROOT).rglob("*") if path.is_file()] == []
    assert not storage.exists(slot.key)
