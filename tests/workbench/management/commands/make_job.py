"""Create workbench jobs from JSON on standard input, as a fault test asks a running desk to."""

import json
import sys

from django.core.management.base import BaseCommand

from tests.workbench.rows import make_job


class Command(BaseCommand):
    def handle(self, *args: object, **options: object) -> None:
        draft = json.load(sys.stdin)
        items = draft.pop("items")
        for _ in range(draft.pop("copies", 1)):
            self.stdout.write(str(make_job(items, **draft).job_id))
