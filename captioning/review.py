"""What people do to captions: write one, change one, judge many."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from django.db import models

from orchestrator.problems import Invalid

from .gateway import schema_from_fields
from .gateway.schema import violations
from .models import Caption, CaptionSource, Dataset, Image, Perspective, PerspectiveVersion, Review
from .wording import LONGEST_TEXT, text_of

if TYPE_CHECKING:
    from django.contrib.auth.models import User

MAX_IDS = 10_000
_LONGEST_REASON = 2_000

Errors = dict[str, list[str]]


def write(form: Mapping[str, Any], user: User) -> Caption:
    """Create a caption in a person's own words: `image, perspective, result, text?, review?, reviewReason?`."""
    errors = _unknown(form, {"image", "perspective", "result", "text", "review", "reviewReason"})
    image_id, name = form.get("image"), form.get("perspective")
    is_id = isinstance(image_id, int) and not isinstance(image_id, bool) and 0 < image_id < 2**63
    image = Image.objects.visible_to(user).filter(pk=image_id).first() if is_id else None
    if image is None:
        errors["image"] = [f"There is no image {image_id!r}."]
    found = Perspective.objects.usable().filter(name=name).first() if isinstance(name, str) else None
    version = found.current if found else None
    if version is None:
        errors["perspective"] = [f"There is no perspective {name!r}."]
    if "result" not in form:
        errors["result"] = ["Give an object that follows the perspective's schema."]
    columns = _columns(form, version, errors)
    if errors or image is None or version is None:
        raise Invalid("The caption has errors.", errors=errors)
    return Caption.objects.create(
        image=image,
        perspective_id=version.perspective_id,
        perspective_version=version,
        source=CaptionSource.HUMAN,
        author=user,
        **columns,
    )


def change(caption: Caption, form: Mapping[str, Any], user: User) -> Caption:
    """Make a new version: `result?, text?, review?, reviewReason?`. Raises Invalid, CaptionSuperseded."""
    errors = _unknown(form, {"result", "text", "review", "reviewReason"})
    if not form:
        errors["body"] = ["Say what to change: result, text, review or reviewReason."]
    columns = _columns(form, caption.perspective_version, errors)
    if errors:
        raise Invalid("The change has errors.", errors=errors)
    return caption.revise(by=user, **columns)


def judge(form: Mapping[str, Any], user: User) -> dict[str, Any]:
    """Give a verdict on many captions: `{ids} or {filter}, review, reason?`. Returns `{updated, unchanged, ignored}`.

    ignored: ids that are unknown, somebody else's, or replaced by a newer version.
    """
    errors = _unknown(form, {"ids", "filter", "review", "reason"})
    verdict, reason = form.get("review"), form.get("reason", "")
    if verdict not in Review.values:
        errors["review"] = [f"Give one of {', '.join(Review.values)}."]
    if not isinstance(reason, str) or len(reason) > _LONGEST_REASON:
        errors["reason"] = [f"Give text of at most {_LONGEST_REASON} characters."]
    if ("ids" in form) == ("filter" in form):
        errors["ids"] = ["Give either ids or a filter."]
    current = Caption.objects.current().visible_to(user)
    if "ids" in form:
        chosen, ignored = _by_ids(form["ids"], current, errors)
    else:
        chosen, ignored = _by_filter(form.get("filter"), current, user, errors), []
    if errors:
        raise Invalid("The verdict has errors.", errors=errors)
    n_matching = chosen.count()
    n_updated = chosen.review(str(verdict), reason=reason, by=user)
    return {"updated": n_updated, "unchanged": max(0, n_matching - n_updated), "ignored": ignored}


