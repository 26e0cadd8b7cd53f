"""Search: FAISS, exact. Scores are larger-is-closer for every metric; the sign is turned here and nowhere else."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

import faiss
import numpy as np
import pyarrow as pa

from registry.errors import InvalidInput
from registry.vectors import Array, Metric, normalize

__all__ = [
    "FAISS_METRIC", "FlatIndex", "IndexCache", "empty_hits", "ids_array", "merge", "oriented", "prepared", "refuse_overflow", "search_blocks",
]  # fmt: skip

_LARGEST = 1e37  # what a sum of float32 products may reach with room to spare
FAISS_METRIC = {"cosine": faiss.METRIC_INNER_PRODUCT, "dot": faiss.METRIC_INNER_PRODUCT, "l2": faiss.METRIC_L2}


def _longest(rows: Array) -> float:
    return float(np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64).max(initial=0)))


def prepared(rows: Array, metric: Metric) -> Array:
    """Rows (n, d) as an index takes them: float32, and for cosine of length 1."""
    rows = normalize(rows) if metric == "cosine" else rows
    return np.ascontiguousarray(rows, dtype=np.float32)


def oriented(scores: Array, positions: Array, metric: Metric, *, whole: bool = False) -> Array:
    """FAISS gives squared distances for l2: negate them, so that larger is closer, and mark empty places -inf.

    The caller may know that the result is `whole`, so that no place is empty.
    """
    scores = -scores if metric == "l2" else scores
    if whole:
        return scores
    scores[positions < 0] = -np.inf
    return scores


def refuse_overflow(stored: float, queries: Array) -> None:
    """Refuse queries (q, d) whose scores with vectors of length up to `stored` float32 might not hold."""
    longest = max(stored, 1.0), max(_longest(queries), 1.0)
    if max(longest) ** 2 >= _LARGEST or longest[0] * longest[1] >= _LARGEST:
        raise InvalidInput(
            f"scores overflow: stored and query vectors measure up to {longest[0]:.3g} and {longest[1]:.3g}: scale down"
        )


class FlatIndex:
    """An exact index over rows (n, d) with their ids, in memory."""

    def __init__(self, dim: int, metric: Metric) -> None:
        self.metric: Metric = metric
        self._index = faiss.IndexFlat(dim, FAISS_METRIC[metric])
        self._chunks: list[Array] = []
        self._longest = 0.0
        self._ids: Array | None = None

    def add(self, ids: Array, rows: Array) -> None:
        """Add rows (n, d) under `ids` (n,)."""
        rows = prepared(rows, self.metric)
        self._longest = max(self._longest, _longest(rows))
        self._index.add(rows)
        self._chunks.append(ids)
        self._ids = None

    @property
    def ids(self) -> Array:
        """All ids, in the order of adding."""
        if self._ids is None:
            self._ids = np.concatenate(self._chunks) if self._chunks else np.empty(0, dtype=object)
        return self._ids

    def rows(self) -> Array:
        """All rows (n, d) as they are searched, in that order; a view of the index's memory."""
        size = self._index.ntotal * self._index.d
        rows: Array = faiss.rev_swig_ptr(self._index.get_xb(), size).reshape(-1, self._index.d)
        return rows

    @property
    def nbytes(self) -> int:
        """Memory of the vectors, bytes."""
        return int(self._index.ntotal * self._index.d * 4)

    def search(self, queries: Array, k: int) -> tuple[Array, Array]:
        """The k closest rows to each of (q, d): ids (q, k) and scores (q, k); see `Hits` for empty places."""
        queries = prepared(queries, self.metric)
        refuse_overflow(self._longest, queries)
        scores, positions = self._index.search(queries, k)
        return _named(positions, self.ids), oriented(scores, positions, self.metric)


def _named(positions: Array, ids: Array) -> Array:
    """Positions -> ids; -1 stays -1 for integer ids and becomes '' for string ids."""
    if not len(ids):
        return np.full(positions.shape, -1 if ids.dtype.kind == "i" else "", dtype=ids.dtype)
    named = ids[positions]
    missing = positions < 0
    if missing.any():
        named[missing] = -1 if ids.dtype.kind == "i" else ""
    return named


def empty_hits(queries: int, k: int, *, string_ids: bool) -> tuple[Array, Array]:
    """Hits that hold nothing."""
    ids = np.full((queries, k), "", dtype=object) if string_ids else np.full((queries, k), -1, dtype=np.int64)
    return ids, np.full((queries, k), -np.inf, dtype=np.float32)


def merge(left: tuple[Array, Array], right: tuple[Array, Array]) -> tuple[Array, Array]:
    """The best k of two result sets of k; on equal scores the left one's come first."""
    k = left[1].shape[1]
    scores = np.concatenate([left[1], right[1]], axis=1)
    ids = np.concatenate([left[0], right[0]], axis=1)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(ids, order, axis=1), np.take_along_axis(scores, order, axis=1)


def search_blocks(
    blocks: Iterable[tuple[Array, Array]], queries: Array, k: int, metric: Metric, *, string_ids: bool
) -> tuple[Array, Array]:
    """Exact search over blocks of (ids, rows), keeping only one block in memory: for galleries too large to cache."""
    best = empty_hits(len(queries), k, string_ids=string_ids)
    queries = prepared(queries, metric)
    for ids, rows in blocks:
        block = FlatIndex(rows.shape[1], metric)
        block.add(ids, rows)
        best = merge(best, block.search(queries, k))
    return best


class IndexCache:
    """Built indexes by what they were built from, the least recently used let go beyond `budget_bytes`.

    A key begins with what it is of and then its state, so an entry is never stale, only unused.
    """

    def __init__(self, budget_bytes: int) -> None:
        self.budget_bytes = budget_bytes
        self._entries: OrderedDict[Any, FlatIndex] = OrderedDict()
        self._lock = threading.Lock()

    def known(self, key: Any) -> FlatIndex | None:
        """The index of `key` if it is here."""
        return self._entries.get(key)

    def get(self, key: Any, build: Callable[[], FlatIndex]) -> FlatIndex:
        """The index of `key`, built if it is not here."""
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
                return self._entries[key]
        index = build()
        with self._lock:
            # Older states of the same dataset will not be asked for again: reads are at the acknowledged version.
            for stale in [old for old in self._entries if old[0] == key[0] and old[2:] == key[2:] and old[1] != key[1]]:
                del self._entries[stale]
            self._entries[key] = index
            while len(self._entries) > 1 and sum(i.nbytes for i in self._entries.values()) > self.budget_bytes:
                self._entries.popitem(last=False)
        return index


def ids_array(column: pa.Array | pa.ChunkedArray) -> Array:
    """Ids as NumPy: int64, or objects holding str."""
    ids: Array = column.to_numpy() if isinstance(column, pa.ChunkedArray) else column.to_numpy(zero_copy_only=False)
    return ids
