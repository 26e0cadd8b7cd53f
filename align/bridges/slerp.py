"""Slerp: queries half way between the old model's vector and the rotated new one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from align.bridges.batches import Batches, Rows, Validation
from align.metrics.neighbours import reembedding_recall
from registry.errors import InvalidInput
from registry.retrieval import retrieval
from registry.transforms import Slerp
from registry.vectors import Array

__all__ = ["fit_slerp"]

_GRID = tuple(round(0.1 * i, 1) for i in range(11))
_NEIGHBOURS = 10
_MIDDLE = 0.5  # where there are too few pairs to choose by


def fit_slerp(
    new: Array,
    old: Array,
    *,
    alpha: float | None = None,
    normalize: bool = True,
    labels: Array | None = None,
    validation: Validation = 0.1,
    seed: int = 0,
) -> Slerp:
    """Rotate new vectors (n, d_new) onto old ones (n, d_old), and choose how far to go from old to new (arXiv 2609.39836).

    The rotation is the plain Procrustes map of unit rows, U V^T of the mean of new^T old, neither centred nor shifted as the
    bridge of `align.fit(..., "orthogonal")` is: a shift draws queries to one point, and here the old vector already says
    where they belong.

    `alpha` is chosen from 0, 0.1, … 1 on held-out pairs (`validation`): by the mAP of their labels (n,) where those are
    given and shared, else by how many of the new model's own ten nearest neighbours the interpolated queries find among
    the old vectors. Of equals the smallest is taken, and 0.5 where fewer than two pairs are held out. 0 is the old version
    itself and 1 the rotation alone, so the choice is at least as good as both on those pairs. With an alpha given, all
    pairs turn the rotation. The report holds `residual`, the mean square distance that the rotation leaves between unit
    rows, `alpha` and, where it was chosen, the `curve` over the grid.

    Raises:
        InvalidInput: `normalize` is off, an alpha outside 0 to 1, or pairs that `Batches` refuses.
        BadVector: a row is not finite or only zeros.
    """
    if not normalize:
        raise InvalidInput("slerp is for spaces of directions: both versions must have the metric cosine")
    chosen = validation if alpha is None else None
    batches = Batches(new, old, labels=labels, normalize=True, validation=chosen, seed=seed)
    rotation, residual = _rotation(batches)
    report: dict[str, Any] = {"method": "slerp", "pairs": len(batches.train), "residual": residual}
    if alpha is None:
        curve = {} if len(batches.held) < 2 else {a: _found(_slerp(rotation, a), batches.held) for a in _GRID}
        alpha = max(curve, key=lambda a: (curve[a], -a)) if curve else _MIDDLE
        report |= {"curve": {str(a): value for a, value in curve.items()}}
    return replace(_slerp(rotation, alpha), report={**report, "alpha": float(alpha)})


def _rotation(batches: Batches) -> tuple[Array, float]:
    """Q (d_new, d_old) that minimises the mean of |old - new Q|^2 over unit rows, and that minimum.

    Where old vectors are narrower it maximises the mean of <old, new Q>, as `closed.orthogonal` does.
    """
    narrower = batches.held.x.shape[1] > batches.held.y.shape[1]
    m = batches.moments(("xx", "xy") if narrower else ("xy",))
    u, s, vt = np.linalg.svd(m.part("xy") + np.outer(m.mean_x, m.mean_y), full_matrices=False)
    q = u @ vt
    kept = 1.0 if m.cxx is None else float((q * ((m.cxx + np.outer(m.mean_x, m.mean_x)) @ q)).sum())
    return q, max(0.0, 1 + kept - 2 * float(s.sum()))


def _slerp(rotation: Array, alpha: float) -> Slerp:
    return Slerp(weight=rotation, bias=np.zeros(rotation.shape[1]), alpha=alpha)


def _found(slerp: Slerp, held: Rows) -> float:
    """How well held-out queries find what they should among the old vectors of the held-out items."""
    queries = slerp.apply(held.x, held.y)
    if held.labels is not None and np.unique(held.labels, return_counts=True)[1].max() > 1:
        return retrieval(queries, held.y, query_labels=held.labels, gallery_labels=held.labels, same_items=True).map
    k = min(_NEIGHBOURS, len(held) - 1)
    return float(reembedding_recall(held.x, held.x, bridged=(queries, held.y), k=k, same_items=True).value)
