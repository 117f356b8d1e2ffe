from io import StringIO

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError, connection

OLDEST_POSTGRES = 15


class Command(BaseCommand):
    help = "Migrate the database; give a new one its demo data and its first operator, whose password is printed once."
    requires_system_checks = ()

    def handle(self, *args: object, **options: object) -> None:
        # Outlives a break, so that the next try finishes what this one began.
        unfinished = settings.VAR_DIR / "setup-unfinished"
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT current_setting('server_version_num')::int / 10000")
                major = cursor.fetchone()[0]
        except OperationalError as error:
            raise CommandError(f"DATABASE_URL cannot be reached: {str(error).splitlines()[0]}") from error
        if major < OLDEST_POSTGRES:
            raise CommandError(f"DATABASE_URL leads to PostgreSQL {major}; {OLDEST_POSTGRES} or later is needed.")
        if "django_migrations" not in connection.introspection.table_names():
            unfinished.parent.mkdir(parents=True, exist_ok=True)
            unfinished.touch()
        call_command("migrate", interactive=False, verbosity=0)
        if unfinished.exists():
            call_command("load_demo", stdout=self.stdout)
            self._present_operator()
            unfinished.unlink()

    def _present_operator(self) -> None:
        printed = StringIO()
        call_command("first_operator", stdout=printed)
        account = dict(line.split("=", 1) for line in printed.getvalue().splitlines())
        if account:
            self.stdout.write(
                f"Log in as {account['operator']} with the password {account['password']} (it is not shown again)."
            )
