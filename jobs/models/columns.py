"""Values that the database makes, so that rows made by COPY have them too."""

from __future__ import annotations

from django.db import models


class RandomUUID(models.Func):
    """PostgreSQL's own version-4 UUID, so that rows made by COPY have one too."""

    template = "gen_random_uuid()"
    output_field = models.UUIDField()


class NextRank(models.Func):
    """A rank behind every other; a sequence, so that creating jobs needs no lock."""

    template = "nextval('jobs_rank')"
    output_field = models.DecimalField(max_digits=60, decimal_places=30)
