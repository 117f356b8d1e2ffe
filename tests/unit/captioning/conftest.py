"""People whom captioning's tests need."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User

from tests.workbench.rows import make_user


@pytest.fixture
def ada(db: None) -> User:
    return make_user("ada")


@pytest.fixture
def bob(db: None) -> User:
    return make_user("bob")


@pytest.fixture
def staff(db: None) -> User:
    return make_user("grace", is_staff=True)
