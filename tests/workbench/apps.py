from django.apps import AppConfig


class WorkbenchConfig(AppConfig):
    name = "tests.workbench"
    label = "workbench"

    def ready(self) -> None:
        from jobs.pipelines import registry

        from .pipeline import SilentPipeline, WorkbenchPipeline

        registry.register(WorkbenchPipeline())
        registry.register(SilentPipeline())
