"""The empirical criterion with its uncertainty: new queries must do better on the old gallery than the old ones did."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from registry.bootstrap import Interval, Resamples, verdict
from registry.errors import InvalidInput
from registry.retrieval.checks import as_numbers, check_whole
from registry.types import Verdict

__all__ = ["Criterion", "empirical_criterion"]


@dataclass(frozen=True, slots=True)
class Criterion:
    """M(new, old) and M(old, old), what the first gains over the second, and what that says.

    All three are means with a bootstrap interval over the same resamples of `queries` queries; `skipped` others had no
    value.
    """

    new: Interval
    old: Interval
    gain: Interval
    verdict: Verdict
    queries: int
    skipped: int


def empirical_criterion(
    new: npt.ArrayLike, old: npt.ArrayLike, *, draws: int = 2000, confidence: float = 0.95, seed: int = 0
) -> Criterion:
    """Decide M(new, old) > M(old, old) from what each query scored (Shen et al., BCT, CVPR 2020, eq. 3).

    new, old (q,): the same metric of the same queries on the old gallery, asked by the new model and by the old one,
    such as `retrieval(...).per_query["map"]`; NaN where a query has no value, in both. The gain's interval is that of
    the paired bootstrap: queries are drawn with replacement `draws` times and both means taken over the same ones. The
    verdict is "compatible" if the whole interval lies above 0, "incompatible" if it lies below, else "inconclusive".

    >>> found = empirical_criterion([0.9, 0.8, 0.7, 0.9], [0.5, 0.6, 0.5, 0.7])
    >>> round(found.gain.value, 3), found.verdict
    (0.25, 'compatible')

    Raises:
        InvalidInput: not two rows of numbers about the same queries, or nothing in them; options out of range.
    """
    a, b = as_numbers(new, "new"), as_numbers(old, "old")
    if a.ndim != 1 or a.shape != b.shape:
        raise InvalidInput(f"new and old must be one value for each of the same queries, got {a.shape} and {b.shape}")
    counted = ~np.isnan(a)
    if not np.array_equal(counted, ~np.isnan(b)):
        row = int(np.argmax(counted == np.isnan(b)))
        raise InvalidInput(f"query {row} has a value in one of new and old only: measure both with the same labels")
    if not counted.any() or np.isinf(a).any() or np.isinf(b).any():
        raise InvalidInput(f"new and old need finite values of one query or more, got {int(counted.sum())} values")
    if isinstance(confidence, bool) or not isinstance(confidence, float) or not 0 < confidence < 1:
        raise InvalidInput(f"confidence must be a number between 0 and 1, such as 0.95, got {confidence!r}")
    a, b = a[counted], b[counted]
    resamples = Resamples(
        len(a), draws=check_whole(draws, "draws", 1), seed=check_whole(seed, "seed", 0), confidence=confidence
    )
    sides = np.column_stack([a, b, a - b])
    means = resamples.means(sides)
    first, second, gain = (resamples.interval(float(side.mean()), means[:, i]) for i, side in enumerate(sides.T))
    return Criterion(first, second, gain, verdict(gain), queries=len(a), skipped=int((~counted).sum()))
