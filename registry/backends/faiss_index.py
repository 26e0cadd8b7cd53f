"""What is asked of an index of FAISS that somebody else built: its nearest rows, how it calls them, and their vectors."""

from __future__ import annotations

from typing import Any

import faiss as _faiss
import numpy as np

from registry.errors import InvalidInput
from registry.vectors import Array, Metric

__all__ = ["asked", "given_back", "numbers_of", "reads", "sign"]

faiss: Any = _faiss  # its stubs lack half of it


def asked(index: Any, queries: Array, k: int, kept: Array | None) -> tuple[Array, Array]:
    """Distances and numbers (q, k), -1 for none, of the rows `kept`, or of all."""
    if kept is None:
        distances, numbers = index.search(queries, min(k, max(1, index.ntotal)))
        return _padded(distances, numbers, k)
    if not len(kept):
        return _padded(np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64), k)
    wanted = faiss.IDSelectorBatch(np.ascontiguousarray(kept))
    try:
        params = _parameters(index, wanted)
        distances, numbers = index.search(queries, min(k, len(kept)), params=params)
        return _padded(distances, numbers, k)
    except (RuntimeError, TypeError):  # this kind of index takes no selector
        distances, numbers = index.search(queries, index.ntotal)
        out = ~np.isin(numbers, kept)
        order = np.argsort(out, axis=1, kind="stable")[:, :k]
        numbers = np.where(out, -1, numbers)
        return _padded(np.take_along_axis(distances, order, 1), np.take_along_axis(numbers, order, 1), k)


def _parameters(index: Any, selector: Any) -> Any:
    inner = faiss.downcast_index(index.index) if isinstance(index, faiss.IndexIDMap) else index
    if isinstance(inner, faiss.IndexIVF):
        return faiss.SearchParametersIVF(sel=selector, nprobe=inner.nprobe)
    if isinstance(inner, faiss.IndexHNSW):
        return faiss.SearchParametersHNSW(sel=selector, efSearch=inner.hnsw.efSearch)
    return faiss.SearchParameters(sel=selector)


def _padded(distances: Array, numbers: Array, k: int) -> tuple[Array, Array]:
    room = k - numbers.shape[1]
    if room <= 0:
        return distances, numbers
    return np.pad(distances, ((0, 0), (0, room))), np.pad(numbers, ((0, 0), (0, room)), constant_values=-1)


def sign(index: Any, metric: Metric, normalized: bool, of: str) -> Any:
    """What turns the index's distances into scores; InvalidInput if it compares otherwise than the version does."""
    found = index.metric_type
    if found == faiss.METRIC_INNER_PRODUCT and metric in ("cosine", "dot"):
        return lambda d: d
    if found == faiss.METRIC_L2 and metric == "l2":
        return lambda d: -d
    if found == faiss.METRIC_L2 and metric == "cosine" and normalized:
        return lambda d: 1 - d / 2  # of vectors of length 1
    raise InvalidInput(
        f"{of} compares by FAISS's metric {found}, its vectors' version by {metric}: attach it to a version that fits"
    )


def numbers_of(index: Any) -> Array:
    """How an index calls its rows: by their position, unless it was given ids."""
    if isinstance(index, faiss.IndexIDMap):
        found: Array = faiss.vector_to_array(index.id_map).astype(np.int64)
        return found
    try:
        ivf = faiss.extract_index_ivf(index)
    except RuntimeError:
        return np.arange(index.ntotal, dtype=np.int64)
    lists = ivf.invlists
    parts = [
        faiss.rev_swig_ptr(lists.get_ids(i), lists.list_size(i)).copy()
        for i in range(lists.nlist)
        if lists.list_size(i)
    ]
    return np.sort(np.concatenate(parts)) if parts else np.empty(0, np.int64)


def reads(index: Any) -> bool:
    """Whether the index can give its vectors back, tried on one."""
    try:
        ivf = None if isinstance(index, faiss.IndexIDMap) else faiss.extract_index_ivf(index)
    except RuntimeError:
        ivf = None
    try:
        if ivf is not None:
            ivf.set_direct_map_type(faiss.DirectMap.Hashtable)  # a plain IVF finds a list by its number alone
        if index.ntotal:
            given_back(index, numbers_of(index), np.zeros(1, np.int64))
    except RuntimeError:
        return False
    return True


def given_back(index: Any, numbers: Array, places: Array) -> Array:
    """The vectors (m, d) of the rows at `places`."""
    if isinstance(index, faiss.IndexIDMap):
        return np.asarray(index.index.reconstruct_batch(places), dtype=np.float32)
    return np.asarray(index.reconstruct_batch(numbers[places]), dtype=np.float32)
