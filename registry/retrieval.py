"""How well queries find the gallery items of their own label: CMC, mAP, mAP@R and MRR, exact and in bounded memory.

All four need only one fact of each relevant item: how many gallery items score at least as high. So a block of queries
is scored by one matrix product, each row's score *values* are sorted (far cheaper than sorting indices), and the scores
of the relevant items are looked up in the sorted row. Rows are shared among threads: NumPy sorts without the GIL.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from registry.errors import DimensionMismatch, InvalidInput
from registry.vectors import METRICS, Array, Metric, as_rows, check_finite, normalize

__all__ = ["Retrieval", "Task", "prepare", "retrieval", "summarize"]

_BLOCK_BYTES = 64 << 20  # of scores at a time: large enough for a fast matrix product, small beside any gallery
_ROWS_PER_JOB = 64  # rows that one thread takes at a time: keeps its temporaries small
_LARGEST = 1e37  # a product of norms below this leaves every float32 score finite, also of l2


@dataclass(frozen=True, slots=True, eq=False)
class Retrieval:
    """Means over the queries that have a relevant item, as fractions in [0, 1], and the values they are means of.

    `per_query` holds float64 (q,) arrays under `cmc@k` for each k, `map`, `map@r` and `mrr`, in the order the queries
    were given; NaN where a query has no relevant item. `queries` counts the others, `skipped` those.
    """

    cmc: dict[int, float]
    map: float
    map_at_r: float
    mrr: float
    per_query: dict[str, Array]
    queries: int
    skipped: int

    def values(self) -> dict[str, float]:
        """The means under the names that `per_query` uses."""
        cmc = {f"cmc@{k}": value for k, value in self.cmc.items()}
        return {**cmc, "map": self.map, "map@r": self.map_at_r, "mrr": self.mrr}


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """A checked retrieval problem, ready to be scored as `queries @ gallery.T` (float32, larger is closer).

    `order` (q,) lists the queries that have a relevant item, those with equally many side by side. `relevant` (q,) is
    how many gallery rows carry query i's label, its own row included. Those rows are
    `members[first[i] : first[i] + relevant[i]]`.
    """

    queries: Array
    gallery: Array
    order: Array
    relevant: Array
    first: Array
    members: Array
    ks: tuple[int, ...]
    same_items: bool

    def columns(self, rows: Array) -> Array:
        """The relevant gallery rows (m, r) of queries `rows` (m,), which all have r of them."""
        r = int(self.relevant[rows[0]])
        columns: Array = self.members[self.first[rows][:, None] + np.arange(r)]
        return columns

    def rows(self, block: int | None, budget_bytes: int = _BLOCK_BYTES) -> int:
        """How many queries to score at a time: `block`, or as many as `budget_bytes` of scores hold."""
        return min(block or max(1, budget_bytes // (4 * len(self.gallery))), len(self.order))

    def blocks(self, rows: int) -> Iterator[Array]:
        """`order` in pieces of at most `rows`."""
        for start in range(0, len(self.order), rows):
            yield self.order[start : start + rows]

    def runs(self, rows: Array, limit: int) -> Iterator[tuple[int, int]]:
        """Positions [start, stop) in a block `rows` (m,) such that one run has one number of relevant items."""
        edges = np.flatnonzero(np.diff(self.relevant[rows])) + 1
        bounds = [0, *edges.tolist(), len(rows)]
        for low, high in pairwise(bounds):
            for start in range(low, high, limit):
                yield start, min(start + limit, high)


def retrieval(
    queries: npt.ArrayLike,
    gallery: npt.ArrayLike,
    *,
    query_labels: npt.ArrayLike,
    gallery_labels: npt.ArrayLike,
    ks: Sequence[int] = (1, 5),
    same_items: bool = False,
    metric: Metric = "cosine",
    block: int | None = None,
    zeros: bool = False,
) -> Retrieval:
    """Rank the gallery for each query; an item is relevant if it carries the query's label.

    queries (q, d), gallery (n, d): float16, float32 or float64, computed in float32; labels (q,), (n,): integers or
    strings. `same_items`: query i is gallery row i, perhaps written by another version, and never finds itself.
    `block` is the number of queries scored at a time; memory is about `block` x n x 4 bytes. `zeros` admits rows of
    only zeros, which a transform may give: their cosine to everything is 0.

    With R relevant items of a query, and for each of them tp, the relevant items that score at least as high, and
    geq, all the items that do:

    * mAP is the mean of tp / geq over the R items: items of equal score share one threshold, which is
      scikit-learn's `average_precision_score`.
    * CMC@k is whether the best relevant item is within the first k; MRR is 1 over its rank.
    * mAP@R is 1/R times the sum of the precision at each relevant item ranked within R (Musgrave et al., ECCV 2020).

    CMC, MRR and mAP@R need a rank, so of items that score equal the relevant ones are ranked last: a model that maps
    everything to one point gets no credit.

    Raises:
        InvalidInput: nothing to rank, lengths or labels that do not fit, a bad `ks`, `metric` or `block`.
        DimensionMismatch: queries and gallery differ in width.
        BadVector: a row is not finite or only zeros.
    """
    task = prepare(
        queries,
        gallery,
        query_labels=query_labels,
        gallery_labels=gallery_labels,
        ks=ks,
        same_items=same_items,
        metric=metric,
        block=block,
        zeros=zeros,
    )
    columns = np.full((len(task.queries), len(task.ks) + 3), np.nan)
    buffer = np.empty((task.rows(block), len(task.gallery)), dtype=np.float32)
    with ThreadPoolExecutor(_threads()) as pool:
        for rows in task.blocks(len(buffer)):
            scores = np.matmul(task.queries[rows], task.gallery.T, out=buffer[: len(rows)])
            for start, stop, values in pool.map(_job(task, rows, scores), task.runs(rows, _ROWS_PER_JOB)):
                columns[rows[start:stop]] = values
    return summarize(columns, task.ks)


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
    zeros: bool = False,
) -> Task:
    """Check everything and group the gallery by label; the arguments and errors are those of `retrieval`."""
    cutoffs = _cutoffs(ks, block)
    q = check_finite(as_rows(queries, what="queries"), what="queries", zeros=zeros)
    g = check_finite(as_rows(gallery, what="gallery"), what="gallery", zeros=zeros)
    if not len(q) or not len(g):
        raise InvalidInput(f"retrieval needs queries and a gallery, got {len(q)} and {len(g)} rows")
    if q.shape[1] != g.shape[1]:
        raise DimensionMismatch(f"queries have {q.shape[1]} dimensions, the gallery {g.shape[1]}: map one first")
    q_labels = _labels(query_labels, len(q), "query_labels")
    g_labels = _labels(gallery_labels, len(g), "gallery_labels")
    _check_pairing(q_labels, g_labels, same_items)
    names, codes, counts = np.unique(g_labels, return_inverse=True, return_counts=True)
    at = np.minimum(np.searchsorted(names, q_labels), len(names) - 1)
    relevant = np.where(names[at] == q_labels, counts[at], 0)
    order = np.lexsort((at, relevant))
    order = order[relevant[order] > int(same_items)]
    if not len(order):
        raise InvalidInput("no query has a relevant item in the gallery: do both use the same labels?")
    q, g = _scorable(q, g, metric)
    starts = np.cumsum(counts) - counts
    return Task(q, g, order, relevant, starts[at], np.argsort(codes, kind="stable"), cutoffs, same_items)


def summarize(columns: Array, ks: tuple[int, ...]) -> Retrieval:
    """Means of (q, len(ks) + 3) values: CMC at each k, then mAP, mAP@R and MRR; NaN rows are left out."""
    names = [*(f"cmc@{k}" for k in ks), "map", "map@r", "mrr"]
    counted = ~np.isnan(columns[:, -1])
    means = columns[counted].mean(axis=0).tolist()
    found = int(counted.sum())
    return Retrieval(
        cmc=dict(zip(ks, means, strict=False)),
        map=means[-3],
        map_at_r=means[-2],
        mrr=means[-1],
        per_query={name: np.ascontiguousarray(columns[:, i]) for i, name in enumerate(names)},
        queries=found,
        skipped=len(columns) - found,
    )


def _job(task: Task, rows: Array, scores: Array) -> Callable[[tuple[int, int]], tuple[int, int, Array]]:
    """What one thread does with one run of a block's scores (m, n), which it uses up."""

    def job(run: tuple[int, int]) -> tuple[int, int, Array]:
        start, stop = run
        mine, part = rows[start:stop], scores[start:stop]
        if task.same_items:
            part[np.arange(len(mine)), mine] = -np.inf  # the own row: now below every threshold, and last of its label
        found = np.sort(np.take_along_axis(part, task.columns(mine), axis=1), axis=1)[:, int(task.same_items) :]
        part.sort(axis=1)
        geq = np.empty(found.shape, dtype=np.int64)
        for i, row in enumerate(part):
            geq[i] = row.searchsorted(found[i])
        return start, stop, _measure(found, part.shape[1] - geq, task.ks)

    return job


