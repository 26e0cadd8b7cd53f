"""CMC over the rank, with bootstrap intervals."""

from __future__ import annotations

import numpy as np

from registry.bootstrap import Resamples
from registry.retrieval import Retrieval, retrieval
from registry.study.sides import Sides
from registry.types import Curve
from registry.vectors import Array

__all__ = ["RANKS", "cmc", "ranked"]

RANKS = (1, 2, 3, 5, 10, 20, 50)


def ranked(sides: Sides, own: Array, codes: Array) -> Retrieval:
    """What the queries, rows `own` (q,) of the items, find of their own label; `codes` (n,) are the items' labels.

    Measured as `evaluate` does: each query's own row is left out, and of equal scores the relevant ones come last.
    """
    ks = [k for k in RANKS if k < len(codes)]
    return retrieval(
        sides.queries, sides.gallery, query_labels=codes[own], gallery_labels=codes, ks=ks, own=own, zeros=True,
        metric=sides.metric,
    )  # fmt: skip


def cmc(found: Retrieval, seed: int) -> Curve:
    """CMC at each rank, with its 95 % interval over queries; the same resamples at every stage."""
    columns = np.column_stack([found.per_query[f"cmc@{k}"] for k in found.cmc])
    counted = columns[~np.isnan(columns[:, 0])]
    resamples = Resamples(len(counted), seed=seed)
    means = resamples.means(counted)
    at = [resamples.interval(value, means[:, i]) for i, value in enumerate(found.cmc.values())]
    return Curve(
        tuple(map(float, found.cmc)),
        tuple(interval.value for interval in at),
        tuple(interval.low for interval in at),
        tuple(interval.high for interval in at),
    )
