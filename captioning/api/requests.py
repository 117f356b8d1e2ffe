"""What every route reads off a request."""

from __future__ import annotations

from typing import Any, cast

from django.contrib.auth.models import User
from rest_framework.request import Request


def user_of(request: Request) -> User:
    """Name who asks; permissions have refused everybody unknown."""
    return cast(User, request.user)


def body_of(request: Request) -> dict[str, Any]:
    """Read the body, which is an object: the desk's parser takes nothing else."""
    return cast(dict[str, Any], request.data)
