"""What the collections of vector databases have in common: read in pages and by id, never written."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

import numpy as np
import pyarrow as pa

from registry.backends.attached import Attached, Seen, label_column
from registry.backends.base import BLOCK_ROWS, Capability
from registry.batches import id_type
from registry.errors import InvalidInput, Unavailable
from registry.index import empty_hits
from registry.vectors import Array, Metric

__all__ = ["NAMED", "Collection", "Row"]

NAMED = 1 << 18
"""Ids that are named in one request at most: some ten megabytes, of the 32 that Qdrant takes and the 64 of Milvus."""

_PAGE = 1024
T = TypeVar("T")
Row = tuple[Any, Any, Mapping[str, Any]]
"""An id, its vector if that was asked for, and its columns."""


class Collection(Attached):
    """A collection, by the few questions that its client answers; these fail by `errors`, and give `most` hits at once."""

    capabilities: frozenset[Capability] = frozenset({"read", "search", "labels"})
    errors: ClassVar[tuple[type[Exception], ...]]
    most: ClassVar[int]

    @abstractmethod
    def checked(self) -> str:
        """The type of the ids, once the collection was found to be one of this version's vectors."""

    @abstractmethod
    def pages(self, rows: int, *, vectors: bool) -> Iterator[list[Row]]:
        """All rows, at most `rows` at a time, in order."""

    @abstractmethod
    def gotten(self, ids: list[Any], *, vectors: bool = False, columns: Sequence[str] = ()) -> list[Row]:
        """The rows of some ids, as far as they are there."""

    @abstractmethod
    def nearest(
        self, queries: Array, k: int, *, metric: Metric, without: list[Any], among: list[Any] | None
    ) -> Iterable[Iterable[tuple[Any, float]]]:
        """Ids and scores of the hits of each query, by the collection's own index."""

    @abstractmethod
    def said(self, error: Exception) -> tuple[bool, Unavailable]:
        """Whether it may be asked again, and what an error of the client means."""

    @property
    def state(self) -> Hashable:
        """Rows come and go without notice."""
        return None

    @property
    def collection(self) -> str:
        """Its name."""
        return self.at.table or ""

    def check(self) -> None:
        """The collection is there, with vectors of the same width and metric."""
        self.checked()

    def look(self) -> Seen:
        """All ids, vectors and labels, a page at a time."""
        self.id_type = self.checked()
        rows, kinds = 0, set()
        for ids, _ in self.blocks():
            rows += len(ids)
            if self.at.labels:
                kinds.add(tuple(self.labels(ids, list(self.at.labels)).schema.types))
        if not rows:
            raise InvalidInput(f"{self.at.name} holds nothing: name a collection that does")
        if len(kinds) > 1:
            raise InvalidInput(f"a label of {self.at.name} is a text in one row and a number in another: make it one")
        return Seen(rows, self.id_type, {})

    def ids(self) -> pa.Array:
        """In the order of the pages."""
        return self.column([id for page in self.pages(_PAGE, vectors=False) for id, _, _ in page])

    def blocks(self, rows: int = BLOCK_ROWS) -> Iterator[tuple[pa.Array, Array]]:
        """A page at a time; what is written meanwhile may come or not."""
        return map(self._parsed, self.pages(min(rows, _PAGE), vectors=True))

    def rows(self, places: Array) -> Array:
        """By the ids that stand there."""
        return self.take(self.ids_at(places))

    def known(self, ids: pa.Array) -> pa.Array:
        """By their ids."""
        return self.column([id for id, _, _ in self._found(ids)])

    def take(self, ids: pa.Array) -> Array:
        """By their ids."""
        found, rows = self._parsed(self._found(ids, vectors=True))
        return self.ordered(ids, found, rows)

    def labels(self, ids: pa.Array, columns: Sequence[str]) -> pa.Table:
        """By their ids."""
        if any(name not in self.at.labels for name in columns):
            return super().labels(ids, columns)
        there = {name: self.at.labels[name] for name in columns}
        found = self._found(ids, columns=list(there.values()))
        order = pa.array(self.ordered(ids, self.column([id for id, _, _ in found]), np.arange(len(found))))
        return pa.table(
            {n: label_column(n, [of.get(c) for _, _, of in found], self.at.name).take(order) for n, c in there.items()}
        )

    def search(
        self, queries: Array, k: int, *, metric: Metric, without: pa.Array | None = None, among: pa.Array | None = None
    ) -> tuple[Array, Array]:
        """By the collection's own index; where one request cannot say what is asked, by a pass over all rows."""
        left, chosen = [] if without is None else without.to_pylist(), None if among is None else among.to_pylist()
        if k > self.most or len(left) + len(chosen or ()) > NAMED:
            return super().search(queries, k, metric=metric, without=without, among=among)
        ids, scores = empty_hits(len(queries), k, string_ids=self.id_type == "string")
        if not len(queries) or (chosen is not None and not chosen):
            return ids, scores
        for row, hits in enumerate(self.nearest(queries, k, metric=metric, without=left, among=chosen)):
            for place, (id, score) in enumerate(hits):
                ids[row, place], scores[row, place] = id, score
        return ids, scores

    def column(self, ids: list[Any]) -> pa.Array:
        """Ids as the client gives them, checked."""
        return self.named(ids) if ids else pa.array([], id_type(self.id_type))

    def asked(self, do: Callable[[], T]) -> T:
        """What the client gives, asked once more if it was not reached."""
        try:
            return do()
        except self.errors as error:
            again, told = self.said(error)
            if not again:
                raise told from error
        try:
            return do()
        except self.errors as error:
            raise self.said(error)[1] from error

    def _found(self, ids: pa.Array, *, vectors: bool = False, columns: Sequence[str] = ()) -> list[Row]:
        keys = ids.unique().to_pylist()
        parts = (keys[start : start + _PAGE] for start in range(0, len(keys), _PAGE))
        return [row for some in parts for row in self.gotten(some, vectors=vectors, columns=columns)]

    def _parsed(self, rows: Sequence[Row]) -> tuple[pa.Array, Array]:
        ids = self.column([id for id, _, _ in rows])
        if (none := next((id for id, x, _ in rows if x is None), None)) is not None:
            raise InvalidInput(f"{none!r:.80} of {self.at.name} has no vector: give it one, or remove it")
        found = np.asarray([x for _, x, _ in rows], dtype=np.float32)
        return ids, self.clean(ids, found.reshape(len(rows), -1 if rows else self.writer.dim))
