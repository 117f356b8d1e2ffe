import secrets
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import UNUSABLE_PASSWORD_PREFIX
from django.core.management.base import BaseCommand
from django.db import transaction

_NAME = "operator"


class Command(BaseCommand):
    help = "Create the first operator and print the one-time password, unless somebody can log in as superuser."

    @transaction.atomic
    def handle(self, *args: Any, **options: Any) -> None:
        users = get_user_model().objects
        who_can_log_in = users.filter(is_superuser=True, is_active=True).exclude(
            password__startswith=UNUSABLE_PASSWORD_PREFIX
        )
        if who_can_log_in.exclude(password="").exists():
            return
        password = secrets.token_urlsafe(12)
        operator, _ = users.get_or_create(username=self._free_name())
        operator.is_staff = operator.is_superuser = operator.is_active = True
        operator.set_password(password)
        operator.save(update_fields=["is_staff", "is_superuser", "is_active", "password"])
        self.stdout.write(f"operator={operator.username}")
        self.stdout.write(f"password={password}")

    def _free_name(self) -> str:
        """Avoid a person of that name who is no operator: their account must not become one."""
        users = get_user_model().objects
        name, number = _NAME, 1
        while users.filter(username=name, is_superuser=False).exists():
            number += 1
            name = f"{_NAME}{number}"
        return name
