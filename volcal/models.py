"""The rows of surveys: the task that a client knows, its four files, and what was measured."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from jobs.models import Job
from jobs.states import JobStatus
from uploads.intake import let_go
from uploads.models import Upload

from .states import TaskStatus, lost_items, reason_of, status_of

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractUser, AnonymousUser


class Label(models.TextChoices):
    """The files of a survey, in the order in which clients hear of them."""

    PRE = "pre", "Point cloud before"
    POST = "post", "Point cloud after"
    SHP = "shp", "Stable ground (.shp)"
    SHX = "shx", "Index of the stable ground (.shx)"


class SurveyQuerySet(models.QuerySet):
    def visible_to(self, user: AbstractUser | AnonymousUser) -> SurveyQuerySet:
        """Own surveys; all of them for staff."""
        return self if user.is_staff else self.filter(user_id=user.pk)

    def with_standing(self) -> SurveyQuerySet:
        """Annotate n_complete (files) and is_lost, which a list needs to tell how its surveys stand."""
        return self.annotate(
            n_complete=models.Count("files", filter=Q(files__upload__finished_at__isnull=False)),
            is_lost=models.Exists(lost_items().filter(job=models.OuterRef("job"))),
        )


class Survey(models.Model):
    """Two point clouds of one site and its stable ground, to be measured by a job of five stages.

    task_id: what clients name it by. job: the latest run; an earlier one that was cancelled stays in the queue's books.
    summary: what the engine says of the whole, null until something was measured.
    """

    task_id = models.UUIDField(unique=True, default=uuid.uuid4, editable=False)
    name = models.TextField(blank=True)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="surveys")
    job = models.OneToOneField(Job, null=True, on_delete=models.SET_NULL, related_name="survey")
    parameters = models.JSONField(default=dict, blank=True)
    summary = models.JSONField(null=True, blank=True)
    measured_at = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = SurveyQuerySet.as_manager()

    class Meta:
        indexes = [
            # The list of somebody's surveys, newest first.
            models.Index(fields=["user", "-created_at"], name="survey_of_user"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(summary__isnull=True) ^ Q(measured_at__isnull=False), name="survey_measured_has_its_time"
            )
        ]

    def __str__(self) -> str:
        return self.name or f"Survey {self.task_id.hex[:8]}"

    @property
    def crs(self) -> str:
        return self.parameters.get("crs") or ""

    def missing(self) -> list[str]:
        """Name the files that are not complete yet."""
        present = set(self.files.filter(upload__finished_at__isnull=False).values_list("label", flat=True))
        return [label.value for label in Label if label.value not in present]

    def status(self, missing: list[str]) -> TaskStatus:
        """Say how the task stands in the words of its clients. missing: the files that are not complete."""
        is_lost = self.job is not None and self.job.status == JobStatus.FAILED and lost_items().filter(job=self.job)
        return status_of(self.job, is_complete=not missing, is_measured=self.summary is not None, is_lost=bool(is_lost))

    def has_lost_files(self) -> bool:
        """Tell whether a file expired or was withdrawn, so that the survey can never be complete."""
        return self.files.filter(upload__removed_at=None).count() < len(Label)

    def advice(self, missing: list[str], *, then: str = "") -> str:
        """Say what to do about files that are missing. then: what comes after, if they can still be sent."""
        names = ", ".join(missing)
        if not self.has_lost_files():
            return f"Upload the missing files first: {names}.{then}"
        return (
            f"{names}: The upload expired or was withdrawn before it was complete. Create a new task and send all four "
            "files again."
        )

    def reason(self, missing: list[str]) -> str:
        """Say why the task came to nothing, and how to go on."""
        if self.job is None:
            return "The task was removed from the queue."
        if self.job.status == JobStatus.CANCELLED and missing:
            return f"The task was cancelled. {self.advice(missing, then=' Then start it again.')}"
        return reason_of(self.job)

    def release_if_complete(self) -> bool:
        """Let the job go if all files are there; within the caller's transaction. Tells whether this call did it.

        The survey's row is the lock: of two files that finish at the same moment, the second sees the first.
        """
        survey = type(self).objects.select_for_update(of=("self",)).select_related("job").get(pk=self.pk)
        return survey.job is not None and not survey.missing() and survey.job.release()

    def give_up(self) -> None:
        """End a survey that can never be complete; within the caller's transaction, and harmless when repeated.

        Its job is let go and fails at its first stage, which names the files. What did arrive is of no use any more.
        """
        survey = type(self).objects.select_for_update(of=("self",)).select_related("job").get(pk=self.pk)
        if survey.job is not None:
            survey.job.release()
        let_go(survey.files.values_list("upload_id", flat=True))


class SurveyFile(models.Model):
    """One of the four files of a survey, arriving or arrived."""

    survey = models.ForeignKey(Survey, on_delete=models.CASCADE, related_name="files")
    label = models.TextField(choices=Label.choices)
    upload = models.OneToOneField(Upload, on_delete=models.CASCADE, related_name="survey_file")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["survey", "label"], name="survey_file_once"),
            models.CheckConstraint(condition=Q(label__in=Label.values), name="survey_file_label_known"),
        ]

    def __str__(self) -> str:
        return f"{self.label} of {self.survey_id}"


class ProductKind(models.TextChoices):
    PICTURE = "picture"  # of one region
    DOWNLOAD = "download"  # everything else that the engine made


class Product(models.Model):
    """A file that the engine made. Its bytes lie in the store under their own hash; links are signed when read."""

    survey = models.ForeignKey(Survey, on_delete=models.CASCADE, related_name="products")
    kind = models.TextField(choices=ProductKind.choices)
    name = models.TextField()  # as the engine calls it
    filename = models.TextField()
    key = models.TextField()
    size = models.PositiveBigIntegerField()  # bytes

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["survey", "kind", "name"], name="survey_product_once"),
            models.CheckConstraint(condition=Q(kind__in=ProductKind.values), name="survey_product_kind_known"),
        ]
        indexes = [
            # Whether a stored file is still somebody's, before it is deleted.
            models.Index(fields=["key"], name="survey_product_by_key"),
        ]

    def __str__(self) -> str:
        return self.filename


class Region(models.Model):
    """One piece of ground that changed. Volumes in cubic metres; net = fill - cut."""

    survey = models.ForeignKey(Survey, on_delete=models.CASCADE, related_name="regions")
    number = models.PositiveIntegerField()  # its place in the engine's own order
    region_id = models.TextField()
    score = models.FloatField()
    area_m2 = models.FloatField()
    cut_volume_m3 = models.FloatField()
    fill_volume_m3 = models.FloatField()
    net_volume_m3 = models.FloatField()
    volume_uncertainty_m3 = models.FloatField()
    polygon = models.JSONField()  # GeoJSON in coordinates of the site
    picture = models.ForeignKey(Product, null=True, on_delete=models.SET_NULL, related_name="+")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["survey", "number"], name="survey_region_once"),
            models.CheckConstraint(condition=Q(score__range=(0, 1)), name="survey_region_score_is_a_share"),
        ]

    def __str__(self) -> str:
        return f"region {self.region_id}"


class Allowance(models.Model):
    """A token bucket: how many requests a client without a login may still send."""

    client = models.TextField(primary_key=True)
    n_left = models.FloatField()
    counted_at = models.DateTimeField(db_default=Now())

    class Meta:
        indexes = [
            # Clients that were not seen for long are forgotten.
            models.Index(F("counted_at"), name="survey_allowance_by_age"),
        ]

    def __str__(self) -> str:
        return self.client


def results_of(survey: Survey) -> dict[str, Any]:
    """Read the regions and products of a survey once: `{"regions": [...], "products": [...]}`."""
    return {
        "regions": list(survey.regions.select_related("picture").order_by("number")),
        "products": list(survey.products.order_by("kind", "name")),
    }
