"""Failed attempts to sign in: an address has some, then it waits."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from math import ceil
from threading import Lock

from registry.errors import TooMany

__all__ = ["Attempts"]

_ADDRESSES_KEPT = 10_000


class Attempts:
    """Counts the failures of each address in the last minute. In memory: each process counts its own."""

    def __init__(self, most: int = 10, *, within_s: float = 60.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._within_s, self._clock = most, within_s, clock
        self._failed: OrderedDict[str, deque[float]] = OrderedDict()
        self._lock = Lock()

    def check(self, address: str) -> None:
        """Go on only if `address` has attempts left. TooMany if it has to wait."""
        with self._lock:
            failed = self._failed.get(address, deque())
            wait = failed[0] + self._within_s - self._clock() if len(failed) == self._most else 0
            if wait > 0:
                said = f"{self._most} attempts to sign in failed within a minute: wait for one, then try again"
                raise TooMany(said, retry_after=ceil(wait))

    def failed(self, address: str) -> None:
        """Note a failure of `address`."""
        with self._lock:
            self._failed.setdefault(address, deque(maxlen=self._most)).append(self._clock())
            self._failed.move_to_end(address)
            if len(self._failed) > _ADDRESSES_KEPT:
                self._failed.popitem(last=False)