def _measure(found: Array, geq: Array, ks: tuple[int, ...]) -> Array:
    """Metrics (m, len(ks) + 3) from the relevant items' scores (m, r), ascending, and how many items reach each."""
    r = found.shape[1]
    place = np.arange(r, 0, -1)  # 1 for the best relevant item
    tie = found[:, 1:] == found[:, :-1]
    if tie.any():
        lowest = np.arange(r) * np.pad(~tie, ((0, 0), (1, 0)), constant_values=True)
        tp = r - np.maximum.accumulate(lowest, axis=1)
    else:
        tp = np.broadcast_to(place, found.shape)
    rank = geq - tp + place
    first = rank[:, -1:]
    at_r = np.where(rank <= r, place / rank, 0).sum(axis=1) / r
    return np.column_stack([first <= np.asarray(ks), (tp / geq).mean(axis=1), at_r, 1 / first])


def _scorable(q: Array, g: Array, metric: Metric) -> tuple[Array, Array]:
    """Float32 rows whose plain inner product orders the gallery as `metric` does."""
    if metric == "cosine":
        return normalize(q), normalize(g)
    q, g = q.astype(np.float32, copy=False), g.astype(np.float32, copy=False)
    if metric == "l2":
        # Distances do not change when both sides shift, and the expansion below cancels badly far from the origin.
        # A gallery row is taken as the new origin, not the mean, so that integer vectors keep exact distances and ties.
        mean = g.mean(axis=0, dtype=np.float64)
        origin = g[np.argmin(np.square(g - mean).sum(axis=1))]
        q, g = q - origin, g - origin
        squares = np.einsum("ij,ij->i", g, g)
        # 2 q.g - |g|^2 is |q|^2 - |q - g|^2: the same order within one query.
        q = np.concatenate([2 * q, np.full((len(q), 1), -1, np.float32)], axis=1)
        g = np.concatenate([g, squares[:, None]], axis=1)
    elif metric != "dot":
        raise InvalidInput(f"metric {metric!r} is not known: use one of {', '.join(METRICS)}")
    longest = [float(np.sqrt(np.einsum("ij,ij->i", x, x, dtype=np.float64).max())) for x in (q, g)]
    if not longest[0] * longest[1] < _LARGEST:
        raise InvalidInput(
            f"scores overflow: the longest rows measure {longest[0]:.3g} and {longest[1]:.3g}; scale down"
        )
    return q, g


