"""Score calibration of a bridge: from scores across it to those of the query's own space, by isotonic regression."""

from __future__ import annotations

from typing import Any

import numpy as np

from registry.calibration import End, apply, thinned
from registry.errors import InvalidInput
from registry.vectors import Array

__all__ = ["calibrate", "isotonic", "ks_distance"]

_MOST_KNOTS = 64


def calibrate(across: Array, native: Array, *, end: End) -> dict[str, Any]:
    """What a report keeps of scores `across` a bridge (n,) and the `native` scores (n,) of the same pairs, as JSON values.

    x, y: the knots of `isotonic`. ks_before, ks_after: `ks_distance` between native scores and those across, as they are
    and calibrated; a line gives the mean of the native scores that go with a score, so calibrated ones spread less than
    native ones, and a bridge that is level but noisy ends further from 0 than it began. native: the end of the map, `source` or `target`, whose space the native scores are of.
    """
    x, y = isotonic(across, native)
    return {
        "x": x.tolist(),
        "y": y.tolist(),
        "native": end,
        "ks_before": ks_distance(across, native),
        "ks_after": ks_distance(apply(across, x, y), native),
    }


def isotonic(across: Array, native: Array, *, knots: int = _MOST_KNOTS) -> tuple[Array, Array]:
    """The rising line of least squares from scores `across` (n,) to `native` scores (n,): knots x (k,), y (k,), k <= `knots`.

    Isotonic regression (Barlow et al., 1972; for scores Zadrozny and Elkan, KDD 2002), solved by scikit-learn, then
    thinned: the knots are spread evenly along the line, each axis in units of its range, so that steep parts keep theirs.
    Between knots `registry.calibration.apply` draws straight lines.

    Raises:
        InvalidInput: no scores, not as many of one as of the other, or scores that are not finite.

    >>> import numpy as np
    >>> x, y = isotonic(np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.5, 0.7, 0.6, 0.9]))
    >>> x.tolist(), y.round(2).tolist()
    ([0.1, 0.2, 0.3, 0.4], [0.5, 0.65, 0.65, 0.9])
    """
    across, native = (np.asarray(scores, dtype=np.float64).ravel() for scores in (across, native))
    if len(across) != len(native) or not len(across):
        raise InvalidInput(f"calibration needs two scores of each pair, got {len(across)} and {len(native)}")
    if not np.isfinite([across, native]).all():
        raise InvalidInput("calibration needs finite scores: leave out pairs without a score")
    from sklearn.isotonic import IsotonicRegression

    fitted = IsotonicRegression(out_of_bounds="clip").fit(across, native)
    x, y = (np.asarray(part, dtype=np.float64) for part in (fitted.X_thresholds_, fitted.y_thresholds_))
    return thinned(x, y, knots)


def ks_distance(a: Array, b: Array) -> float:
    """The largest gap, in [0, 1], between the shares of values of `a` (n,) and of `b` (m,) below any threshold.

    The two-sample statistic of Kolmogorov and Smirnov.

    >>> import numpy as np
    >>> ks_distance(np.array([0.0, 1.0]), np.array([1.0, 2.0]))
    0.5
    """
    a, b = np.sort(a, axis=None), np.sort(b, axis=None)
    thresholds = np.concatenate([a, b])
    shares = [np.searchsorted(side, thresholds, side="right") / len(side) for side in (a, b)]
    return float(np.abs(shares[0] - shares[1]).max())
