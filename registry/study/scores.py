"""How scores of one class and of two are distributed at each stage, and the thresholds between them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from registry.retrieval.scoring import comparable, left_out
from registry.study.sides import Sides
from registry.types import Scores, Stage, Threshold
from registry.vectors import Array

__all__ = ["BINS", "RATES", "Pairs", "pairs", "thresholds"]

BINS = 60
RATES = (0.1, 0.01, 0.001)
"""False match rates whose thresholds are told."""

_MOST_SAMPLED = 2_000_000
_FEWEST = 10  # false matches, below which a rate is a matter of chance
_BLOCK_BYTES = 16 << 20  # of scores at a time
_NARROWEST = 1e-30  # a range of scores that bins of float32 can tell apart


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Pairs of a query and another item at one stage: all of them as counts, and a sample's scores, rising.

    `positives` (p,) are of one class, `negatives` (m,) of two: all pairs of a kind, or of more than two million so many
    drawn at random, the same ones at each stage. `negative_pairs` is how many there are.
    """

    scores: Scores
    positives: Array
    negatives: Array
    negative_pairs: int


def pairs(sides: Sides, own: Array, codes: Array, seed: int) -> Pairs:
    """Score every query, row `own` (q,) of the items, with all others; `codes` (n,) are the items' labels.

    Scores are the metric itself: cosine, inner product, or minus the squared distance. They are computed twice, for the
    ends of the histogram and for its counts, so that memory is some blocks of scores and the sample.
    """
    queries, gallery = comparable(sides.queries, sides.gallery, metric=sides.metric, zeros=True)
    offsets = left_out(queries, sides.metric)
    same = np.bincount(codes)[codes[own]] - 1
    totals = int(same.sum()), int((len(codes) - 1 - same).sum())
    samples = [_Sample(total, [seed, kind]) for kind, total in enumerate(totals)]
    low, high = np.inf, -np.inf
    for kinds in _blocks(queries, gallery, offsets, own, codes):
        for sample, found in zip(samples, kinds, strict=True):
            sample.see(found)
            low, high = min(low, found.min(initial=np.inf)), max(high, found.max(initial=-np.inf))
    edges = _edges(float(low), float(high))
    counts = np.zeros((2, BINS), dtype=np.int64)
    for kinds in _blocks(queries, gallery, offsets, own, codes):
        for count, found in zip(counts, kinds, strict=True):
            count += _counted(found, edges)
    told = Scores(tuple(edges.tolist()), *(tuple(count.tolist()) for count in counts))
    return Pairs(told, samples[0].scores(), samples[1].scores(), totals[1])


def _blocks(
    queries: Array, gallery: Array, offsets: Array | float, own: Array, codes: Array
) -> Iterator[tuple[Array, Array]]:
    """The scores of pairs of one class and of two, query by query, each query's in the order of the items."""
    size = max(1, _BLOCK_BYTES // (4 * len(gallery)))
    for start in range(0, len(queries), size):
        rows = slice(start, start + size)
        scores = queries[rows] @ gallery.T
        if isinstance(offsets, np.ndarray):
            scores -= offsets[rows, None]
        mine = own[rows]
        same = codes[mine, None] == codes
        other = ~same
        same[np.arange(len(mine)), mine] = False
        yield scores[same], scores[other]


class _Sample:
    """Some of a stream of scores, whose places are drawn before it comes."""

    def __init__(self, total: int, seed: list[int]) -> None:
        self._places: Array | None = None
        if total > _MOST_SAMPLED:
            drawn = np.sort(np.random.default_rng(seed).integers(total, size=_MOST_SAMPLED))
            self._places = drawn[np.append(True, np.diff(drawn) > 0)]  # a place that is drawn twice counts once
        self._seen = 0
        self._kept: list[Array] = []

    def see(self, scores: Array) -> None:
        """The next scores of the stream."""
        if self._places is None:
            self._kept.append(scores)
            return
        first, end = np.searchsorted(self._places, [self._seen, self._seen + len(scores)])
        self._kept.append(scores[self._places[first:end] - self._seen])
        self._seen += len(scores)

    def scores(self) -> Array:
        """What was kept, rising."""
        return np.sort(np.concatenate(self._kept))


def _edges(low: float, high: float) -> Array:
    if not high - low > _NARROWEST:
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, BINS + 1)


def _counted(scores: Array, edges: Array) -> Array:
    """How many scores lie in each bin; the last one has both its edges."""
    low, width = edges[0], (edges[-1] - edges[0]) / BINS
    bins = np.clip((scores - np.float32(low)) / np.float32(width), 0, BINS - 1).astype(np.int8)
    return np.bincount(bins, minlength=BINS)


def thresholds(found: Mapping[Stage, Pairs]) -> tuple[Threshold, ...]:
    """The thresholds of each stage at each of `RATES` for which there are enough pairs: ten false matches or more.

    A threshold is a score of the sample: the lowest above which no more than such a share of pairs of two classes lies.
    """
    return tuple(
        Threshold(stage, rate, at, _above(of.positives, at), _above(of.negatives, _at_rate(found["today"], rate)))
        for stage, of in found.items()
        for rate in RATES
        if of.negative_pairs * rate >= _FEWEST
        for at in [_at_rate(of, rate)]
    )


def _at_rate(of: Pairs, rate: float) -> float:
    let_through = int(rate * len(of.negatives) + 1e-9)
    return float(of.negatives[len(of.negatives) - 1 - let_through])


def _above(scores: Array, threshold: float) -> float:
    """The share of rising scores that lies above."""
    return float((len(scores) - np.searchsorted(scores, np.float32(threshold), side="right")) / len(scores))
