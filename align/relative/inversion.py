"""From one space into another by way of a relative one: the inverse of relative projection, in closed form."""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt

from align.anchors.selection import check_count, check_seed
from registry.errors import InvalidInput
from registry.transforms import Affine
from registry.vectors import Array, as_rows, check_finite, normalize

__all__ = ["inverse"]


def inverse(
    source_anchors: npt.ArrayLike,
    target_anchors: npt.ArrayLike,
    *,
    subsets: int = 8,
    size: int | None = None,
    center: bool | None = None,
    cutoff: float | None = None,
    seed: int = 0,
) -> Affine:
    """The map from a source space into a target space through their common relative space (arXiv 2406.15057).

    source_anchors (k, ds), target_anchors (k, dt): the same anchors in both, row by row; rows are scaled to length 1.
    With A_X, A_Y of a subset of the anchors, the relative representation x A_X^T is led back into the target by the
    pseudo-inverse, y = x A_X^T pinv(A_Y^T), and the maps of several subsets are averaged. That is linear for the cosine,
    so the result is an `Affine` for spaces of directions. Exact if the target is a rotation of the source and the anchors
    of a subset span it. Unlike `align.fit` it needs no items but the anchors, and with many pairs it does worse.

    The choices that the method leaves open, made here:

    * each of the `subsets` is found by farthest-point sampling of the target's anchors by 1 - |cos|, from a first anchor
      picked by `seed`, until it has `size` anchors, by default twice the larger width or all there are: a subset of
      just as many as dimensions is badly conditioned.
    * `center` takes the anchors' mean off on each side, and puts the target's into the bias: representations that crowd
      on one side of the origin gain by it. By default that is done where there are more anchors than dimensions; with
      fewer it would cost one of the directions that they span.
    * singular values of A_Y below `cutoff` times the largest count as zero. By default that is 0.05, or less where the two
      sides agree better: the relative difference |A_X A_X^T - A_Y A_Y^T| / |A_Y A_Y^T| of the anchors' own relative
      representations, but never below 1e-6. So noise is not blown up, and an exact rotation is found exactly.

    The report holds `residual`, the share in [0, 1] of the target anchors' variance that the map misses, and `explained`,
    the rest; `rank` and `condition` are the worst of any subset's. A UserWarning says so where the rank is below dt.

    Raises:
        InvalidInput: no anchors, not as many on both sides, anchors that do not vary, or a bad option.
        BadVector: an anchor is not finite or only zeros.

    >>> import numpy as np
    >>> a = np.random.default_rng(0).standard_normal((20, 3))
    >>> back = inverse(a, a[:, ::-1])
    >>> np.round(back.apply([[1.0, 0.0, 0.0]]), 5) + 0.0
    array([[0., 0., 1.]], dtype=float32)
    """
    x, y = (_unit(a, what) for a, what in ((source_anchors, "source anchors"), (target_anchors, "target anchors")))
    if len(x) != len(y):
        raise InvalidInput(
            f"there are {len(x)} source anchors and {len(y)} target anchors: row i of one is row i of both"
        )
    k, widest = len(x), max(x.shape[1], y.shape[1])
    check_count("subsets", subsets)
    check_seed(seed)
    _check_cutoff(cutoff)
    size = min(k, 2 * widest) if size is None else size
    check_count("size", size, most=k)
    center = k > widest if center is None else bool(center)
    shift_x, shift_y = (a.mean(axis=0) if center else np.zeros(a.shape[1]) for a in (x, y))
    x, y = x - shift_x, y - shift_y
    chosen = _subsets(y, subsets if size < k else 1, size, seed)
    least = _difference(x, y) if cutoff is None else float(cutoff)
    backs = [_pseudo_inverse(y[items], least) for items in chosen]
    weight = np.mean([x[items].T @ back for items, (back, _, _) in zip(chosen, backs, strict=True)], axis=0)
    rank, condition = min(r for _, r, _ in backs), max(c for _, _, c in backs)
    if not weight.any():
        raise InvalidInput("the anchors of the source or of the target do not vary: choose others")
    if rank < y.shape[1]:
        message = f"the anchors span {rank} of the target's {y.shape[1]} dimensions: the map reaches no others"
        warnings.warn(message, UserWarning, stacklevel=2)
    residual = _residual(x @ weight, y)
    report = {
        "method": "inverse", "anchors": k, "subsets": len(chosen), "size": int(size), "centered": center, "rank": rank,
        "cutoff": least, "condition": condition, "residual": residual, "explained": 1 - residual,
    }  # fmt: skip
    return Affine(weight=weight, bias=shift_y - shift_x @ weight, normalize=True, report=report)


def _check_cutoff(cutoff: object) -> None:
    number = isinstance(cutoff, int | float | np.floating) and not isinstance(cutoff, bool)
    if cutoff is not None and not (number and 0 <= cutoff < 1):  # type: ignore[operator]
        raise InvalidInput(f"cutoff must be a number from 0 to below 1, got {cutoff!r:.80}")


def _difference(x: Array, y: Array) -> float:
    """By how much the anchors' inner products on the two sides differ, from 1e-6 to 0.05; in O(k d^2)."""
    own = np.square(y.T @ y).sum()
    apart = np.square(x.T @ x).sum() + own - 2 * np.square(x.T @ y).sum()
    return float(np.clip(np.sqrt(max(apart, 0.0) / own), 1e-6, 0.05)) if own > 0 else 0.05


def _unit(anchors: npt.ArrayLike, what: str) -> Array:
    """Anchors as float64 rows of length 1."""
    rows = as_rows(anchors, what=what)
    if not rows.size:
        raise InvalidInput(f"{what} must be a matrix (k, d) with an anchor or more, got shape {rows.shape}")
    return normalize(check_finite(rows, what=what)).astype(np.float64)


def _subsets(anchors: Array, count: int, size: int, seed: int) -> list[Array]:
    """Positions (size,) of each subset, from different first anchors as long as there are some."""
    lengths = np.linalg.norm(anchors, axis=1, keepdims=True)
    units = anchors / np.where(lengths > 0, lengths, 1)
    firsts = np.random.default_rng(seed).permutation(len(units))
    return [_spread(units, int(firsts[i % len(firsts)]), size) for i in range(count)]


def _spread(units: Array, first: int, size: int) -> Array:
    """Farthest-point sampling by 1 - |cos|."""
    chosen = np.empty(size, dtype=np.int64)
    closest = np.zeros(len(units))
    item = first
    for i in range(size):
        chosen[i] = item
        np.maximum(closest, np.abs(units @ units[item]), out=closest)
        closest[item] = np.inf
        item = int(np.argmin(closest))
    return chosen


def _pseudo_inverse(anchors: Array, cutoff: float) -> tuple[Array, int, float]:
    """pinv(A^T) (m, d) of anchors A (m, d), its rank, and the ratio of the largest to the smallest value kept."""
    u, s, vt = np.linalg.svd(anchors, full_matrices=False)
    # Without a cutoff what is left is still the rounding of float32 rows.
    live = s > max(cutoff, 1e-7) * s[0]
    if not live.any():
        return np.zeros_like(anchors), 0, np.inf
    back: Array = (u[:, live] / s[live]) @ vt[live]
    return back, int(live.sum()), float(s[0] / s[live][-1])


def _residual(found: Array, wanted: Array) -> float:
    missed = float(np.square(wanted - found).sum() / np.square(wanted).sum())
    return min(1.0, max(0.0, missed))
