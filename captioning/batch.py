"""From the request of a captioning job to a draft that the queue can take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.conf import settings

from jobs.creation import EmptyJob, JobDraft
from jobs.models import Executor
from jobs.states import JobType
from orchestrator.problems import Invalid, Problem

from . import capabilities, ledger, options, remote
from .image_filter import ImageFilter
from .intake import register_path
from .library import in_order_of_need
from .models import Dataset, Image, Perspective, PerspectiveType, Provider
from .options import Options
from .provider_sources import LOCAL_VISION
from .selection import Selection, Wanted

if TYPE_CHECKING:
    from django.contrib.auth.models import User

PIPELINE = "captioning"
TYPES = (JobType.MULTI_PERSPECTIVE, JobType.DATASET_PERSPECTIVE, JobType.BACKFILL, JobType.DEPENDENCY_CHAIN)
MAX_NAMED_IMAGES = 10_000  # beyond, a data set says it in one word
MAX_PERSPECTIVES = 64
_LISTED_IN_CONFIG = 1_000
_MEMBERS = frozenset(
    {"type", "images", "dataset", "perspectives", "options", "priority", "dependencies", "dry_run", "name"}
)

Errors = dict[str, list[str]]


@dataclass(frozen=True)
class BatchDraft:
    """A checked request. estimated_cost_usd: None where nobody knows."""

    job: JobDraft
    estimated_cost_usd: Decimal | None


@dataclass(frozen=True)
class _Answerer:
    """Who will answer. provider is None for workers elsewhere, who bring their own models."""

    provider: Provider | None
    model: str


def draft(body: Mapping[str, Any], user: User, *, among: ImageFilter | None = None) -> BatchDraft:
    """Check the request of a job and draft it. among: only those images of its data set that match.

    Images named by path are taken into their data sets here, so a refusal comes before anything is queued.
    Raises Invalid with every error by field; EmptyJob where there is nothing to do.
    """
    errors: Errors = {name: ["There is no such member."] for name in sorted(set(body) - _MEMBERS)}
    type_ = body.get("type")
    if type_ not in TYPES:
        errors["type"] = [f"Give one of {', '.join(TYPES)}."]
    chosen, option_errors = options.read(body.get("options"))
    errors |= option_errors
    priority, dependencies = _queueing(body, errors)
    name = body.get("name", "")
    if not isinstance(name, str) or len(name) > 200:
        errors["name"] = ["Give text of at most 200 characters."]
    asked = perspectives_named(body.get("perspectives"), errors)
    dataset = dataset_named(body.get("dataset"), user, errors)
    if dataset is None and type_ == JobType.DATASET_PERSPECTIVE and "dataset" not in errors:
        errors["dataset"] = ["A DATASET_PERSPECTIVE job needs a data set."]
    named = named_images(body.get("images"), user, errors)
    if not named and dataset is None and not errors.keys() & {"images", "dataset"}:
        errors["images"] = ["Name images, a data set, or both."]
    wanted, covered = _wanted(asked, str(type_), chosen, errors)
    answerer = _answerer(covered, chosen, errors) if covered and not option_errors else _Answerer(None, "")
    if errors:
        raise Invalid(_summary(errors), errors=errors)

    selection = Selection(wanted, named=named, dataset_id=dataset.pk if dataset else None, among=among)
    if not selection.n_items:
        raise _nothing_to_do(selection, dataset)
    config = _config(body, chosen, answerer, asked, selection)
    if among:
        config["filter"] = among.said
    job = JobDraft(
        type=str(type_),
        pipeline=PIPELINE,
        name=name or _name(asked, dataset, selection),
        config=config,
        items=selection,
        priority=priority,
        max_attempts=chosen.max_attempts,
        executor=chosen.executor,
        on_failed_dependency=chosen.on_failed_dependency,
        dependencies=dependencies,
    )
    return BatchDraft(job, _estimate(answerer, selection.n_items))


def named_images(value: Any, user: User, errors: Errors) -> list[tuple[int, str]]:
    """Resolve the `images` of a request: ids (whole numbers) and paths below the workspace (text).

    Returns (image id, the caller's word for it), each image once. A path is taken into its data set on the way.
    """
    if value is None:
        return []
    if not isinstance(value, list) or not all(
        isinstance(entry, (str, int)) and not isinstance(entry, bool) for entry in value
    ):
        errors["images"] = ["Give a list of paths (text) and image ids (whole numbers)."]
        return []
    if len(value) > MAX_NAMED_IMAGES:
        errors["images"] = [f"At most {MAX_NAMED_IMAGES} images; name their data set instead."]
        return []
    ids = {entry for entry in value if isinstance(entry, int) and 0 < entry < 2**63}
    known = dict(Image.objects.visible_to(user).filter(pk__in=ids).values_list("pk", "path"))
    registered, refused = _registered({entry for entry in value if isinstance(entry, str)}, user)
    found: dict[int, str] = {}
    for index, entry in enumerate(value):
        if entry in registered:
            found.setdefault(registered[entry], entry)
        elif entry in known:
            found.setdefault(entry, known[entry])
        else:
            errors[f"images[{index}]"] = [refused.get(entry, f"There is no image {entry}.")]
    return list(found.items())


def _registered(paths: set[str], user: User) -> tuple[dict[str, int], dict[str, str]]:
    """Take files of the workspace in. Returns their images' ids, and why others were refused."""
    registered: dict[str, int] = {}
    refused: dict[str, str] = {}
    # In one order: under an Idempotency-Key the locks of their bytes are kept until all are in.
    for path in sorted(paths):
        try:
            registered[path] = register_path(path, user).pk
        except Problem as refusal:
            if refusal.status >= 500:
                raise
            refused[path] = refusal.detail
    return registered, refused


def dataset_named(name: Any, user: User, errors: Errors) -> Dataset | None:
    if name is None:
        return None
    found = Dataset.objects.visible_to(user).filter(name=name).first() if isinstance(name, str) else None
    if found is None:
        errors["dataset"] = [f"There is no data set {name!r}." if isinstance(name, str) else "Give its name."]
    return found


def perspectives_named(value: Any, errors: Errors) -> list[Perspective]:
    """Find the perspectives of a request by name, each once, in its order."""
    if not isinstance(value, list) or not value or not all(isinstance(entry, str) for entry in value):
        errors["perspectives"] = ["Give a list with at least one name."]
        return []
    names = list(dict.fromkeys(value))
    if len(names) > MAX_PERSPECTIVES:
        errors["perspectives"] = [f"At most {MAX_PERSPECTIVES} perspectives."]
        return []
    known = {perspective.name: perspective for perspective in Perspective.objects.usable().filter(name__in=names)}
    if unknown := [name for name in names if name not in known]:
        disabled = set(Perspective.objects.filter(name__in=unknown).values_list("name", flat=True))
        errors["perspectives"] = [
            f"The perspective {name!r} is disabled." if name in disabled else f"There is no perspective {name!r}."
            for name in unknown
        ]
    return [known[name] for name in names if name in known]


def _queueing(body: Mapping[str, Any], errors: Errors) -> tuple[int, list[UUID]]:
    priority = 100 if body.get("priority") is None else body["priority"]
    if not isinstance(priority, int) or isinstance(priority, bool) or not 0 <= priority <= 1000:
        errors["priority"] = ["Give a whole number from 0 to 1000; lower runs first."]
        priority = 100
    if not isinstance(body.get("dry_run", False), bool):
        errors["dry_run"] = ["Give true or false."]
    dependencies = body.get("dependencies") or []
    try:
        if not isinstance(dependencies, list) or len(dependencies) > 100:
            raise ValueError
        return priority, list(dict.fromkeys(UUID(str(entry)) for entry in dependencies))
    except ValueError:
        errors["dependencies"] = ["Give a list of at most 100 job ids."]
        return priority, []


def _wanted(
    asked: Sequence[Perspective], type_: str, chosen: Options, errors: Errors
) -> tuple[list[Wanted], list[Perspective]]:
    """Order the perspectives by need; a DEPENDENCY_CHAIN also asks for those that others build on, where missing."""
    covered = {perspective.name: perspective for perspective in asked}
    if type_ == JobType.DEPENDENCY_CHAIN:
        covered |= _built_on(asked, errors)
    given = {perspective.name for perspective in asked}
    builds_on = {name: _version(perspective).builds_on for name, perspective in covered.items()}
    skips = chosen.only_missing or type_ == JobType.BACKFILL
    # Those added come first where nothing orders them, so that a synthesizer is last.
    names = [name for name in covered if name not in given] + [name for name in covered if name in given]
    wanted = [
        Wanted(
            perspective_id=covered[name].pk,
            name=name,
            version_id=_version(covered[name]).pk,
            needs=tuple(needed for needed in builds_on[name] if needed in covered),
            skips_present=skips or name not in given,
        )
        for name in in_order_of_need(names, builds_on)
    ]
    for perspective in covered.values():
        if _version(perspective).type == PerspectiveType.CUSTOM and not chosen.global_context.strip():
            errors.setdefault("options.global_context", []).append(
                f"{perspective.name!r} follows your own instructions; write them here."
            )
    return wanted, list(covered.values())


def _built_on(asked: Sequence[Perspective], errors: Errors) -> dict[str, Perspective]:
    """Find everything that these perspectives build on, and that again builds on, as far as it goes."""
    found: dict[str, Perspective] = {}
    ahead = list(asked)
    seen = {perspective.name for perspective in asked}
    while ahead:
        perspective = ahead.pop()
        needed = [name for name in _version(perspective).builds_on if name not in seen]
        usable = {other.name: other for other in Perspective.objects.usable().filter(name__in=needed)}
        for name in needed:
            seen.add(name)
            if name in usable:
                found[name] = usable[name]
                ahead.append(usable[name])
            else:
                errors.setdefault("perspectives", []).append(
                    f"{perspective.name!r} builds on {name!r}, which does not exist or is disabled."
                )
    return found


def _answerer(covered: Sequence[Perspective], chosen: Options, errors: Errors) -> _Answerer:
    """Decide who answers: the provider asked for, else the configured one, else the first that can."""
    if chosen.executor == Executor.EXTERNAL:
        if chosen.provider:
            errors["options.provider"] = ["Workers elsewhere bring their own models; leave the provider out."]
        return _Answerer(None, chosen.model)
    provider = _provider(covered, chosen, errors)
    if provider is None:
        return _Answerer(None, "")
    if reason := capabilities.unreadiness_of(provider, chosen.model):
        errors["options.model" if chosen.model and provider.is_enabled else "options.provider"] = [reason]
    refused = {
        perspective.name: reason
        for perspective in covered
        if (reason := capabilities.refusal_of(provider, perspective)) is not None
    }
    if refused:
        errors.setdefault("perspectives", []).extend(
            f"{provider.name!r} cannot answer {name!r}: {reason}" for name, reason in refused.items()
        )
    answerer = _Answerer(provider, chosen.model or capabilities.model_of(provider))
    if chosen.budget_usd is not None and not errors and not _has_price(answerer):
        named = f"{answerer.model!r} of {provider.name!r}"
        errors["options.budget_usd"] = [
            f"Nobody knows what {named} costs, so no budget could hold; enter its prices at the provider."
        ]
    return answerer


def _provider(covered: Sequence[Perspective], chosen: Options, errors: Errors) -> Provider | None:
    name = chosen.provider or settings.DEFAULT_PROVIDER
    if name:
        provider = Provider.objects.filter(name=name).first()
        if provider is None:
            said = "" if chosen.provider else " (the variable DEFAULT_PROVIDER names it)"
            errors["options.provider"] = [f"There is no provider {name!r}{said}."]
        return provider
    candidate: Provider
    for candidate in Provider.objects.enabled().in_order_of_choice():
        is_ready = capabilities.unreadiness_of(candidate, chosen.model) is None
        if is_ready and len(capabilities.answerable(candidate, covered)) == len(covered):
            return candidate
    # Nobody can answer everything; what local vision cannot do is then told perspective by perspective.
    local = Provider.objects.filter(name=LOCAL_VISION).first()
    if local is None:
        errors["options.provider"] = ["There is no provider; create one."]
    return local


def _has_price(answerer: _Answerer) -> bool:
    assert answerer.provider is not None  # asked only where one was found
    return answerer.provider.is_local_vision or remote.has_known_price(answerer.provider, answerer.model)


def _config(
    body: Mapping[str, Any],
    chosen: Options,
    answerer: _Answerer,
    asked: Sequence[Perspective],
    selection: Selection,
) -> dict[str, Any]:
    """What the job keeps of its request, and who was chosen to answer. Long lists live on in the items."""
    config: dict[str, Any] = {
        "perspectives": [perspective.name for perspective in asked],
        "options": dict(chosen.given),
        "provider": answerer.provider.name if answerer.provider else "",
        "providerKind": answerer.provider.kind if answerer.provider else "",
        "model": answerer.model,
        "nImages": selection.n_images,
    }
    if body.get("dataset") is not None:
        config["dataset"] = body["dataset"]
    if body.get("images") and len(body["images"]) <= _LISTED_IN_CONFIG:
        config["images"] = body["images"]
    return config


def _name(asked: Sequence[Perspective], dataset: Dataset | None, selection: Selection) -> str:
    titles = [_version(perspective).display_name for perspective in asked]
    said = ", ".join(titles[:3]) + (f" and {len(titles) - 3} more" if len(titles) > 3 else "")
    n = selection.n_images
    where = dataset.name if dataset else f"{n} image{'s' if n != 1 else ''}"
    return f"{said}: {where}"[:200]


def _estimate(answerer: _Answerer, n_items: int) -> Decimal | None:
    if answerer.provider is None:
        return None
    return ledger.expected_cost_usd(answerer.provider, answerer.model, n_items)


def _nothing_to_do(selection: Selection, dataset: Dataset | None) -> EmptyJob:
    if not selection.n_images and dataset is not None:
        return EmptyJob(
            f"There is nothing to do: the data set {dataset.name!r} has no images.",
            errors={"dataset": ["It has no images."]},
        )
    return EmptyJob(
        "There is nothing to do: all these images have captions under all these perspectives.",
        errors={"perspectives": ["No image lacks any of them."]},
    )


def _version(perspective: Perspective) -> Any:
    assert perspective.current is not None  # `usable` leaves others out
    return perspective.current


def _summary(errors: Errors) -> str:
    return " ".join(f"{field}: {' '.join(messages)}" for field, messages in list(errors.items())[:5])
