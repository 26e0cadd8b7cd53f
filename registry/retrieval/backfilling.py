"""What queries find while a gallery is re-embedded row by row, as a search over the mixed gallery would serve it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from registry.errors import InvalidInput
from registry.retrieval import Task, prepare
from registry.retrieval.checks import as_numbers, as_row_numbers, check_whole
from registry.retrieval.ranking import measure, workers
from registry.retrieval.result import names
from registry.retrieval.scoring import comparable, left_out
from registry.vectors import Array, Metric

__all__ = ["TENTHS", "BackfillCurve", "backfill_auc", "backfill_curve"]

Calibration = Callable[[Array], Array]

TENTHS = tuple(i / 10 for i in range(11))
"""Shares of a gallery."""

_BLOCK_BYTES = 32 << 20  # of scores at a time, three times over: by the old rows, by the new ones, and merged


@dataclass(frozen=True, slots=True, eq=False)
class BackfillCurve:
    """Metrics over the share of the gallery that is re-embedded, and the area under each curve.

    fractions (s,); values[name] (s,) and area[name], by the names of `Retrieval.per_query`; means over `queries`.
    """

    fractions: Array
    values: dict[str, Array]
    area: dict[str, float]
    queries: int


def backfill_curve(
    queries_new: npt.ArrayLike,
    gallery_old: npt.ArrayLike | None,
    gallery_new: npt.ArrayLike,
    *,
    query_labels: npt.ArrayLike,
    gallery_labels: npt.ArrayLike,
    queries_old: npt.ArrayLike | None = None,
    fractions: npt.ArrayLike = TENTHS,
    order: npt.ArrayLike | Literal["random"] = "random",
    seed: int = 0,
    ks: Sequence[int] = (1, 5),
    map_ks: Sequence[int] = (),
    same_items: bool = False,
    metric: Metric = "cosine",
    calibration: tuple[Calibration, Calibration] | None = None,
    block: int | None = None,
    zeros: bool = False,
    own: npt.ArrayLike | None = None,
) -> BackfillCurve:
    """Retrieval in a gallery of which a growing share is re-embedded, old and new rows merged into one ranking.

    At fraction b the first floor(b n) rows in `order` are re-embedded. Those score by `queries_new` (q, d_new) against
    `gallery_new` (n, d_new), all others by `queries_old` (q, d_old) against `gallery_old` (n, d_old). queries_old are
    the same queries as they meet the old rows: cut to a prefix, mapped by a bridge, or made by the old model; None takes
    queries_new, for an old gallery that was mapped forwards, or one space for both. Merging needs comparable scores, so
    this is what a user is served, which a mean of M(new, new) and M(new, old) is not. `gallery_old` None: the new version
    cannot read the old rows, so they score -inf, which is no result, until they are re-embedded.

    `order`: "random", drawn with `seed`, or row numbers (n,), first to be re-embedded first. `calibration`: two rising
    functions of a score matrix, for the old rows' scores and the new ones', onto one scale. Labels, `ks`, `map_ks`,
    `same_items`, `own`, `metric`, `block` and `zeros` are those of `registry.retrieval.retrieval`. The area is `backfill_auc`, so M-tilde of FastFill
    (Jaeckle et al., ICLR 2023). Memory is about 3 `block` n 4 bytes; the scores are computed once for all fractions.

    >>> import numpy as np
    >>> old, new = np.asarray([[1, 0], [0.6, 0.8], [0.8, 0.6]]), np.asarray([[1, 0, 0], [1, 0.1, 0], [0, 0, 1.0]])
    >>> curve = backfill_curve(new[:1], old, new, queries_old=old[:1], query_labels=[7], gallery_labels=[1, 7, 2],
    ...                        fractions=[0, 1], order=[2, 1, 0])
    >>> curve.values["mrr"].round(3).tolist(), round(curve.area["mrr"], 3)
    ([0.333, 0.5], 0.417)

    Raises:
        InvalidInput: as `retrieval`; fractions that do not rise from 0 to 1; an order that does not name each row once.
        DimensionMismatch, BadVector: as `retrieval`.
    """
    steps = _fractions(fractions)
    seed = check_whole(seed, "seed", 0)
    task = prepare(
        queries_new,
        gallery_new,
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
    met = queries_new if queries_old is None else queries_old
    old = None if gallery_old is None else _old_side(met, gallery_old, metric, task, zeros=zeros)
    masks = _masks(_order(order, len(task.gallery), seed), steps)
    sums = np.zeros((len(steps), task.width))
    with workers() as pool:
        for rows, *sides in _scores(task, old, metric, calibration, task.rows(block, _BLOCK_BYTES)):
            sums += _measure_each(task, rows, sides, masks, pool)
    found = dict(zip(names(task.ks, task.map_ks), (sums / len(task.order)).T, strict=True))
    area = {name: backfill_auc(steps, values) for name, values in found.items()}
    return BackfillCurve(steps, {name: values.copy() for name, values in found.items()}, area, len(task.order))


def backfill_auc(fractions: npt.ArrayLike, values: npt.ArrayLike) -> float:
    """Mean value while a gallery is backfilled at a steady rate: the area under values over fractions, both (s,).

    The integral over b in [0, 1] of M(new queries, gallery with its first b re-embedded), by the trapezoid rule
    (Jaeckle et al., FastFill, ICLR 2023). Fractions rise from 0 to 1.

    >>> round(backfill_auc([0, 0.5, 1], [0.4, 0.5, 0.6]), 6)
    0.5
    """
    x, y = _fractions(fractions), as_numbers(values, "values")
    if x.shape != y.shape or not np.isfinite(y).all():
        raise InvalidInput(f"fractions and values must be two finite rows of one length, got {x.shape} and {y.shape}")
    return float(np.trapezoid(y, x))


def _old_side(
    queries: npt.ArrayLike, gallery: npt.ArrayLike, metric: Metric, task: Task, *, zeros: bool
) -> tuple[Array, Array]:
    old = comparable(queries, gallery, metric=metric, zeros=zeros)
    if (len(old[0]), len(old[1])) != (len(task.queries), len(task.gallery)):
        raise InvalidInput(
            f"{len(old[0])} old queries and {len(old[1])} old rows stand against {len(task.queries)} and "
            f"{len(task.gallery)} new ones: both must be of the same items in one order"
        )
    return old


def _scores(
    task: Task,
    old: tuple[Array, Array] | None,
    metric: Metric,
    calibration: tuple[Calibration, Calibration] | None,
    size: int,
) -> Iterator[tuple[Array, Array, Array]]:
    """Queries (m,), and their scores (m, n) by the old rows and by the new ones, on one scale."""
    sides = [side and (*side, left_out(side[0], metric)) for side in (old, (task.queries, task.gallery))]
    maps = calibration or (None, None)
    for rows in task.blocks(size):
        scored = []
        for side, apply in zip(sides, maps, strict=True):
            if side is None:
                scored.append(np.full((len(rows), len(task.gallery)), -np.inf, dtype=np.float32))
                continue
            queries, gallery, offsets = side
            scores = queries[rows] @ gallery.T
            if isinstance(offsets, np.ndarray):
                scores -= offsets[rows, None]
            scored.append(scores if apply is None else _calibrated(apply, scores))
        yield rows, scored[0], scored[1]


def _measure_each(task: Task, rows: Array, sides: list[Array], masks: list[Array], pool: Executor) -> Array:
    """Sums (s, width) over the queries of a block of what each of s mixed galleries gives."""
    merged = np.empty_like(sides[0])
    sums = np.empty((len(masks), task.width))
    for i, mask in enumerate(masks):
        np.copyto(merged, sides[0])
        np.copyto(merged, sides[1], where=mask)
        sums[i] = measure(task, rows, merged, pool).sum(axis=0)
    return sums


def _calibrated(apply: Calibration, scores: Array) -> Array:
    found = np.asarray(apply(scores), dtype=np.float32)
    if found.shape != scores.shape or not np.isfinite(found).all():
        raise InvalidInput(f"a calibration must give a finite score for each of {scores.shape}, got {found.shape}")
    return found


def _masks(order: Array, fractions: Array) -> list[Array]:
    """Which rows (n,) are re-embedded at each fraction."""
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    return [place < np.floor(b * len(order) + 1e-9) for b in fractions]  # 0.29 * 100 is a little less than 29


def _order(order: npt.ArrayLike | Literal["random"], n: int, seed: int) -> Array:
    if isinstance(order, str):
        if order != "random":
            raise InvalidInput(f"order must be 'random' or row numbers, got {order!r:.80}")
        return np.random.default_rng(seed).permutation(n)
    rows = as_row_numbers(order, "order")
    if rows.shape != (n,) or not np.array_equal(np.sort(rows), np.arange(n)):
        raise InvalidInput(f"order must name each of the {n} gallery rows once, from 0 to {n - 1}")
    return rows


def _fractions(fractions: npt.ArrayLike) -> Array:
    x = as_numbers(fractions, "fractions")
    if x.ndim != 1 or len(x) < 2 or x[0] != 0 or x[-1] != 1 or not (np.diff(x) > 0).all():
        raise InvalidInput(f"fractions must rise from 0 to 1, got {str(x.tolist())[:80]}")
    return x
