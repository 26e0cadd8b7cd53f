"""Similarities of rows to anchors, larger = closer: each is prepared from the anchors once, then applied to any rows.

A measure maps float32 rows (n, d) to a new float32 array (n, k), for product (n, 4 k). `lengths` (n,) are the rows' own,
or one for all of them, where the caller knows them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Literal

import numpy as np

from registry.errors import InvalidInput
from registry.transforms.base import locked
from registry.vectors import Array, normalize

__all__ = ["WIDTHS", "Cosine", "Euclidean", "Measure", "Product", "Similarity", "Whitened", "quantize", "spaced"]

Similarity = Literal["cosine", "whitened", "l2", "product"]

WIDTHS: Mapping[str, int] = {"cosine": 1, "whitened": 1, "l2": 1, "product": 4}
"""How many dimensions each anchor gives a relative space."""

_SCALED_BY = 256  # anchors whose distances from one another are the unit of distance
_CACHED = 1 << 17  # numbers in a block of rows that stays in the cache while all anchors pass by


def quantize(similarities: Array, quantum: float) -> Array:
    """Round to whole multiples of `quantum`, in place: round(s / quantum) quantum, ties to even; 0 leaves all as is.

    >>> import numpy as np
    >>> quantize(np.asarray([0.2, 0.3, 0.8]), 0.5)
    array([0. , 0.5, 1. ])
    """
    if quantum:
        similarities /= quantum
        np.rint(similarities, out=similarities)
        similarities *= quantum
    return similarities


class Measure(ABC):
    """One similarity to given anchors."""

    @abstractmethod
    def __call__(self, x: Array, *, lengths: Array | None = None) -> Array:
        """Similarities of rows (n, d)."""


class Cosine(Measure):
    """The cosine of row and anchor (Moschella et al., ICLR 2023, eq. 1); anchors (k, d), none of them zero."""

    def __init__(self, anchors: Array) -> None:
        self.columns = _fixed(normalize(anchors).T)

    def __call__(self, x: Array, *, lengths: Array | None = None) -> Array:
        """See `Measure`."""
        y: Array = x @ self.columns
        if lengths is None:
            lengths = np.sqrt(np.vecdot(x, x))
            lengths[lengths == 0] = 1
        y /= lengths[:, None]  # not the rows, which are wider as a rule
        return y


class Whitened(Measure):
    """(x - mean) precision (a - mean)^T (arXiv 2605.30596); anchors (k, d), mean (d,), precision (d, d)."""

    def __init__(self, anchors: Array, mean: Array, precision: Array) -> None:
        self.mean = mean
        self.columns = _fixed(precision @ (anchors - mean).T)

    def __call__(self, x: Array, *, lengths: Array | None = None) -> Array:
        """See `Measure`."""
        y: Array = (x - self.mean) @ self.columns
        return y


class Euclidean(Measure):
    """1 - |x - a| / s, with s the mean distance between two anchors (k, d).

    1 at the anchor, 0 at an anchor's usual distance, below it beyond; so a shift of the space or another scale changes
    nothing, and a quantum means the same in every version. Within 1e-3 next to an anchor, where float32 cancels.
    """

    def __init__(self, anchors: Array) -> None:
        _check_spread(anchors)
        self.centre = _fixed(anchors.mean(axis=0))
        centred = anchors - self.centre
        self.columns = _fixed(-2 * centred.T)
        self.squares = _fixed(np.vecdot(centred, centred))
        some = spaced(len(anchors))
        self.scale = _mean_gap(self.distances(anchors[some])[:, some])

    def distances(self, x: Array) -> Array:
        """Distances (n, k)."""
        x = x - self.centre
        y: Array = x @ self.columns
        y += self.squares
        y += np.vecdot(x, x)[:, None]
        np.maximum(y, 0, out=y)
        return np.sqrt(y, out=y)

    def __call__(self, x: Array, *, lengths: Array | None = None) -> Array:
        """See `Measure`."""
        return _closeness(self.distances(x), self.scale)


class Product(Measure):
    """Cosine, l1, l2 and l-infinity side by side (arXiv 2310.01211): no single one suits all pairs of spaces.

    The distances are 1 - d / s, as for `Euclidean`. Each block of k is scaled to length 1/2, so that the whole row has
    length 1, no block dominates, and the cosine of two rows is the mean of the four blocks' cosines. `quantum` rounds the
    similarities before that.
    """

    def __init__(self, anchors: Array, quantum: float = 0.0) -> None:
        self.cosine, self.euclidean, self.quantum = Cosine(anchors), Euclidean(anchors), quantum
        self.anchors = _fixed(anchors)
        some = anchors[spaced(len(anchors))]
        self.scales = [_mean_gap(gaps) for gaps in _gaps(some, some)]

    def __call__(self, x: Array, *, lengths: Array | None = None) -> Array:
        """See `Measure`."""
        sums, tops = (_closeness(d, scale) for d, scale in zip(_gaps(x, self.anchors), self.scales, strict=True))
        blocks = (self.cosine(x, lengths=lengths), sums, self.euclidean(x), tops)
        return np.concatenate([normalize(quantize(block, self.quantum)) / 2 for block in blocks], axis=1)


def _gaps(x: Array, anchors: Array) -> tuple[Array, Array]:
    """The l1 and the l-infinity distances (n, k) of rows to anchors."""
    step = max(1, _CACHED // x.shape[1])
    ones = np.ones(x.shape[1], dtype=np.float32)
    sums, tops = (np.empty((len(x), len(anchors)), dtype=np.float32) for _ in range(2))
    for start in range(0, len(x), step):
        part = np.ascontiguousarray(x[start : start + step])
        gap = np.empty_like(part)
        for j, anchor in enumerate(anchors):
            np.subtract(part, anchor, out=gap)
            np.abs(gap, out=gap)
            sums[start : start + step, j] = gap @ ones
            tops[start : start + step, j] = gap.max(axis=1)
    return sums, tops


def _closeness(distances: Array, scale: float) -> Array:
    """1 - d / scale, in place."""
    distances /= -scale
    distances += 1
    return distances


def spaced(k: int) -> Array:
    """Positions of those of k anchors whose mean distance is the unit of all: at most 256, evenly spaced."""
    m = min(k, _SCALED_BY)
    return np.arange(m) * k // m


def _mean_gap(distances: Array) -> float:
    """The mean distance between two different anchors of (m, m)."""
    m = len(distances)
    return float((distances.sum(dtype=np.float64) - np.trace(distances, dtype=np.float64)) / (m * (m - 1)))


def _check_spread(anchors: Array) -> None:
    """The unit of distances is that between anchors; where it is rounding, similarities would be noise."""
    if len(anchors) < 2 or not np.ptp(anchors, axis=0).max() > 1e-6 * np.abs(anchors).max():
        raise InvalidInput(f"distances need two different anchors or more, got {len(anchors)} of one vector")


def _fixed(a: Array) -> Array:
    return locked(np.ascontiguousarray(a, dtype=np.float32))
