"""Bring the test database back to what migrations made of it.

Django flushes after each test that commits, and then runs what follows migrations anew: permissions, roles, standing
rows, the library of perspectives. That took longer than most of the tests themselves; a copy of those rows does not.
"""

from __future__ import annotations

from django.db import connection, transaction

_KEPT = "kept"  # a schema beside Django's


def _tables() -> list[str]:
    return [connection.ops.quote_name(name) for name in connection.introspection.django_table_names(only_existing=True)]


def keep() -> None:
    """Remember the rows that are there now."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"DROP SCHEMA IF EXISTS {_KEPT} CASCADE; CREATE SCHEMA {_KEPT}")
        for table in _tables():
            cursor.execute(f"SELECT EXISTS (SELECT FROM public.{table})")
            if cursor.fetchone() == (True,):
                cursor.execute(f"CREATE TABLE {_KEPT}.{table} AS TABLE public.{table}")


def restore() -> None:
    """Delete every row and put the remembered ones back, in any order: foreign keys are checked at the commit.

    Sequences go on, so that no id is ever seen twice.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("; ".join(f"DELETE FROM public.{table}" for table in _tables()))
        cursor.execute("SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = %s", [_KEPT])
        kept = [name for (name,) in cursor.fetchall()]
        cursor.execute("; ".join(f"INSERT INTO public.{table} SELECT * FROM {_KEPT}.{table}" for table in kept))
