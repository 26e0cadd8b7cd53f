"""A run's lease: says now and then that it goes on, so that nobody else begins, and hears whether it should."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from registry.errors import SamespaceError, Unavailable
from registry.types import Backfill

__all__ = ["Lease", "held"]

_RENEWED_EVERY_S = 15.0


class _Holder(Protocol):
    def hold_backfill(self, id: str, *, runner: str) -> Backfill:
        """See `Registry.hold_backfill`."""


class Lease:
    """Says now and then that the run goes on, and hears whether it should."""

    def __init__(self, registry: _Holder, id: str, me: str) -> None:
        self._registry, self._id, self._me = registry, id, me
        self._over, self._wanted = threading.Event(), True

    def is_wanted(self) -> bool:
        """Whether nobody paused it, or took it over, as far as was heard."""
        return self._wanted

    def keep(self) -> None:
        """Renew it until it is over."""
        while not self._over.wait(_RENEWED_EVERY_S if self._wanted else 1.0):
            try:
                self._wanted = self._registry.hold_backfill(self._id, runner=self._me).status == "running"
            except Unavailable:
                continue  # the next try may do, and what is stored meanwhile says for itself whose it is
            except SamespaceError:
                self._wanted = False

    def end(self) -> None:
        """Renew it no longer."""
        self._over.set()


@contextmanager
def held(registry: _Holder, id: str, me: str) -> Iterator[Lease]:
    """A lease that is renewed by a thread while the block runs; `me` holds it already."""
    lease = Lease(registry, id, me)
    thread = threading.Thread(target=lease.keep, name=f"lease of {id}", daemon=True)
    thread.start()
    try:
        yield lease
    finally:
        lease.end()
        thread.join()
