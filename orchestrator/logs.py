"""Logs as one JSON object a line, with the request they belong to."""

import json
import logging
from datetime import UTC, datetime

from . import requestids

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_SECRET = ("token", "secret", "password", "api_key", "authorization", "cookie")


class JsonFormatter(logging.Formatter):
    """Write what a record says and every extra field it carries; fields named like secrets lose their value."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request_id := requestids.current():
            line["request_id"] = request_id
        for name, value in vars(record).items():
            if name not in _STANDARD and not name.startswith("_"):
                line[name] = "***" if any(word in name.lower() for word in _SECRET) else value
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)
