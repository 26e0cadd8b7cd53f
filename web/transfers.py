"""Long streams: each holds a thread, so only some of a process's threads may be held at a time."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, cast

from flask import Flask, current_app

from registry.errors import Unavailable
from web.current import settings_of

if TYPE_CHECKING:
    from prometheus_client import Gauge

__all__ = ["install", "stream", "transfer"]

_KEY = "samespace.transfers"


def install(app: Flask, running: Gauge) -> None:
    """Let `app` run as many transfers at a time as its settings say, and show in `running` how many there are."""
    app.extensions[_KEY] = _Slots(settings_of(app).transfers, running)


@contextmanager
def transfer() -> Iterator[None]:
    """Hold a slot while the block runs: for reading a long body.

    Raises:
        Unavailable: all slots are taken.
    """
    slots = _slots()
    slots.take()
    try:
        yield
    finally:
        slots.give_back()
        slots.show()


def stream(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """`pieces` as the body of a long answer, `Response(stream(pieces))`: it holds a slot until the answer ends.

    The slot is given back when all is sent, when the client goes away, and when nothing of it is ever read.

    Raises:
        Unavailable: all slots are taken; raised at once, while the answer can still say so.
    """
    return _Stream(pieces, _slots())


def _slots() -> _Slots:
    return cast("_Slots", current_app.extensions[_KEY])


class _Slots:
    def __init__(self, most: int, running: Gauge) -> None:
        self._most, self._running = most, running
        # Not a semaphore: a slot may come back inside a garbage collection, where its lock may be held already.
        self._free: SimpleQueue[None] = SimpleQueue()
        for _ in range(most):
            self._free.put(None)

    def take(self) -> None:
        try:
            self._free.get_nowait()
        except Empty:
            raise Unavailable(
                f"{self._most} transfers run already, as many as this server allows: try again in a moment"
            ) from None
        self.show()

    def give_back(self) -> None:
        self._free.put(None)

    def show(self) -> None:
        self._running.set(self._most - self._free.qsize())


class _Stream:
    def __init__(self, pieces: Iterable[bytes], slots: _Slots) -> None:
        self._pieces, self._next, self._slots = pieces, iter(pieces), slots
        slots.take()
        self._give_back = weakref.finalize(self, slots.give_back)  # once, at the latest when nobody knows the stream

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return next(self._next)

    def close(self) -> None:
        """Called by the server whatever happened."""
        try:
            getattr(self._pieces, "close", lambda: None)()
        finally:
            self._give_back()
            self._slots.show()
