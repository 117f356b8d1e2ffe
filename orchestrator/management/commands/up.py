import sys
from argparse import ArgumentParser

from django.core.management.base import BaseCommand

from orchestrator.supervisor import ROLES, CannotStart, Supervisor


class Command(BaseCommand):
    help = "Start the whole desk and keep it alive until Ctrl-C."
    # A broken system check is the children's to report; here it would only delay the start.
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--only",
            nargs="+",
            choices=ROLES,
            default=ROLES,
            metavar="ROLE",
            help=f"run only these, on a database that is prepared elsewhere: {', '.join(ROLES)}",
        )

    def handle(self, *args: object, only: list[str], **options: object) -> None:
        try:
            Supervisor(only, say=self._say).run()
        except CannotStart as error:
            self.stderr.write(str(error))
            sys.exit(1)

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()
