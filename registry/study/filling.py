"""What a gallery is worth while it is re-embedded, by the order in which that is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import numpy as np

from registry.retrieval.backfilling import BackfillCurve, backfill_curve
from registry.study.neighbours import nearest
from registry.study.sides import Sides, Stages
from registry.types import Curve, Filling
from registry.vectors import Array, Metric, normalize

__all__ = ["DRAWS", "MOST_QUERIES", "deviations", "filling", "worst_first"]

DRAWS = 3
"""Random orders, of whose curves the mean is told."""

MOST_QUERIES = 1000
METRICS = ("map", "cmc@1")
_NEIGHBOURS = 25


def filling(
    stages: Stages, own: Array, codes: Array, *, first: Array | None, seed: int, told: Callable[[], None]
) -> tuple[Filling, ...]:
    """Quality of new queries at each tenth of the gallery that is re-embedded, as a search of both segments would serve it.

    Old rows are read by the path and scored in its space, new rows as they are; the scores are merged as they are, not
    calibrated as a search may do. Without a path the old rows cannot be read: they are no result until they are
    re-embedded. Where the path's space is compared by another metric than the new one's, no search would merge the two,
    and there is nothing to tell: ().

    "random" is the mean of `DRAWS` seeded orders; "uncertainty" takes the order `first` (n,), by `worst_first`, if there is
    one. Queries are rows `own` (q,) of the items, at most `MOST_QUERIES` of them. `told` is called after each order.
    """
    new, old = stages["backfilled"], stages.get("upgraded")
    if old is not None and old.metric != new.metric:
        return ()
    rng = np.random.default_rng([seed, 2])
    picked = np.sort(rng.choice(len(own), min(len(own), MOST_QUERIES), replace=False))

    def served(order: Array) -> BackfillCurve:
        found = backfill_curve(
            new.queries[picked], None if old is None else old.gallery, new.gallery,
            queries_old=None if old is None else old.queries[picked], query_labels=codes[own[picked]], gallery_labels=codes,
            order=order, ks=(1,), metric=new.metric, zeros=True, own=own[picked],
        )  # fmt: skip
        told()
        return found

    drawn = [served(rng.permutation(len(codes))) for _ in range(DRAWS)]
    return (*_told("random", drawn), *(_told("uncertainty", [served(first)]) if first is not None else ()))


def _told(order: Literal["random", "uncertainty"], found: Sequence[BackfillCurve]) -> Iterator[Filling]:
    """The means of some curves."""
    at = tuple(found[0].fractions.tolist())
    for metric in METRICS:
        values = np.mean([curve.values[metric] for curve in found], axis=0)
        yield Filling(
            order, metric, Curve(at, tuple(values.tolist())), float(np.mean([curve.area[metric] for curve in found]))
        )


def deviations(sides: Sides) -> Array:
    """How far (n,) the path leads each item's query from its own stored vector: 1 - cosine, for l2 the squared distance.

    `sides` are of the path, query i being item i.
    """
    if sides.metric == "l2":
        differences = sides.queries.astype(np.float32) - sides.gallery.astype(np.float32)
        squared: Array = np.einsum("ij,ij->i", differences, differences)
        return squared
    cosines: Array = np.einsum("ij,ij->i", normalize(sides.queries), normalize(sides.gallery))
    return 1 - cosines


def worst_first(old: Array, metric: Metric, deviations: Array, seed: int) -> Array:
    """The order (n,) that re-embeds first what the path is predicted to serve worst, after FastFill.

    FastFill (Jaeckle et al., ICLR 2023, arXiv 2303.04766) orders by the uncertainty that its map was trained to tell of an
    old vector. A map of any kind tells none, so it is predicted: a vector's `deviations` (n,) are taken for the mean of
    those of its 25 nearest old vectors (n, d). Before an item is re-embedded, its old vector is all that is known of it,
    so no item's own new vector has a say: items are dealt into two halves, and each is predicted from the other.
    """
    n = len(old)
    half = np.random.default_rng([seed, 3]).permutation(n) % 2
    predicted = np.empty(n, dtype=np.float64)
    for side in (0, 1):
        here, there = np.flatnonzero(half == side), np.flatnonzero(half != side)
        near = nearest(old[here], old[there], metric, min(_NEIGHBOURS, len(there)))
        predicted[here] = deviations[there][near.rows].mean(axis=1)
    return np.argsort(-predicted, kind="stable")
