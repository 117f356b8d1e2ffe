import logging
from typing import Any

from django.apps import AppConfig, apps
from django.db.models.signals import post_migrate

from orchestrator import schedules

logger = logging.getLogger(__name__)


class UploadsConfig(AppConfig):
    name = "uploads"

    def ready(self) -> None:
        post_migrate.connect(_make_schedule, sender=self, dispatch_uid="uploads.schedule")
        post_migrate.connect(_make_place, sender=self, dispatch_uid="uploads.place")


def _make_schedule(using: str, apps: Any = apps, **kwargs: object) -> None:
    schedules.every(1, "uploads.sweeping.sweep", name="sweep uploads", using=using, apps=apps)


def _make_place(**kwargs: object) -> None:
    """Make the bucket at the first start; a store that is away is said again by whoever needs it."""
    from . import storage

    try:
        storage.ensure_place()
    except storage.StoreUnavailable as error:
        logger.warning("the store is away", extra={"error": str(error)})
