from typing import Any

from django.apps import AppConfig, apps
from django.contrib.admin.apps import AdminConfig
from django.db.models.signals import post_migrate


class OrchestratorConfig(AppConfig):
    name = "orchestrator"

    def ready(self) -> None:
        from . import checks  # noqa: F401  registers the system checks

        # Permissions are made app by app; the last app's complete the roles. Apps without models are passed over.
        last = [config for config in apps.get_app_configs() if config.models_module is not None][-1]
        post_migrate.connect(_make_roles, sender=last, dispatch_uid="orchestrator.roles")


class DeskAdminConfig(AdminConfig):
    default_site = "orchestrator.administration.DeskAdminSite"


def _make_roles(**_: Any) -> None:
    from . import roles

    roles.write_down()
