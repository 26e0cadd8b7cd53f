"""Calibrated scores: what a score across a bridge would be in the query's own space.

A bridge keeps the order of scores better than their level: a map that shrinks towards the mean gives every pair a lower
cosine than the new model would. Where segments of several versions are merged, the levels decide, so a fit measures on
held-out pairs which native score goes with which score across (see `align.bridges.calibration`), and search reads it here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from registry.vectors import Array

__all__ = ["End", "apply", "curve"]

End = Literal["source", "target"]


def apply(scores: Array, x: Array, y: Array) -> Array:
    """Native scores, float32, of `scores` of any shape, along the line through the knots x (k,), y (k,), both rising.

    Below the first knot and above the last the line is level. Empty places, of score -inf, stay empty.

    >>> import numpy as np
    >>> apply(np.array([0.1, 0.3, -np.inf]), np.array([0.0, 0.2]), np.array([0.4, 0.8])).tolist()
    [0.6000000238418579, 0.800000011920929, -inf]
    """
    found = np.interp(scores, x, y).astype(np.float32)
    return np.where(np.isneginf(scores), np.float32(-np.inf), found)


def curve(report: Mapping[str, Any], end: End) -> tuple[Array, Array] | None:
    """The knots in a transform's report for native scores of the space at its `end`; None where there are none.

    A report is whatever its author wrote: what is no rising line of finite numbers is no calibration.
    """
    stored = report.get("calibration")
    if not isinstance(stored, Mapping) or stored.get("native") != end:
        return None
    try:
        x, y = (np.asarray(stored[name], dtype=np.float64) for name in ("x", "y"))
    except (KeyError, TypeError, ValueError):
        return None
    if x.ndim != 1 or x.shape != y.shape or not len(x) or not np.isfinite([x, y]).all():
        return None
    return (x, y) if (np.diff(x) > 0).all() and (np.diff(y) >= 0).all() else None
