"""The one interface of stored vectors: what a backend must give, and what follows from that."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator, Sequence
from typing import Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from registry.errors import InvalidInput, NotFound
from registry.index import ids_array, search_blocks
from registry.vectors import Array, Metric

__all__ = ["BLOCK_ROWS", "CAPABILITIES", "Backend", "Capability", "chosen"]

Capability = Literal["read", "places", "search", "labels"]
"""What a backend does itself: give vectors back, find rows by their number, search by an index of its own, and tell the items'
labels."""

CAPABILITIES: tuple[Capability, ...] = get_args(Capability)

BLOCK_ROWS = 65536


class Backend(ABC):
    """The vectors that one version stored in a gallery, as they were at one state; reading changes nothing.

    Ids are string or int64, each once, in an order that a state keeps. Whoever wants to know what a backend can do asks
    `capabilities`; what it does not list still works, on top of the abstract methods, in bounded memory but slower. Only
    vectors that it cannot `read`, and `labels` that it has not, are refused.
    """

    def __init__(self, gallery: str, version: str, id_type: str) -> None:
        self.gallery = gallery
        self.version = version
        self.id_type = id_type

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What it does itself; always the same while its `state` is."""
        return frozenset({"read"})

    @property
    @abstractmethod
    def state(self) -> Hashable:
        """A name of the backend and its state: while two are equal, so is what they give. None if nobody can tell."""

    @abstractmethod
    def check(self) -> None:
        """Hold what is there to what was acknowledged.

        Raises:
            CorruptFile: a part is lost, or it changed where it must not.
            Unavailable: it cannot be reached; trying again is safe.
        """

    @abstractmethod
    def count(self) -> int:
        """How many rows there are."""

    @abstractmethod
    def ids(self) -> pa.Array:
        """All ids (n,), in order."""

    @abstractmethod
    def blocks(self, rows: int = BLOCK_ROWS) -> Iterator[tuple[pa.Array, Array]]:
        """Ids (m,) and vectors (m, d), float32 or float16, of at most `rows` rows at a time, in order."""

    @abstractmethod
    def rows(self, places: Array) -> Array:
        """The vectors (m, d) of the rows at `places` (m,), in that order; a place may come more than once."""

    def page(self, after: str | int | None, limit: int) -> pa.Array:
        """At most `limit` ids in order, those behind the id `after`; the first ones for None."""
        stored = self.ids()
        start = 0 if after is None else pc.index(stored, pa.scalar(after, stored.type)).as_py() + 1
        return stored.slice(start, limit)

    def labels(self, ids: pa.Array, columns: Sequence[str]) -> pa.Table:
        """The labels of `ids` (m,), all of them stored, in that order: a column for each, of strings or int64.

        Raises:
            InvalidInput: this backend has no labels.
        """
        del ids
        raise InvalidInput(
            f"{self.version} has no labels {', '.join(map(repr, columns))} in {self.gallery}: name their columns when it "
            "is attached"
        )

    def known(self, ids: pa.Array) -> pa.Array:
        """Those of `ids` that are stored, each once."""
        stored = self.ids()
        return stored.filter(pc.is_in(stored, value_set=ids))

    def places(self, ids: pa.Array, *, near: Array | None = None) -> Array:
        """The number of the row (m,) of each of `ids`, or -1. `near` (m,) is where each probably stands."""
        del near
        found: Array = pc.index_in(ids, value_set=self.ids()).fill_null(-1).to_numpy().astype(np.int64)
        return found

    def ids_at(self, places: Array) -> pa.Array:
        """The ids of the rows at `places` (m,), in that order."""
        return self.ids().take(pa.array(places))

    def take(self, ids: pa.Array) -> Array:
        """The vectors (m, d) of `ids` (m,), in that order.

        Raises:
            NotFound: an id is not stored.
        """
        places = self.places(ids)
        if len(places) and places.min() < 0:
            raise self.unknown(ids[int(np.argmin(places))].as_py())
        return self.rows(places)

    def unknown(self, id: str | int) -> NotFound:
        """The error that says that an id is not stored."""
        return NotFound(
            f"{self.version} stored no vector of {id!r:.80} in {self.gallery}: check the id, or append it first"
        )

    def search(
        self, queries: Array, k: int, *, metric: Metric, without: pa.Array | None = None, among: pa.Array | None = None
    ) -> tuple[Array, Array]:
        """The k closest rows to each query (q, d) of this version's own space: ids (q, k) and scores (q, k), see `Hits`.

        Items in `without` are left out; with `among`, all but these. Exact, in one pass over all rows, unless the backend
        can `search` by an index of its own.
        """

        def wanted() -> Iterator[tuple[Array, Array]]:
            for ids, rows in self.blocks():
                kept = chosen(ids, without=without, among=among)
                if kept is None:
                    yield ids_array(ids), rows
                elif kept.any():
                    yield ids_array(ids.filter(pa.array(kept))), rows[kept]

        return search_blocks(wanted(), queries, k, metric, string_ids=self.id_type == "string")


def chosen(ids: pa.Array, *, without: pa.Array | None, among: pa.Array | None) -> Array | None:
    """Which (m,) of `ids` are searched; None for all of them."""
    kept = None if among is None else pc.is_in(ids, value_set=among).to_numpy(zero_copy_only=False)
    if without is not None and len(without):
        others = ~pc.is_in(ids, value_set=without).to_numpy(zero_copy_only=False)
        kept = others if kept is None else kept & others
    return kept
