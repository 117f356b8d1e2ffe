"""What every route of the queue has in common."""

from __future__ import annotations

from typing import Any, cast
from uuid import UUID

from django.contrib.auth.models import User

from orchestrator.etags import ConditionalView
from orchestrator.problems import NotFound

from ..models import Job

TAGS = ["Batch jobs"]


class QueueView(ConditionalView):
    """A view of the queue."""

    needs = "jobs.change_job"

    @property
    def who(self) -> User:
        """Whoever asks; nobody unknown comes past the permissions."""
        return cast(User, self.request.user)

    def jobs(self) -> Any:
        """Jobs that whoever asks may see."""
        return Job.objects.visible_to(self.request.user)

    def job(self, job_id: UUID) -> Job:
        """Find a job; somebody else's is as good as none."""
        job = self.jobs().filter(job_id=job_id).first()
        if job is None:
            raise NotFound(f"No job has the id {job_id}.")
        return job
