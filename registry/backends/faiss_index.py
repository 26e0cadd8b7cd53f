"""What is asked of an index of FAISS that somebody else built: its nearest rows, how it calls them, and their vectors."""

from __future__ import annotations

from typing import Any

import faiss as _faiss
import numpy as np

from registry.errors import InvalidInput
from registry.vectors import Array, Metric

__all__ = ["asked", "given_back", "numbers_of", "reads", "sign"]

faiss: Any = _faiss  # its stubs lack half of it
_SIFTED = 1 << 22  # hits that are looked through at a time


def asked(index: Any, queries: Array, k: int, kept: Array | None) -> tuple[Array, Array]:
    """Distances and numbers (q, k), -1 for none, of the rows `kept`, or of all."""
    if kept is None:
        distances, numbers = index.search(queries, min(k, max(1, index.ntotal)))
        return _padded(distances, numbers, k)
    if not len(kept):
        return _padded(np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64), k)
    wanted = faiss.IDSelectorBatch(np.ascontiguousarray(kept))
    try:
        distances, numbers = index.search(queries, min(k, len(kept)), params=_parameters(index, wanted))
    except (RuntimeError, TypeError):  # this kind of index takes no selector: refined ones, and many compressed
        distances, numbers = _sifted(index, queries, k, kept)
    return _padded(distances, numbers, k)


def _sifted(index: Any, queries: Array, k: int, kept: Array) -> tuple[Array, Array]:
    """The same by asking for as many more as there are other rows, of a few queries at a time."""
    many = min(index.ntotal, k + index.ntotal - len(kept))
    parts = []
    step = max(1, _SIFTED // many)
    for start in range(0, len(queries), step):
        distances, numbers = index.search(queries[start : start + step], many)
        out = ~np.isin(numbers, kept)
        order = np.argsort(out, axis=1, kind="stable")[:, :k]
        numbers = np.where(out, -1, numbers)
        parts.append((np.take_along_axis(distances, order, 1), np.take_along_axis(numbers, order, 1)))
    return np.concatenate([d for d, _ in parts]), np.concatenate([n for _, n in parts])


def _parameters(index: Any, selector: Any) -> Any:
    """A selector in the form that the innermost index takes: those around it hand it on."""
    inner = faiss.downcast_index(index)
    if isinstance(inner, faiss.IndexIDMap | faiss.IndexPreTransform):
        return _parameters(inner.index, selector)
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
    if ivf is not None and isinstance(faiss.downcast_index(ivf), faiss.IndexIVFFastScan):
        return False  # FAISS 1.15 does not refuse to: the process ends by a signal
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
