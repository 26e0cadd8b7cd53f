"""Anchors: the items whose vectors, in each version, span a relative space that all versions share.

An anchor is a weighted mean of a few items, kept by their positions, not by their vectors: the same items give its
vector in every version.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from registry.errors import InvalidInput, MissingExtra
from registry.vectors import Array, as_rows, check_finite, normalize

__all__ = ["STRATEGIES", "Anchors", "select"]

STRATEGIES = ("uniform", "fps", "kmeans", "prototype")

_SAMPLE = 256  # rows to each cluster that k-means looks at: more move its centroids little
_COLUMNS = 64  # centroids compared with all rows at a time: bounds the memory to 64 floats a row


@dataclass(frozen=True, slots=True, eq=False)
class Anchors:
    """k anchors, each the weighted mean of m items.

    indices (k, m) int64, positions of items; weights (k, m) float32, each row summing to 1.
    """

    indices: Array
    weights: Array

    def __post_init__(self) -> None:
        if self.indices.ndim != 2 or self.indices.shape != self.weights.shape or not self.indices.size:
            raise InvalidInput(f"indices and weights must be (k, m), got {self.indices.shape} and {self.weights.shape}")

    def __len__(self) -> int:
        return len(self.indices)

    def vectors(self, x: npt.ArrayLike) -> Array:
        """The anchors' vectors (k, d), float32, in the version that wrote x (n, d), the same items in the same order.

        A plain weighted mean of rows, so it follows any affine map of them. For a space of directions give unit rows.

        Raises:
            InvalidInput: x has fewer rows than the anchors refer to.
        """
        rows = x if isinstance(x, np.ndarray) and x.ndim == 2 else as_rows(x, what="x")
        if self.indices.max() >= len(rows):
            raise InvalidInput(f"the anchors refer to item {int(self.indices.max())}, but x has only {len(rows)} rows")
        items, where = np.unique(self.indices, return_inverse=True)
        # Only the items in use are read, which matters where x is a memory map.
        few = np.asarray(rows[items], dtype=np.float32)
        vectors: Array = np.einsum("km,kmd->kd", self.weights, few[where.reshape(self.indices.shape)])
        return vectors


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
        InvalidInput: k is not from 1 to n, or a bad `strategy` or `nearest`.
        BadVector: a row is not finite or only zeros.
        MissingExtra: k-means needs scikit-learn, from the extra `align`.

    >>> import numpy as np
    >>> x = np.random.default_rng(0).standard_normal((100, 4))
    >>> select(x, 10, "fps").vectors(x).shape
    (10, 4)
    """
    if strategy not in STRATEGIES:
        raise InvalidInput(f"strategy {strategy!r} is not known: use one of {', '.join(STRATEGIES)}")
    rows = normalize(check_finite(as_rows(x, what="x"), what="x"))
    for name, value, most in (("k", k, len(rows)), ("nearest", nearest, None)):
        whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
        if not whole or value < 1 or (most is not None and value > most):
            raise InvalidInput(
                f"{name} must be a whole number from 1{f' to {most}' if most is not None else ' up'}, got {value!r}"
            )
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
