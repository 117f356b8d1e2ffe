"""How long a job's attempts take: what tells a slow provider from a short queue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import sql

if TYPE_CHECKING:
    from .models import Job


@dataclass(frozen=True)
class Latency:
    """Of the n_attempts of a job that ended last."""

    p50_seconds: float
    p95_seconds: float
    n_attempts: int


def of_job(job: Job) -> Latency | None:
    """Look at up to a thousand attempts, failed ones too; None while none has ended."""
    for p50_ms, p95_ms, n in sql.rows("latency", {"job": job.pk}):
        return Latency(p50_ms / 1000, p95_ms / 1000, n)
    return None
