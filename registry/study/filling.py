"""What a gallery is worth while it is re-embedded, by the order in which that is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Literal

import numpy as np

from registry import calibration
from registry.calibration import Knots
from registry.retrieval.backfilling import TENTHS, BackfillCurve, backfill_auc, backfill_curve
from registry.retrieval.calibrating import between, odds
from registry.study.neighbours import nearest
from registry.study.sides import Sides, Stages
from registry.types import Curve, Filling
from registry.vectors import Array, Metric, normalize

__all__ = ["DRAWS", "MOST_QUERIES", "Scale", "deviations", "filling", "served_at", "worst_first"]

DRAWS = 3
"""Random orders, of whose curves the mean is told."""

MOST_QUERIES = 1000
METRICS = ("map", "cmc@1")
_NEIGHBOURS = 25

Scale = Knots | Literal["measured"] | None
"""How search makes scores across the path comparable: by these knots of the map's fit, by what an evaluation measured, or not."""

_Part = tuple[Array, Knots | None]
"""Some of the queries, and the calibration that they are served with."""


def filling(
    stages: Stages, own: Array, codes: Array, *, first: Array | None, seed: int, told: Callable[[], None],
    scale: Scale = None,
) -> tuple[Filling, ...]:  # fmt: skip
    """Quality of new queries at each tenth of the gallery that is re-embedded, as a search of both segments would serve it.

    Old rows are read by the path and scored in its space, new rows as they are; then both are merged, calibrated as
    `scale` says, and beside that as they are. What an evaluation measured on these very items would flatter itself here,
    so it is measured anew: items are dealt into two halves, and queries of each are served by a calibration fitted on the
    other. Without a path the old rows cannot be read: they are no result until they are re-embedded. Where the path's
    space is compared by another metric than the new one's, no search would merge the two, and there is nothing to tell: ().

    "random" is the mean of `DRAWS` seeded orders; "uncertainty" takes the order `first` (n,), by `worst_first`, if there is
    one. Queries are rows `own` (q,) of the items, at most `MOST_QUERIES` of them. `told` is called after each order.
    """
    new, old = stages["backfilled"], stages.get("upgraded")
    if old is not None and old.metric != new.metric:
        return ()
    picked, orders = _drawn(own, codes, seed)
    parts = _parts(old, new, own, codes, picked, scale, seed)
    plain: list[_Part] = [(picked, None)]
    both = [plain] if all(line is None for _, line in parts) else [parts, plain]

    def served(order: Array) -> list[BackfillCurve]:
        found = [_served(old, new, own, codes, order, way) for way in both]
        told()
        return found

    drawn = list(zip(*map(served, orders), strict=True))
    chosen = list(zip(served(first), strict=True)) if first is not None else None
    return (*_told("random", drawn), *(_told("uncertainty", chosen) if chosen else ()))


def served_at(
    share: float, stages: Stages, own: Array, codes: Array, *, order: Array | None, seed: int, scale: Scale
) -> dict[str, float]:
    """Quality (mAP, CMC@1) where the first `share` in `order` (n,) is re-embedded: what `filling` tells of it.

    Without an order it is that of the first of the random ones, of whose curves `filling` tells the mean. {} where no search
    would merge the two.
    """
    new, old = stages["backfilled"], stages.get("upgraded")
    if old is not None and old.metric != new.metric:
        return {}
    picked, drawn = _drawn(own, codes, seed)
    inner = [share] if 0 < share < 1 else []
    parts = _parts(old, new, own, codes, picked, scale, seed)
    curve = _served(old, new, own, codes, drawn[0] if order is None else order, parts, (0.0, *inner, 1.0))
    at = 0 if share <= 0 else -1 if share >= 1 else 1
    return {metric: float(curve.values[metric][at]) for metric in METRICS}


def _drawn(own: Array, codes: Array, seed: int) -> tuple[Array, list[Array]]:
    """Which of the queries are asked, at most `MOST_QUERIES`, and the random orders."""
    rng = np.random.default_rng([seed, 2])
    picked = np.sort(rng.choice(len(own), min(len(own), MOST_QUERIES), replace=False))
    return picked, [rng.permutation(len(codes)) for _ in range(DRAWS)]


def _parts(
    old: Sides | None, new: Sides, own: Array, codes: Array, picked: Array, scale: Scale, seed: int
) -> list[_Part]:
    """The picked queries, by the calibration that each is served with."""
    if old is None:
        return [(picked, None)]
    if scale != "measured":
        return [(picked, scale)]
    half = np.random.default_rng([seed, 5]).permutation(len(codes)) % 2
    parts = []
    for side in (0, 1):
        mine = picked[half[own[picked]] != side]
        if len(mine):
            parts.append((mine, _fitted(old, new, own, codes, np.flatnonzero(half == side), seed)))
    return parts


def _fitted(old: Sides, new: Sides, own: Array, codes: Array, rows: Array, seed: int) -> Knots | None:
    """The calibration that an evaluation of the items `rows` (r,) alone would find."""
    place = np.full(len(codes), -1)
    place[rows] = np.arange(len(rows))
    asked = np.flatnonzero(place[own] >= 0)
    if not len(asked):
        return None
    across, native = (
        odds(
            side.queries[asked], side.gallery[rows], side.metric, query_codes=codes[own[asked]],
            gallery_codes=codes[rows], own=place[own[asked]], seed=seed,
        )
        for side in (old, new)
    )  # fmt: skip
    return between(across, native) if across and native else None


def _served(
    old: Sides | None, new: Sides, own: Array, codes: Array, order: Array, parts: Sequence[_Part],
    fractions: Sequence[float] = TENTHS,
) -> BackfillCurve:  # fmt: skip
    """The curve of all parts of the queries together."""
    found = [
        backfill_curve(
            new.queries[rows], None if old is None else old.gallery, new.gallery,
            queries_old=None if old is None else old.queries[rows], query_labels=codes[own[rows]], gallery_labels=codes,
            order=order, fractions=fractions, ks=(1,), metric=new.metric, zeros=True, own=own[rows],
            calibration=None if line is None else (partial(calibration.apply, x=line[0], y=line[1]), _as_it_is),
        )
        for rows, line in parts
    ]  # fmt: skip
    at, weights = found[0].fractions, [curve.queries for curve in found]
    values = {m: np.average([curve.values[m] for curve in found], axis=0, weights=weights) for m in METRICS}
    return BackfillCurve(at, values, {m: backfill_auc(at, v) for m, v in values.items()}, sum(weights))


def _as_it_is(scores: Array) -> Array:
    return scores


def _told(order: Literal["random", "uncertainty"], found: Sequence[Sequence[BackfillCurve]]) -> Iterator[Filling]:
    """The means of some curves as they are served, and where that is calibrated also of those that are not."""
    for metric in METRICS:
        curve, area = _mean(found[0], metric)
        raw, raw_area = _mean(found[1], metric) if len(found) > 1 else (None, None)
        yield Filling(order, metric, curve, area, raw, raw_area)


def _mean(found: Sequence[BackfillCurve], metric: str) -> tuple[Curve, float]:
    values = np.mean([curve.values[metric] for curve in found], axis=0)
    area = float(np.mean([curve.area[metric] for curve in found]))
    return Curve(tuple(found[0].fractions.tolist()), tuple(values.tolist())), area


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
