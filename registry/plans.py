"""Plans of searches, kept while the facts are what they were, by a check that costs microseconds.

A search of a thousandth of a second has no time to read the facts anew. Before each one this asks the database whether
anybody committed anything since, and only then, so that no plan outlives an acknowledged write of any process:

- SQLite: `PRAGMA data_version`, on a connection of its own that never writes. It changes with every commit by another
  connection, of this process or not, and is read from shared memory.
- PostgreSQL: `pg_current_snapshot()`. While it is the same text, the same transactions are visible.

What is asked comes before the facts are read: a write in between leaves a plan that is found stale at its next use.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar
from weakref import WeakSet

from registry.database import Database

__all__ = ["Plans"]

_MOST = 64

T = TypeVar("T")


_ALL: WeakSet[Plans] = WeakSet()
_LEFT: list[Any] = []


class Plans:
    """Answers by question, each with the state of the facts that it is of. Safe to share between threads."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._found: OrderedDict[Hashable, tuple[Hashable, float, Any]] = OrderedDict()
        self._lock = threading.Lock()
        self._asking = threading.Lock()
        self._cursor: Any = None
        self._opened = 0  # how often: states of two connections say nothing of each other
        _ALL.add(self)
        self._statement = (
            "SELECT pg_current_snapshot()::text"
            if database.engine.dialect.name == "postgresql"
            else "PRAGMA data_version"
        )

    def get(self, question: Hashable, find: Callable[[], T], *, lasts: Callable[[T], float] | None = None) -> T:
        """The answer to `question`, found anew by `find` unless it is known for the facts as they are now.

        What may change while the facts do not `lasts` for so many seconds.
        """
        state = self._state()
        kept = self._found.get(question)
        if kept is not None and kept[0] == state and time.monotonic() < kept[1]:
            known: T = kept[2]
            return known
        found = find()
        until = math.inf if lasts is None else time.monotonic() + lasts(found)
        with self._lock:
            self._found[question] = state, until, found
            self._found.move_to_end(question)
            while len(self._found) > _MOST:
                self._found.popitem(last=False)
        return found

    def forget(self) -> None:
        """Let all answers go."""
        with self._lock:
            self._found.clear()

    def close(self) -> None:
        """Let go of the connection."""
        with self._asking:
            cursor, self._cursor = self._cursor, None
            if cursor is not None:
                cursor.connection.close()

    def start_anew(self) -> None:
        """Leave the connection to the process that this one was forked from; it must not be shared, nor closed."""
        _LEFT.append(self._cursor)
        self._cursor, self._asking, self._lock = None, threading.Lock(), threading.Lock()

    def _state(self) -> Hashable:
        with self._asking:
            if self._cursor is not None:
                try:
                    return self._opened, self._cursor.execute(self._statement).fetchone()[0]
                except self._database.engine.dialect.loaded_dbapi.Error:  # the server went away, and may be back
                    self._cursor = None
            self._cursor = self._database.connection().cursor()
            self._opened += 1
            return self._opened, self._cursor.execute(self._statement).fetchone()[0]


def _forked() -> None:
    for plans in list(_ALL):
        plans.start_anew()


os.register_at_fork(after_in_child=_forked)
