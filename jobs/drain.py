"""The wish to stop: one file that the supervisor touches, looked at by every worker between two items."""

from django.conf import settings


def is_draining() -> bool:
    return settings.DRAIN_FILE.exists()
