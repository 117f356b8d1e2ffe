"""An operator with every right, and one who may only look."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from tests.workbench.rows import make_user


@pytest.fixture
def operator(closed_desk: None, db: None) -> User:
    return make_user("operator", is_staff=True, is_superuser=True)


@pytest.fixture
def console(operator: User) -> Client:
    client = Client(headers={"Accept": "text/html"})
    client.force_login(operator)
    return client


@pytest.fixture
def onlooker(closed_desk: None, db: None) -> Client:
    user = make_user("onlooker", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    client = Client(headers={"Accept": "text/html"})
    client.force_login(user)
    return client
