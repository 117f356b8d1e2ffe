"""The form of a new job: from an address, from what was typed, or from an earlier job, to the request of a job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from jobs.models import Executor, Job, OnFailedDependency
from jobs.states import FINAL, JobType

from . import batch
from .batch import BatchDraft
from .image_filter import ImageFilter
from .models import Dataset, Image
from .options import Options
from .querysets import ImageQuerySet

if TYPE_CHECKING:
    from django.contrib.auth.models import User
    from django.http import QueryDict

N_TRIED = 3
_WHOLE = ("max_tokens", "max_attempts")
_NUMBERS = ("temperature", "top_p", "repetition_penalty", "budget_usd")
_TEXTS = ("provider", "model", "global_context", "resize_resolution", "on_failed_dependency")
_TRIAL_PRIORITY = 0  # somebody is waiting
_JOBS_READ = 100


@dataclass(frozen=True)
class JobForm:
    """What was asked for, as it was typed. images: ids; none means the data set's, as far as they match the filter."""

    dataset: str = ""
    images: tuple[int, ...] = ()
    among: ImageFilter = field(default_factory=ImageFilter)
    perspectives: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)
    only_missing: bool = False
    with_needed: bool = False  # also ask for what the perspectives build on
    name: str = ""
    priority: str = ""
    dependencies: tuple[str, ...] = ()

    @classmethod
    def of(cls, typed: QueryDict) -> JobForm:
        words = [word for entry in typed.getlist("images") for word in entry.split(",")]
        given = {name: str(typed.get(name, "")).strip() for name in (*_WHOLE, *_NUMBERS, *_TEXTS)}
        return cls(
            dataset=typed.get("dataset", "").strip(),
            images=tuple(int(word) for word in words if word.isascii() and word.isdigit() and len(word) < 19),
            among=ImageFilter.of(typed.dict()),  # type: ignore[arg-type]  # the last of each name
            perspectives=tuple(typed.getlist("perspectives")),
            options={name: value for name, value in given.items() if value},
            only_missing=bool(typed.get("only_missing")),
            with_needed=bool(typed.get("with_needed")),
            name=typed.get("name", "").strip(),
            priority=typed.get("priority", "").strip(),
            dependencies=tuple(typed.getlist("dependencies")),
        )

    @classmethod
    def like(cls, job: Job) -> JobForm:
        """Ask for the same again, as it stands today: where `cloning` repeats the very items, this only fills the form.

        A data set is looked through anew. Images that were named are those of the items, however they were named.
        """
        config = job.config
        given = config.get("options", {})
        kept = {name: str(given[name]) for name in (*_WHOLE, *_NUMBERS, *_TEXTS) if given.get(name) not in (None, "")}
        kept["resize_resolution"] = Options(given).preset or "NONE"
        if config.get("provider"):
            kept["provider"] = config["provider"]
        return cls(
            dataset=config.get("dataset", ""),
            images=() if config.get("dataset") else _images_of(job),
            among=ImageFilter.of(config.get("filter", {})),
            perspectives=tuple(config.get("perspectives", ())),
            options=kept,
            only_missing=bool(given.get("only_missing")),
            with_needed=job.type == JobType.DEPENDENCY_CHAIN,
            name=job.name,
            priority=str(job.priority),
        )

    def chosen(self, user: User) -> ImageQuerySet:
        """The images that the job would cover."""
        among, images = self._choice(user)
        return among.apply(images)

    def glance(self, user: User, n_samples: int) -> tuple[int, list[Image]]:
        """Count the images that the job would cover and fetch the first of them."""
        if not self.images and not self.dataset:
            return 0, []
        among, images = self._choice(user)
        found = among.glance(images, n=n_samples)
        samples = Image.objects.filter(pk__in=found.ids).only("pk", "path").order_by("pk")
        return found.counts[among.state], list(samples)

    def _choice(self, user: User) -> tuple[ImageFilter, ImageQuerySet]:
        if self.images:
            return ImageFilter(), Image.objects.visible_to(user).filter(pk__in=self.images)
        # Its id first: joined to the data set, a hundred thousand images take twice as long to count.
        dataset = Dataset.objects.visible_to(user).filter(name=self.dataset).first()
        return self.among, dataset.images.all() if dataset else Image.objects.none()

    def draft(self, user: User) -> BatchDraft:
        """Raises Invalid with every error by field."""
        body: dict[str, Any] = {
            "type": JobType.MULTI_PERSPECTIVE if self.images else JobType.DATASET_PERSPECTIVE,
            "perspectives": list(self.perspectives),
            "options": self._options(),
            "name": self.name,
            "priority": _number(self.priority, int) if self.priority else None,
            "dependencies": list(self.dependencies),
        }
        if self.images:
            body["images"] = list(self.images)
        else:
            body["dataset"] = self.dataset or None
        if self.with_needed:
            body["type"] = JobType.DEPENDENCY_CHAIN
        return batch.draft(body, user, among=self.among if self.among and not self.images else None)

    def trial(self, user: User) -> BatchDraft:
        """Ask the same of the first, the middle and the last picture, before all other jobs. Raises Invalid."""
        chosen = self.chosen(user).order_by("pk")
        n = chosen.count()
        places = sorted({0, n // 2, n - 1}) if n else []
        options = self._options() | {"max_attempts": 1, "only_missing": False}
        options.pop("budget_usd", None)
        body = {
            "type": JobType.DEPENDENCY_CHAIN if self.with_needed else JobType.MULTI_PERSPECTIVE,
            "images": [chosen.values_list("pk", flat=True)[place] for place in places[:N_TRIED]],
            "perspectives": list(self.perspectives),
            "options": options,
            "priority": _TRIAL_PRIORITY,
            "name": f"Trial: {self.name or self.dataset}"[:200],
        }
        drafted = batch.draft(body, user)
        config = {**drafted.job.config, "isTrial": True}
        return replace(drafted, job=replace(drafted.job, config=config))

    def _options(self) -> dict[str, Any]:
        options: dict[str, Any] = dict(self.options)
        options |= {name: _number(options[name], int) for name in _WHOLE if name in options}
        options |= {name: _number(options[name], float) for name in _NUMBERS if name in options}
        # What nobody changed is left to its default, so that a later reader sees what was meant.
        if options.get("resize_resolution") == "NONE":
            del options["resize_resolution"]
        if options.get("on_failed_dependency") == OnFailedDependency.WAIT:
            del options["on_failed_dependency"]
        return options | {"only_missing": self.only_missing}


def _images_of(job: Job) -> tuple[int, ...]:
    images = job.items.order_by("payload__image").values_list("payload__image", flat=True).distinct()
    return tuple(image for image in images if image is not None)


def datasets_of(user: User, named: str) -> Sequence[Dataset]:
    """Those to choose among, the one named in any case."""
    visible = Dataset.objects.visible_to(user)
    found = list(visible.order_by("-updated_at", "name")[:200])
    if named and named not in {one.name for one in found}:
        found += list(visible.filter(name=named))
    return found


def seconds_an_item(provider: str) -> float | None:
    """How long this provider took for an item in the last jobs that it finished, all lanes together."""
    recent = Job.objects.filter(
        pipeline=batch.PIPELINE,
        status__in=FINAL,
        executor=Executor.INTERNAL,
        completed_at__isnull=False,
        started_at__isnull=False,
    )
    rows = recent.order_by("-completed_at").values_list(
        "config__provider", "started_at", "completed_at", "total_images"
    )
    finished = [row for row in rows[:_JOBS_READ] if row[0] == provider and row[3]][:10]
    mine = [(end - start, n) for _, start, end, n in finished if start and end]
    if not mine:
        return None
    return sum(took.total_seconds() for took, _ in mine) / sum(n for _, n in mine)


def _number(text: str, kind: type[int] | type[float]) -> Any:
    """Read a number; what is none stays text, and is refused with the bounds by whoever checks the options."""
    try:
        return kind(text)
    except ValueError:
        return text
