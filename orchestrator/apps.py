from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig


class OrchestratorConfig(AppConfig):
    name = "orchestrator"

    def ready(self) -> None:
        from . import checks  # noqa: F401  registers the system checks


class DeskAdminConfig(AdminConfig):
    default_site = "orchestrator.administration.DeskAdminSite"
