"""Drift between two galleries of one version: whether both come from one distribution.

The rows need not be paired, nor equally many; both galleries must be by the same version, in the same space.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from align.moments import Moments, Part, accumulate
from registry.errors import DimensionMismatch, InvalidInput
from registry.retrieval.checks import check_whole
from registry.vectors import Array, as_rows, check_finite, normalize

__all__ = ["Discrepancy", "frechet_distance", "mmd"]

_BLOCK_BYTES = 32 << 20
_MEDIAN_ROWS = 1000
_OWN: tuple[Part, ...] = ("xx",)


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """An unbiased estimate of MMD^2, which may be a little below 0, the kernel's bandwidth, and the p-value if asked."""

    value: float
    bandwidth: float
    p_value: float | None


def frechet_distance(
    x: Array | Moments, y: Array | Moments, *, normalize: bool = False, device: str | None = None
) -> float:
    """Distance between the Gaussians that have the means and covariances of galleries x (n, d) and y (m, d).

    The root of |mu_x - mu_y|^2 + tr(Cx + Cy - 2 (Cx^(1/2) Cy Cx^(1/2))^(1/2))  (Dowson and Landau, 1982), in length
    units of the rows; its square is what FID reports (Heusel et al., NeurIPS 2017). Covariances are over n - 1, as there.
    One pass over each gallery, O(d^2) memory; or of `Moments` taken before with the part "xx". `normalize` scales rows
    to length 1 first, as cosine sees them; `device` as in `align.moments.accumulate`. Equal rows in a gallery are
    allowed: a single point has covariance 0.

    >>> import numpy as np
    >>> x = np.random.default_rng(0).standard_normal((200, 3))
    >>> round(frechet_distance(x, x + [3, 4, 0], device="cpu"), 3)
    5.0

    Raises:
        InvalidInput: a gallery of fewer than two rows; moments without "xx".
        DimensionMismatch: the galleries differ in width.
        BadVector: a row is not finite or only zeros.
    """
    a, b = (_gallery_moments(v, what, normalize, device) for v, what in ((x, "x"), (y, "y")))
    if a.mean_x.shape != b.mean_x.shape:
        raise DimensionMismatch(f"x has {len(a.mean_x)} dimensions, y {len(b.mean_x)}: drift is within one version")
    cx, cy = (m.part("xx") * (m.n / (m.n - 1)) for m in (a, b))
    values, vectors = np.linalg.eigh(cx)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ cy @ root), 0)).sum()
    shift = a.mean_x - b.mean_x
    return float(np.sqrt(max(0.0, float(shift @ shift + np.trace(cx) + np.trace(cy) - 2 * cross))))


def mmd(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    bandwidth: float | None = None,
    permutations: int = 0,
    rows: int = 10_000,
    normalize: bool = False,
    seed: int = 0,
    block: int | None = None,
) -> Discrepancy:
    """Maximum mean discrepancy between galleries x (n, d) and y (m, d), squared and unbiased, by a Gaussian kernel.

    Mean k(x, x') over pairs of different rows, plus the same of y, less 2 mean k(x, y), with
    k(a, b) = exp(-|a - b|^2 / (2 bandwidth^2))  (Gretton et al., JMLR 2012, eq. 3). 0 in expectation where both come
    from one distribution. The kernel sees what `frechet_distance` cannot, such as one cluster splitting into two.

    `bandwidth`: None takes the median distance within 1000 rows of both galleries together. `permutations`: how many
    random splits of the pooled rows to compare with; the p-value is (1 + splits that are as far) / (1 + permutations)
    (Phipson and Smyth, 2010). The cost is quadratic, so of each gallery at most `rows` rows are drawn. Everything drawn
    is drawn with `seed`. Memory is about `block` (n + m) 4 bytes, and 4 (n + m) bytes a permutation. `normalize` scales
    rows to length 1 first.

    >>> import numpy as np
    >>> x = np.random.default_rng(0).standard_normal((200, 3))
    >>> mmd(x[:100], x[100:], permutations=99).p_value > 0.05, mmd(x[:100], x[100:] + 1, permutations=99).p_value
    (True, 0.01)

    Raises:
        InvalidInput: a gallery of fewer than two rows; options out of range; no bandwidth where most rows are equal.
        DimensionMismatch: the galleries differ in width.
        BadVector: a row is not finite or only zeros.
    """
    rows, seed = check_whole(rows, "rows", 2), check_whole(seed, "seed", 0)
    permutations = check_whole(permutations, "permutations", 0)
    rng = np.random.default_rng(seed)
    a, b = (_drawn(v, what, rows, normalize, rng) for v, what in ((x, "x"), (y, "y")))
    if a.shape[1] != b.shape[1]:
        raise DimensionMismatch(f"x has {a.shape[1]} dimensions, y {b.shape[1]}: drift is within one version")
    pooled = np.concatenate([a, b])
    pooled -= pooled.mean(axis=0)  # distances stay, and their expansion below loses fewer digits
    width = _bandwidth(bandwidth, pooled, rng)
    first = np.arange(len(pooled)) < len(a)
    splits = np.column_stack([first, *(rng.permutation(first) for _ in range(permutations))]).astype(np.float32)
    values = _mmd_of_splits(pooled, splits, width, block)
    p_value = (1 + int((values[1:] >= values[0]).sum())) / (1 + permutations) if permutations else None
    return Discrepancy(float(values[0]), width, p_value)


