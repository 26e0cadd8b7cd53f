"""Retrieval on a CPU or a GPU: how well queries find the gallery items that carry their labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

import registry.retrieval
from align.devices import full_precision, pick_device
from registry.retrieval import Retrieval, Task, prepare, summarize
from registry.vectors import Metric

__all__ = ["map_at", "retrieval"]

_GPU_BLOCK_BYTES = 1 << 30


def retrieval(
    queries: npt.ArrayLike,
    gallery: npt.ArrayLike,
    *,
    query_labels: npt.ArrayLike,
    gallery_labels: npt.ArrayLike,
    ks: Sequence[int] = (1, 5),
    map_ks: Sequence[int] = (),
    same_items: bool = False,
    metric: Metric = "cosine",
    block: int | None = None,
    device: str | None = None,
) -> Retrieval:
    """CMC@k, mAP, mAP@R, MRR and mAP@K of queries (q, d) in a gallery (n, d), on a GPU if there is one.

    Arguments, definitions and errors are those of `registry.retrieval.retrieval`, labels (q,) and (n,), or booleans
    (q, c) and (n, c) where an item may carry several. `device`: None takes a GPU if torch has one; "cpu" is NumPy.

    >>> import numpy as np
    >>> x = np.asarray([[1, 0.1], [1, 0.0], [0, 1.0], [0.1, 1]])
    >>> found = retrieval(x, x, query_labels=[0, 0, 1, 0], gallery_labels=[0, 0, 1, 0], same_items=True, device="cpu")
    >>> found.cmc, round(found.map, 3), (found.queries, found.skipped)
    ({1: 0.6666666666666666, 5: 1.0}, 0.861, (3, 1))
    """
    where = pick_device(device)
    arguments: dict[str, Any] = {
        "query_labels": query_labels,
        "gallery_labels": gallery_labels,
        "ks": ks,
        "map_ks": map_ks,
        "same_items": same_items,
        "metric": metric,
        "block": block,
    }
    if where == "cpu":
        return registry.retrieval.retrieval(queries, gallery, **arguments)
    return _retrieval_torch(prepare(queries, gallery, **arguments), where, block)


def map_at(
    queries: npt.ArrayLike,
    gallery: npt.ArrayLike,
    *,
    query_labels: npt.ArrayLike,
    gallery_labels: npt.ArrayLike,
    k: int = 100,
    same_items: bool = False,
    metric: Metric = "cosine",
    block: int | None = None,
    device: str | None = None,
) -> float:
    """mAP@K alone, of queries (q, d) in a gallery (n, d): `retrieval(..., map_ks=(k,)).map_at[k]`.

    Mean over the queries of 1/min(R, K) times the sum of the precision at each relevant item ranked within K, where R
    items are relevant (Weyand et al., Google Landmarks v2, CVPR 2020, K = 100; AdvBCT, CVPR 2023). Arguments and errors
    are those of `retrieval`.

    >>> import numpy as np
    >>> x = np.asarray([[1, 0.0], [1, 0.1], [1, 0.2], [1, 0.3]])
    >>> round(map_at(x[:1], x, query_labels=[1], gallery_labels=[1, 0, 1, 1], k=3, device="cpu"), 3)  # (1 + 2/3) / 3
    0.556
    """
    found = retrieval(
        queries,
        gallery,
        query_labels=query_labels,
        gallery_labels=gallery_labels,
        map_ks=(k,),
        same_items=same_items,
        metric=metric,
        block=block,
        device=device,
    )
    return found.map_at[k]


def _retrieval_torch(task: Task, device: str, block: int | None) -> Retrieval:
    """`registry.retrieval` in torch, on any of its devices; the formulas are explained there."""
    import torch

    with full_precision(device), torch.no_grad():
        queries, gallery = (torch.from_numpy(a).to(device) for a in (task.queries, task.gallery))
        columns = torch.full((len(task.queries), task.width), torch.nan, dtype=torch.float64, device=device)
        for rows in task.blocks(task.rows(block, _GPU_BLOCK_BYTES)):
            at = torch.from_numpy(rows).to(device)
            scores = queries[at] @ gallery.T
            if task.own is not None:
                scores[torch.arange(len(rows), device=device), torch.from_numpy(task.own).to(device)[at]] = -torch.inf
            for start, stop in task.runs(rows, len(rows)):
                relevant = torch.from_numpy(task.columns(rows[start:stop])).to(device)
                columns[at[start:stop]] = _measure_torch(scores[start:stop], relevant, task)
        return summarize(columns.cpu().numpy(), task.ks, task.map_ks)


def _measure_torch(scores: Any, relevant: Any, task: Task) -> Any:
    """Metrics (m, `task.width`) of scores (m, n), whose relevant columns are (m, r)."""
    import torch

    found = scores.gather(1, relevant).sort(dim=1).values[:, int(task.same_items) :].contiguous()
    r = found.shape[1]
    geq = scores.shape[1] - torch.searchsorted(scores.sort(dim=1).values, found)
    place = torch.arange(r, 0, -1, device=scores.device)
    lowest = torch.arange(r, device=scores.device).repeat(len(found), 1)
    lowest[:, 1:][found[:, 1:] == found[:, :-1]] = 0
    tp = r - lowest.cummax(dim=1).values
    rank = (geq - tp + place).double()
    first, precision = rank[:, -1:], place / rank
    at_r, *at_k = [
        torch.where(rank <= k, precision, 0.0).sum(dim=1, keepdim=True) / min(r, k) for k in (r, *task.map_ks)
    ]
    hits = (first <= torch.tensor(task.ks, device=scores.device)).double()
    return torch.cat([hits, (tp.double() / geq).mean(dim=1, keepdim=True), at_r, 1 / first, *at_k], dim=1)
