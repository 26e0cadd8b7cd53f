"""Choosing anchors among the items of one version."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Literal

import numpy as np
import numpy.typing as npt

from align.anchors.base import Anchors
from registry.errors import InvalidInput, MissingExtra
from registry.vectors import Array, as_rows, check_finite, normalize

__all__ = ["STRATEGIES", "check_count", "check_seed", "select"]

STRATEGIES = ("uniform", "fps", "kmeans", "prototype")

_SAMPLE = 256  # rows to each cluster that k-means looks at: more move its centroids little
_COLUMNS = 64  # centroids compared with all rows at a time: bounds the memory to 64 floats a row


def select(
    x: npt.ArrayLike,
    k: int,
    strategy: Literal["uniform", "fps", "kmeans", "prototype"] = "uniform",
    seed: int = 0,
    *,
    nearest: int = 30,
) -> Anchors:
    """Choose k anchors among the items of x (n, d), by direction: rows are scaled to length 1 first.

    * uniform: k different items, at random (Moschella et al., ICLR 2023).
    * fps: a random item, then each time the item farthest from all chosen.
    * kmeans: the item nearest to each of k centroids.
    * prototype: the mean of the `nearest` items to each of k centroids, which averages the noise of single items away;
      the one to use with whitened similarity, where single items do worse than with cosine.

    Equal x, k, strategy and seed give equal anchors.

    Raises:
        InvalidInput: no rows, k is not from 1 to n, or a bad `strategy`, `nearest` or `seed`.
        BadVector: a row is not finite or only zeros.
        MissingExtra: k-means needs scikit-learn, from the extra `align`.

    >>> import numpy as np
    >>> x = np.random.default_rng(0).standard_normal((100, 4))
    >>> select(x, 10, "fps").vectors(x).shape
    (10, 4)
    """
    if not isinstance(strategy, str) or strategy not in STRATEGIES:
        raise InvalidInput(f"strategy {strategy!r:.80} is not known: use one of {', '.join(STRATEGIES)}")
    check_seed(seed)
    check_count("nearest", nearest)
    rows = as_rows(x, what="x")
    if not rows.size:
        raise InvalidInput(f"anchors are chosen among items, but x is of shape {rows.shape}: give a row or more")
    check_count("k", k, most=len(rows))
    rows = normalize(check_finite(rows, what="x"))
    rng = np.random.default_rng(seed)
    if strategy == "uniform":
        return _single(rng.choice(len(rows), k, replace=False))
    if strategy == "fps":
        return _single(_farthest(rows, k, rng))
    centroids = _centroids(rows, k, rng)
    if strategy == "kmeans":
        return _single(_own_item(rows, centroids))
    m = min(nearest, len(rows))
    indices = np.concatenate([np.argpartition(d, m - 1, axis=0)[:m].T for d in _distances(rows, centroids)])
    return Anchors(np.sort(indices, axis=1), np.full((k, m), 1 / m, dtype=np.float32))


def check_count(name: str, value: object, *, most: int | None = None) -> None:
    """Refuse an option that is not a whole number from 1 (to `most`).

    Raises:
        InvalidInput: naming it.
    """
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or value < 1 or (most is not None and value > most):  # type: ignore[operator]
        upper = f" to {most}" if most is not None else " up"
        raise InvalidInput(f"{name} must be a whole number from 1{upper}, got {value!r:.80}")


def check_seed(seed: object) -> None:
    """Refuse what NumPy and torch do not both take as a seed.

    Raises:
        InvalidInput: not a whole number from 0 to 2^63 - 1.
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < 2**63:
        raise InvalidInput(f"seed must be a whole number from 0 to 2^63 - 1, got {seed!r:.80}")


def _single(items: Array) -> Anchors:
    return Anchors(np.asarray(items, dtype=np.int64)[:, None], np.ones((len(items), 1), dtype=np.float32))


def _farthest(rows: Array, k: int, rng: np.random.Generator) -> Array:
    """Farthest-point sampling of k rows of unit length: (k,) positions, all different."""
    chosen = np.empty(k, dtype=np.int64)
    closest = np.full(len(rows), -np.inf, dtype=np.float32)  # each row's cosine to the nearest chosen one
    item = int(rng.integers(len(rows)))
    for i in range(k):
        chosen[i] = item
        np.maximum(closest, rows @ rows[item], out=closest)
        closest[item] = np.inf  # never again, even where only copies of chosen items are left
        item = int(np.argmin(closest))
    return chosen


def _centroids(rows: Array, k: int, rng: np.random.Generator) -> Array:
    """Centroids (k, d) of k-means on a sample of the rows."""
    try:
        from sklearn.cluster import KMeans
    except ImportError as error:
        raise MissingExtra("k-means anchors need scikit-learn: pip install 'samespace[align]'") from error
    few = rows if len(rows) <= _SAMPLE * k else rows[np.sort(rng.choice(len(rows), _SAMPLE * k, replace=False))]
    means = KMeans(k, n_init=1, max_iter=50, random_state=int(rng.integers(2**31)))
    with warnings.catch_warnings():
        # Fewer distinct rows than clusters: the centroids repeat, which does no harm here.
        warnings.simplefilter("ignore")
        means.fit(few)
    return np.asarray(means.cluster_centers_, dtype=np.float32)


def _distances(rows: Array, centroids: Array) -> Iterator[Array]:
    """Squared distances (n, c) of all rows to a few centroids at a time, less each row's own constant."""
    for start in range(0, len(centroids), _COLUMNS):
        some = centroids[start : start + _COLUMNS]
        yield np.square(some).sum(axis=1) - 2 * (rows @ some.T)


def _own_item(rows: Array, centroids: Array) -> Array:
    """The row nearest to each centroid and not taken by one before it: (k,) positions, all different."""
    taken = np.zeros(len(rows), dtype=bool)
    chosen: list[int] = []
    for distances in _distances(rows, centroids):
        for column in distances.T:
            item = int(np.argmin(np.where(taken, np.inf, column)))
            taken[item] = True
            chosen.append(item)
    return np.asarray(chosen)
