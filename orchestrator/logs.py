"""Logs as one JSON object a line, with the request they belong to."""

import json
import logging
import re
from datetime import UTC, datetime

from . import requestids

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_SECRET_WORDS = frozenset({"token", "secret", "password", "authorization", "cookie", "apikey"})
_HIDDEN = "***"
# Where secrets stand inside a text: `?token=…` of a socket's address, `Bearer …`, the password of a database's address.
_SECRETS_IN_TEXT = (
    (re.compile(r"(?i)\b(token|api_?key|password|secret|signature)=[^&\s\"']+"), rf"\1={_HIDDEN}"),
    (re.compile(r"(?i)\b(bearer)\s+[^\s\"',]+"), rf"\1 {_HIDDEN}"),
    (re.compile(r"(\w+://[^\s:/@]*:)[^\s@/]+@"), rf"\1{_HIDDEN}@"),
)


class JsonFormatter(logging.Formatter):
    """Write what a record says and every extra field it carries, without what looks like a secret."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": redact(record.getMessage()),
        }
        if request_id := requestids.current():
            line["request_id"] = request_id
        for name, value in vars(record).items():
            if name not in _STANDARD and not name.startswith("_"):
                line[name] = _without_secrets(name, value)
        if record.exc_info:
            line["trace"] = redact(self.formatException(record.exc_info))
        return json.dumps(line, default=lambda value: redact(str(value)), ensure_ascii=False)


def redact(text: str) -> str:
    """Hide tokens and passwords that stand in a text."""
    for pattern, replacement in _SECRETS_IN_TEXT:
        text = pattern.sub(replacement, text)
    return text


def without_secrets(value: object) -> object:
    """Hide what looks like a secret in a JSON value, by its name or by its form."""
    return _without_secrets("", value)


def _without_secrets(name: str, value: object) -> object:
    # Whole words of the name: `max_tokens` is a number that people want to read.
    words = re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name).lower().replace("-", "_").split("_")
    if _SECRET_WORDS & set(words) or "api_key" in "_".join(words):
        return _HIDDEN
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {str(key): _without_secrets(str(key), inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_secrets("", inner) for inner in value]
    return value
