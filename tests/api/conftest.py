"""People and programs that talk to the desk."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from orchestrator.access import make_token
from tests.workbench.rows import make_staff, make_user


class ApiClient(Client):
    """A program that speaks JSON; a POST without a body really has none."""

    def act(self, path: str, body: dict[str, Any] | None = None, **extra: Any) -> Any:
        """POST a JSON object, or nothing at all."""
        if body is None:
            return self.generic("POST", path, b"", content_type="", **extra)
        return self.post(path, body, content_type="application/json", **extra)


ClientOf = Callable[..., ApiClient]


@pytest.fixture
def client() -> ApiClient:
    return ApiClient()


@pytest.fixture
def closed_desk(settings: Any) -> None:
    """A desk that others can reach: nobody gets in without a login or a token."""
    settings.API_ACCESS = "token"


@pytest.fixture
def ada(db: None) -> User:
    return make_user("ada")


@pytest.fixture
def bob(db: None) -> User:
    return make_user("bob")


@pytest.fixture
def staff(db: None) -> User:
    return make_staff("grace")


@pytest.fixture
def bearer() -> ClientOf:
    """Make a client that sends a new token of a user."""

    def client(user: User, *scopes: str, lifetime: timedelta | None = None) -> ApiClient:
        _, text = make_token(user, name="test", scopes=list(scopes or ["user"]), lifetime=lifetime)
        return ApiClient(headers={"Authorization": f"Bearer {text}"})

    return client


@pytest.fixture
def as_ada(closed_desk: None, ada: User, bearer: ClientOf) -> ApiClient:
    return bearer(ada)


@pytest.fixture
def as_bob(closed_desk: None, bob: User, bearer: ClientOf) -> ApiClient:
    return bearer(bob)


@pytest.fixture
def as_staff(closed_desk: None, staff: User, bearer: ClientOf) -> ApiClient:
    return bearer(staff)


@pytest.fixture
def as_worker(closed_desk: None, bearer: ClientOf) -> ApiClient:
    return bearer(make_user("gpu-box"), "service")
