"""A retrieval problem that has been checked, and the pieces in which it is worked off."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from registry.errors import InvalidInput
from registry.retrieval.checks import as_row_numbers
from registry.retrieval.relevance import Relevance, relevance
from registry.retrieval.scoring import comparable
from registry.vectors import Array, Metric

__all__ = ["BLOCK_BYTES", "Task", "prepare"]

BLOCK_BYTES = 64 << 20  # of scores at a time: large enough for a fast matrix product, small beside any gallery


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """A checked retrieval problem, ready to be scored as `queries @ gallery.T` (float32, larger is closer).

    `order` (q,) lists the queries that have a relevant item, those with equally many side by side. `own` (q,) is the
    gallery row that each query is itself, and never finds; None where queries are no rows of the gallery.
    """

    queries: Array
    gallery: Array
    order: Array
    relevance: Relevance
    ks: tuple[int, ...]
    map_ks: tuple[int, ...]
    own: Array | None

    @property
    def same_items(self) -> bool:
        """Whether each query is a row of the gallery."""
        return self.own is not None

    @property
    def width(self) -> int:
        """How many values are measured for each query."""
        return len(self.ks) + 3 + len(self.map_ks)

    def columns(self, rows: Array) -> Array:
        """The relevant gallery rows (m, r) of queries `rows` (m,), which all have r of them."""
        return self.relevance.columns(rows)

    def rows(self, block: int | None, budget_bytes: int = BLOCK_BYTES) -> int:
        """How many queries to score at a time: `block`, or as many as `budget_bytes` of scores hold."""
        return min(block or max(1, budget_bytes // (4 * len(self.gallery))), len(self.order))

    def blocks(self, rows: int) -> Iterator[Array]:
        """`order` in pieces of at most `rows`."""
        for start in range(0, len(self.order), rows):
            yield self.order[start : start + rows]

    def runs(self, rows: Array, limit: int) -> Iterator[tuple[int, int]]:
        """Positions [start, stop) in a block `rows` (m,) such that one run has one number of relevant items."""
        edges = np.flatnonzero(np.diff(self.relevance.counts[rows])) + 1
        bounds = [0, *edges.tolist(), len(rows)]
        for low, high in pairwise(bounds):
            for start in range(low, high, limit):
                yield start, min(start + limit, high)


def prepare(
    queries: npt.ArrayLike,
    gallery: npt.ArrayLike,
    *,
    query_labels: npt.ArrayLike,
    gallery_labels: npt.ArrayLike,
    ks: Sequence[int],
    same_items: bool,
    metric: Metric,
    block: int | None,
    map_ks: Sequence[int] = (),
    zeros: bool = False,
    own: npt.ArrayLike | None = None,
) -> Task:
    """Check everything and find out what is relevant; the arguments and errors are those of `retrieval`."""
    cutoffs = _cutoffs(ks, "ks"), _cutoffs(map_ks, "map_ks", least=0)
    if block is not None and not _positive(block):
        raise InvalidInput(f"block must be a positive number of queries, got {block!r}")
    q, g = comparable(queries, gallery, metric=metric, zeros=zeros)
    rows = _own(own, len(q), len(g), same_items=same_items)
    relevant = relevance(query_labels, gallery_labels, len(q), len(g), own=rows)
    order = np.argsort(relevant.counts, kind="stable")
    order = order[relevant.counts[order] > int(rows is not None)]
    if not len(order):
        raise InvalidInput("no query has a relevant item in the gallery: do both use the same labels?")
    return Task(q, g, order, relevant, *cutoffs, rows)


def _own(own: npt.ArrayLike | None, queries: int, rows: int, *, same_items: bool) -> Array | None:
    """The gallery row (q,) that each query is."""
    if same_items:
        if own is not None:
            raise InvalidInput("same_items says already which row each query is: leave own out")
        if queries != rows:
            raise InvalidInput(f"same_items pairs query i with row i, got {queries} queries and {rows} rows")
        return np.arange(rows)
    if own is None:
        return None
    found = as_row_numbers(own, "own")
    if found.shape != (queries,) or found.min() < 0 or found.max() >= rows:
        raise InvalidInput(f"own must name a gallery row from 0 to {rows - 1} for each of {queries} queries")
    return found


def _positive(n: object) -> bool:
    return isinstance(n, int | np.integer) and not isinstance(n, bool) and int(n) > 0


def _cutoffs(ks: Sequence[int], what: str, *, least: int = 1) -> tuple[int, ...]:
    if not np.iterable(ks) or len(ks) < least or not all(map(_positive, ks)):
        raise InvalidInput(f"{what} must be positive whole numbers such as (1, 5), got {ks!r}")
    return tuple(dict.fromkeys(int(k) for k in ks))
