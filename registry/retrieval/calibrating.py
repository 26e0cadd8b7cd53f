"""Calibrations fitted on labels: which score of a version's own goes with a score across a path, by what both are worth.

Where segments of several versions are merged, one item should stand before another if it is likelier to be relevant. So
each side is asked how likely an item of some score is relevant, and a score across becomes the native score that is as
likely. To match scores of the same pairs, or quantiles of scores, does not serve: a path may lift what is not relevant
with what is, and then its scores say less than native ones of the same size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from registry.calibration import Knots, thinned
from registry.retrieval.scoring import comparable, left_out
from registry.vectors import Array, Metric

__all__ = ["Odds", "between", "odds"]

_MOST_QUERIES, _FEWEST_QUERIES = 256, 64
_SCORES = 1 << 20
"""Scores of a side that are looked at, unless that many are of too few queries."""

_KEPT = 64
"""Of each query so many of the highest scores are kept, and as many of the others, spread evenly; see `_few`."""

_GROUPS = 1024
_BLOCK = 16  # queries scored at a time
_KNOTS = 62  # and two ends
_EQUAL = 1e-9  # shares nearer than this are one
_CLEAR = 1e-6
_FAR = 10.0
"""Beyond what was seen a calibration goes on straight, over so many times the width of what was seen."""


@dataclass(frozen=True, slots=True, eq=False)
class Odds:
    """Log-odds y (k,) that an item of score x (k,) is relevant; both rise strictly, and k is 2 or more."""

    x: Array
    y: Array
    metric: Metric


def odds(
    queries: Array, gallery: Array, metric: Metric, *, query_codes: Array, gallery_codes: Array, own: Array, seed: int
) -> Odds | None:
    """How likely an item is relevant, by its score: isotonic regression (Zadrozny and Elkan, KDD 2002).

    queries (q, d) and gallery (n, d) in one space, compared by `metric`; an item is relevant where its label's number in
    gallery_codes (n,) is the query's in query_codes (q,). Query i is gallery row own[i] (q,), which is left out, or none
    of them where that is -1. At most 256 queries are drawn with `seed`, fewer of a large gallery. The points of the
    regression are groups of like scores; the line goes through the centres of the blocks that it finds, in log-odds, so
    that it rises between them too. None where it finds one block alone: then the score does not tell what is relevant.

    Memory is that of 16 queries' scores, of the gallery's rows once more, and of some 130,000 numbers.
    """
    most = min(_MOST_QUERIES, max(_FEWEST_QUERIES, _SCORES // len(gallery)))
    rows = np.random.default_rng([seed, 4]).permutation(len(queries))[:most]
    q, g = comparable(queries[rows], gallery, metric=metric, zeros=True)
    offsets = np.broadcast_to(np.asarray(left_out(q, metric)), len(q))
    seen = []
    for start in range(0, len(q), _BLOCK):
        scores = q[start : start + _BLOCK] @ g.T - offsets[start : start + _BLOCK, None]
        for row, mine in zip(rows[start : start + _BLOCK], scores, strict=True):
            relevant = gallery_codes == query_codes[row]
            others = ~relevant
            if own[row] >= 0:
                relevant[own[row]] = others[own[row]] = False
            seen += [(*_few(mine[relevant]), 1.0), (*_few(mine[others]), 0.0)]
    centres, shares = _blocks(*_groups(seen))
    return Odds(centres, np.log(shares / (1 - shares)), metric) if len(centres) > 1 else None


def between(across: Odds, native: Odds) -> Knots | None:
    """The calibration from scores `across` a path to `native` ones: knots x (k,), y (k,), both rising strictly, k <= 64.

    A score across becomes the native score of the same odds. Beyond the odds that both sides reach the line goes on by its
    mean slope, though to no cosine beyond 1 or -1 and no distance below 0. None where the sides have no odds in common.
    """
    low, high = max(across.y[0], native.y[0]), min(across.y[-1], native.y[-1])
    if not low < high:
        return None
    at = np.unique(np.concatenate([across.y, native.y]).clip(low, high))
    x, y = _apart(*(np.interp(at, side.y, side.x) for side in (across, native)))
    return _ended(*thinned(x, y, _KNOTS), across.metric, native.metric)


def _apart(x: Array, y: Array) -> Knots:
    """Those of the knots (k,) that lie clearly above the one before on both axes."""
    least_x, least_y = (_CLEAR * (axis[-1] - axis[0]) for axis in (x, y))
    kept = [0]
    for i in range(1, len(x)):
        if x[i] - x[kept[-1]] > least_x and y[i] - y[kept[-1]] > least_y:
            kept.append(i)
    return x[kept], y[kept]


def _ended(x: Array, y: Array, across: Metric, native: Metric) -> Knots:
    """The line with two knots more: by its mean slope as far as scores go, but to none that there cannot be."""
    slope = (y[-1] - y[0]) / (x[-1] - x[0])
    (least, most), (lowest, highest) = _reach(x, across), _reach(y, native)
    below = least, max(lowest, y[0] - slope * (x[0] - least))
    above = most, min(highest, y[-1] + slope * (most - x[-1]))
    if below[0] < x[0] and below[1] < y[0]:
        x, y = np.append(below[0], x), np.append(below[1], y)
    if above[0] > x[-1] and above[1] > y[-1]:
        x, y = np.append(x, above[0]), np.append(y, above[1])
    return x, y


def _reach(scores: Array, metric: Metric) -> tuple[float, float]:
    """The lowest and the highest score there can be; where there is no bound, far from those (k,) that rise."""
    far = _FAR * float(scores[-1] - scores[0])
    if metric == "cosine":
        return -1.0, 1.0
    return float(scores[0]) - far, 0.0 if metric == "l2" else float(scores[-1]) + far


def _few(scores: Array) -> tuple[Array, Array]:
    """The highest of some scores (m,), and others spread evenly, with how many scores each stands for."""
    ranked = np.sort(scores)[::-1].astype(np.float64)
    rest = len(ranked) - _KEPT
    if rest <= _KEPT:
        return ranked, np.ones(len(ranked))
    chosen = _KEPT + ((np.arange(_KEPT) + 0.5) * rest / _KEPT).astype(np.int64)
    return np.concatenate([ranked[:_KEPT], ranked[chosen]]), np.repeat([1.0, rest / _KEPT], _KEPT)


def _groups(seen: Sequence[tuple[Array, Array, float]]) -> tuple[Array, Array, Array]:
    """Like scores in one group, some 1,024 in all: mean scores (g,), rising, how many, and the share that is relevant.

    A group is counted as one score more, of the share of all: none is surely relevant, and none surely not.
    """
    scores, weights = (np.concatenate([part[i] for part in seen]) for i in (0, 1))
    relevant = np.repeat([part[2] for part in seen], [len(part[0]) for part in seen])
    edges = np.unique(np.quantile(scores, np.linspace(0, 1, _GROUPS + 1)[1:-1]))
    group = np.searchsorted(edges, scores, side="right")
    many, sums, found = (np.bincount(group, weights * x, len(edges) + 1) for x in (1.0, scores, relevant))
    there = many > 0
    share = found.sum() / many.sum()
    return sums[there] / many[there], many[there] + 1, (found[there] + share) / (many[there] + 1)


def _blocks(centres: Array, many: Array, shares: Array) -> tuple[Array, Array]:
    """Neighbouring groups pooled until shares rise strictly (Barlow et al., 1972): mean scores (b,), and shares (b,)."""
    pooled: list[tuple[float, float, float]] = []
    for centre, weight, share in zip(centres.tolist(), many.tolist(), shares.tolist(), strict=True):
        while pooled and pooled[-1][2] >= share - _EQUAL:
            before, heavy, other = pooled.pop()
            both = heavy + weight
            centre, share, weight = (
                (before * heavy + centre * weight) / both,
                (other * heavy + share * weight) / both,
                both,
            )
        pooled.append((centre, weight, share))
    found = np.asarray(pooled)
    return found[:, 0], found[:, 2]
