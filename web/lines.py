"""Long work told while it goes on: lines of JSON, {"progress": [done, all]} …, and last what came of it, or an error."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextvars import copy_context
from queue import Empty, SimpleQueue
from typing import Any

from flask import current_app

from registry import wire
from registry.errors import SamespaceError

__all__ = ["LINES", "Progress", "told"]

_LONGEST_SILENCE_S = 15.0  # a proxy may end an answer of which nothing comes for long: after a minute, mostly

LINES = "application/x-ndjson"
"""The media type of lines of JSON."""

Progress = Callable[[int, int], None]
"""Takes how much is done, of how much."""


def told(work: Callable[[Progress], Mapping[str, Any]], what: str) -> Iterator[bytes]:
    """The lines of `work`, which gives the last of them; `what` names it in the log.

    It begins in a thread of its own when the first line is read, so not where the answer is refused, and from then on
    goes on to its end, whether anybody reads on or not. While it tells nothing for long, a line {} says that it goes on.
    """
    said: SimpleQueue[Mapping[str, Any] | None] = SimpleQueue()
    context, log = copy_context(), current_app.logger

    def run() -> None:
        try:
            said.put(work(lambda done, of: said.put({"progress": [done, of]})))
        except SamespaceError as error:
            said.put({"error": wire.said(error)})
        except Exception:
            log.exception("%s failed", what)
            said.put({"error": {"code": "error", "message": "something went wrong here: the server's log says what"}})
        finally:
            said.put(None)

    def lines() -> Iterator[bytes]:
        threading.Thread(target=context.run, args=(run,), daemon=True).start()
        while True:
            try:
                line = said.get(timeout=_LONGEST_SILENCE_S)
            except Empty:
                line = {}
            if line is None:
                return
            yield json.dumps(line).encode() + b"\n"

    return lines()
