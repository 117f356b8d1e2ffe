"""Idempotency-Key on a POST that creates; the view here stands for any of them."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.db.models.functions import Now
from django.urls import path
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from jobs.models import Job
from orchestrator.idempotency import idempotent
from orchestrator.models import IdempotencyKey
from orchestrator.parsers import LenientJSONParser
from orchestrator.problems import Invalid
from tests.api.conftest import ApiClient
from tests.workbench.rows import make_job

entered = threading.Event()
go_on = threading.Event()


class Create(APIView):
    parser_classes = (LenientJSONParser, MultiPartParser)

    @idempotent
    def post(self, request: Request) -> Response:
        job = make_job(name=request.data.get("name", ""))
        if request.data.get("waits"):
            entered.set()
            assert go_on.wait(30)
        if request.data.get("refused"):
            raise Invalid("Not this one.")
        if request.data.get("crashes"):
            raise ZeroDivisionError
        return Response({"jobId": str(job.job_id)}, status=201, headers={"Location": f"/jobs/{job.job_id}"})


urlpatterns = [path("api/create", Create.as_view()), path("api/other", Create.as_view())]
pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]

KEY = {"Idempotency-Key": "key-1"}


def create(client: ApiClient, body: dict[str, Any] | None = None, key: str = "key-1", to: str = "/api/create") -> Any:
    return client.act(to, body or {}, headers={"Idempotency-Key": key})


def test_the_same_request_gets_the_first_answer(client):
    first = create(client, {"name": "a", "x": 1})
    again = create(client, {"x": 1, "name": "a"})

    assert first.status_code == again.status_code == 201
    assert first.json() == again.json()
    assert again.headers["Location"] == first.headers["Location"]
    assert again.headers["Idempotency-Replayed"] == "true"
    assert Job.objects.count() == 1


def test_another_body_is_a_conflict(client):
    create(client, {"name": "a"})

    response = create(client, {"name": "b"})

    assert response.status_code == 409
    assert response.json()["error_code"] == "key_reused"
    assert Job.objects.count() == 1


def test_another_query_is_another_request(client):
    create(client)

    assert create(client, to="/api/create?format=zip").status_code == 409


def test_without_a_key_every_request_creates(client):
    client.act("/api/create")
    client.act("/api/create")

    assert Job.objects.count() == 2


def test_keys_are_of_one_user_and_one_route(as_ada, as_bob):
    answers = [create(as_ada), create(as_bob), create(as_ada, to="/api/other")]

    assert len({answer.json()["jobId"] for answer in answers}) == 3


def test_a_refusal_is_not_remembered(client):
    assert create(client, {"refused": True}).status_code == 400
    assert Job.objects.count() == 0
    assert create(client).status_code == 201


def test_a_fault_loses_the_creation_and_the_key_together(client):
    assert create(client, {"crashes": True}).status_code == 500

    assert Job.objects.count() == 0
    assert IdempotencyKey.objects.count() == 0


def test_a_key_is_forgotten_after_a_day(client):
    first = create(client, {"name": "a"})
    IdempotencyKey.objects.update(created_at=Now() - timedelta(hours=24, seconds=1))

    later = create(client, {"name": "b"})

    assert later.status_code == 201
    assert later.json() != first.json()
    assert IdempotencyKey.objects.count() == 1


def test_keys_of_others_that_are_over_a_day_old_are_cleared_away(client):
    create(client, key="old")
    IdempotencyKey.objects.update(created_at=Now() - timedelta(hours=25))

    create(client, key="new")

    assert list(IdempotencyKey.objects.values_list("key", flat=True)) == ["new"]


@pytest.mark.parametrize("key", ["", "x" * 256, "ключ"])
def test_a_key_that_is_no_plain_text_is_refused(client, key):
    assert create(client, key=key).status_code == 400


def test_uploads_are_compared_by_their_bytes(client):
    def upload(content: bytes) -> Any:
        file = SimpleUploadedFile("a.jpg", content)
        return client.post("/api/create", {"name": "a", "file": file}, headers=KEY)

    first, same, other = upload(b"one"), upload(b"one"), upload(b"two")

    assert (first.status_code, same.status_code, other.status_code) == (201, 201, 409)
    assert first.json() == same.json()


@pytest.mark.django_db(transaction=True)
def test_of_two_at_once_one_creates_and_the_other_is_told_to_wait():
    entered.clear()
    go_on.clear()
    body = {"waits": True}
    answers: list[Any] = []

    def first() -> None:
        try:
            answers.append(create(ApiClient(), body))
        finally:
            connection.close()

    thread = threading.Thread(target=first)
    thread.start()
    try:
        assert entered.wait(30)
        second = create(ApiClient(), body)
    finally:
        go_on.set()
        thread.join(30)
    third = create(ApiClient(), body)

    assert second.status_code == 409
    assert second.json()["error_code"] == "still_in_progress"
    assert int(second.headers["Retry-After"]) >= 1
    assert answers[0].status_code == third.status_code == 201
    assert answers[0].json() == third.json()
    assert Job.objects.count() == 1
