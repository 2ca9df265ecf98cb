"""Log lines as one JSON object each, on stderr."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

_EXTRAS = (
    "method",
    "path",
    "route",
    "status",
    "kind",
    "milliseconds",
    "received",
    "sent",
    "remote",
    "caller",
    "token_id",
    "request_id",
)


class JsonFormatter(logging.Formatter):
    """Writes a record, with the facts of a request where it has them."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        time = datetime.fromtimestamp(record.created, UTC)
        line = {
            "time": time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            # Of several workers, which one.
            "pid": record.process,
            "message": record.getMessage(),
        }
        facts = vars(record)
        line.update({name: facts[name] for name in _EXTRAS if facts.get(name) is not None})
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def configure_logging(level: int) -> None:
    """Send everything from `level` on to stderr; libraries only from warning on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=max(level, logging.WARNING), handlers=[handler], force=True)
    logging.getLogger("plait_registry").setLevel(level)
