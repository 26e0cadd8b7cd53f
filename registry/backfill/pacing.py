"""How fast a backfill goes: no faster than it may, and how fast that was."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

__all__ = ["Pace"]

_WEIGHT = 0.2  # of the last batch in what is told
_STEP_S = 0.5  # a wait is slept in steps, so that a pause is heard of soon


class Pace:
    """Holds batches to `rate` items per second, spread evenly: about a second's worth at a time. None is no limit."""

    def __init__(
        self,
        rate: float | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._rate, self._clock, self._sleep = rate, clock, sleep
        self._next = self._last = clock()
        self.measured: float | None = None

    def most(self, batch: int) -> int:
        """How many items to take at a time."""
        return batch if self._rate is None else max(1, min(batch, math.ceil(self._rate)))

    def wait(self, items: int, going: Callable[[], bool]) -> None:
        """Wait until `items` more may be begun, as long as `going`."""
        if self._rate is None:
            return
        while going() and (left := self._next - self._clock()) > 0:
            self._sleep(min(left, _STEP_S))
        self._next = max(self._next, self._clock()) + items / self._rate

    def done(self, items: int) -> float:
        """Note that `items` were done; gives the items per second of the last batches."""
        moment = self._clock()
        now = min(items / max(moment - self._last, 1e-6), self._rate or float("inf"))
        self._last = moment
        self.measured = now if self.measured is None else (1 - _WEIGHT) * self.measured + _WEIGHT * now
        return self.measured
