"""Who is near whom, by FAISS and exact; and how far two versions agree on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from registry.index import FlatIndex
from registry.types import Overlap
from registry.vectors import Array, Metric

__all__ = ["Neighbours", "agreed", "nearest", "neighbours", "overlap"]

_BLOCK_ROWS = 4096


@dataclass(frozen=True, slots=True, eq=False)
class Neighbours:
    """The k nearest others of each of n items, nearest first: their rows (n, k) int32, and their scores (n, k) float32."""

    rows: Array
    scores: Array


def nearest(queries: Array, vectors: Array, metric: Metric, k: int) -> Neighbours:
    """The rows of `vectors` (n, d) that are nearest to each of `queries` (q, d): (q, k).

    Of those that score equal the ones that come first in `vectors` stand first.
    """
    return _searched(_indexed(vectors, metric), queries, k, lambda start, rows, scores: (rows, scores))


def neighbours(vectors: Array, metric: Metric, k: int) -> Neighbours:
    """The nearest others of each row of `vectors` (n, d), k < n. Of equally near ones those that come first count."""

    def without_own(start: int, rows: Array, scores: Array) -> tuple[Array, Array]:
        own = rows == np.arange(start, start + len(rows))[:, None]
        # Among more than k twins, or by inner product, the item itself may be missing: then the last one goes.
        gone = np.where(own.any(axis=1), own.argmax(axis=1), k)
        kept = np.arange(k + 1) != gone[:, None]
        return rows[kept].reshape(-1, k), scores[kept].reshape(-1, k)

    return _searched(_indexed(vectors, metric), vectors, k + 1, without_own)


def _indexed(vectors: Array, metric: Metric) -> FlatIndex:
    index = FlatIndex(vectors.shape[1], metric)
    index.add(np.arange(len(vectors)), vectors)
    return index


def _searched(
    index: FlatIndex, queries: Array, k: int, keep: Callable[[int, Array, Array], tuple[Array, Array]]
) -> Neighbours:
    found = []
    for start in range(0, len(queries), _BLOCK_ROWS):
        rows, scores = index.search(queries[start : start + _BLOCK_ROWS], k)
        order = np.lexsort((rows, -scores), axis=1)
        rows, scores = (np.take_along_axis(a, order, axis=1) for a in (rows.astype(np.int32), scores))
        found.append(keep(start, rows, scores))
    return Neighbours(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def agreed(old: Neighbours, new: Neighbours, k: int) -> Array:
    """How many (n,) of each item's k nearest both versions name."""
    parts = [
        np.count_nonzero((a[:, :, None] == b[:, None, :]).any(axis=2), axis=1)
        for start in range(0, len(old.rows), _BLOCK_ROWS)
        for a, b in [[of.rows[start : start + _BLOCK_ROWS, :k] for of in (old, new)]]
    ]
    return np.concatenate(parts)


def overlap(counts: Array, k: int) -> Overlap:
    """The overlap of k nearest neighbours from each item's `counts` (n,): Huh et al., ICML 2024, "mutual k-NN".

    Exactly k neighbours count for each item, ties as in `neighbours`; `align.metrics.neighbour_overlap` counts all that
    tie, and is the same where none do.
    """
    spread = np.bincount(counts, minlength=k + 1)
    return Overlap(k, float(counts.mean() / k), tuple(map(int, spread)))
