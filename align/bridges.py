"""Bridges between spaces: maps in closed form, fitted to pairs of vectors of the same items in both."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from itertools import chain, islice
from typing import Literal

import numpy as np

from align.moments import Chunks, Moments, Part, Progress, accumulate
from registry.errors import InvalidInput
from registry.transforms import Affine, Orthogonal, Transform
from registry.vectors import Array

__all__ = ["METHODS", "fit"]

METHODS = ("orthogonal", "affine")

_GRID = np.logspace(-9, 2, 111)  # ridges to try, in units of the mean variance of a source dimension
_NOISE = 1e-9  # the share of the target's variance below which what is missed is the rounding of float32 sums
_NULL = 1e-10  # the share of the largest eigenvalue below which a source direction carries nothing


def fit(
    source: Array | Chunks,
    target: Array | None = None,
    method: Literal["orthogonal", "affine"] = "orthogonal",
    *,
    normalize: bool = True,
    ridge: float | None = None,
    device: str | None = None,
    progress: Progress | None = None,
) -> Transform:
    """Learn a map from the source space to the target space, from vectors of the same items in both.

    source (n, ds), target (n, dt): paired rows, arrays or memory maps of float16, float32 or float64, read once, a
    block at a time; or `fit(chunks)`, where chunks iterates over pairs of such matrices. `normalize` is for spaces of
    directions (metric cosine): rows are scaled to length 1 first, as `Transform.apply` will.

    With centred rows X, Y and their covariances:

    * orthogonal: Y ~ s X Q with Q = U V^T from the thin SVD of Cxy = U S V^T, and s = tr S / tr(Q^T Cxx Q)
      (Schönemann, Psychometrika 1966). Q is semi-orthogonal where the widths differ: the least-squares optimum for
      ds <= dt, and the map of largest tr(Q^T Cxy) otherwise. It keeps angles: the safe choice with few pairs.
    * affine: Y ~ X W with W = (Cxx + ridge I)^-1 Cxy. By default the ridge minimises the generalised cross-validation
      score (Golub, Heath and Wahba, 1979) (RSS/n) / (1 - (1 + tr H)/n)^2, known in closed form from the eigenvalues of
      Cxx. `ridge` overrides it; directions in which the source does not vary are left out, so 0 is safe.

    Both take the means off first and put the shift into the bias. The report holds `residual`, the share in [0, 1] of
    the target's variance over these pairs that the map misses, and `explained`, the rest: how well it fits, not how
    well it retrieves, which `Registry.evaluate` measures.

    `device` and `progress` are those of `align.moments.accumulate`. Below 2 max(ds, dt) pairs a UserWarning says so.

    Raises:
        InvalidInput: fewer than two pairs, sides of different length, a side on which all rows are equal, sides that
            do not vary together at all, or a bad `method` or `ridge`.
        BadVector: a row is not finite or only zeros; the message names it.

    >>> import numpy as np
    >>> x = np.random.default_rng(0).standard_normal((100, 3))
    >>> bridge = fit(x, -2 * x[:, ::-1], normalize=False, device="cpu")
    >>> np.round(bridge.weight, 4) + 0.0
    array([[ 0.,  0., -2.],
           [ 0., -2.,  0.],
           [-2.,  0.,  0.]], dtype=float32)
    """
    _check(method, ridge)
    source, narrower = _narrower(source, target)
    parts: tuple[Part, ...] = ("xy",) if method == "orthogonal" and not narrower else ("xx", "xy")
    m = accumulate(source, target, parts=parts, normalize=normalize, device=device, progress=progress)
    _check_pairs(m)
    if method == "orthogonal":
        return _orthogonal(m, normalize)
    return _affine(m, normalize, ridge)


def _orthogonal(m: Moments, normalize: bool) -> Orthogonal:
    u, s, vt = np.linalg.svd(m.part("xy"), full_matrices=False)
    rotation = u @ vt
    # Where Q has orthonormal rows it keeps all of the source's variance; a narrower target keeps what lies in its span.
    kept = m.spread_x if m.cxx is None else float((rotation * (m.cxx @ rotation)).sum())
    if not (s.sum() > 0 and kept > 0):
        raise InvalidInput("source and target do not vary together: are their rows in the same order?")
    scale = float(s.sum() / kept)
    residual = _share(m.spread_y - scale * float(s.sum()), m)
    report: dict[str, int | float | str] = {"method": "orthogonal", "scale": scale, **_report(m, residual)}
    weight = scale * rotation
    return Orthogonal(weight=weight, bias=_bias(m, weight), normalize=normalize, report=report)


def _affine(m: Moments, normalize: bool, ridge: float | None) -> Affine:
    values, vectors = np.linalg.eigh(m.part("xx"))
    live = values > _NULL * values[-1]
    values, vectors = values[live], vectors[:, live]
    loads = vectors.T @ m.part("xy")
    strength = np.square(loads).sum(axis=1)
    chosen = float(ridge) if ridge is not None else _gcv(values, strength, m)
    weight = vectors @ (loads / (values + chosen)[:, None])
    residual = _share(float(_missed(values, strength, m.spread_y, np.asarray([chosen]))[0]), m)
    report: dict[str, int | float | str] = {"method": "affine", "ridge": chosen, **_report(m, residual)}
    return Affine(weight=weight, bias=_bias(m, weight), normalize=normalize, report=report)


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


def _bias(m: Moments, weight: Array) -> Array:
    bias: Array = m.mean_y - m.mean_x @ weight
    return bias


def _report(m: Moments, residual: float) -> dict[str, int | float]:
    return {"pairs": m.n, "residual": residual, "explained": 1 - residual}


def _share(missed: float, m: Moments) -> float:
    return min(1.0, max(0.0, missed / m.spread_y))


def _narrower(source: Array | Chunks, target: Array | None) -> tuple[Array | Chunks, bool]:
    """The source, to be read from its start still, and whether the target is of fewer dimensions."""
    if target is None:
        if isinstance(source, np.ndarray) or not isinstance(source, Iterable):
            raise InvalidInput("fit needs pairs: give source and target, or one iterator of pairs of chunks")
        rest = iter(source)
        first = list(islice(rest, 1))
        if not first:
            raise InvalidInput("fit needs pairs, and the iterator of chunks is empty")
        return chain(first, rest), _width(first[0][0]) > _width(first[0][1])
    return source, _width(source) > _width(target)


def _width(rows: object) -> int:
    return int((0, *np.shape(rows))[-1])  # type: ignore[call-overload]


def _check(method: str, ridge: float | None) -> None:
    if method not in METHODS:
        raise InvalidInput(f"method {method!r} is not known: use one of {', '.join(METHODS)}")
    if ridge is None:
        return
    if method != "affine":
        raise InvalidInput(f"ridge belongs to the affine method, got it for {method!r}: leave it out")
    if not (isinstance(ridge, int | float | np.floating) and 0 <= ridge < np.inf):
        raise InvalidInput(f"ridge must be a finite number from 0 up, got {ridge!r}")


def _check_pairs(m: Moments) -> None:
    if m.n < 2:
        raise InvalidInput(f"a map needs at least 2 pairs, got {m.n}")
    if not m.varies:
        raise InvalidInput("all rows of the source or of the target are equal: one point says nothing about a map")
    enough = 2 * max(len(m.mean_x), len(m.mean_y))
    if m.n < enough:
        message = f"{m.n} pairs are few for {len(m.mean_x)} -> {len(m.mean_y)} dimensions: give {enough} or more"
        warnings.warn(message, UserWarning, stacklevel=3)
