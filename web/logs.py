"""The log: one JSON object a line on standard error. No secrets, no query values, no bodies."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime

from web.observing import Observation, request_id

__all__ = ["LEVELS", "JsonLines", "configure", "log_request"]

LEVELS = ("debug", "info", "warning", "error")

_OURS = ("web", "registry")
_PROBES = frozenset({"/healthz", "/readyz", "/metrics"})
_REQUESTS = logging.getLogger("web.requests")


class JsonLines(logging.Formatter):
    """A record as a line of JSON, with the id of the request that it belongs to."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "request_id": request_id(),
            **getattr(record, "fields", {}),
            "exception": self.formatException(record.exc_info) if record.exc_info else None,
        }
        return json.dumps({name: value for name, value in line.items() if value is not None}, default=str)


def configure(level: str) -> None:
    """Let this process log our lines from `level` on, and those of other packages from warnings on."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.captureWarnings(True)
    for name in _OURS:
        logging.getLogger(name).setLevel(level.upper())


def log_request(seen: Observation) -> None:
    """The line of a request that has been answered."""
    level = logging.ERROR if seen.status >= 500 else logging.DEBUG if seen.route in _PROBES else logging.INFO
    fields = {
        "request_id": seen.request_id,
        "method": seen.method,
        "route": seen.route,
        "status": seen.status,
        "ms": round(seen.seconds * 1000, 1),
        "bytes": seen.sent,
        "caller": seen.caller,
        "error": seen.error,
    }
    _REQUESTS.log(level, "%s %s %d", seen.method, seen.route, seen.status, extra={"fields": fields})
