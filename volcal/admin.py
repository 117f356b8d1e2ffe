"""Surveys in the administration: what they measured, with what choices, and doing it again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from django import forms
from django.contrib import admin
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db.models import CharField, OuterRef, QuerySet, Subquery
from django.db.models.functions import Substr
from django.http import HttpRequest
from django.utils.html import format_html
from unfold.admin import TabularInline

from jobs.models import JobItem
from jobs.states import ItemStatus
from orchestrator.administration import DeskAdmin, KeptAdmin, display, preformatted
from orchestrator.problems import Conflict, Invalid
from orchestrator.templatetags.desk import ago

from . import intake
from .models import Allowance, Product, Region, Survey, SurveyFile
from .states import DEPENDENCY_FAILED
from .summaries import headline_of
from .templatetags.surveys import volume

_COLOURS = {
    "waiting": "default",
    "pending": "default",
    "running": "info",
    "completed": "success",
    "partial": "warning",
    "failed": "danger",
    "cancelled": "default",
}


def operator_of(request: HttpRequest) -> User:
    return cast(User, request.user)


class KeptInline(TabularInline):
    """Rows of a survey that only the machine writes."""

    extra = 0
    can_delete = False
    show_change_link = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class FileInline(KeptInline):
    model = SurveyFile
    fields = readonly_fields = ("label", "upload", "size", "finished_at")

    @display(description="Bytes")
    def size(self, file: SurveyFile) -> str:
        return f"{file.upload.offset:,}" + (f" of {file.upload.length:,}" if file.upload.length is not None else "")

    @display(description="Complete")
    def finished_at(self, file: SurveyFile) -> str:
        return ago(file.upload.finished_at) if file.upload.finished_at else "not yet"


class RegionInline(KeptInline):
    model = Region
    fields = readonly_fields = (
        "region_id",
        "score",
        "area_m2",
        "net_volume_m3",
        "volume_uncertainty_m3",
        "cut_volume_m3",
        "fill_volume_m3",
    )
    ordering = ("number",)


class SurveyForm(forms.ModelForm):
    """Name and choices; the choices are held to the engine's own bounds."""

    class Meta:
        model = Survey
        fields = ("name", "parameters")
        widgets = {"parameters": forms.Textarea(attrs={"rows": 8, "class": "font-mono w-full"})}
        help_texts = {
            "parameters": "Choices that differ from the engine's defaults. A survey under way begins again with them."
        }

    def clean_parameters(self) -> dict[str, Any]:
        chosen = self.cleaned_data["parameters"]
        if not isinstance(chosen, dict):
            raise ValidationError("Write a JSON object of names and values, {} for the defaults.")
        try:
            return intake.checked(None, chosen)
        except Invalid as wrong:
            raise ValidationError(wrong.detail) from None


