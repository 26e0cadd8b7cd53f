"""A Lance segment that is searched by its index."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable

import pyarrow as pa

from registry.backends import Capability, LanceBackend
from registry.index import IndexCache, prepared, refuse_overflow
from registry.indexes.standing import OpenIndex, Standing
from registry.vectors import Array, Metric

__all__ = ["IndexedBackend", "OpenIndexes"]

_OPEN = 64
_STATES = 2


class OpenIndexes:
    """Indexes that this process has open, by their id, and how each stands against the newest states of its segment."""

    def __init__(self, kept: IndexCache) -> None:
        self._kept = kept
        self._open: OrderedDict[str, OpenIndex | None] = OrderedDict()
        self._of: dict[Hashable, str] = {}  # by segment the id that was opened last
        self._standing: OrderedDict[tuple[str, int], Standing] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, segment: Hashable, id: str, open_: Callable[[], OpenIndex | None]) -> OpenIndex | None:
        """The index of this id; None, for good, for one whose file is damaged. The one before of its segment is let go."""
        with self._lock:  # reading a file for its digest takes seconds: once is enough
            if id in self._open:
                self._open.move_to_end(id)
                return self._open[id]
            self._open[id] = open_()
            replaced, self._of[segment] = self._of.get(segment), id
            oldest = next(iter(self._open)) if len(self._open) > _OPEN else None
            for old in {old for old in (replaced, oldest) if old is not None and old != id}:
                self._open.pop(old, None)
                self._let_go(old)
            return self._open[id]

    def standing(self, opened: OpenIndex, stored: LanceBackend) -> Standing:
        """How an index stands against one state of its segment."""
        id = opened.id
        key = (id, stored.lance_version)
        found = self._standing.get(key)
        if found is None:
            with self._lock:
                before = next((s for (of, _), s in reversed(self._standing.items()) if of == id), None)
            found = Standing(opened, stored, self._kept, before)
            with self._lock:
                self._standing[key] = found
                states = [k for k in self._standing if k[0] == id]
                for old in states[:-_STATES]:
                    del self._standing[old]
        return found

    def _let_go(self, id: str) -> None:
        for key in [key for key in self._standing if key[0] == id]:
            del self._standing[key]


class IndexedBackend(LanceBackend):
    """A segment in Lance with an index over most of its rows: newer ones are searched exactly, and merged."""

    capabilities: frozenset[Capability] = LanceBackend.capabilities | {"search"}

    def __init__(self, stored: LanceBackend, opened: OpenIndex, indexes: OpenIndexes) -> None:
        super().__init__(
            stored.gallery, stored.version, stored.id_type, stored.dataset, stored.lance_version, stored.acknowledged
        )
        self._opened = opened
        self._indexes = indexes

    def search(
        self, queries: Array, k: int, *, metric: Metric, without: pa.Array | None = None, among: pa.Array | None = None
    ) -> tuple[Array, Array]:
        """By the index; scores are those of its compressed vectors where it compresses."""
        if metric != self._opened.metric:
            return super().search(queries, k, metric=metric, without=without, among=among)
        queries = prepared(queries, metric)
        if metric != "cosine":
            refuse_overflow(self._opened.rows.longest, queries)
        standing = self._indexes.standing(self._opened, self)
        return standing.search(queries, k, without=without, among=among)
