from tests.unit.volcal.conftest import _own_folders, engine

__all__ = ["_own_folders", "engine"]
