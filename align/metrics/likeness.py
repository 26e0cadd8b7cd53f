"""How alike two spaces are, seen through the same items: from second moments alone, whatever the number of rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from align.chunks import chunks
from align.moments import Moments, Part, accumulate
from registry.errors import InvalidInput
from registry.vectors import Array, as_rows, check_finite

__all__ = ["linear_cka", "procrustes_bound", "procrustes_distance"]

_BLOCK_ROWS = 8192


def linear_cka(x: Array | Moments, y: Array | None = None, *, device: str | None = None) -> float:
    """Likeness in [0, 1] of two spaces seen through the same n items (Kornblith et al., ICML 2019).

    |Cxy|_F^2 / (|Cxx|_F |Cyy|_F) of centred rows x (n, dx) and y (n, dy), or of their `Moments`. Invariant under
    rotation, scale and shift; never needs an n x n matrix.

    >>> import numpy as np
    >>> x = np.random.default_rng(0).standard_normal((100, 3))
    >>> round(linear_cka(x, 2 * x[:, ::-1] + 1, device="cpu"), 5)
    1.0
    """
    m = _moments(x, y, device)
    lengths = np.linalg.norm(m.part("xx")) * np.linalg.norm(m.part("yy"))
    return float(np.clip(np.square(m.part("xy")).sum() / lengths, 0, 1))


def procrustes_distance(x: Array | Moments, y: Array | None = None, *, device: str | None = None) -> float:
    """Distance, in [0, sqrt 2], that is left between two spaces after the best shift, scale and rotation.

    sqrt(2 - 2 |Cxy|_* / sqrt(tr Cxx tr Cyy)) for rows x (n, dx) and y (n, dy), or their `Moments`: the root of the
    Procrustes measure of Ding, Denain and Steinhardt (NeurIPS 2021) on matrices centred and scaled to norm 1.
    Sums are of float32 products, so equal spaces come out at up to about 1e-3, not exactly 0.

    >>> import numpy as np
    >>> x = np.random.default_rng(0).standard_normal((100, 3))
    >>> procrustes_distance(x, 2 * x[:, ::-1] + 1, device="cpu") < 1e-3
    True
    """
    m = _moments(x, y, device, parts=("xy",))
    nuclear = np.linalg.svd(m.part("xy"), compute_uv=False).sum()
    return float(np.sqrt(max(0.0, 2 - 2 * nuclear / np.sqrt(m.spread_x * m.spread_y))))


def procrustes_bound(x: Array | Moments, y: Array | None = None) -> float:
    """A certificate: no more than this is left between two spaces after the best rotation, per item, root mean square.

    For rows x (n, dx) and y (n, dy) as they are, neither shifted nor scaled, an orthogonal Q exists with
    sqrt(mean of |x_i Q - y_i|^2) <= (dx + dy)^(1/4) sqrt(delta), where delta is the root of the mean, over all n^2 pairs
    of items, of (x_i.x_j - y_i.y_j)^2: inner products alone say how well the best rotation can do. That is
    min |XQ - Y|_F <= (2 d)^(1/4) sqrt(|X X^T - Y Y^T|_F) for rows of d dimensions (arXiv 2510.13406), since the squared
    distance is at most the nuclear norm of X X^T - Y Y^T (Powers and Stormer, 1970), a matrix of rank dx + dy or less,
    and of rank n or less. The narrower side is taken with zeros appended.

    In length units of the rows: unit rows are never further apart than 2. delta^2 is |Sxx|_F^2 + |Syy|_F^2 - 2 |Sxy|_F^2
    of the second moments S about the origin, summed in float64, or taken from `Moments`, whose sums are of float32
    products. The bound allows for the rounding of either, so equal spaces do not come out at 0: with unit rows at about
    1e-3 from rows and 0.1 from moments.

    >>> import numpy as np
    >>> x = np.random.default_rng(0).standard_normal((100, 3))
    >>> procrustes_bound(x, x[:, ::-1]) < 0.01, procrustes_bound(x, x + 0.01) >= 0.01
    (True, True)

    Raises:
        InvalidInput: one matrix only, no rows, or two of different lengths; moments without a part.
        BadVector: a row is not finite or only zeros.
    """
    if isinstance(x, Moments):
        n, rounding = x.n, 2e-6
        means = {"x": x.mean_x, "y": x.mean_y}
        xx, xy, yy = (x.part(p) + np.outer(means[p[0]], means[p[1]]) for p in ("xx", "xy", "yy"))
    else:
        rounding = 1e-13
        n, (xx, xy, yy) = _second_moments(x, y)
    own = float(np.square(xx).sum() + np.square(yy).sum())
    squared = max(0.0, own - 2 * float(np.square(xy).sum())) + rounding * own
    return float(min(n, len(xx) + len(yy)) ** 0.25 * squared**0.25)


def _moments(
    x: Array | Moments,
    y: Array | None,
    device: str | None,
    parts: Sequence[Part] = ("xx", "xy", "yy"),
) -> Moments:
    if isinstance(x, Moments):
        m = x
    elif y is None:
        raise InvalidInput("two matrices of paired rows are needed, got one: give y, or moments alone")
    else:
        m = accumulate(x, y, parts=parts, device=device)
    if not m.varies:
        raise InvalidInput("all rows of one side are equal: a single point has no shape to compare")
    return m


def _second_moments(x: Array, y: Array | None) -> tuple[int, list[Array]]:
    """How many items, and the means over them of x x^T, x y^T and y y^T, in float64."""
    if y is None:
        raise InvalidInput("two matrices of paired rows are needed, got one: give y, or moments alone")
    a, b = (check_finite(as_rows(v, what=what), what=what) for v, what in ((x, "x"), (y, "y")))
    if not len(a):
        raise InvalidInput("there are no rows to compare: got an empty matrix")
    sums = [np.zeros((left.shape[1], right.shape[1])) for left, right in ((a, a), (a, b), (b, b))]
    for _, p, q in chunks(a, b, rows=_BLOCK_ROWS):
        left, right = p.astype(np.float64), q.astype(np.float64)
        for total, product in zip(sums, (left.T @ left, left.T @ right, right.T @ right), strict=True):
            total += product
    return len(a), [total / len(a) for total in sums]
