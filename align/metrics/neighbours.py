"""Who is near whom: whether two spaces, or a bridged search and a full re-embedding, agree on the k nearest items."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from registry.errors import InvalidInput
from registry.retrieval.checks import as_row_numbers, check_whole
from registry.retrieval.scoring import comparable
from registry.vectors import Array, Metric, as_rows, check_finite, normalize

__all__ = ["Recall", "neighbour_overlap", "reembedding_recall"]

_BLOCK_BYTES = 32 << 20


@dataclass(frozen=True, slots=True, eq=False)
class Recall:
    """Mean recall@k, in [0, 1], and each query's, float64 (q,)."""

    k: int
    value: float
    per_query: Array


def neighbour_overlap(x: npt.ArrayLike, y: npt.ArrayLike, k: int, *, block: int | None = None) -> float:
    """Mean share, in [0, 1], of an item's k nearest others that two spaces agree on (Huh et al., ICML 2024, "mutual k-NN").

    x (n, dx), y (n, dy): the same items in both; cosine, the item itself left out. |A and B| / max(|A|, |B|), where A
    and B are the items that score at least as high as the k-th best: exactly k of them, but for ties. `block` is the
    number of items compared at a time; memory is about 2 `block` n 4 bytes.

    >>> import numpy as np
    >>> x = np.random.default_rng(0).standard_normal((50, 3))
    >>> neighbour_overlap(x, -3 * x, k=5)
    1.0

    Raises:
        InvalidInput: not the same items on both sides; k is not from 1 to n - 1.
        BadVector: a row is not finite or only zeros.
    """
    a, b = (check_finite(as_rows(v, what=name), what=name) for v, name in ((x, "x"), (y, "y")))
    if len(a) != len(b):
        raise InvalidInput(f"x has {len(a)} rows and y {len(b)}: both must hold the same items in one order")
    if len(a) < 2:
        raise InvalidInput(f"neighbours need two items or more, got {len(a)}")
    k = check_whole(k, "k", 1, len(a) - 1)
    a, b = normalize(a), normalize(b)
    total = 0.0
    for _, (left, right) in _blocks(((a, a), (b, b)), k, own=True, block=block):
        near = [scores >= kth for scores, kth in (left, right)]
        both = np.count_nonzero(near[0] & near[1], axis=1)
        total += float((both / np.maximum(*(np.count_nonzero(m, axis=1) for m in near))).sum())
    return total / len(a)


def reembedding_recall(
    queries: npt.ArrayLike,
    gallery: npt.ArrayLike,
    *,
    bridged: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
    found: npt.ArrayLike | None = None,
    k: int = 10,
    same_items: bool = False,
    metric: Metric = "cosine",
    block: int | None = None,
) -> Recall:
    """Recall@k against the full re-embedding: the share of what a backfill would show that is shown without one.

    queries (q, d), gallery (n, d): by the new model. What is served instead is either `bridged`, queries (q, e) and a
    gallery (n, e) of the same items in a space they share, ranked by the same `metric`; or `found` (q, m), m >= k, the
    gallery rows that a search returned, best first, of which the first k count; -1 is no result and counts as a miss.
    `same_items`: query i is gallery row i and is left out. `block` is the number of queries scored at a time.

    Of equal true scores at the k-th place either is right; of equal bridged scores there, any could have been served, so
    the mean over their orders counts: a bridge that maps everything to one point has the recall of a random draw.

    >>> import numpy as np
    >>> x = np.random.default_rng(0).standard_normal((20, 3))
    >>> reembedding_recall(x[:5], x, bridged=(-x[:5], -x), k=4).value
    1.0
    >>> reembedding_recall(x[:1], x, found=[[0, -1]], k=2).value
    0.5

    Raises:
        InvalidInput: neither or both of `bridged` and `found`; not the same items; rows in `found` that do not exist or
            stand twice for one query; k is not from 1 to the number of rows.
        DimensionMismatch, BadVector: as `retrieval`.
    """
    q, g = comparable(queries, gallery, metric=metric)
    if same_items and len(q) != len(g):
        raise InvalidInput(f"same_items pairs query i with row i, got {len(q)} queries and {len(g)} rows")
    if len(g) <= int(same_items):
        raise InvalidInput("the gallery holds nothing but the query itself: recall needs another row")
    k = check_whole(k, "k", 1, len(g) - int(same_items))
    if (bridged is None) == (found is None):
        raise InvalidInput("give either bridged, the vectors that are compared instead, or found, the rows returned")
    spaces = [(q, g)]
    rows_found: Array | None = None
    if bridged is not None:
        spaces.append(_bridged(bridged, metric, (len(q), len(g))))
    else:
        rows_found = _found(found, (len(q), len(g)), k)
    values = np.empty(len(q))
    for rows, (true, *served) in _blocks(spaces, k, own=same_items, block=block):
        right = true[0] >= true[1]
        if rows_found is not None:
            ids = rows_found[rows]
            hits = (np.take_along_axis(right, np.maximum(ids, 0), axis=1) & (ids >= 0)).sum(axis=1)
        else:
            hits = _expected_hits(right, *served[0], k)
        values[rows] = hits / k
    return Recall(k, float(values.mean()), values)


