"""People at a browser. The desk is closed, so that each of them is who they say."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from jobs.models import Queue


def browser_of(user: User | None) -> Client:
    browser = Client(headers={"Accept": "text/html"})
    if user is not None:
        browser.force_login(user)
    return browser


@pytest.fixture
def ada_browses(closed_desk: None, ada: User) -> Client:
    return browser_of(ada)


@pytest.fixture
def bob_browses(closed_desk: None, bob: User) -> Client:
    return browser_of(bob)


@pytest.fixture
def staff_browses(closed_desk: None, staff: User) -> Client:
    return browser_of(staff)


@pytest.fixture
def stranger(closed_desk: None, db: None) -> Client:
    return browser_of(None)


@pytest.fixture(autouse=True)
def store(settings: Any, tmp_path: Any) -> None:
    settings.MEDIA_ROOT = tmp_path / "media"


@pytest.fixture
def nothing_starts(db: None) -> None:
    Queue.objects.update(max_jobs=0)
