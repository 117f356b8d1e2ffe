import re
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator import env, variables

PROJECT = env.PROJECT_FOLDER


def test_a_missing_or_empty_variable_means_the_default(monkeypatch):
    monkeypatch.delenv("PORT", raising=False)
    assert env.integer("PORT", 8000) == 8000

    monkeypatch.setenv("PORT", "  ")
    assert env.integer("PORT", 8000) == 8000
    assert env.text("PORT", "x") == "x"
    assert env.boolean("PORT", True) is True
    assert env.words("PORT", ["a"]) == ["a"]
    assert env.seconds("PORT", 1.5) == 1.5
    assert env.secret("PORT") is None


@pytest.mark.parametrize(
    ("read", "value", "message"),
    [
        (lambda: env.integer("PORT", 1), "80x", "PORT: expected a whole number, got '80x'."),
        (lambda: env.integer("PORT", 1, minimum=1), "0", "PORT: expected at least 1, got 0."),
        (lambda: env.integer("PORT", 1, maximum=65535), "65536", "PORT: expected at most 65535, got 65536."),
        (lambda: env.boolean("PORT", False), "maybe", "PORT: expected yes or no, got 'maybe'."),
        (lambda: env.choice("PORT", ["a", "b"], "a"), "c", "PORT: expected one of a, b; got 'c'."),
        (lambda: env.seconds("PORT", 1), "soon", "PORT: expected seconds, got 'soon'."),
        (lambda: env.seconds("PORT", 1), "nan", "PORT: expected more than 0 seconds, got nan."),
        (lambda: env.seconds("PORT", 1), "-1", "PORT: expected more than 0 seconds, got -1."),
    ],
)
def test_a_malformed_value_is_refused_by_its_name(monkeypatch, read, value, message):
    monkeypatch.setenv("PORT", value)

    with pytest.raises(env.InvalidVariable) as refusal:
        read()

    assert str(refusal.value) == message


@pytest.mark.parametrize("value", ["a,b", "a b", " a , b ,", "a,\n b"])
def test_words_are_separated_by_commas_or_spaces(monkeypatch, value):
    monkeypatch.setenv("ALLOWED_HOSTS", value)

    assert env.words("ALLOWED_HOSTS") == ["a", "b"]


@pytest.mark.parametrize(
    ("value", "expected"), [("yes", True), ("TRUE", True), ("1", True), ("off", False), ("0", False)]
)
def test_booleans_are_said_in_several_ways(monkeypatch, value, expected):
    monkeypatch.setenv("DEBUG", value)

    assert env.boolean("DEBUG", not expected) is expected


def test_a_secret_may_come_from_a_file(monkeypatch, tmp_path):
    (tmp_path / "key").write_text("s3cret\n")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("OPENAI_API_KEY_FILE", str(tmp_path / "key"))

    assert env.secret("OPENAI_API_KEY") == "s3cret"


def test_a_secret_said_twice_is_refused(monkeypatch, tmp_path):
    (tmp_path / "key").write_text("s3cret")
    monkeypatch.setenv("OPENAI_API_KEY", "other")
    monkeypatch.setenv("OPENAI_API_KEY_FILE", str(tmp_path / "key"))

    with pytest.raises(env.InvalidVariable, match="not both"):
        env.secret("OPENAI_API_KEY")


def test_a_secret_file_must_be_readable_and_filled(monkeypatch, tmp_path):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("OPENAI_API_KEY_FILE", str(tmp_path / "missing"))
    with pytest.raises(env.InvalidVariable, match="OPENAI_API_KEY_FILE: cannot read .*: No such file"):
        env.secret("OPENAI_API_KEY")

    (tmp_path / "missing").write_text(" \n")
    with pytest.raises(env.InvalidVariable, match="is empty"):
        env.secret("OPENAI_API_KEY")


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+asyncpg", "postgresql+psycopg"])
def test_a_database_url_is_taken_in_every_usual_form(scheme):
    entry = env.database(f"{scheme}://ann:p%40ss@db.example:5433/desk?sslmode=require&connect_timeout=3")

    assert entry == {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "desk",
        "USER": "ann",
        "PASSWORD": "p@ss",
        "HOST": "db.example",
        "PORT": "5433",
        "OPTIONS": {"sslmode": "require", "connect_timeout": "3"},
    }


def test_a_database_url_may_name_a_unix_socket():
    entry = env.database("postgresql:///desk?host=/run/postgresql&user=ann")

    assert (entry["HOST"], entry["USER"], entry["NAME"], entry["OPTIONS"]) == ("/run/postgresql", "ann", "desk", {})


def test_the_driver_word_for_tls_is_translated():
    assert env.database("postgresql+asyncpg://h/d?ssl=require")["OPTIONS"] == {"sslmode": "require"}


@pytest.mark.parametrize(
    "url", ["mysql://u:hunter2@h/d", "u:hunter2@h/d", "postgres://u:hunter2@h:99999/d", "postgres://h/"]
)
def test_a_wrong_database_url_is_refused_without_its_password(url):
    with pytest.raises(env.InvalidVariable, match="^DATABASE_URL: ") as refusal:
        env.database(url)

    assert "hunter2" not in str(refusal.value)