@admin.register(Survey)
class SurveyAdmin(DeskAdmin):
    form = SurveyForm
    list_display = ("named", "state", "net", "first_error", "user", "age", "page")
    list_filter = ("job__status", ("user", admin.RelatedOnlyFieldListFilter))
    list_select_related = ("job", "user")
    search_fields = ("name", "task_id")
    ordering = ("-pk",)
    fields = (
        "name",
        "parameters",
        "task_id",
        "page",
        "state",
        "error",
        "user",
        "created_at",
        "measured_at",
        "measured",
    )
    readonly_fields = fields[2:]
    inlines = (FileInline, RegionInline)
    actions = ("start_surveys", "measure_surveys_again", "cancel_surveys")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False  # a survey needs addresses for its files; the page and the API give them

    def get_queryset(self, request: HttpRequest) -> QuerySet[Survey]:
        failed = JobItem.objects.filter(job=OuterRef("job"), status=ItemStatus.FAILED).exclude(
            error_code=DEPENDENCY_FAILED
        )
        said = failed.order_by("seq").annotate(said=Substr("error", 1, 300)).values("said")[:1]
        return super().get_queryset(request).annotate(said=Subquery(said, output_field=CharField()))

    def object_actions(self, request: HttpRequest, obj: Any) -> list[tuple[str, str]]:
        is_open = obj.job is not None and not obj.job.is_final
        is_done = obj.summary is not None and not is_open
        makes_sense = {
            "start_surveys": not is_done and not (is_open and not obj.job.held),
            "measure_surveys_again": not is_open,
            "cancel_surveys": is_open,
        }
        return [(name, words) for name, words in super().object_actions(request, obj) if makes_sense[name]]

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        # What a survey is made of is nobody's to delete by itself, but goes with it.
        to_delete, counts, _, protected = super().get_deleted_objects(objs, request)
        return to_delete, counts, set(), protected

    def delete_model(self, request: HttpRequest, obj: Survey) -> None:
        intake.discard(obj, by=operator_of(request))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Survey]) -> None:
        for survey in queryset:
            intake.discard(survey, by=operator_of(request))

    # --- columns

    @display(description="Survey", ordering="name")
    def named(self, survey: Survey) -> str:
        return str(survey)

    @display(description="State", ordering="job__status", label=_COLOURS)
    def state(self, survey: Survey) -> str:
        return survey.job.status if survey.job is not None else "no job"

    @display(description="Net volume")
    def net(self, survey: Survey) -> str:
        if survey.summary is None:
            return ""
        headline = headline_of(survey.summary)
        return f"{volume(headline.net_m3)} ± {volume(headline.uncertainty_m3)} m³"

    @display(description="Error")
    def first_error(self, survey: Any) -> str:
        return (survey.said or "").split("\n")[0][:60]

    @display(description="Error")
    def error(self, survey: Any) -> str:
        return survey.said or "none"

    @display(description="Age", ordering="created_at")
    def age(self, survey: Survey) -> str:
        return format_html('<span class="whitespace-nowrap">{}</span>', ago(survey.created_at))

    @display(description="Page")
    def page(self, survey: Survey) -> str:
        return format_html('<a href="/surveys/{}">open</a>', survey.task_id)

    @display(description="Measured")
    def measured(self, survey: Survey) -> str:
        return preformatted(survey.summary)

    # --- actions

    @admin.action(description="Start, or try again what failed", permissions=["change"])
    def start_surveys(self, request: HttpRequest, surveys: QuerySet[Survey]) -> None:
        self.each(request, surveys, lambda survey: intake.start(survey, by=operator_of(request)), "started")

    @admin.action(description="Measure again with the present parameters", permissions=["change"])
    def measure_surveys_again(self, request: HttpRequest, surveys: QuerySet[Survey]) -> None:
        self.each(request, surveys, intake.measure_again, "queued again")

    @admin.action(description="Cancel", permissions=["change"])
    def cancel_surveys(self, request: HttpRequest, surveys: QuerySet[Survey]) -> None:
        def cancel(survey: Survey) -> None:
            if survey.job is None:
                raise Conflict("The survey has no job.")
            survey.job.cancel(by=operator_of(request), reason="from the admin")

        self.each(request, surveys, cancel, "cancelled")


@admin.register(Region)
class RegionAdmin(KeptAdmin):
    list_display: Sequence[str] = ("region_id", "survey", "net_volume_m3", "volume_uncertainty_m3", "area_m2", "score")
    list_select_related = ("survey",)
    search_fields = ("survey__name", "survey__task_id")
    ordering = ("-pk",)


@admin.register(Product)
class ProductAdmin(KeptAdmin):
    list_display: Sequence[str] = ("filename", "survey", "kind", "size", "key")
    list_filter = ("kind",)
    list_select_related = ("survey",)
    search_fields = ("survey__name", "survey__task_id", "filename")
    ordering = ("-pk",)


@admin.register(SurveyFile)
class SurveyFileAdmin(KeptAdmin):
    list_display: Sequence[str] = ("label", "survey", "upload")
    list_select_related = ("survey", "upload")
    search_fields = ("survey__name", "survey__task_id")
    ordering = ("-pk",)


@admin.register(Allowance)
class AllowanceAdmin(KeptAdmin):
    list_display: Sequence[str] = ("client", "n_left", "counted_at")
    search_fields = ("client",)
    ordering = ("-counted_at",)
