from __future__ import annotations

from typing import Any

from django.apps import AppConfig, apps
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.models.signals import post_migrate

from orchestrator import schedules


class CaptioningConfig(AppConfig):
    name = "captioning"
    verbose_name = "Captioning"

    def ready(self) -> None:
        from jobs.pipelines import registry

        from .importing import ImportPipeline
        from .pipeline import CaptioningPipeline

        registry.register(CaptioningPipeline())
        registry.register(ImportPipeline())
        post_migrate.connect(_bring_up_to_date, sender=self)


def _bring_up_to_date(using: str = DEFAULT_DB_ALIAS, **kwargs: Any) -> None:
    """Load what is shipped and configured, each time the tables are brought up to date; that is at every start."""
    from django.db.migrations.executor import MigrationExecutor

    executor = MigrationExecutor(connections[using])
    ours = [node for node in executor.loader.graph.leaf_nodes() if node[0] == "captioning"]
    # Migrating back, or only half way, leaves tables that the present code does not know.
    if using != DEFAULT_DB_ALIAS or executor.migration_plan(ours):
        return
    from . import library, provider_sources

    library.load_shipped()
    provider_sources.load()
    schedules.every(10, "captioning.trash.empty", name="empty trash", using=using, apps=apps)