def test_the_file_knows_quotes_comments_and_export(tmp_path):
    (tmp_path / ".env").write_text(
        "# a comment\n\nPORT=8001 # not part of it\nexport HOST = localhost\nPUBLIC_URL='a # b'\n"
        'SECRET_KEY="two\\nlines \\"quoted\\" \\\\"  # end\nDEBUG=\nLOG_LEVEL=a#b\n'
    )
    environment: dict[str, str] = {}

    env.load_file(tmp_path / ".env", environment)

    assert environment == {
        "PORT": "8001",
        "HOST": "localhost",
        "PUBLIC_URL": "a # b",
        "SECRET_KEY": 'two\nlines "quoted" \\',
        "DEBUG": "",
        "LOG_LEVEL": "a#b",
    }


def test_the_environment_wins_over_the_file(tmp_path):
    (tmp_path / ".env").write_text("PORT=8001\n")
    environment = {"PORT": "9000"}

    env.load_file(tmp_path / ".env", environment)

    assert environment == {"PORT": "9000"}


def test_an_unknown_name_in_the_file_warns_and_is_kept(tmp_path, caplog):
    (tmp_path / ".env").write_text("PROT=1\nSECRET_KEY_FILE=/x\n")
    environment: dict[str, str] = {}

    env.load_file(tmp_path / ".env", environment)

    assert [record.getMessage() for record in caplog.records] == [
        ".env line 1: PROT is not a variable of this project."
    ]
    assert environment["PROT"] == "1"


def test_networks_are_checked_when_they_are_read(monkeypatch):
    monkeypatch.setenv("TRUSTED_PROXIES", "10.0.0.0/8, ::1")
    assert env.networks("TRUSTED_PROXIES") == ["10.0.0.0/8", "::1"]

    monkeypatch.setenv("TRUSTED_PROXIES", "10.0.0.0/8, proxy")
    with pytest.raises(env.InvalidVariable, match="'proxy' is no network"):
        env.networks("TRUSTED_PROXIES")


@pytest.mark.parametrize("line", ["just words", "1X=2", "=5"])
def test_a_broken_line_of_the_file_is_refused_by_its_number(tmp_path, line):
    (tmp_path / ".env").write_text(f"PORT=1\n{line}\n")

    with pytest.raises(env.InvalidVariable, match="^.env line 2: expected NAME=value"):
        env.load_file(tmp_path / ".env", {})


def test_quotes_in_the_file_must_close(tmp_path):
    (tmp_path / ".env").write_text('SECRET_KEY="abc\n')

    with pytest.raises(env.InvalidVariable, match="^SECRET_KEY: the quotes in .env line 1 do not close"):
        env.load_file(tmp_path / ".env", {})


def test_a_malformed_value_stops_a_command_in_one_line(tmp_path):
    (tmp_path / ".env").write_text("PORT=eighty\n")

    run = subprocess.run(
        [sys.executable, "manage.py", "check"],
        cwd=PROJECT,
        env={"PATH": "/usr/bin:/bin", "ENV_FILE": str(tmp_path / ".env"), "VAR_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert (run.returncode, run.stdout, run.stderr) == (2, "", "PORT: expected a whole number, got 'eighty'.\n")


def test_every_variable_that_the_settings_read_is_in_the_table():
    calls = re.findall(
        r"\benv\.(?:text|integer|boolean|words|networks|choice|seconds|secret)\(\s*\"([A-Z0-9_]+)\"",
        (PROJECT / "orchestrator" / "settings.py").read_text(encoding="utf-8"),
    )

    assert len(calls) > 10
    assert set(calls) - variables.KNOWN_NAMES == set()


def test_only_the_settings_read_the_environment():
    reads = re.compile(r"\bos\.(environ|getenv)\b|\benv\.(text|integer|boolean|words|networks|choice|seconds|secret)\(")
    readers = {
        path.relative_to(PROJECT).as_posix()
        for app in ("orchestrator", "jobs", "captioning", "uploads", "volcal")
        for path in Path(PROJECT / app).rglob("*.py")
        if reads.search(path.read_text(encoding="utf-8"))
    }

    assert readers <= {
        "orchestrator/env.py",
        "orchestrator/settings.py",
        "orchestrator/asgi.py",  # names the settings module
        "uploads/asgi.py",  # so does this
        "orchestrator/supervisor.py",  # hands an environment to its children
        "volcal/stageprocess.py",  # hands on as little of it as a program needs
        "volcal/engine/__main__.py",  # tells libraries how many threads they may have
        "volcal/engine/threads.py",  # reads that again
        "captioning/vision/__init__.py",  # switches a library's telemetry off
        "captioning/provider_sources.py",  # provider.config.toml says itself which variables hold its keys
    }


def test_the_example_and_the_page_say_what_the_table_says():
    assert (PROJECT / ".env.example").read_text(encoding="utf-8") == variables.env_example()
    page = PROJECT / "docs" / "reference" / "variables.md"
    assert page.read_text(encoding="utf-8") == variables.reference_page()


def test_the_example_is_a_valid_file_that_changes_nothing():
    environment: dict[str, str] = {}

    env.load_file(PROJECT / ".env.example", environment)

    assert environment == {}
