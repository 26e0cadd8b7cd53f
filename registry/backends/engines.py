"""What this process holds open of engines and files elsewhere: pools of connections, clients, mapped files, indexes."""

from __future__ import annotations

import contextlib
import os
from collections import defaultdict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Any, TypeVar, cast

__all__ = ["Engines"]

T = TypeVar("T")


class Engines:
    """Each opened once, when it is first needed, and shared between threads; a forked process opens its own."""

    def __init__(self) -> None:
        self._open: dict[Hashable, tuple[Hashable, Any]] = {}
        self._opening: defaultdict[Hashable, Lock] = defaultdict(Lock)
        self._lock = Lock()
        self._process = os.getpid()

    def get(self, key: Hashable, opened: Callable[[], T], *, state: Hashable = None) -> T:
        """What is open under `key`, opened if nothing is: never twice, and without holding up whoever needs another.

        What was opened of another `state` is let go first.
        """
        with self._lock:
            if self._process != os.getpid():
                # The parent's connections are the parent's, and a lock that it held stays locked here.
                self._open, self._opening, self._process = {}, defaultdict(Lock), os.getpid()
            if key in self._open and self._open[key][0] == state:
                return cast("T", self._open[key][1])
            mine = self._opening[key]
        with mine:
            with self._lock:
                if key in self._open and self._open[key][0] == state:
                    return cast("T", self._open[key][1])
                self._open.pop(key, None)
            made = opened()
            with self._lock:
                self._open[key] = state, made
            return made

    def close(self) -> None:
        """Let go of everything."""
        with self._lock:
            found, self._open = self._open, {}
        if self._process == os.getpid():
            for _, one in found.values():
                _close(one)


def _close(found: Any) -> None:
    if hasattr(found, "close"):
        with contextlib.suppress(Exception):  # an engine that is gone is closed
            found.close()
