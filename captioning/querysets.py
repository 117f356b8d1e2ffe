"""Questions about many rows of captioning."""

from __future__ import annotations

from django.db import models


class DatasetQuerySet(models.QuerySet):
    pass


class ImageQuerySet(models.QuerySet):
    pass


class PerspectiveQuerySet(models.QuerySet):
    pass


class ProviderQuerySet(models.QuerySet):
    pass


class CaptionQuerySet(models.QuerySet):
    def current(self) -> CaptionQuerySet:
        return self.filter(is_current=True)
