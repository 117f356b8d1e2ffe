"""Read settings from the environment and from `.env`.

The real environment wins over `.env`, which lies in the project folder (or where ENV_FILE says). An empty value counts
as not set, so that `NAME=${NAME:-}` in a compose file means the default.
"""

import logging
import os
import re
from collections.abc import MutableMapping, Sequence
from functools import cache
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from orchestrator.variables import KNOWN_NAMES

logger = logging.getLogger(__name__)

PROJECT_FOLDER = Path(__file__).resolve().parent.parent

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_DATABASE_SCHEMES = frozenset({"postgres", "postgresql"})
# Options that SQLAlchemy's drivers take and libpq does not know: value by value, the name that libpq gives them.
_LIBPQ_NAMES = {"ssl": "sslmode", "timeout": "connect_timeout"}


class InvalidVariable(Exception):
    """A variable of the environment is missing or malformed."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(f"{name}: {message}")
        self.name = name


def text(name: str, default: str = "") -> str:
    return _environment().get(name, "").strip() or default


def integer(name: str, default: int, minimum: int | None = None, maximum: int | None = None) -> int:
    value = text(name)
    if not value:
        return default
    try:
        number = int(value)
    except ValueError:
        raise InvalidVariable(name, f"expected a whole number, got {value!r}.") from None
    if minimum is not None and number < minimum:
        raise InvalidVariable(name, f"expected at least {minimum}, got {number}.")
    if maximum is not None and number > maximum:
        raise InvalidVariable(name, f"expected at most {maximum}, got {number}.")
    return number


def boolean(name: str, default: bool) -> bool:
    value = text(name).lower()
    if not value:
        return default
    if value in _TRUE:
        return True
    if value in _FALSE:
        return False
    raise InvalidVariable(name, f"expected yes or no, got {value!r}.")


def words(name: str, default: Sequence[str] = ()) -> list[str]:
    """Read a list separated by commas, spaces or both."""
    return re.split(r"[,\s]+", text(name).strip(", ")) if text(name).strip(", ") else list(default)


def networks(name: str) -> list[str]:
    """Read a list of addresses and networks, such as 10.0.0.0/8."""
    named = words(name)
    for network in named:
        try:
            ip_network(network, strict=False)
        except ValueError:
            raise InvalidVariable(name, f"{network!r} is no network; write one as 10.0.0.0/8.") from None
    return named


def choice(name: str, allowed: Sequence[str], default: str) -> str:
    value = text(name, default)
    if value not in allowed:
        raise InvalidVariable(name, f"expected one of {', '.join(allowed)}; got {value!r}.")
    return value


def seconds(name: str, default: float) -> float:
    value = text(name)
    if not value:
        return default
    try:
        duration = float(value)
    except ValueError:
        raise InvalidVariable(name, f"expected seconds, got {value!r}.") from None
    if not 0 < duration < float("inf"):
        raise InvalidVariable(name, f"expected more than 0 seconds, got {value}.")
    return duration


def secret(name: str, default: str | None = None) -> str | None:
    """Read NAME, or the content of the file that NAME_FILE points to."""
    value, file = text(name), text(f"{name}_FILE")
    if value and file:
        raise InvalidVariable(name, f"set either {name} or {name}_FILE, not both.")
    if not file:
        return value or default
    try:
        content = Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise InvalidVariable(f"{name}_FILE", f"cannot read {file}: {reason}.") from None
    if not content:
        raise InvalidVariable(f"{name}_FILE", f"{file} is empty.")
    return content


def database(url: str, name: str = "DATABASE_URL") -> dict[str, object]:
    """Turn a PostgreSQL URL into an entry of Django's DATABASES.

    Understands postgres://, postgresql:// and SQLAlchemy's forms with a driver (postgresql+asyncpg://); `?host=/folder`
    names a unix socket; every other query parameter becomes an option of libpq.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InvalidVariable(name, f"not a database URL ({error}).") from None
    scheme = parts.scheme.partition("+")[0]
    if scheme not in _DATABASE_SCHEMES:
        # The value may hold a password, so only its scheme is repeated.
        raise InvalidVariable(name, f"expected postgresql://user:password@host/name, got scheme {parts.scheme!r}.")
    options = {_LIBPQ_NAMES.get(key, key): value for key, value in parse_qsl(parts.query)}
    database_name = unquote(parts.path.removeprefix("/")) or options.pop("dbname", "")
    if not database_name or "/" in database_name:
        raise InvalidVariable(name, "the path of the URL must be the name of one database.")
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": database_name,
        "USER": unquote(parts.username or "") or options.pop("user", ""),
        "PASSWORD": unquote(parts.password or "") or options.pop("password", ""),
        "HOST": unquote(parts.hostname or "") or options.pop("host", ""),
        "PORT": str(port or options.pop("port", "")),
        "OPTIONS": options,
    }


def connection_parameters(url: str, name: str = "DATABASE_URL") -> dict[str, Any]:
    """Turn a PostgreSQL URL into what psycopg and libpq take; what it leaves out is theirs to know."""
    address: dict[str, Any] = database(url, name)
    names = {"dbname": "NAME", "user": "USER", "password": "PASSWORD", "host": "HOST", "port": "PORT"}
    return address["OPTIONS"] | {ours: address[key] for ours, key in names.items() if address[key]}


@cache
def _environment() -> MutableMapping[str, str]:
    """Return the environment, with `.env` read into it the first time somebody asks."""
    load_file(Path(os.environ.get("ENV_FILE") or PROJECT_FOLDER / ".env"), os.environ)
    return os.environ


def load_file(path: Path, environment: MutableMapping[str, str]) -> None:
    """Put the values of a `.env` file into an environment where it has none; warn of names that nobody reads."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return
    except (OSError, UnicodeDecodeError):
        raise InvalidVariable("ENV_FILE", f"cannot read {path} as text.") from None
    for number, line in enumerate(lines, start=1):
        entry = _entry(line, f"{path.name} line {number}")
        if entry is None:
            continue
        name, value = entry
        if name.removesuffix("_FILE") not in KNOWN_NAMES and name not in KNOWN_NAMES:
            logger.warning("%s line %d: %s is not a variable of this project.", path.name, number, name)
        environment.setdefault(name, value)


def _entry(line: str, place: str) -> tuple[str, str] | None:
    """Split one line `NAME=value # comment`; quotes keep spaces and hashes, double quotes know \\n, \\" and \\\\."""
    line = line.strip().removeprefix("export ").lstrip()
    if not line or line.startswith("#"):
        return None
    name, equals, value = line.partition("=")
    name, value = name.strip(), value.strip()
    if not equals or not _NAME.fullmatch(name):
        raise InvalidVariable(place, "expected NAME=value.")
    if value[:1] not in {'"', "'"}:
        return name, re.split(r"(?:^|\s)#", value, maxsplit=1)[0].strip()
    quoted = re.fullmatch(r"""(?:"((?:[^"\\]|\\.)*)"|'([^']*)')\s*(?:#.*)?""", value)
    if quoted is None:
        raise InvalidVariable(name, f"the quotes in {place} do not close.")
    if quoted[2] is not None:
        return name, quoted[2]
    return name, re.sub(r"\\(.)", lambda escape: "\n" if escape[1] == "n" else escape[1], quoted[1])
