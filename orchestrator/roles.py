"""What staff may change: three roles, each a group of Django's own permissions; the fourth, admin, is a superuser.

Accounts that are not staff have no role. They see and change what is their own, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser, Group, Permission

from . import problems

if TYPE_CHECKING:
    from django.contrib.auth.models import User


class NotInRole(problems.Forbidden):
    """The user's role does not include this"""


@dataclass(frozen=True)
class Role:
    """permissions: patterns of `app.codename`, as in `jobs.view_*`."""

    name: str
    permissions: tuple[str, ...]

    def includes(self, permission: str) -> bool:
        return any(fnmatchcase(permission, pattern) for pattern in self.permissions)


_LOOK = ("jobs.view_*", "captioning.view_*", "uploads.view_*", "volcal.view_*")
_CURATE = (
    *(f"captioning.*_{noun}" for noun in ("dataset", "image", "caption", "perspective", "perspectiveversion")),
    "jobs.add_job",
    "jobs.change_job",
    "uploads.*_upload",
    "volcal.*_survey",
)
_OPERATE = ("jobs.*", "captioning.*", "uploads.*", "volcal.*")

VIEWER = Role("viewer", _LOOK)
CURATOR = Role("curator", (*_LOOK, *_CURATE))
OPERATOR = Role("operator", _OPERATE)
ROLES = (VIEWER, CURATOR, OPERATOR)  # from the least to the most


def require(user: AbstractBaseUser | AnonymousUser, permission: str) -> None:
    """Let staff do only what their role includes. Others are held to what is their own where objects are looked up.

    permission: `app.codename`. Raises NotInRole.
    """
    if may(user, permission):
        return
    wanted = next((role.name for role in ROLES if role.includes(permission)), "admin")
    raise NotInRole(f"Your role may look at this but not do it. Ask an administrator for the role `{wanted}`.")


def may(user: Any, permission: str) -> bool:
    """Tell whether a role stands in the way; whose object it is, is another question."""
    return bool(not user.is_staff or user.has_perm(permission))


def give(user: User, role: Role) -> None:
    """Make somebody staff with this role."""
    user.is_staff = True
    user.save(update_fields=["is_staff"])
    user.groups.add(Group.objects.get(name=role.name))


def write_down(roles: Iterable[Role] = ROLES) -> None:
    """Make the groups what this file says. Whoever wants other rights makes a group of their own beside them."""
    known = list(Permission.objects.select_related("content_type"))
    for role in roles:
        group, _ = Group.objects.get_or_create(name=role.name)
        group.permissions.set([one for one in known if role.includes(f"{one.content_type.app_label}.{one.codename}")])
