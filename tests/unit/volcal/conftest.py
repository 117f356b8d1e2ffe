import threading

import pytest

from tests.surveys import FakeEngine
from tests.workbench.rows import make_user
from volcal import stageprocess


@pytest.fixture(autouse=True)
def _own_folders(settings, tmp_path):
    settings.VAR_DIR = tmp_path / "var"
    settings.MEDIA_ROOT = tmp_path / "media"


@pytest.fixture
def engine(settings, tmp_path, monkeypatch):
    """Give an engine that does as it is told, and let no guardian outlive the test."""
    folder = tmp_path / "engine"
    folder.mkdir()
    fake = FakeEngine(folder)
    settings.SURVEY_ENGINE = fake.command
    kept = threading.local()
    monkeypatch.setattr(stageprocess, "_kept", kept)
    yield fake
    if hasattr(kept, "engine"):
        kept.engine.end()


@pytest.fixture
def ada(db):
    return make_user("ada")
