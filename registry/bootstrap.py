"""Intervals and verdicts: the paired bootstrap over queries (Efron 1979; Sakai 2006 for retrieval measures)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from registry.errors import InvalidInput
from registry.types import Verdict
from registry.vectors import Array

__all__ = ["Interval", "Resamples", "check_seed", "verdict"]

_CHUNK_BYTES = 64 << 20


def check_seed(seed: object) -> None:
    """Refuse what is no seed."""
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**31:
        raise InvalidInput(f"seed must be a whole number from 0 to 2**31 - 1, got {seed!r:.80}")


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its bootstrap interval."""

    value: float
    low: float
    high: float


class Resamples:
    """`draws` resamples of n queries, the same for everything measured with them, so that differences are paired.

    A resample of n queries with replacement is a vector of counts, multinomial(n, 1/n); a resampled mean is then one
    dot product, and all of them are one matrix product, computed in chunks of bounded size.
    """

    def __init__(self, queries: int, *, draws: int = 2000, seed: int = 0, confidence: float = 0.95) -> None:
        self.queries, self.draws, self.seed, self.confidence = queries, draws, seed, confidence

    def means(self, per_query: Array) -> Array:
        """The resampled means (draws,) of values (n,), or (draws, m) of values (n, m)."""
        values = per_query.astype(np.float32)
        rng = np.random.default_rng(self.seed)
        step = max(1, _CHUNK_BYTES // (8 * self.queries))
        parts = []
        for start in range(0, self.draws, step):
            picks = rng.integers(self.queries, size=(min(step, self.draws - start), self.queries))
            offsets = np.arange(len(picks))[:, None] * self.queries
            counts = np.bincount((picks + offsets).ravel(), minlength=len(picks) * self.queries)
            parts.append(counts.reshape(len(picks), -1).astype(np.float32) @ values / self.queries)
        return np.concatenate(parts)

    def interval(self, value: float, means: Array) -> Interval:
        """The percentile interval of resampled `means` (draws,), widened to hold `value` where the sample is tiny."""
        tail = (1 - self.confidence) / 2
        low, high = (float(q) for q in np.quantile(means, [tail, 1 - tail]))
        return Interval(value, min(low, value), max(high, value))


def verdict(gain: Interval) -> Verdict:
    """The empirical criterion M(new, old) > M(old, old) (Shen et al., CVPR 2020, eq. 3), decided by the gain's interval."""
    if gain.low > 0:
        return "compatible"
    return "incompatible" if gain.high < 0 else "inconclusive"
