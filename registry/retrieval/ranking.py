"""CMC, mAP, mAP@R, mAP@K and MRR of queries in a gallery, exact and in bounded memory.

All of them need only one fact of each relevant item: how many gallery items score at least as high. So a block of
queries is scored by one matrix product, each row's score *values* are sorted (far cheaper than sorting indices), and
the scores of the relevant items are looked up in the sorted row. Rows are shared among threads: NumPy sorts without the
GIL.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from registry.retrieval.result import Retrieval, summarize
from registry.retrieval.task import Task, prepare
from registry.vectors import Array, Metric

__all__ = ["cores", "measure", "ranked", "retrieval", "workers"]

_ROWS_PER_JOB = 64  # rows that one thread takes at a time: keeps its temporaries small


def retrieval(
    queries: npt.ArrayLike,
    gallery: npt.ArrayLike,
    *,
    query_labels: npt.ArrayLike,
    gallery_labels: npt.ArrayLike,
    ks: Sequence[int] = (1, 5),
    map_ks: Sequence[int] = (),
    same_items: bool = False,
    metric: Metric = "cosine",
    block: int | None = None,
    zeros: bool = False,
    own: npt.ArrayLike | None = None,
) -> Retrieval:
    """Rank the gallery for each query; an item is relevant if it carries the query's label, or one of its labels.

    queries (q, d), gallery (n, d): float16, float32 or float64, computed in float32. Labels are integers or strings,
    (q,) and (n,); or booleans, (q, c) and (n, c), that say which of c labels each carries: then one in common is
    enough. `same_items`: query i is gallery row i, perhaps written by another version, and never finds itself; `own`
    (q,): query i is gallery row own[i], where some of the rows are queries.
    `block` is the number of queries scored at a time; memory is about `block` x n x 4 bytes. `zeros` admits rows of
    only zeros, which a transform may give: their cosine to everything is 0.

    With R relevant items of a query, and for each of them tp, the relevant items that score at least as high, and
    geq, all the items that do:

    * mAP is the mean of tp / geq over the R items: items of equal score share one threshold, which is
      scikit-learn's `average_precision_score`.
    * CMC@k is whether the best relevant item is within the first k, for each k of `ks`; MRR is 1 over its rank.
    * mAP@R is 1/R times the sum of the precision at each relevant item ranked within R (Musgrave et al., ECCV 2020).
    * mAP@K, for each K of `map_ks`, is 1/min(R, K) times the sum of the precision at each relevant item ranked within K
      (Weyand et al., Google Landmarks v2, CVPR 2020, with K = 100; so also AdvBCT, CVPR 2023).

    CMC, MRR, mAP@R and mAP@K need a rank, so of items that score equal the relevant ones are ranked last: a model that
    maps everything to one point gets no credit.

    Raises:
        InvalidInput: nothing to rank, lengths or labels that do not fit, a bad `ks`, `map_ks`, `metric` or `block`.
        DimensionMismatch: queries and gallery differ in width.
        BadVector: a row is not finite or only zeros.
    """
    task = prepare(
        queries,
        gallery,
        query_labels=query_labels,
        gallery_labels=gallery_labels,
        ks=ks,
        map_ks=map_ks,
        same_items=same_items,
        metric=metric,
        block=block,
        zeros=zeros,
        own=own,
    )
    columns = np.full((len(task.queries), task.width), np.nan)
    for rows, values in ranked(task, task.blocks(task.rows(block))):
        columns[rows] = values
    return summarize(columns, task.ks, task.map_ks)


def ranked(task: Task, blocks: Iterable[Array]) -> Iterator[tuple[Array, Array]]:
    """Of each block of queries (m,) of a task their metrics (m, `task.width`); the first block is the largest."""
    buffer = np.empty((0, len(task.gallery)), dtype=np.float32)
    with workers() as pool:
        for rows in blocks:
            if len(rows) > len(buffer):
                buffer = np.empty((len(rows), len(task.gallery)), dtype=np.float32)
            scores = np.matmul(task.queries[rows], task.gallery.T, out=buffer[: len(rows)])
            yield rows, measure(task, rows, scores, pool)


def measure(task: Task, rows: Array, scores: Array, pool: Executor) -> Array:
    """Metrics (m, `task.width`) of queries `rows` (m,) of a task from their scores (m, n), which are used up."""
    columns = np.empty((len(rows), task.width))
    for start, stop, values in pool.map(_job(task, rows, scores), task.runs(rows, _ROWS_PER_JOB)):
        columns[start:stop] = values
    return columns


def workers() -> ThreadPoolExecutor:
    """A thread for each of `cores`."""
    return ThreadPoolExecutor(cores())


def cores() -> int:
    """The cores that this process may use, at most eight: threads on more would wait for the memory bus."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(8, usable)


def _job(task: Task, rows: Array, scores: Array) -> Callable[[tuple[int, int]], tuple[int, int, Array]]:
    """What one thread does with one run of a block's scores (m, n), which it uses up."""

    def job(run: tuple[int, int]) -> tuple[int, int, Array]:
        start, stop = run
        mine, part = rows[start:stop], scores[start:stop]
        if task.own is not None:
            # The own row: now below every threshold, and last of its label.
            part[np.arange(len(mine)), task.own[mine]] = -np.inf
        found = np.sort(np.take_along_axis(part, task.columns(mine), axis=1), axis=1)[:, int(task.same_items) :]
        part.sort(axis=1)
        geq = np.empty(found.shape, dtype=np.int64)
        for i, row in enumerate(part):
            geq[i] = row.searchsorted(found[i])
        return start, stop, _measure(found, part.shape[1] - geq, task)

    return job


def _measure(found: Array, geq: Array, task: Task) -> Array:
    """Metrics (m, width) from the relevant items' scores (m, r), ascending, and how many items reach each."""
    r = found.shape[1]
    if found[:, 0].min() == -np.inf:  # what scores so low is no result, so no query finds it
        geq = np.where(found == -np.inf, np.inf, geq)
    place = np.arange(r, 0, -1)  # 1 for the best relevant item
    tie = found[:, 1:] == found[:, :-1]
    if tie.any():
        lowest = np.arange(r) * np.pad(~tie, ((0, 0), (1, 0)), constant_values=True)
        tp = r - np.maximum.accumulate(lowest, axis=1)
    else:
        tp = np.broadcast_to(place, found.shape)
    rank = geq - tp + place
    first, precision = rank[:, -1:], place / rank
    at = [np.where(rank <= k, precision, 0).sum(axis=1) / min(r, k) for k in (r, *task.map_ks)]
    return np.column_stack([first <= np.asarray(task.ks), (tp / geq).mean(axis=1), at[0], 1 / first, *at[1:]])
