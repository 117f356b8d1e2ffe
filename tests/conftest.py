"""Start one PostgreSQL for the whole test run, before Django reads its settings."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

# As the survey engine sets them for itself, and before NumPy is loaded: threads of two test processes that spin while
# they wait for each other made surveys of half a second take two minutes.
os.environ |= {"OPENBLAS_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}

_IS_XDIST_WORKER = "PYTEST_XDIST_WORKER" in os.environ


def _start() -> None:
    from orchestrator.postgres import Postgres

    folder = Path(tempfile.mkdtemp(prefix="desk-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    # Ours alone and temporary: opened so that user nobody can enter when tests run as root.
    folder.chmod(0o755)
    os.environ.update(
        ENV_FILE=os.devnull,  # a developer's own settings must not change what is tested
        VAR_DIR=str(folder / "var"),
        SECRET_KEY="tests-only-" + "x" * 50,
    )
    (folder / "var").mkdir()
    if url := os.environ.get("TEST_DATABASE_URL"):
        os.environ["DATABASE_URL"] = url
        return
    programs = os.environ.get("POSTGRES_BIN")
    # Durability costs half the time of a test run and proves nothing here; fault tests start a durable server.
    quick = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "200"}
    server = Postgres(folder / "postgres", programs=Path(programs) if programs else None, settings=quick)
    server.start()
    atexit.register(server.stop)
    os.environ["DATABASE_URL"] = server.url


# Workers of pytest-xdist inherit the addresses from the process that started them.
if not _IS_XDIST_WORKER:
    _start()
# Only now may Django look: named in pytest's own settings, it would be set up before this file is read.
os.environ["DJANGO_SETTINGS_MODULE"] = "tests.workbench.settings"

import django  # noqa: E402

django.setup()

import pytest  # noqa: E402
from django.test import TransactionTestCase  # noqa: E402
from pytest_django import DjangoDbBlocker  # noqa: E402

from tests.workbench import database  # noqa: E402


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> None:
    with django_db_blocker.unblock():
        database.keep()


def _restore(self: TransactionTestCase) -> None:
    database.restore()


TransactionTestCase._fixture_teardown = _restore  # type: ignore[method-assign]
