from argparse import ArgumentParser
from datetime import timedelta

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError

from orchestrator.access import SCOPES, USER_SCOPE, make_token


class Command(BaseCommand):
    help = "Make an API token and print it; it cannot be shown again."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--user", required=True, help="name of the user that the token acts as")
        parser.add_argument(
            "--scope",
            action="append",
            choices=SCOPES,
            help="user: everything its user may do; service: work as an outside worker. May be given twice.",
        )
        parser.add_argument("--name", required=True, help="what the token is for")
        parser.add_argument("--days", type=int, help="days until it expires; without, it lives until it is revoked")

    def handle(
        self, *args: object, user: str, scope: list[str] | None, name: str, days: int | None, **options: object
    ) -> None:
        users = get_user_model()
        try:
            owner = users.objects.get(username=user)
        except users.DoesNotExist:
            raise CommandError(f"There is no user {user!r}; make one in the admin first.") from None
        if days is not None and days < 1:
            raise CommandError("--days must be at least 1.")
        _, text = make_token(
            owner,
            name=name,
            scopes=sorted(set(scope or [USER_SCOPE])),
            lifetime=timedelta(days=days) if days is not None else None,
        )
        self.stdout.write(text)
