"""Items drawn class by class, the same ones for the same seed."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from registry.errors import InvalidInput

__all__ = ["draw", "even_counts"]

Array = npt.NDArray[Any]


def draw(y: Array, counts: Array, seed: int) -> Array:
    """A mask (n,) of `counts[label]` random items of each class of y (n,), labels from 0.

    Each class is shuffled once and its first items are taken, so that a smaller count draws a subset.

    Raises:
        InvalidInput: a seed that is no whole number from 0.
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise InvalidInput(f"seed must be a whole number of at least 0, got {seed!r}")
    rng = np.random.default_rng(seed)
    chosen = np.zeros(len(y), dtype=bool)
    for label in np.unique(y):
        chosen[rng.permutation(np.flatnonzero(y == label))[: counts[label]]] = True
    return chosen


def even_counts(have: Array, n: int) -> Array:
    """Whole counts (c,) that sum to n <= sum(have), as nearly in the proportions of `have` (c,) as whole numbers can be.

    The largest remainders get what rounding down leaves over; the first class wins a tie.

    >>> even_counts(np.array([50, 30, 20]), 9).tolist()
    [4, 3, 2]
    """
    shares = n * have / have.sum()
    counts: Array = np.floor(shares).astype(np.int64)
    left = n - int(counts.sum())
    counts[np.argsort(counts - shares, kind="stable")[:left]] += 1
    return counts
