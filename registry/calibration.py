"""Calibrated scores: what a score across a path would be in the query's own space.

A path keeps the order of scores better than their level: a map that shrinks towards the mean gives every pair a lower
cosine than the new model would. Where segments of several versions are merged, the levels decide. So an evaluation measures
on a benchmark which native score is worth as much as a score across (see `registry.retrieval.calibrating`), and before it
a fit which goes with it on held-out pairs (see `align.bridges.calibration`); search reads both here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from registry.vectors import Array

__all__ = ["End", "Knots", "apply", "curve", "line", "thinned"]

End = Literal["source", "target"]

Knots = tuple[Array, Array]
"""A rising line through x (k,), scores across, and y (k,), native scores."""


def apply(scores: Array, x: Array, y: Array) -> Array:
    """Native scores, float32, of `scores` of any shape, along the line through the knots x (k,), y (k,), both rising.

    Below the first knot and above the last the line is level. Empty places, of score -inf, stay empty.

    >>> import numpy as np
    >>> apply(np.array([0.1, 0.3, -np.inf]), np.array([0.0, 0.2]), np.array([0.4, 0.8])).tolist()
    [0.6000000238418579, 0.800000011920929, -inf]
    """
    found = np.interp(scores, x, y).astype(np.float32)
    return np.where(np.isneginf(scores), np.float32(-np.inf), found)


def curve(report: Mapping[str, Any], end: End) -> Knots | None:
    """The knots in a transform's report for native scores of the space at its `end`; None where there are none.

    A report is whatever its author wrote: what is no rising line of finite numbers is no calibration.
    """
    stored = report.get("calibration")
    if not isinstance(stored, Mapping) or stored.get("native") != end:
        return None
    return line(stored.get("x"), stored.get("y"))


def line(x: Any, y: Any) -> Knots | None:
    """Stored knots as arrays; None where they are no rising line of finite numbers."""
    try:
        across, native = (np.asarray(values, dtype=np.float64) for values in (x, y))
    except (TypeError, ValueError):
        return None
    if across.ndim != 1 or across.shape != native.shape or not len(across) or not np.isfinite([across, native]).all():
        return None
    return (across, native) if (np.diff(across) > 0).all() and (np.diff(native) >= 0).all() else None


def thinned(x: Array, y: Array, knots: int) -> tuple[Array, Array]:
    """At most `knots` of the knots x (k,), y (k,) of a rising line, both ends among them, spread evenly along it.

    Each axis is taken in units of its range, so that steep parts keep theirs.
    """
    if len(x) <= knots:
        return x, y
    # Flat lines have no range; any unit does for them.
    steps = sum(np.diff(axis) / ((axis[-1] - axis[0]) or 1.0) for axis in (x, y))
    along = np.concatenate([[0.0], np.cumsum(steps)])
    kept = np.unique(np.searchsorted(along, np.linspace(0, along[-1], knots)).clip(max=len(x) - 1))
    return x[kept], y[kept]
