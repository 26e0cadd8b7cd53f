"""A line on standard error that says how far a long transfer is; nothing where nobody looks."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["Bar", "bar"]

Bar = Callable[[int], None]
"""Called with the number of rows that have been done since the last call."""

_SHOWN_AFTER_S, _EVERY_S, _WIDTH = 1.0, 0.2, 30


@contextmanager
def bar(what: str, total: int | None = None, *, shown: bool | None = None) -> Iterator[Bar]:
    """Show the progress of `what` once it takes longer than a second; `shown` None is where a terminal is."""
    wanted = sys.stderr.isatty() if shown is None else shown
    start = last = time.monotonic()
    rows = 0
    drawn = False

    def done(n: int) -> None:
        nonlocal rows, last, drawn
        rows += n
        moment = time.monotonic()
        if wanted and moment - start > _SHOWN_AFTER_S and moment - last > _EVERY_S:
            last, drawn = moment, True
            print(f"\r{_line(what, rows, total, moment - start)}\x1b[K", end="", file=sys.stderr, flush=True)

    try:
        yield done
    finally:
        if drawn:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _line(what: str, rows: int, total: int | None, seconds: float) -> str:
    rate = f"{rows:,} rows, {rows / seconds:,.0f}/s"
    if not total:
        return f"{what}: {rate}"
    full = int(_WIDTH * min(1.0, rows / total))
    return f"{what}: [{'#' * full}{' ' * (_WIDTH - full)}] {100 * rows / total:.0f} %, {rate}"
