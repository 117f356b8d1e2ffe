"""The desk's settings with the workbench installed; tests and the processes they start run on these."""

from orchestrator.settings import *  # noqa: F403
from orchestrator.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.workbench.apps.WorkbenchConfig"]
