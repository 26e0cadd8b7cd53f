"""Which gallery rows are relevant to a query: those that carry its label, or at least one of its labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from registry.errors import InvalidInput
from registry.vectors import Array

__all__ = ["Relevance", "as_labels", "relevance"]


class Relevance(Protocol):
    """`counts` (q,) is how many gallery rows are relevant to each query, its own row included."""

    @property
    def counts(self) -> Array:
        """Relevant gallery rows (q,) of each query."""

    def columns(self, rows: Array) -> Array:
        """The relevant gallery rows (m, r), rising, of queries `rows` (m,), which all have r of them."""


@dataclass(frozen=True, slots=True, eq=False)
class OneLabel:
    """Query i's relevant rows are `members[first[i] : first[i] + counts[i]]`: the gallery grouped by label."""

    counts: Array
    first: Array
    members: Array

    def columns(self, rows: Array) -> Array:
        """A slice of `members` for each query."""
        columns: Array = self.members[self.first[rows][:, None] + np.arange(self.counts[rows[0]])]
        return columns


@dataclass(frozen=True, slots=True, eq=False)
class AnyLabel:
    """Booleans: `queries` (q, c) by label, `carriers` (c, n), the rows that carry each label. q x n is never held."""

    counts: Array
    queries: Array
    carriers: Array

    def columns(self, rows: Array) -> Array:
        """The union of the rows that carry one of a query's labels."""
        return np.stack([np.flatnonzero(_carry_any(self.queries[row], self.carriers)) for row in rows])


def relevance(
    query_labels: npt.ArrayLike, gallery_labels: npt.ArrayLike, queries: int, rows: int, *, own: Array | None
) -> Relevance:
    """Check the labels of so many queries and gallery rows, and say which rows are relevant to which query.

    Labels are integers or strings (q,) and (n,), or booleans (q, c) and (n, c) that say which of c labels each carries.
    `own` (q,) is the gallery row that each query is; None where queries are no rows of the gallery.

    Raises:
        InvalidInput: labels of another kind or length, or a query whose own row has others.
    """
    q = as_labels(query_labels, queries, "query_labels")
    g = as_labels(gallery_labels, rows, "gallery_labels")
    _check_pairing(q, g, own)
    if q.ndim == 2:
        carriers = np.ascontiguousarray(g.T)
        counts = np.fromiter((np.count_nonzero(_carry_any(mine, carriers)) for mine in q), np.int64, len(q))
        return AnyLabel(counts, q, carriers)
    names, codes, sizes = np.unique(g, return_inverse=True, return_counts=True)
    at = np.minimum(np.searchsorted(names, q), len(names) - 1)
    counts = np.where(names[at] == q, sizes[at], 0)
    return OneLabel(counts, (np.cumsum(sizes) - sizes)[at], np.argsort(codes, kind="stable"))


def _carry_any(mine: Array, carriers: Array) -> Array:
    """Mask (n,) of the rows that carry one of the labels `mine` (c,)."""
    return np.asarray(carriers[mine].any(axis=0))


def as_labels(labels: npt.ArrayLike, n: int, what: str) -> Array:
    """Check the labels of n rows: integers or strings (n,), or booleans (n, c); one-dimensional booleans become integers.

    Raises:
        InvalidInput: of another kind or length.
    """
    try:
        array = np.asarray(labels)
    except ValueError as error:
        raise InvalidInput(f"{what} must be integers or strings (n,), or booleans (n, c): {error}") from error
    if array.dtype.kind == "O" and all(isinstance(x, str) for x in array.flat):
        array = array.astype(str)
    if array.ndim == 1 and array.dtype.kind == "b":
        array = array.astype(np.int64)
    if array.dtype.kind == "u" and int(array.max(initial=0)) < 2**63:
        array = array.astype(np.int64)  # beside an int64, NumPy compares it as a float
    if not (array.ndim == 1 and array.dtype.kind in "iU") and not (array.ndim == 2 and array.dtype.kind == "b"):
        raise InvalidInput(
            f"{what} must be integers or strings (n,), or booleans (n, c), got {array.dtype} of shape {array.shape}"
        )
    if len(array) != n:
        raise InvalidInput(f"{what} has {len(array)} entries for {n} rows: give one label for each row")
    return array


def _check_pairing(q: Array, g: Array, own: Array | None) -> None:
    if (q.dtype.kind in "iU", q.dtype.kind == "U") != (g.dtype.kind in "iU", g.dtype.kind == "U"):
        raise InvalidInput(f"query_labels are {q.dtype}, gallery_labels {g.dtype}: use one type for both")
    if q.shape[1:] != g.shape[1:]:
        raise InvalidInput(
            f"query_labels are over {q.shape[1]} labels, gallery_labels over {g.shape[1]}: use the same columns for both"
        )
    if own is not None and not np.array_equal(q, g[own]):
        raise InvalidInput("each query is to be a gallery row, but their labels differ: use one order")
