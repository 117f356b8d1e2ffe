from typing import Any

from django.core.management.base import BaseCommand, CommandError

from captioning import provider_sources


class Command(BaseCommand):
    help = "Apply the keys of the environment and provider.config.toml to the providers. `migrate` does the same."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            names = provider_sources.load()
        except provider_sources.ConfigBroken as fault:
            raise CommandError(fault.detail) from None
        self.stdout.write(f"Configured: {', '.join(names)}." if names else "Everything was up to date.")