def _positive(n: object) -> bool:
    return isinstance(n, int | np.integer) and not isinstance(n, bool) and int(n) > 0


def _cutoffs(ks: Sequence[int], block: int | None) -> tuple[int, ...]:
    if not np.iterable(ks) or not len(ks) or not all(map(_positive, ks)):
        raise InvalidInput(f"ks must be positive whole numbers such as (1, 5), got {ks!r}")
    if block is not None and not _positive(block):
        raise InvalidInput(f"block must be a positive number of queries, got {block!r}")
    return tuple(dict.fromkeys(int(k) for k in ks))


def _labels(labels: npt.ArrayLike, n: int, what: str) -> Array:
    array = np.asarray(labels)
    if array.dtype.kind == "O" and all(isinstance(x, str) for x in array.flat):
        array = array.astype(str)
    if array.dtype.kind == "b":
        array = array.astype(np.int64)
    if array.dtype.kind == "u" and int(array.max(initial=0)) < 2**63:
        array = array.astype(np.int64)  # beside an int64, NumPy compares it as a float
    if array.ndim != 1 or array.dtype.kind not in "iU":
        raise InvalidInput(f"{what} must be integers or strings (n,), got {array.dtype} of shape {array.shape}")
    if len(array) != n:
        raise InvalidInput(f"{what} has {len(array)} entries for {n} rows: give one label for each row")
    return array


def _check_pairing(q_labels: Array, g_labels: Array, same_items: bool) -> None:
    if (q_labels.dtype.kind == "U") != (g_labels.dtype.kind == "U"):
        raise InvalidInput(f"query_labels are {q_labels.dtype}, gallery_labels {g_labels.dtype}: use one type for both")
    if same_items and len(q_labels) != len(g_labels):
        raise InvalidInput(f"same_items pairs query i with row i, got {len(q_labels)} queries and {len(g_labels)} rows")
    if same_items and not np.array_equal(q_labels, g_labels):
        raise InvalidInput("same_items pairs query i with gallery row i, but their labels differ: use one order")


def _threads() -> int:
    """Cores that this process may use; more than eight would wait for the memory bus."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(8, usable)
