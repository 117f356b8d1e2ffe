#!/usr/bin/env python3
"""Run a command of the project: `manage.py up` starts the whole desk."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orchestrator.settings")
    from orchestrator.deathsig import bind_every_fork
    from orchestrator.env import InvalidVariable

    if sys.argv[1:2] == ["qcluster"]:
        bind_every_fork()
    try:
        from django.core.management import execute_from_command_line

        execute_from_command_line(sys.argv)
    except InvalidVariable as error:
        # A malformed setting is the operator's to mend: one clear line instead of a trace.
        sys.exit(_refuse(str(error)))


def _refuse(message: str) -> int:
    print(message, file=sys.stderr)
    return 2


if __name__ == "__main__":
    main()
