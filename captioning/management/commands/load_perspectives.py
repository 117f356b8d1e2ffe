from typing import Any

from django.core.management.base import BaseCommand, CommandError

from captioning import library


class Command(BaseCommand):
    help = "Bring the shipped perspectives up to date; what people wrote stays in force. `migrate` does the same."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            names = library.load_shipped()
        except library.ShippedFileBroken as fault:
            raise CommandError(str(fault)) from None
        self.stdout.write(f"New versions: {', '.join(names)}." if names else "Everything was up to date.")