def _mmd_of_splits(pooled: Array, splits: Array, bandwidth: float, block: int | None) -> Array:
    """MMD^2 (s,) of each way to split the rows (n, d) in two: splits (n, s) are 1 for rows of the first part."""
    within, mixed, total = np.zeros(splits.shape[1]), np.zeros(splits.shape[1]), 0.0
    for rows, kernel in _kernels(pooled, bandwidth, block):
        mine = splits[rows]
        sums = kernel.sum(axis=1).astype(np.float64)  # pairwise within a row, so float32 will do
        within += np.einsum("ij,ij->j", mine, kernel @ splits, dtype=np.float64)
        mixed += sums @ mine
        total += float(sums.sum())
    n = float(splits[:, 0].sum())
    m = len(splits) - n
    found: Array = (
        within / (n * (n - 1)) + (total - 2 * mixed + within) / (m * (m - 1)) - 2 * (mixed - within) / (n * m)
    )
    return found


def _kernels(pooled: Array, bandwidth: float, block: int | None) -> Iterator[tuple[slice, Array]]:
    """Blocks (m, n) of the kernel matrix, its diagonal 0."""
    size = check_whole(block, "block", 1) if block is not None else max(1, _BLOCK_BYTES // (4 * len(pooled)))
    scaled = pooled / np.float32(bandwidth)
    halves = -0.5 * np.vecdot(scaled, scaled)[:, None]
    ones = np.ones_like(halves)
    # One product gives a.b - |a|^2 / 2 - |b|^2 / 2, which is the kernel's exponent: no further pass over the block.
    left, right = np.hstack([scaled, halves, ones]), np.hstack([scaled, ones, halves])
    for start in range(0, len(pooled), size):
        rows = slice(start, min(start + size, len(pooled)))
        kernel = left[rows] @ right.T
        np.minimum(kernel, 0, out=kernel)  # rounding
        np.exp(kernel, out=kernel)
        kernel[np.arange(len(kernel)), np.arange(rows.start, rows.stop)] = 0
        yield rows, kernel


def _bandwidth(bandwidth: float | None, pooled: Array, rng: np.random.Generator) -> float:
    if bandwidth is not None:
        if isinstance(bandwidth, bool) or not isinstance(bandwidth, int | float) or not 0 < bandwidth < np.inf:
            raise InvalidInput(
                f"bandwidth must be a positive number, in length units of the rows, got {bandwidth!r:.80}"
            )
        return float(bandwidth)
    some = pooled[rng.choice(len(pooled), size=min(_MEDIAN_ROWS, len(pooled)), replace=False)].astype(np.float64)
    squares = np.vecdot(some, some)
    distances = squares[:, None] + squares - 2 * some @ some.T
    median = float(np.sqrt(max(0.0, np.median(distances[np.triu_indices(len(some), 1)]))))
    longest = float(np.sqrt(squares.max()))
    if median <= 1e-6 * longest or not median:
        raise InvalidInput("most rows are equal, so the median distance is 0: give a bandwidth")
    return median


def _drawn(v: npt.ArrayLike, what: str, rows: int, unit: bool, rng: np.random.Generator) -> Array:
    """At most so many rows of a gallery, as float32."""
    found = as_rows(v, what=what)
    if len(found) < 2:
        raise InvalidInput(f"{what} must hold two rows or more, got {len(found)}: one has nothing to be compared with")
    check_finite(found, what=what)
    if len(found) > rows:
        found = found[np.sort(rng.choice(len(found), size=rows, replace=False))]
    return normalize(found) if unit else found.astype(np.float32)


def _gallery_moments(v: Array | Moments, what: str, unit: bool, device: str | None) -> Moments:
    if isinstance(v, Moments):
        found = v
    else:
        rows = v if isinstance(v, np.ndarray) and v.ndim == 2 else as_rows(v, what=what)
        if len(rows) < 2:
            raise InvalidInput(f"{what} must hold two rows or more, got {len(rows)}: one has no covariance")
        found = accumulate(rows, parts=_OWN, normalize=unit, device=device)
    if found.n < 2:
        raise InvalidInput(f"{what} must hold two rows or more, got {found.n}: one has no covariance")
    return found
