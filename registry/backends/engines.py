"""What this process holds open of engines and files elsewhere: pools of connections, clients, mapped files, indexes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Any, TypeVar

__all__ = ["Engines"]

T = TypeVar("T")


class Engines:
    """Each opened once, when it is first needed, and shared between threads; a forked process opens its own."""

    def __init__(self) -> None:
        self._open: dict[Hashable, Any] = {}
        self._lock = Lock()
        self._process = os.getpid()

    def get(self, key: Hashable, opened: Callable[[], T]) -> T:
        """What is open under `key`, opened if nothing is. Of one key, two threads never open two."""
        with self._lock:
            if self._process != os.getpid():
                self._open, self._process = {}, os.getpid()  # the parent's connections are the parent's
            if key not in self._open:
                self._open[key] = opened()
            found: T = self._open[key]
            return found

    def drop(self, key: Hashable) -> None:
        """Let go of what is open under `key`."""
        with self._lock:
            _close(self._open.pop(key, None))

    def close(self) -> None:
        """Let go of everything."""
        with self._lock:
            if self._process == os.getpid():
                for found in self._open.values():
                    _close(found)
            self._open = {}


def _close(found: Any) -> None:
    if hasattr(found, "close"):
        with contextlib.suppress(Exception):  # an engine that is gone is closed
            found.close()