def narrowed(captions: Any, query: Mapping[str, Any], user: User) -> Any:
    """Apply the filters that lists and verdicts share. Raises Invalid for a data set or perspective that is not."""
    errors: Errors = {}
    if "dataset" in query:
        dataset = Dataset.objects.visible_to(user).filter(name=query["dataset"]).first()
        if dataset is None:
            errors["dataset"] = [f"There is no data set {query['dataset']!r}."]
        captions = captions.filter(image__dataset=dataset)
    if "perspective" in query:
        perspective = Perspective.objects.filter(name=query["perspective"]).first()
        if perspective is None:
            errors["perspective"] = [f"There is no perspective {query['perspective']!r}."]
        captions = captions.filter(perspective=perspective)
    if "image" in query:
        captions = captions.filter(image_id=query["image"])
    for name in ("source", "review", "provider"):
        if name in query:
            captions = captions.filter(**{name: query[name]})
    if "search" in query:
        captions = captions.matching(query["search"])
    if errors:
        raise Invalid("The filter has errors.", errors=errors)
    return captions


def history(caption: Caption) -> models.QuerySet:
    """All versions of a caption, the newest first, from whichever of them one looks."""
    chain = models.expressions.RawSQL(
        """
        WITH RECURSIVE older AS (
            SELECT id, supersedes_id FROM captioning_caption WHERE id = %s
            UNION SELECT c.id, c.supersedes_id FROM captioning_caption c JOIN older ON c.id = older.supersedes_id
        ), newer AS (
            SELECT id FROM captioning_caption WHERE id = %s
            UNION SELECT c.id FROM captioning_caption c JOIN newer ON c.supersedes_id = newer.id
        )
        SELECT id FROM older UNION SELECT id FROM newer
        """,
        (caption.pk, caption.pk),
    )
    return Caption.objects.filter(pk__in=chain).order_by("-id")


def _columns(form: Mapping[str, Any], version: PerspectiveVersion | None, errors: Errors) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    if "result" in form and version is not None:
        if wrong := violations(form["result"], schema_from_fields(version.schema_fields)):
            errors["result"] = wrong
        else:
            columns["result"] = form["result"]
            columns["text"] = text_of(version.context_template, form["result"])
    for member, column, longest in (("text", "text", LONGEST_TEXT), ("reviewReason", "review_reason", _LONGEST_REASON)):
        if member in form:
            if isinstance(form[member], str) and len(form[member]) <= longest:
                columns[column] = form[member]
            else:
                errors[member] = [f"Give text of at most {longest} characters."]
    if "review" in form:
        if form["review"] in Review.values:
            columns["review"] = form["review"]
            columns.setdefault("review_reason", "")  # the old reason was given for the old verdict
        else:
            errors["review"] = [f"Give one of {', '.join(Review.values)}."]
    return columns


def _by_ids(ids: Any, current: Any, errors: Errors) -> tuple[Any, list[int]]:
    is_list = isinstance(ids, list) and all(
        isinstance(entry, int) and not isinstance(entry, bool) and 0 < entry < 2**63 for entry in ids
    )
    if not is_list or not ids or len(ids) > MAX_IDS:
        errors["ids"] = [f"Give a list of 1 to {MAX_IDS} caption ids."]
        return current.none(), []
    chosen = current.filter(pk__in=ids)
    return chosen, sorted(set(ids) - set(chosen.values_list("pk", flat=True)))


def _by_filter(form: Any, current: Any, user: User, errors: Errors) -> Any:
    kinds: dict[str, type] = {
        "dataset": str, "perspective": str, "source": str, "review": str, "provider": str, "search": str, "image": int,
    }  # fmt: skip
    # An empty filter would judge everything that one may see, which nobody means.
    if not isinstance(form, dict) or not form:
        if "filter" not in errors and not errors.get("ids"):
            errors["filter"] = [f"Give at least one of {', '.join(kinds)}."]
        return current.none()
    for name, value in form.items():
        if name not in kinds:
            errors[f"filter.{name}"] = [f"There is no such filter; there are {', '.join(kinds)}."]
        elif not isinstance(value, kinds[name]) or isinstance(value, bool):
            errors[f"filter.{name}"] = ["Give text." if kinds[name] is str else "Give an id."]
    for name, allowed in (("source", CaptionSource.values), ("review", Review.values)):
        if name in form and form[name] not in allowed:
            errors[f"filter.{name}"] = [f"Give one of {', '.join(allowed)}."]
    return current.none() if errors else narrowed(current, form, user)


def _unknown(form: Mapping[str, Any], known: set[str]) -> Errors:
    return {name: ["There is no such member."] for name in sorted(set(form) - known)}
