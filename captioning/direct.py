"""One caption while the caller waits."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from django.db import connection

from jobs.creation import create
from jobs.models import Job, JobItem
from jobs.states import ItemStatus, JobType
from jobs.steps import TransitionRefused
from orchestrator.problems import Invalid, Problem, Unavailable

from . import batch
from .models import Caption

if TYPE_CHECKING:
    from django.contrib.auth.models import User

DEADLINE_SECONDS = 100.0  # below what proxies usually wait
PRIORITY = 0  # somebody is waiting
_OPTIONS = (
    "provider", "model", "max_tokens", "temperature", "top_p", "repetition_penalty", "resize_resolution",
)  # fmt: skip
_MEMBERS = frozenset({"perspective", "image_path", "image", "context", "global_context", *_OPTIONS})
_POLL_SECONDS = 0.1
_MEMBER_OF = {"images[0]": "image_path", "images": "image_path", "perspectives": "perspective"}


class CaptionFailed(Problem):
    """The provider gave no caption"""

    status = 502


class CaptionNotInTime(Unavailable):
    """No caption within the time of a request"""


def caption_now(body: Mapping[str, Any], user: User, *, deadline_seconds: float = DEADLINE_SECONDS) -> dict[str, Any]:
    """Caption one image and return `{perspective, provider, result, raw_text, text, imageId, captionId, jobId}`.

    It is a job of one item, first in the queue, waited for: the limits of providers and machines hold for it as for
    any other, the models of local vision stay out of the web process, the call is on the books and the caption is kept.
    Raises Invalid; CaptionFailed with the item's error; CaptionNotInTime after cancelling the job.
    """
    job = create(_draft(body, user), by=user)
    item = _wait(job, deadline_seconds)
    if item is None:
        _give_up(job, user)
        raise CaptionNotInTime(
            f"No worker had the caption within {deadline_seconds:g} seconds; create a job instead of waiting.",
            retry_after=30,
        )
    _put_away(job, user)
    if item.status != ItemStatus.COMPLETED:
        raise CaptionFailed(
            item.error or "The caption was cancelled.", code=item.error_code, permanent=item.error_permanent
        )
    caption = Caption.objects.select_related("perspective").get(item=item)
    return {
        "perspective": caption.perspective.name,
        "provider": caption.provider,
        "model": caption.model,
        "result": caption.result,
        "raw_text": caption.provenance.get("raw_text"),
        "text": caption.text,
        "imageId": caption.image_id,
        "captionId": caption.pk,
        "jobId": str(job.job_id),
    }


def _draft(body: Mapping[str, Any], user: User) -> Any:
    errors = {name: ["There is no such member."] for name in sorted(set(body) - _MEMBERS)}
    if "provider_config" in body:
        errors["provider_config"] = ["Providers are kept here; name one in `provider`."]
    image = body.get("image_path", body.get("image"))
    if image is None:
        errors["image_path"] = ["Name a file below the workspace, or an image by its id in `image`."]
    context = body.get("context") or []
    lines = [context] if isinstance(context, str) else context
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        errors["context"] = ["Give text, or a list of texts."]
    if not isinstance(body.get("global_context") or "", str):
        errors["global_context"] = ["Must be text."]
    if errors:
        raise Invalid("The request has errors.", errors=errors)
    options = {name: body[name] for name in _OPTIONS if body.get(name) is not None}
    options["max_attempts"] = 1  # the caller tries again, or not
    if words := "\n".join([*([body["global_context"]] if body.get("global_context") else []), *lines]):
        options["global_context"] = words
    try:
        return batch.draft(
            {
                "type": JobType.MULTI_PERSPECTIVE.value,
                "images": [image],
                "perspectives": [body.get("perspective")],
                "options": options,
                "priority": PRIORITY,
            },
            user,
        ).job
    except Invalid as refusal:
        told = {
            _MEMBER_OF.get(field, field.removeprefix("options.")): messages
            for field, messages in (refusal.errors or {}).items()
        }
        raise Invalid(refusal.detail, errors=told) from None


def _wait(job: Job, deadline_seconds: float) -> JobItem | None:
    ends_at = time.monotonic() + deadline_seconds
    closed = (ItemStatus.COMPLETED, ItemStatus.FAILED, ItemStatus.CANCELLED)
    while True:
        item = JobItem.objects.filter(job=job, status__in=closed).first()
        if item is not None or time.monotonic() >= ends_at:
            return item
        if not connection.in_atomic_block:
            connection.close()  # back to the pool, which has few, while nothing is asked of it
        time.sleep(_POLL_SECONDS)


def _put_away(job: Job, user: User) -> None:
    """Archive the job, so that single captions do not fill the list."""
    with suppress(TransitionRefused):  # its worker has yet to close it; it stays in the list like any other
        job.archive(by=user, reason="One caption, asked for directly.")


def _give_up(job: Job, user: User) -> None:
    with suppress(TransitionRefused):  # it finished at the last moment; the caption is kept all the same
        job.cancel(by=user, reason="Nobody waits for it any more.")
