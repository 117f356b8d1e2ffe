"""What VAR_DIR keeps so that one folder is one desk: its keys, and the address of its database while it runs."""

import os
import secrets
from pathlib import Path

# Commands that touch no database (collectstatic, makemigrations) work without one; the name says why others fail.
NOT_RUNNING = "postgresql:///embedded-postgresql-is-not-running"


def secret_key(var_dir: Path) -> str:
    """Return the key of this folder, made the first time it is asked for."""
    return _made_once(var_dir / "secret-key")


def store_key(var_dir: Path) -> str:
    """Return the key of this folder's own S3 store, made the first time it is asked for."""
    return _made_once(var_dir / "store-key")


def _made_once(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
    key = secrets.token_urlsafe(50)
    temporary = path.with_suffix(f".{os.getpid()}")
    temporary.touch(mode=0o600)
    temporary.write_text(key, encoding="ascii")
    try:
        os.link(temporary, path)  # the first process to get here wins, and the file is never seen half-written
    except FileExistsError:
        pass
    finally:
        temporary.unlink()
    return path.read_text(encoding="ascii")


def database_url_file(var_dir: Path) -> Path:
    """Name the file in which the supervisor says where its PostgreSQL listens, so that other commands find it."""
    return var_dir / "run" / "database-url"


def database_url(var_dir: Path) -> str:
    try:
        return database_url_file(var_dir).read_text(encoding="utf-8").strip()
    except (FileNotFoundError, NotADirectoryError):
        return NOT_RUNNING
