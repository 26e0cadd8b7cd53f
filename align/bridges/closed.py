"""Maps in closed form, from the moments of the pairs.

Least squares draws what it cannot tell to the target's mean: mapped rows spread less than the target's. Between spaces of
directions that turns all of them towards the mean, and the nearest neighbours are found less well. With `normalize` the
shift is therefore shortened until shift and spread stand in the target's own proportion: bias = mean_y / stretch - mean_x W
with stretch^2 = tr Cyy / tr(W^T Cxx W), which is what the whole map stretched about the mean comes to once rows are scaled to
length 1. An exact map has stretch 1. On the digits of `bench.oca_digits` the orthogonal map gains 12 points of CMC@1 by it.
"""

from __future__ import annotations

import numpy as np

from align.moments import Moments
from registry.errors import InvalidInput
from registry.transforms import Affine, LowRank, Orthogonal
from registry.vectors import Array

__all__ = ["affine", "lowrank", "orthogonal", "shift"]

_Report = dict[str, int | float | str]

_GRID = np.logspace(-9, 2, 111)  # ridges to try, in units of the mean variance of a source dimension
_NOISE = 1e-9  # the share of the target's variance below which what is missed is the rounding of float32 sums
_NULL = 1e-10  # the share of the largest eigenvalue below which a source direction carries nothing
_KEPT = 0.999  # the share of the explained covariance that a low-rank map keeps by default


def orthogonal(m: Moments, *, normalize: bool) -> Orthogonal:
    """The Procrustes map; see `fit`. Needs the part xy, and xx where the target is narrower than the source."""
    u, s, vt = np.linalg.svd(m.part("xy"), full_matrices=False)
    rotation = u @ vt
    # Where Q has orthonormal rows it keeps all of the source's variance; a narrower target keeps what lies in its span.
    kept = m.spread_x if m.cxx is None else float((rotation * (m.cxx @ rotation)).sum())
    if not (s.sum() > 0 and kept > 0):
        raise InvalidInput("source and target do not vary together: are their rows in the same order?")
    scale = float(s.sum() / kept)
    residual = _share(m.spread_y - scale * float(s.sum()), m)
    weight = scale * rotation
    bias, stretch = shift(m.mean_x, m.mean_y, weight, scale * scale * kept / m.spread_y, normalize)
    report: _Report = {"method": "orthogonal", "scale": scale, **stretch, **_report(m, residual)}
    return Orthogonal(weight=weight, bias=bias, normalize=normalize, report=report)


def affine(m: Moments, *, normalize: bool, ridge: float | None = None) -> Affine:
    """The ridge map; see `fit`. Needs the parts xx and xy."""
    values, vectors, loads = _loads(m)
    strength = np.square(loads).sum(axis=1)
    chosen = float(ridge) if ridge is not None else _gcv(values, strength, m)
    weight = vectors @ (loads / (values + chosen)[:, None])
    residual = _share(float(_missed(values, strength, m.spread_y, np.asarray([chosen]))[0]), m)
    kept = float((values * strength / np.square(values + chosen)).sum()) / m.spread_y
    bias, stretch = shift(m.mean_x, m.mean_y, weight, kept, normalize)
    report: _Report = {"method": "affine", "ridge": chosen, **stretch, **_report(m, residual)}
    return Affine(weight=weight, bias=bias, normalize=normalize, report=report)


