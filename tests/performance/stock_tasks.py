"""Enqueue no-op tasks the way Django-Q2's documentation does: one task an item."""

import sys

import django

if __name__ == "__main__":
    django.setup()
    from django.db import transaction
    from django_q.tasks import async_task

    with transaction.atomic():
        for _ in range(int(sys.argv[1])):
            async_task("math.floor", 1.5)
