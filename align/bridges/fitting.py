"""`align.fit`: a map from one space to another, learned from vectors of the same items in both."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from itertools import chain, islice
from typing import Literal

import numpy as np

from align.bridges import closed
from align.moments import Chunks, Moments, Part, Progress, accumulate
from registry.errors import InvalidInput
from registry.transforms import Transform
from registry.vectors import Array

__all__ = ["METHODS", "fit"]

METHODS = ("orthogonal", "affine")


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
        return closed.orthogonal(m, normalize=normalize)
    return closed.affine(m, normalize=normalize, ridge=ridge)


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