def lowrank(m: Moments, *, normalize: bool, rank: int | None = None, ridge: float | None = None) -> LowRank:
    """The best map of at most `rank` dimensions: reduced-rank regression (Izenman, J. Multivariate Analysis, 1975).

    Needs the parts xx and xy. Of all W of rank r it minimises |Y - X W|^2 / n + ridge |W|^2 over the centred pairs:
    W = B V V^T with B the ridge map of `affine` and V (dt, r) the leading eigenvectors of the covariance that it
    explains, Cxy^T (Cxx + ridge I)^-1 Cxy. By default r is the smallest rank that keeps 99.9 % of the trace of that,
    and the ridge is the one of `affine`. The report says which rank and ridge it was.

    Raises:
        InvalidInput: `rank` is not a whole number from 1 to min(ds, dt), or the sides do not vary together.

    >>> from align.moments import accumulate
    >>> x = np.random.default_rng(0).standard_normal((100, 5))
    >>> y = x[:, :2] @ np.array([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]])
    >>> bridge = lowrank(accumulate(x, y, device="cpu"), normalize=False)
    >>> bridge.rank, bool(np.allclose(bridge.apply(x), y, atol=1e-4))
    (2, True)
    """
    most = min(m.part("xy").shape)
    if rank is not None and (isinstance(rank, bool) or not isinstance(rank, int | np.integer) or not 1 <= rank <= most):
        raise InvalidInput(f"rank must be a whole number from 1 to {most}, the narrower width, got {rank!r:.80}")
    values, vectors, loads = _loads(m)
    chosen = float(ridge) if ridge is not None else _gcv(values, np.square(loads).sum(axis=1), m)
    roots = np.sqrt(values + chosen)[:, None]
    u, s, vt = np.linalg.svd(loads / roots, full_matrices=False)
    strength = np.square(s)
    if not strength.sum() > 0:
        raise InvalidInput("source and target do not vary together: are their rows in the same order?")
    enough = 1 + int(np.searchsorted(np.cumsum(strength), _KEPT * strength.sum()))
    r = min(len(s), enough if rank is None else int(rank))
    inner = u[:, :r] * s[:r] / roots  # the map from the eigenvectors of Cxx to those r dimensions
    kept = float((np.square(inner) * values[:, None]).sum())
    residual = _share(m.spread_y - 2 * float((inner * (loads @ vt[:r].T)).sum()) + kept, m)
    down, up = vectors @ inner, vt[:r]
    bias, stretch = shift(m.mean_x, m.mean_y, down @ up, kept / m.spread_y, normalize)
    report: _Report = {"method": "lowrank", "rank": r, "ridge": chosen, **stretch, **_report(m, residual)}
    return LowRank(down=down, up=up, bias=bias, normalize=normalize, report=report)


def _loads(m: Moments) -> tuple[Array, Array, Array]:
    """Eigenvalues e (r,) and eigenvectors V (dx, r) of Cxx that are not null, and V^T Cxy (r, dy)."""
    values, vectors = np.linalg.eigh(m.part("xx"))
    live = values > _NULL * values[-1]
    values, vectors = values[live], vectors[:, live]
    return values, vectors, vectors.T @ m.part("xy")


def _missed(values: Array, strength: Array, spread: float, ridges: Array) -> Array:
    """RSS/n (r,) of ridge regression for each of `ridges` (r,), from the eigenvalues (d,) of Cxx.

    With Cxx = V diag(e) V^T and b_i = |(V^T Cxy)_i|^2 it is tr Cyy - sum of b_i / e_i, what no linear map reaches, and
    the sum of b_i ridge^2 / (e_i (e_i + ridge)^2). Only the first, the same for all ridges, is rounded by cancelling.
    """
    unreached = max(spread - float((strength / values).sum()), _NOISE * spread)
    shrunk = ridges[:, None] / (values + ridges[:, None])
    missed: Array = unreached + (np.square(shrunk) * strength / values).sum(axis=1)
    return missed


def _gcv(values: Array, strength: Array, m: Moments) -> float:
    """The ridge of the smallest generalised cross-validation score on a grid."""
    ridges = _GRID * values.mean()
    free = 1 - (1 + (values / (values + ridges[:, None])).sum(axis=1)) / m.n
    rss = _missed(values, strength, m.spread_y, ridges)
    # Without spare pairs the score is 0/0; such ridges interpolate and are not candidates.
    score = np.where(free > 0.01, rss / np.square(np.maximum(free, 0.01)), np.inf)
    return float(ridges[np.argmin(score)])


def shift(
    mean_x: Array, mean_y: Array, weight: Array, kept: float, normalize: bool
) -> tuple[Array, dict[str, float]]:  # fmt: skip
    """The bias (dt,) of a map whose rows spread `kept` times as the target's, and where directions count its stretch.

    `kept` is tr(W^T Cxx W) / tr Cyy.
    """
    stretch = float(kept**-0.5) if normalize and kept > 0 else 1.0
    bias: Array = mean_y / stretch - mean_x @ weight
    return bias, {"stretch": stretch} if normalize else {}


def _report(m: Moments, residual: float) -> dict[str, int | float]:
    return {"pairs": m.n, "residual": residual, "explained": 1 - residual}


def _share(missed: float, m: Moments) -> float:
    return min(1.0, max(0.0, missed / m.spread_y))
