"""Captioning as the queue runs it: one item is one image under one perspective."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from functools import lru_cache
from typing import Any

from django.conf import settings

from jobs.clusters import Cluster
from jobs.models import Executor, Job
from jobs.pipelines import Context, Finished, Outage, Permanent, Result, WorkItem, WorkJob
from uploads import storage

from . import gateway, local, remote, vision
from .answers import Answer
from .batch import PIPELINE
from .gateway.schema import violations
from .links import address_of
from .models import Caption, CaptionSource, Image, PerspectiveType, PerspectiveVersion, Provider, ProviderKind
from .options import Options
from .pictures import PictureRefused
from .wording import render, text_of

EXTERNAL = "external"  # the provider of captions that workers elsewhere made
_DISABLED_SECONDS = 30.0


class CaptioningPipeline:
    name = PIPELINE
    deadline_seconds = float(settings.ITEM_DEADLINE_SECONDS)

    def cluster_of(self, config: Mapping[str, Any]) -> Cluster:
        """Local vision runs where processes are allowed to hold its models."""
        return Cluster.VISION if config.get("providerKind") == ProviderKind.LOCAL_VISION else Cluster.DEFAULT

    def n_together(self, config: Mapping[str, Any]) -> int:
        """Local vision looks once at an image for all its perspectives, and these are neighbours."""
        is_local = config.get("providerKind") == ProviderKind.LOCAL_VISION
        return len(config["perspectives"]) if is_local else 1

    def run(self, item: WorkItem, context: Context) -> Result:
        """Caption one image. What is stored with the item is the answer, following the perspective's schema."""
        options = Options(context.job.config.get("options", {}))
        version = _version(item)
        image = _image(item)
        provider = _provider(context.job)
        if not provider.is_enabled:
            # Who disables a provider wants its calls to stop, not its jobs to fail.
            raise Outage(
                f"The provider {provider.name!r} is disabled.",
                code="provider_disabled",
                after_seconds=_DISABLED_SECONDS,
            )
        with _outcomes():
            if provider.is_local_vision:
                answer = local.fill(version, image)
            else:
                _require_budget(context.job, options)
                answer = remote.ask(provider, self._question(item, context.job, version, image, options), item, context)
        return Result(answer.result, cost_usd=answer.cost_usd, extra=answer)

    def store(self, job: WorkJob, finished: Sequence[Finished]) -> None:
        """Write captions. Earlier proposals of the same provider make room; what people wrote or accepted stays."""
        wanted = {int(done.item.payload["image"]) for done in finished}
        # The image's row is the lock of its captions: two jobs that finish the same pair take turns. In the order of
        # ids, so that batches cannot wait for each other in a circle.
        images = set(
            Image.objects.select_for_update(no_key=True)
            .filter(pk__in=wanted)
            .order_by("pk")
            .values_list("pk", flat=True)
        )
        stored = set(
            Caption.objects.filter(item__in=[done.item.id for done in finished]).values_list("item_id", flat=True)
        )
        new = [
            _caption(done)
            for done in finished
            # An image that was deleted meanwhile takes its captions with it; a second run of an item brings nothing.
            # The answer to a wording that nobody saved stays with its item: a caption names a version.
            if done.item.payload["image"] in images and done.item.id not in stored and "version" in done.item.payload
        ]
        by_provider: dict[str, list[Caption]] = defaultdict(list)
        for caption in new:
            by_provider[caption.provider].append(caption)
        for provider, captions in by_provider.items():
            pairs = [(caption.image_id, caption.perspective_id) for caption in captions]
            retired = Caption.objects.retire_for_rerun(provider, pairs)
            for caption in captions:
                caption.supersedes_id = retired.get((caption.image_id, caption.perspective_id))
        Caption.objects.bulk_create(new)

    def describe(self, item: WorkItem, job: WorkJob) -> Mapping[str, Any]:
        """Tell what whoever answers is asked: a worker elsewhere, local vision, or a model behind an API."""
        version = _version(item)
        image = _image(item)
        options = Options(job.config.get("options", {}))
        if options.executor == Executor.EXTERNAL:
            return self._for_worker(item, job, version, image, options)
        provider = _provider(job)
        with _outcomes():
            if provider.is_local_vision:
                return local.preview(version, image) | {"schema": _schema(version, item.perspective)}
            return remote.preview(provider, self._question(item, job, version, image, options), item, job)

    def _for_worker(
        self, item: WorkItem, job: WorkJob, version: PerspectiveVersion, image: Image, options: Options
    ) -> Mapping[str, Any]:
        question = self._question(item, job, version, image, options, image_bytes=b"")
        return {
            "imageUrl": address_of(image),
            "prompt": question.prompt,
            "schema": _schema(version, item.perspective),
            "context": [*question.context, *([options.global_context] if options.global_context else [])],
            "parameters": options.sampling,
            "model": question.model,
        }

    def accept(self, item: WorkItem, job: WorkJob, value: Any) -> Result:
        version = _version(item)
        if wrong := violations(value, _schema(version, item.perspective)):
            raise Permanent("The result does not follow the schema: " + "; ".join(wrong), code="invalid_result")
        options = Options(job.config.get("options", {}))
        answer = Answer(
            result=value,
            text=text_of(version.context_template, value),
            provider=EXTERNAL,
            model=job.config.get("model", ""),
            parameters=options.sampling,
            provenance={"source": EXTERNAL},
        )
        return Result(value, extra=answer)

    def collect(self, job: WorkJob) -> None:
        """The captions say it all."""

    def _question(
        self,
        item: WorkItem,
        job: WorkJob,
        version: PerspectiveVersion,
        image: Image,
        options: Options,
        *,
        image_bytes: bytes | None = None,
    ) -> remote.Question:
        if image_bytes is None:
            with storage.open_whole(image.stored_as) as file:
                image_bytes = file.read()
        return remote.Question(
            version=version,
            name=item.perspective,
            image=image_bytes,
            context=_context(version, image),
            options=options,
            model=job.config.get("model", ""),
        )


