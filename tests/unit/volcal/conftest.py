import pytest

from tests.surveys import FakeEngine
from tests.workbench.rows import make_user


@pytest.fixture(autouse=True)
def _own_folders(settings, tmp_path):
    settings.VAR_DIR = tmp_path / "var"
    settings.MEDIA_ROOT = tmp_path / "media"


@pytest.fixture
def engine(settings, tmp_path) -> FakeEngine:
    folder = tmp_path / "engine"
    folder.mkdir()
    fake = FakeEngine(folder)
    settings.SURVEY_ENGINE = fake.command
    return fake


@pytest.fixture
def ada(db):
    return make_user("ada")
