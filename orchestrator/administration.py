"""What every page of the administration has in common: its site, its policy, and admins for rows that machines keep."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar, cast

from csp.decorators import csp_replace
from django.conf import settings
from django.contrib import messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db import models
from django.db.models import Model
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.utils.html import format_html
from unfold.admin import ModelAdmin
from unfold.decorators import display as unfold_display
from unfold.sites import UnfoldAdminSite
from unfold.widgets import UnfoldAdminTextInputWidget

from .problems import Problem

Column = TypeVar("Column", bound=Callable[..., Any])

# In the form of an object's page: its action comes back to it.
ON_ITS_PAGE = "_on_its_page"

_SECRET = re.compile(r"key$|secret|token$|password|authorization|credential", re.IGNORECASE)


class DeskAdminSite(UnfoldAdminSite):
    """The admin under a policy of its own: its skin evaluates expressions, which no other page may (Alpine)."""

    def admin_view(self, view: Callable[..., HttpResponse], cacheable: bool = False) -> Callable[..., HttpResponse]:
        return _under_admin_policy(super().admin_view(view, cacheable))

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return _under_admin_policy(super().login)(request, extra_context)


def _under_admin_policy(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    return cast(Callable[..., HttpResponse], csp_replace(settings.ADMIN_CONTENT_SECURITY_POLICY)(view))


class DeskAdmin(ModelAdmin):
    """A list that stays quick on large tables: one query a page, and no count of what the filter leaves out."""

    show_full_result_count = False
    list_per_page = 50
    compressed_fields = True
    # Most text columns hold a line: a name, an address. Forms say so where one holds more.
    formfield_overrides = {models.TextField: {"widget": UnfoldAdminTextInputWidget}}
    warn_unsaved_form = True
    change_form_outer_before_template = "admin/object_actions.html"
    # Query of the list that leaves nothing out, where its filters do.
    whole_list = ""

    def object_actions(self, request: HttpRequest, obj: Any) -> list[tuple[str, str]]:
        """Name the list's actions that make sense for one object, each with what its button says."""
        choices = self.get_action_choices(request, default_choices=[])
        return [(name, words) for name, words in choices if name and name != "delete_selected"]

    def render_change_form(
        self, request: HttpRequest, context: Any, *args: Any, obj: Any = None, **kwargs: Any
    ) -> HttpResponse:
        actions = self.object_actions(request, obj) if obj is not None else []
        context |= {"object_actions": actions, "whole_list": self.whole_list}
        return super().render_change_form(request, context, *args, obj=obj, **kwargs)

    def response_action(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        """Run an action of the list; one that was asked for on an object's page leads back there."""
        response = super().response_action(request, queryset)
        if ON_ITS_PAGE in request.POST and isinstance(response, HttpResponseRedirect):
            page = f"admin:{self.opts.app_label}_{self.opts.model_name}_change"
            return redirect(page, request.POST[ACTION_CHECKBOX_NAME])
        return response

    def each(self, request: HttpRequest, rows: Iterable[Model], verb: Callable[[Any], object], done: str) -> None:
        """Call a verb on every row, skip those that it does not apply to, and report both numbers.

        done: what happened to them, as in "3 cancelled".
        """
        n_done = 0
        refusals: dict[str, int] = {}
        for row in rows:
            try:
                verb(row)
            except Problem as refusal:
                refusals[refusal.detail] = refusals.get(refusal.detail, 0) + 1
            else:
                n_done += 1
        n_skipped = sum(refusals.values())
        reasons = " ".join(f"{reason} ({n})" for reason, n in refusals.items())
        self.message_user(
            request,
            f"{n_done} {done}, {n_skipped} skipped. {reasons}".strip(),
            messages.SUCCESS if n_done else messages.WARNING,
        )


class KeptAdmin(DeskAdmin):
    """Rows that only the machine writes: to look at."""

    actions: Sequence[str] | None = None

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


def display(
    *,
    description: str,
    ordering: str | None = None,
    boolean: bool | None = None,
    label: Mapping[str, str] | None = None,
) -> Callable[[Column], Column]:
    """Make a method a column of a list. label: colour of a badge by the value that it shows."""
    decorate = unfold_display(description=description, ordering=ordering, boolean=boolean, label=label)
    return cast(Callable[[Column], Column], decorate)


def preformatted(value: Any) -> str:
    """Write JSON or a trace as it stands, without what looks like a secret."""
    if value in (None, "", {}, []):
        return "none"
    text = value if isinstance(value, str) else json.dumps(_without_secrets(value), indent=2, ensure_ascii=False)
    return format_html('<pre class="whitespace-pre-wrap break-words text-xs">{}</pre>', text)


def _without_secrets(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: "(hidden)" if _SECRET.search(str(name)) and inner else _without_secrets(inner)
            for name, inner in value.items()
        }
    if isinstance(value, list):
        return [_without_secrets(inner) for inner in value]
    return value
