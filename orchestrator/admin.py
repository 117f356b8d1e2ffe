"""People, tokens and the machinery below the queue, in the administration's own skin."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest
from django.utils import timezone
from django_q.models import Failure, OrmQ, Schedule, Success
from unfold.admin import ModelAdmin
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget, UnfoldAdminIntegerFieldWidget

from . import access
from .administration import DeskAdmin, KeptAdmin, display, preformatted
from .models import ApiToken, IdempotencyKey

for model in (User, Group, Failure, OrmQ, Schedule, Success):
    admin.site.unregister(model)


@admin.register(User)
class DeskUserAdmin(UserAdmin, ModelAdmin):
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm


@admin.register(Group)
class DeskGroupAdmin(GroupAdmin, ModelAdmin):
    pass


# --- Tokens


class NewTokenForm(forms.ModelForm):
    scopes = forms.MultipleChoiceField(
        choices=[
            (access.USER_SCOPE, "user: acts as its user everywhere"),
            (access.SERVICE_SCOPE, "service: may claim and settle items as a worker elsewhere"),
        ],
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
    )
    lifetime_days = forms.IntegerField(
        min_value=1,
        max_value=3650,
        initial=90,
        required=False,
        help_text="Days; empty never expires.",
        widget=UnfoldAdminIntegerFieldWidget,
    )

    class Meta:
        model = ApiToken
        fields = ["name", "user"]


@admin.register(ApiToken)
class ApiTokenAdmin(DeskAdmin):
    """A token's text is shown once, when it is made; only its hash is kept."""

    list_display = ("name", "user", "scopes", "prefix", "state", "created_at", "expires_at", "last_used_at")
    list_filter = (("revoked_at", admin.EmptyFieldListFilter), ("user", admin.RelatedOnlyFieldListFilter))
    list_select_related = ("user",)
    search_fields = ("name", "prefix", "user__username")
    ordering = ("-pk",)
    actions = ("revoke",)
    autocomplete_fields = ("user",)
    fields = ("name", "user", "scopes", "prefix", "created_at", "expires_at", "revoked_at", "last_used_at")
    readonly_fields = fields[1:]
    add_fieldsets = ((None, {"fields": ("name", "user", "scopes", "lifetime_days")}),)

    def get_form(self, request: HttpRequest, obj: ApiToken | None = None, **kwargs: Any) -> type[forms.ModelForm]:
        if obj is None:
            kwargs |= {"form": NewTokenForm, "fields": None}
        return super().get_form(request, obj, **kwargs)

    def get_readonly_fields(self, request: HttpRequest, obj: ApiToken | None = None) -> Any:
        return () if obj is None else self.readonly_fields

    def save_model(self, request: HttpRequest, obj: ApiToken, form: forms.ModelForm, change: bool) -> None:
        if change:
            obj.save(update_fields=["name"])
            return
        days = form.cleaned_data["lifetime_days"]
        token, text = access.make_token(
            obj.user,
            name=obj.name,
            scopes=form.cleaned_data["scopes"],
            lifetime=timedelta(days=days) if days else None,
        )
        obj.pk = token.pk
        self.message_user(request, f"Copy the token now, it is not shown again: {text}", messages.WARNING)

    @display(description="State", label={"alive": "success", "revoked": "danger", "expired": "default"})
    def state(self, token: ApiToken) -> str:
        if token.revoked_at is not None:
            return "revoked"
        return "expired" if token.expires_at is not None and token.expires_at <= timezone.now() else "alive"

    @admin.action(description="Revoke", permissions=["change"])
    def revoke(self, request: HttpRequest, tokens: QuerySet[ApiToken]) -> None:
        n_skipped = tokens.exclude(revoked_at=None).count()
        n_revoked = ApiToken.objects.filter(pk__in=tokens.order_by().values("pk"), revoked_at=None).update(
            revoked_at=Now()
        )
        self.message_user(request, f"{n_revoked} revoked, {n_skipped} skipped (revoked before).")


@admin.register(IdempotencyKey)
class IdempotencyKeyAdmin(KeptAdmin):
    list_display = ("key", "route", "user", "status", "created_at")
    list_filter = ("route",)
    list_select_related = ("user",)
    search_fields = ("key",)
    ordering = ("-pk",)
    fields = ("key", "route", "user", "status", "answer", "created_at")
    readonly_fields = fields

    @display(description="Answer")
    def answer(self, key: IdempotencyKey) -> Any:
        return preformatted(key.response)


# --- Django-Q


@admin.register(OrmQ)
class WaitingTaskAdmin(KeptAdmin):
    list_display = ("key", "name", "func", "lock")
    list_filter = ("key",)
    ordering = ("-pk",)


@admin.register(Schedule)
class ScheduleAdmin(KeptAdmin):
    list_display = ("name", "func", "schedule_type", "minutes", "next_run", "cluster")
    ordering = ("next_run",)


@admin.register(Failure)
class FailedTaskAdmin(KeptAdmin):
    list_display = ("name", "func", "started", "stopped", "attempt_count")
    list_filter = ("func",)
    ordering = ("-stopped",)
    fields = ("name", "func", "started", "stopped", "attempt_count", "trace")
    readonly_fields = fields

    @display(description="Trace")
    def trace(self, task: Failure) -> Any:
        return preformatted(str(task.result))