def _expected_hits(right: Array, scores: Array, kth: Array, k: int) -> Array:
    """How many of the k best (m,) are right (m, n), on average over the orders of those that tie at the k-th place."""
    above, tied = scores > kth, scores == kth
    free = (k - np.count_nonzero(above, axis=1)) / np.count_nonzero(tied, axis=1)
    hits: Array = np.count_nonzero(right & above, axis=1) + free * np.count_nonzero(right & tied, axis=1)
    return hits


def _blocks(
    spaces: list[tuple[Array, Array]] | tuple[tuple[Array, Array], ...], k: int, *, own: bool, block: int | None
) -> Iterator[tuple[Array, list[tuple[Array, Array]]]]:
    """Queries (m,), and for each space their scores (m, n) with the k-th best (m, 1); own rows score -inf."""
    n = len(spaces[0][1])
    size = check_whole(block, "block", 1) if block is not None else max(1, _BLOCK_BYTES // (4 * n))

    def kth(scores: Array) -> Array:
        best: Array = np.partition(scores, n - k, axis=1)[:, n - k, None]
        return best

    with ThreadPoolExecutor(len(spaces)) as pool:
        for start in range(0, len(spaces[0][0]), size):
            rows = np.arange(start, min(start + size, len(spaces[0][0])))
            scored = [queries[rows] @ gallery.T for queries, gallery in spaces]
            if own:
                for scores in scored:
                    scores[np.arange(len(rows)), rows] = -np.inf
            yield rows, list(zip(scored, pool.map(kth, scored), strict=True))


def _bridged(
    bridged: tuple[npt.ArrayLike, npt.ArrayLike], metric: Metric, expected: tuple[int, int]
) -> tuple[Array, Array]:
    if not isinstance(bridged, tuple | list) or len(bridged) != 2:
        raise InvalidInput(f"bridged must be a pair (queries, gallery), got {type(bridged).__name__}")
    pair = comparable(*bridged, metric=metric)
    if (len(pair[0]), len(pair[1])) != expected:
        raise InvalidInput(
            f"bridged holds {len(pair[0])} queries and {len(pair[1])} rows, the re-embedding {expected[0]} and "
            f"{expected[1]}: both must be of the same items in one order"
        )
    return pair


def _found(found: npt.ArrayLike | None, expected: tuple[int, int], k: int) -> Array:
    rows = as_row_numbers(found, "found")
    if rows.ndim != 2 or len(rows) != expected[0] or rows.shape[1] < k:
        raise InvalidInput(
            f"found must hold k = {k} or more rows for each of {expected[0]} queries, got shape {rows.shape}"
        )
    rows = rows[:, :k]
    if rows.min() < -1 or rows.max() >= expected[1]:
        raise InvalidInput(f"found must hold rows from 0 to {expected[1] - 1}, or -1, got {rows.min()} to {rows.max()}")
    ordered = np.sort(rows, axis=1)
    twice = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)
    if twice.any():
        raise InvalidInput(f"found names a row twice for query {int(np.argmax(twice.any(axis=1)))}: merge its results")
    return rows
