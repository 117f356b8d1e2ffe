"""The library of perspectives: what is shipped, what people wrote, and how either becomes a version."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.db import transaction

from orchestrator.problems import Conflict, Forbidden, Invalid

from . import documents
from .models import Perspective, PerspectiveVersion

if TYPE_CHECKING:
    from django.contrib.auth.models import User

logger = logging.getLogger(__name__)

SHIPPED = Path(__file__).parent / "perspectives"


class PerspectiveExists(Conflict):
    """There is a perspective of this name"""


class PerspectiveNotYours(Forbidden):
    """Somebody else's perspective"""


class ShippedFileBroken(Exception):
    """A shipped perspective is not a valid document"""


# --- What is shipped


def load_shipped(folder: Path = SHIPPED) -> list[str]:
    """Bring the library up to what is shipped; returns the names that got a new version.

    A file whose content was loaded before changes nothing. A changed file becomes a new version, current only where
    the current one was shipped too: what people wrote stays in force.
    """
    read = [_read(path) for path in sorted(folder.rglob("*.json"))]
    return [document["name"] for document, digest in read if _load(document, digest)]


def _read(path: Path) -> tuple[dict[str, Any], str]:
    content = path.read_bytes()
    try:
        document = json.loads(content)
    except ValueError as error:
        raise ShippedFileBroken(f"{path}: not JSON ({error})") from None
    document.pop("version", None)  # versions are counted here
    if errors := documents.check(document):
        raise ShippedFileBroken(f"{path}: {errors}")
    return document, hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


@transaction.atomic
def _load(document: Mapping[str, Any], digest: str) -> bool:
    perspective, is_new = Perspective.objects.get_or_create(
        name=document["name"], defaults={"module": document.get("module", "default")}
    )
    perspective = Perspective.objects.select_for_update().get(pk=perspective.pk)
    if perspective.versions.filter(shipped_digest=digest).exists():
        return False
    stays_as_edited = not is_new and perspective.current is not None and not perspective.current.shipped_digest
    _append(perspective, document, by=None, shipped_digest=digest, is_current=not stays_as_edited)
    logger.info("perspective loaded", extra={"perspective": perspective.name, "in_force": not stays_as_edited})
    return True


# --- What people write


def create(document: Mapping[str, Any], *, by: User) -> Perspective:
    """Add a perspective. Raises Invalid, PerspectiveExists."""
    _check(document)
    with transaction.atomic():
        perspective, is_new = Perspective.objects.get_or_create(
            name=document["name"],
            defaults={
                "module": document.get("module") or "default",
                "enabled": document.get("enabled", True),
                "owner": by,
            },
        )
        if not is_new:
            raise PerspectiveExists(
                f"There is already a perspective {perspective.name!r}; PUT to it to write a new version."
            )
        _append(perspective, document, by=by)
    return perspective


def write(perspective: Perspective, document: Mapping[str, Any], *, by: User) -> bool:
    """Put a whole document in the place of the current wording; returns whether that made a new version.

    The same wording again makes none, and neither does a change of `module` or `enabled`, which belong to the
    perspective and not to its wording. Raises Invalid, PerspectiveNotYours.
    """
    require_right(perspective, by)
    if document.get("name", perspective.name) != perspective.name:
        raise Invalid(
            "A perspective keeps its name.",
            errors={"name": [f"This is {perspective.name!r}; create another one for another name."]},
        )
    _check({**document, "name": perspective.name})
    with transaction.atomic():
        locked = Perspective.objects.select_for_update(of=("self",)).select_related("current").get(pk=perspective.pk)
        Perspective.objects.filter(pk=locked.pk).update(
            module=document.get("module") or "default", enabled=document.get("enabled", True)
        )
        wording = documents.versioned(document)
        is_new = locked.current is None or wording != documents.versioned(wording_of(locked.current))
        if is_new:
            _append(locked, document, by=by)
    perspective.refresh_from_db()
    return is_new


def remove(perspective: Perspective, *, by: User) -> bool:
    """Take a perspective out of use; returns whether its row is gone.

    One that captions name, or that is shipped (and would come back), is only disabled: nobody sees it in lists, and
    no job can ask for it. Raises PerspectiveNotYours.
    """
    require_right(perspective, by)
    with transaction.atomic():
        Perspective.objects.select_for_update().get(pk=perspective.pk)
        is_shipped = perspective.versions.exclude(shipped_digest="").exists()
        if is_shipped or perspective.captions.exists():
            Perspective.objects.filter(pk=perspective.pk).update(enabled=False)
            perspective.refresh_from_db()
            return False
        perspective.delete()
    return True


def require_right(perspective: Perspective, user: User) -> None:
    if not perspective.may_be_changed_by(user):
        raise PerspectiveNotYours(
            f"{perspective.name!r} is changed by who made it or by staff; copy it under a name of your own."
        )


def document_of(perspective: Perspective, version: PerspectiveVersion | None = None) -> dict[str, Any]:
    """Write a perspective, in its current or the given wording, as its JSON document."""
    version = version or perspective.current
    assert version is not None  # every perspective is made with its first version
    return {
        "id": perspective.pk,
        "name": perspective.name,
        "version": str(version.number),
        "module": perspective.module,
        "enabled": perspective.enabled,
        **wording_of(version),
        "createdAt": version.created_at,
    }


def wording_of(version: PerspectiveVersion) -> dict[str, Any]:
    return {name: getattr(version, name) for name in documents.VERSIONED}


# --- Order among perspectives


def in_order_of_need(names: Sequence[str], builds_on: Mapping[str, Sequence[str]]) -> list[str]:
    """Sort perspectives so that each comes after those that it builds on; otherwise in the order given."""
    ordered: list[str] = []
    on_the_way: set[str] = set()  # a circle is cut where it closes

    def visit(name: str) -> None:
        on_the_way.add(name)
        for needed in builds_on.get(name, ()):
            if needed in names and needed not in ordered and needed not in on_the_way:
                visit(needed)
        if name not in ordered:
            ordered.append(name)

    for name in names:
        visit(name)
    return ordered


def _check(document: Mapping[str, Any]) -> None:
    errors = documents.check(document)
    if not errors:
        errors = _check_builds_on(document)
    if errors:
        raise Invalid("The perspective has errors.", errors=errors)


def _check_builds_on(document: Mapping[str, Any]) -> documents.Errors:
    wanted = document.get("builds_on") or []
    known = dict(Perspective.objects.filter(current__isnull=False).values_list("name", "current__builds_on"))
    if unknown := [name for name in wanted if name not in known]:
        return {"builds_on": [f"There is no perspective {name!r}." for name in unknown]}
    reached, ahead = set(), list(wanted)
    while ahead:
        name = ahead.pop()
        if name == document["name"]:
            return {"builds_on": ["These perspectives would build on each other in a circle."]}
        if name not in reached:
            reached.add(name)
            ahead += known.get(name, [])
    return {}


def _append(
    perspective: Perspective,
    document: Mapping[str, Any],
    *,
    by: User | None,
    shipped_digest: str = "",
    is_current: bool = True,
) -> None:
    """Add the next version; the perspective's row is locked, so numbers do not collide."""
    last = perspective.versions.order_by("-number").values_list("number", flat=True).first() or 0
    version = perspective.versions.create(
        number=last + 1, created_by=by, shipped_digest=shipped_digest, **documents.versioned(document)
    )
    if is_current:
        perspective.current = version
        perspective.save(update_fields=["current"])
