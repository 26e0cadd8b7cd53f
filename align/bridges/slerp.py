"""Slerp: queries half way between the old model's vector and the rotated new one."""

from __future__ import annotations

from typing import Any

import numpy as np

from align.bridges import closed
from align.bridges.batches import Batches, Rows, Validation
from align.metrics.neighbours import reembedding_recall
from registry.errors import InvalidInput
from registry.retrieval import retrieval
from registry.transforms import Orthogonal, Slerp
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

    The rotation is the centred Procrustes map, so that alpha = 1 is the bridge of `align.fit(..., "orthogonal")` and alpha
    = 0 the old version itself: the choice among them is at least as good as both on the pairs that it is made by. (The
    paper's is not centred.) `alpha` is chosen from 0, 0.1, … 1 on held-out pairs (`validation`): by the mAP of their
    labels (n,) where those are given and shared, else by how many of the new model's own ten nearest neighbours the
    interpolated queries find among the old vectors. Of equals the smallest is taken, and 0.5 where fewer than two pairs
    are held out. With an alpha given, all pairs turn the rotation. The report holds that of the rotation, `alpha` and,
    where it was chosen, the `curve` over the grid.

    Raises:
        InvalidInput: `normalize` is off, an alpha outside 0 to 1, or pairs that `Batches` refuses.
        BadVector: a row is not finite or only zeros.
    """
    if not normalize:
        raise InvalidInput("slerp is for spaces of directions: both versions must have the metric cosine")
    chosen = validation if alpha is None else None
    batches = Batches(new, old, labels=labels, normalize=True, validation=chosen, seed=seed)
    narrower = batches.held.x.shape[1] > batches.held.y.shape[1]
    turn = closed.orthogonal(batches.moments(("xx", "xy") if narrower else ("xy",)), normalize=True)
    report: dict[str, Any] = {**turn.report, "method": "slerp"}
    if alpha is None:
        curve = {} if len(batches.held) < 2 else {a: _found(_slerp(turn, a), batches.held) for a in _GRID}
        alpha = max(curve, key=lambda a: (curve[a], -a)) if curve else _MIDDLE
        report |= {"curve": {str(a): value for a, value in curve.items()}}
    return _slerp(turn, alpha, {**report, "alpha": float(alpha)})


def _slerp(turn: Orthogonal, alpha: float, report: dict[str, Any] | None = None) -> Slerp:
    return Slerp(weight=turn.weight, bias=turn.bias, alpha=alpha, report=report or {})


def _found(slerp: Slerp, held: Rows) -> float:
    """How well held-out queries find what they should among the old vectors of the held-out items."""
    queries = slerp.apply(held.x, held.y)
    if held.labels is not None and np.unique(held.labels, return_counts=True)[1].max() > 1:
        return retrieval(queries, held.y, query_labels=held.labels, gallery_labels=held.labels, same_items=True).map
    k = min(_NEIGHBOURS, len(held) - 1)
    return float(reembedding_recall(held.x, held.x, bridged=(queries, held.y), k=k, same_items=True).value)
