"""Search in two steps: a prefix of the vectors finds candidates, the whole vectors rank them.

For spaces whose prefixes are embeddings of their own (Matryoshka representation learning, Kusupati et al., NeurIPS 2022):
the index holds only the prefixes, so it is smaller and faster by about the share that is cut off, and the whole vectors of
the candidates alone are read from the gallery.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from registry.index import FlatIndex, empty_hits
from registry.vectors import Array, Metric, normalize

__all__ = ["rerank"]

_SCORED_BYTES = 64 << 20  # of candidates' vectors gathered at a time


def rerank(
    index: FlatIndex,
    queries: Array,
    k: int,
    *,
    width: int,
    candidates: int,
    metric: Metric,
    rows_of: Callable[[Array], Array],
) -> tuple[Array, Array]:
    """The k closest of the `candidates` that the first `width` dimensions find: ids (q, k) and scores (q, k); see `Hits`.

    index: of the stored vectors' prefixes. queries (q, d): whole, in the space of the stored vectors. `rows_of` gives
    whole vectors (u, d) of ids (u,). Scores are cosines or inner products of the whole vectors.
    """
    found, places = index.search(queries[:, :width], min(candidates, max(k, len(index.ids))))
    known = places > -np.inf
    best = empty_hits(len(queries), k, string_ids=found.dtype.kind == "O")
    if not known.any():
        return best
    unique, where = np.unique(found[known], return_inverse=True)
    position = np.zeros(found.shape, dtype=np.int64)
    position[known] = where
    rows = rows_of(unique)
    if metric == "cosine":
        queries, rows = normalize(queries), normalize(rows)
    ids, scores = best
    block = max(1, _SCORED_BYTES // (4 * found.shape[1] * rows.shape[1]))
    for start in range(0, len(queries), block):
        part = slice(start, start + block)
        near = np.einsum("qd,qcd->qc", queries[part], rows[position[part]])
        near[~known[part]] = -np.inf
        order = np.argsort(-near, axis=1, kind="stable")[:, :k]
        n = order.shape[1]
        ids[part, :n] = np.take_along_axis(found[part], order, axis=1)
        scores[part, :n] = np.take_along_axis(near, order, axis=1)
    return ids, scores
