"""A sample run: one answer to a wording that nobody has saved yet, for whoever is writing it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jobs.creation import JobDraft, create
from jobs.models import Job
from jobs.pipelines import NewItem
from jobs.states import JobType
from orchestrator.problems import Invalid

from . import capabilities, documents, vision
from .batch import PIPELINE
from .models import Image, PerspectiveType, Provider
from .wording import text_of

if TYPE_CHECKING:
    from django.contrib.auth.models import User

_PRIORITY = 0  # somebody is waiting


@dataclass(frozen=True)
class Said:
    """What came of a sample run. fields: in the order of the wording; empty while nobody has answered."""

    status: str
    image_id: int
    text: str
    fields: list[tuple[str, Any]]
    error: str


def start(document: Mapping[str, Any], image: Image, provider: Provider, *, instructions: str, by: User) -> Job:
    """Ask a provider for one answer to this document, as a job of one item whose answer stays with the item.

    document: sound, as `documents.check` says. instructions: what the wording of a custom perspective follows.
    Nothing is written to the picture: a caption names a version, and there is none. Raises Invalid.
    """
    if lacks := capabilities.unreadiness_of(provider, ""):
        raise Invalid(lacks)
    if provider.is_local_vision and not (support := vision.supports(document)).ok:
        raise Invalid(f"{provider.name!r} cannot answer it: {support.reason}")
    if document.get("type") == PerspectiveType.CUSTOM and not instructions.strip():
        raise Invalid("A custom perspective follows your instructions; write some for the sample.")
    options: dict[str, Any] = {"max_attempts": 1}
    if instructions.strip():
        options["global_context"] = instructions.strip()
    payload = {"image": image.pk, "wording": documents.versioned(document)}
    return create(
        JobDraft(
            type=JobType.MULTI_PERSPECTIVE,
            pipeline=PIPELINE,
            name=f"Sample run: {document['display_name']}"[:200],
            config={
                "perspectives": [document["name"]],
                "options": options,
                "provider": provider.name,
                "providerKind": provider.kind,
                "model": capabilities.model_of(provider),
                "nImages": 1,
            },
            items=[NewItem(image_path=image.path, perspective=document["name"], payload=payload)],
            priority=_PRIORITY,
            max_attempts=1,
        ),
        by=by,
    )


def said(job: Job) -> Said:
    """Read what the job of a sample run has brought so far."""
    item = job.items.get()
    wording, result = item.payload["wording"], item.result or {}
    asked = [field["name"] for field in wording["schema_fields"]]
    return Said(
        status=item.status,
        image_id=item.payload["image"],
        text=text_of(wording["context_template"], result) if result else "",
        fields=[(name, result[name]) for name in asked if name in result],
        error=item.error or "",
    )
