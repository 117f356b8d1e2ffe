"""The archive of jobs, and the way out of it."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse

from orchestrator.administration import KeptAdmin, display

from .. import purging
from ..models import Job, JobArchive
from .common import LABELS, ask, operator_of


@admin.register(JobArchive)
class JobArchiveAdmin(KeptAdmin):
    """Who archived what, when and why; restoring, and purging for good."""

    list_display = ("job", "state", "counts", "archived_at", "archived_by", "reason", "restored_at", "restored_by")
    list_filter = (
        ("restored_at", admin.EmptyFieldListFilter),
        "status",
        ("archived_by", admin.RelatedOnlyFieldListFilter),
    )
    list_select_related = ("job", "archived_by", "restored_by")
    search_fields = ("job__name", "job__job_id", "reason")
    ordering = ("-archived_at", "-pk")
    actions = ("restore_jobs", "purge_jobs")

    @display(description="State", ordering="status", label=LABELS)
    def state(self, archive: JobArchive) -> str:
        return archive.status

    @display(description="Done / failed / cancelled of all")
    def counts(self, archive: JobArchive) -> str:
        return (
            f"{archive.processed_images} / {archive.failed_images} / {archive.cancelled_images}"
            f" of {archive.total_images}"
        )

    @admin.action(description="Restore", permissions=["operate"])
    def restore_jobs(self, request: HttpRequest, archives: QuerySet[JobArchive]) -> None:
        jobs = Job.objects.filter(archives__in=archives.order_by()).distinct()
        self.each(request, jobs, lambda job: job.restore(by=operator_of(request)), "restored")

    @admin.action(description="Purge for good …", permissions=["operate"])
    def purge_jobs(self, request: HttpRequest, archives: QuerySet[JobArchive]) -> HttpResponse | None:
        jobs = Job.objects.filter(archives__in=archives.order_by()).distinct()
        if "confirmed" not in request.POST:
            preview = purging.preview(Job.objects.filter(pk__in=jobs.values("pk")))
            return ask(
                self,
                request,
                "purge_jobs",
                title=f"Purge {preview.n_jobs} job{'' if preview.n_jobs == 1 else 's'} for good?",
                consequences=[
                    f"{preview.n_items} items and {preview.n_events} events are deleted with them.",
                    "Captions and other results that the jobs brought stay.",
                    f"{preview.n_not_archived} of the selection were restored meanwhile and will be skipped.",
                    "This cannot be undone.",
                ],
                yes="Purge these jobs",
            )
        self.each(request, list(jobs), lambda job: purging.purge(job, by=operator_of(request)), "purged")
        return None

    def has_operate_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("jobs.change_job")
