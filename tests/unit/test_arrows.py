"""Who may import whom. The layout is the architecture; this draws its arrows."""

import ast
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
APPS = ("jobs", "captioning", "uploads", "volcal", "orchestrator")
# orchestrator assembles, and lends leaves that know no app.
ALLOWED = {
    "jobs": {"orchestrator"},
    "uploads": {"orchestrator"},
    "captioning": {"orchestrator", "jobs", "uploads"},
    "volcal": {"orchestrator", "jobs", "uploads"},
}
ASSEMBLING = {
    *("urls", "page_urls", "asgi", "settings", "views", "state", "dashboard", "supervisor", "apps", "models"),
    "management",
}


def imports_of(path: Path) -> list[tuple[str, int]]:
    """List the modules of this project that a file imports, with their lines; relative ones are its own app's."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found += [(f"{node.module}.{alias.name}", node.lineno) for alias in node.names]
    return [(name, line) for name, line in found if name.split(".")[0] in APPS]


def files_of(app: str) -> list[Path]:
    return sorted((PROJECT / app).rglob("*.py"))


@pytest.mark.parametrize("app", ALLOWED)
def test_an_app_imports_only_what_it_may(app):
    wrong = [
        f"{path.relative_to(PROJECT)}:{line} imports {name}"
        for path in files_of(app)
        for name, line in imports_of(path)
        if name.split(".")[0] not in ALLOWED[app] | {app}
    ]
    assert wrong == []


@pytest.mark.parametrize("app", ALLOWED)
def test_an_app_imports_only_leaves_of_the_assembling_one(app):
    wrong = [
        f"{path.relative_to(PROJECT)}:{line} imports {name}"
        for path in files_of(app)
        for name, line in imports_of(path)
        if name.startswith("orchestrator.") and name.split(".")[1] in ASSEMBLING
    ]
    assert wrong == []


def test_the_leaves_know_no_app():
    known = ASSEMBLING | {"admin", "administration"}
    wrong = [
        f"{path.relative_to(PROJECT)}:{line} imports {name}"
        for path in files_of("orchestrator")
        if path.stem not in known and path.parent.name == "orchestrator"
        for name, line in imports_of(path)
        if name.split(".")[0] in ALLOWED
    ]
    assert wrong == []


@pytest.mark.parametrize("package", ["captioning/vision", "captioning/gateway"])
def test_what_works_without_django_imports_none_of_it(package):
    wrong = []
    for path in sorted((PROJECT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                names.append(node.module)
            wrong += [f"{path.relative_to(PROJECT)}:{node.lineno}" for name in names if name.startswith("django")]
    assert wrong == []
