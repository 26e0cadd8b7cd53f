"""Scores as one inner product: larger is closer, whatever the metric."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from registry.errors import DimensionMismatch, InvalidInput
from registry.vectors import METRICS, Array, Metric, as_rows, check_finite, normalize

__all__ = ["comparable", "left_out"]

_LARGEST = 1e37  # a product of norms below this leaves every float32 score finite, also of l2


def comparable(
    queries: npt.ArrayLike, gallery: npt.ArrayLike, *, metric: Metric, zeros: bool = False
) -> tuple[Array, Array]:
    """Check both sides, (q, d) and (n, d), and return float32 rows whose inner product orders the gallery as `metric` does.

    Raises:
        InvalidInput: nothing to rank, scores that would overflow, an unknown metric.
        DimensionMismatch: queries and gallery differ in width.
        BadVector: a row is not finite, or, unless `zeros`, only zeros.
    """
    q = check_finite(as_rows(queries, what="queries"), what="queries", zeros=zeros)
    g = check_finite(as_rows(gallery, what="gallery"), what="gallery", zeros=zeros)
    if not len(q) or not len(g):
        raise InvalidInput(f"retrieval needs queries and a gallery, got {len(q)} and {len(g)} rows")
    if q.shape[1] != g.shape[1]:
        raise DimensionMismatch(f"queries have {q.shape[1]} dimensions, the gallery {g.shape[1]}: map one first")
    return _scorable(q, g, metric)


def left_out(queries: Array, metric: Metric) -> Array | float:
    """What `comparable` leaves out of each query's scores (q,): it matters only where scores of two galleries are merged.

    With it taken off, a score is the metric itself: the cosine, the inner product, or minus the squared distance.
    """
    return np.square(queries[:, :-1]).sum(axis=1) / 4 if metric == "l2" else 0.0


def _scorable(q: Array, g: Array, metric: Metric) -> tuple[Array, Array]:
    if metric == "cosine":
        return normalize(q), normalize(g)
    q, g = q.astype(np.float32, copy=False), g.astype(np.float32, copy=False)
    if metric == "l2":
        # Distances do not change when both sides shift, and the expansion below cancels badly far from the origin.
        # A gallery row is taken as the new origin, not the mean, so that integer vectors keep exact distances and ties.
        mean = g.mean(axis=0, dtype=np.float64)
        origin = g[np.argmin(np.square(g - mean).sum(axis=1))]
        q, g = q - origin, g - origin
        squares = np.einsum("ij,ij->i", g, g)
        # 2 q.g - |g|^2 is |q|^2 - |q - g|^2: the same order within one query.
        q = np.concatenate([2 * q, np.full((len(q), 1), -1, np.float32)], axis=1)
        g = np.concatenate([g, squares[:, None]], axis=1)
    elif metric != "dot":
        raise InvalidInput(f"metric {metric!r} is not known: use one of {', '.join(METRICS)}")
    longest = [float(np.sqrt(np.einsum("ij,ij->i", x, x, dtype=np.float64).max())) for x in (q, g)]
    if not longest[0] * longest[1] < _LARGEST:
        raise InvalidInput(
            f"scores overflow: the longest rows measure {longest[0]:.3g} and {longest[1]:.3g}; scale down"
        )
    return q, g
