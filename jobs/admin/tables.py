"""What pages remember: actions on many jobs, named filters, and the counts behind charts."""

from __future__ import annotations

from django.contrib import admin
from unfold.paginator import InfinitePaginator

from orchestrator.administration import KeptAdmin, display
from orchestrator.templatetags.desk import ago

from ..bulk import BulkAction
from ..saved_views import SavedView
from ..tallies import Tally


@admin.register(BulkAction)
class BulkActionAdmin(KeptAdmin):
    """One verb for many jobs: who said it, and how far it is."""

    list_display = ("verb", "user", "n_jobs", "n_done", "n_skipped", "said", "stopped_at", "completed_at")
    list_filter = ("verb", ("user", admin.RelatedOnlyFieldListFilter))
    list_select_related = ("user",)
    fields = ("verb", "parameters", "user", "n_jobs", "n_done", "n_skipped", "created_at", "starts_at", "completed_at")
    ordering = ("-pk",)

    @display(description="Said", ordering="created_at")
    def said(self, action: BulkAction) -> str:
        return ago(action.created_at)


@admin.register(SavedView)
class SavedViewAdmin(KeptAdmin):
    list_display = ("name", "user", "query")
    list_select_related = ("user",)
    search_fields = ("name", "user__username")
    ordering = ("name", "pk")


@admin.register(Tally)
class TallyAdmin(KeptAdmin):
    list_display = ("job", "at", "n_completed", "n_failed")
    list_select_related = ("job",)
    ordering = ("-pk",)
    paginator = InfinitePaginator
