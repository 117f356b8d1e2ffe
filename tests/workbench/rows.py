"""Builders of rows; each takes only what a test cares about."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any
from unittest import mock

from django.contrib.auth.models import User
from django.db.models.functions import Now
from django.utils import timezone
from django_q.conf import Conf
from django_q.models import OrmQ

from jobs.clusters import Cluster
from jobs.creation import JobDraft, create
from jobs.models import Job, JobItem, Lane
from jobs.pipelines import NewItem
from jobs.slices import run_slice
from orchestrator import roles


def make_user(name: str = "ada", **columns: Any) -> User:
    return User.objects.create_user(name, **columns)


def make_staff(name: str = "grace", *, role: roles.Role = roles.OPERATOR) -> User:
    user = make_user(name)
    roles.give(user, role)
    return User.objects.get(pk=user.pk)  # without the permissions that an instance remembers


def make_job(
    items: int | Iterable[dict[str, Any]] = 1, *, by: User | None = None, pipeline: str = "workbench", **draft: Any
) -> Job:
    """Create a job of the workbench. items: a number of no-op items, or one payload each; `depends_on` is an edge."""
    payloads = [{} for _ in range(items)] if isinstance(items, int) else [dict(item) for item in items]
    new_items = [
        NewItem(f"{n}.jpg", "plain", payload, payload.pop("depends_on", ())) for n, payload in enumerate(payloads)
    ]
    draft.setdefault("type", "MULTI_PERSPECTIVE")
    return create(JobDraft(pipeline=pipeline, items=new_items, **draft), by=by)


def work(cluster: str = Cluster.DEFAULT) -> None:
    """Be a worker of this cluster until no task is left that could be taken now."""
    with mock.patch.object(Conf, "CLUSTER_NAME", cluster):
        while task := OrmQ.objects.filter(key=cluster, lock__lte=timezone.now()).order_by("pk").first():
            task.delete()
            run_slice()


def counted(job: Job) -> Job:
    return Job.objects.with_counts().with_position().get(pk=job.pk)


def statuses(job: Job) -> list[str]:
    return list(JobItem.objects.filter(job=job).order_by("seq").values_list("status", flat=True))


def assert_counters_are_exact(job: Job) -> None:
    """What the counters say is what the rows are."""
    fresh = counted(job)
    found = statuses(job)
    assert (fresh.n_completed, fresh.n_failed, fresh.n_cancelled) == tuple(
        found.count(status) for status in ("completed", "failed", "cancelled")
    )


def expire_leases() -> None:
    """Let every lease be over, as if its worker had been gone for long; rows move, not clocks."""
    Lane.objects.filter(token__isnull=False).update(lease_expires_at=Now() - timedelta(days=1))


def make_due() -> None:
    """Let every backoff be over."""
    JobItem.objects.filter(run_after__isnull=False).update(run_after=Now() - timedelta(seconds=1))
    OrmQ.objects.update(lock=Now() - timedelta(seconds=1))