@contextmanager
def _outcomes() -> Iterator[None]:
    """Translate what captioning trips over into what the queue understands."""
    try:
        yield
    except vision.NeedsLanguageModel as refusal:
        raise Permanent(str(refusal), code="needs_language_model") from refusal
    except (PictureRefused, storage.FileMissing) as refusal:
        raise Permanent(refusal.detail, code="bad_picture") from refusal
    except storage.StoreUnavailable as fault:
        raise Outage(fault.detail, code="store_away", after_seconds=fault.retry_after) from fault


def _version(item: WorkItem) -> PerspectiveVersion:
    if "wording" in item.payload:
        return PerspectiveVersion(**item.payload["wording"])
    try:
        return _version_of(item.payload["version"])
    except PerspectiveVersion.DoesNotExist:
        raise Permanent(f"The perspective {item.perspective!r} was deleted.", code="perspective_gone") from None


@lru_cache(maxsize=256)
def _version_of(pk: int) -> PerspectiveVersion:
    # Versions never change, so no notice is needed to drop one from here.
    return PerspectiveVersion.objects.get(pk=pk)


def _schema(version: PerspectiveVersion, name: str) -> dict[str, Any]:
    return gateway.schema_from_fields(version.schema_fields, title=name)


def _image(item: WorkItem) -> Image:
    image = Image.objects.filter(pk=item.payload["image"]).first()
    if image is None:
        raise Permanent(f"The image {item.image_path!r} was deleted.", code="image_gone")
    return image


def _provider(job: WorkJob) -> Provider:
    name = job.config.get("provider", "")
    provider = Provider.objects.filter(name=name).first()
    if provider is None:
        raise Permanent(f"The provider {name!r} was deleted.", code="provider_gone")
    return provider


def _require_budget(job: WorkJob, options: Options) -> None:
    """Fail the item once the job has spent its budget.

    For good, and not by a pause: a budget is a decision, and the job shall end and say what is left undone. A new job
    with `only_missing` and a new budget takes up the rest. Calls under way when the line is crossed still finish.
    """
    if options.budget_usd is None:
        return
    spent = Job.objects.with_counts().defer("config", "result").get(pk=job.id).total_cost_usd or Decimal(0)
    if spent >= options.budget_usd:
        raise Permanent(
            f"The job has spent {spent:.4f} of {options.budget_usd} US dollars. Run the rest as a new job with"
            " only_missing and a new budget.",
            code="budget_exhausted",
        )


def _context(version: PerspectiveVersion, image: Image) -> list[str]:
    """Render what the perspectives that this one builds on said of the image, in their order.

    Raises Permanent if this is a synthesizer and none of them said anything.
    """
    if not version.builds_on:
        return []
    captions = (
        Caption.objects.filter(image=image, perspective__name__in=version.builds_on)
        .preferred()
        .select_related("perspective", "perspective_version")
    )
    said = {caption.perspective.name: caption for caption in captions}
    if not said and version.type == PerspectiveType.SYNTHESIZER:
        raise Permanent(
            f"There is nothing to merge: the image has no caption under {', '.join(version.builds_on)}. Run the job as"
            " a DEPENDENCY_CHAIN.",
            code="no_context",
        )
    return [_rendered(said[name]) for name in version.builds_on if name in said]


def _rendered(caption: Caption) -> str:
    version = caption.perspective_version
    words = render(version.context_template, caption.result) if version.context_template else caption.text
    return f"{version.display_name}: {words}"


def _caption(done: Finished) -> Caption:
    answer: Answer = done.result.extra
    version = _version(done.item)
    return Caption(
        image_id=done.item.payload["image"],
        perspective_id=version.perspective_id,
        perspective_version_id=version.pk,
        source=CaptionSource.MODEL,
        provider=answer.provider,
        model=answer.model,
        parameters=dict(answer.parameters),
        result=answer.result,
        text=answer.text,
        provenance=dict(answer.provenance),
        item_id=done.item.id,
    )
