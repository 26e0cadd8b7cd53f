"""What is measured of compatible representations: retrieval, compatibility over a chain of versions, likeness of spaces.

Formulas stand in the docstrings. Larger is better or closer everywhere, except where a name says distance or rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

import registry.retrieval
from align.devices import full_precision, pick_device
from align.moments import Moments, Part, accumulate
from registry.errors import InvalidInput
from registry.retrieval import Retrieval, Task, prepare, summarize
from registry.vectors import Array, Metric, as_rows, check_finite, normalize

__all__ = [
    "average_accuracy",
    "average_compatibility",
    "backfill_auc",
    "backward_gain",
    "linear_cka",
    "negative_flip_rate",
    "neighbour_overlap",
    "p_scores",
    "procrustes_distance",
    "retrieval",
    "update_gain",
]

_GPU_BLOCK_BYTES = 1 << 30


def retrieval(
    queries: npt.ArrayLike,
    gallery: npt.ArrayLike,
    *,
    query_labels: npt.ArrayLike,
    gallery_labels: npt.ArrayLike,
    ks: Sequence[int] = (1, 5),
    same_items: bool = False,
    metric: Metric = "cosine",
    block: int | None = None,
    device: str | None = None,
) -> Retrieval:
    """CMC@k, mAP, mAP@R and MRR of queries (q, d) in a gallery (n, d): `registry.retrieval`, on a GPU if there is one.

    Arguments, definitions and errors are those of `registry.retrieval.retrieval`. `device`: None takes a GPU if torch
    has one; "cpu" is NumPy.

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
        "same_items": same_items,
        "metric": metric,
        "block": block,
    }
    if where == "cpu":
        return registry.retrieval.retrieval(queries, gallery, **arguments)
    return _retrieval_torch(prepare(queries, gallery, **arguments), where, block)


def average_compatibility(matrix: npt.ArrayLike, ties: Literal["fail", "pass"] = "fail") -> float:
    """Share of version pairs in which the new queries beat the old model's own: AC.

    matrix (t, t): `matrix[i, j]` is a metric of queries by version i on a gallery by version j; only i >= j is read.
    AC = 2 / (t (t - 1)) * #{i > j: matrix[i, j] > matrix[j, j]}  (Biondi et al., CoReS, TPAMI 2023).
    Published code differs on equality, so it has a name: `ties` says whether matrix[i, j] == matrix[j, j] passes.

    >>> bct = [[46.6, 0, 0, 0], [54.4, 58.4, 0, 0], [46.0, 48.9, 64.3, 0], [54.9, 57.5, 70.3, 73.9]]
    >>> average_compatibility(bct)
    0.5
    """
    m = _lower(matrix)
    if ties not in ("fail", "pass"):
        raise InvalidInput(f"ties must be 'fail' or 'pass', got {ties!r}")
    new, old = np.tril_indices(len(m), -1)
    better = m[new, old] > m[old, old] if ties == "fail" else m[new, old] >= m[old, old]
    return float(better.mean())


def average_accuracy(matrix: npt.ArrayLike) -> float:
    """Mean of the lower triangle and the diagonal of a (t, t) matrix, as in `average_compatibility`: AA, or AM.

    AA = 2 / (t (t + 1)) * sum over i >= j of matrix[i, j]  (CoReS). A measured zero counts as any value does.

    >>> average_accuracy([[0.4, 0], [0.5, 0.6]])
    0.5
    """
    m = _lower(matrix)
    return float(m[np.tril_indices(len(m))].mean())


def backward_gain(matrix: npt.ArrayLike) -> float:
    """How much the last version's queries gain on all older galleries over those galleries' own models: BC.

    BC = 1 / (t - 1) * sum over j < t of (matrix[t, j] - matrix[j, j])  (Biondi et al., CL2R, 2023), for a (t, t) matrix
    as in `average_compatibility`.

    >>> round(backward_gain([[0.4, 0], [0.5, 0.6]]), 6)
    0.1
    """
    m = _lower(matrix)
    return float((m[-1, :-1] - np.diag(m)[:-1]).mean())


def update_gain(old_old: float, new_old: float, reference: float) -> float:
    """Share of the possible improvement that arrives without a backfill.

    (M(new, old) - M(old, old)) / (M(ref, ref) - M(old, old)), where ref is the new model trained independently, queries
    and gallery both by it. 0 is parity with the old model, 1 as good as a full backfill; below 0 is harm.

    >>> round(update_gain(old_old=0.4, new_old=0.5, reference=0.6), 6)
    0.5
    """
    values = _numbers(old_old=old_old, new_old=new_old, reference=reference)
    if values["reference"] == values["old_old"]:
        raise InvalidInput("the reference is exactly as good as the old model, so there is no gain to take a share of")
    return (values["new_old"] - values["old_old"]) / (values["reference"] - values["old_old"])


def p_scores(
    old_old: npt.ArrayLike, new_old: npt.ArrayLike, new_new: npt.ArrayLike, reference: npt.ArrayLike
) -> dict[str, float]:
    """P_comp, P_up and P_1 over one or more test sets: values, or (sets,) arrays of them (AdvBCT, CVPR 2023).

    P_comp = mean of sigmoid((M(new, old) - M(old, old)) / (M(ref, ref) - M(old, old))): 0.5 is parity with the old model;
    P_up = mean of sigmoid((M(new, new) - M(ref, ref)) / M(ref, ref)): 0.5 is no tax paid for compatibility;
    P_1 = mean over the sets of the harmonic mean of that set's two values.

    >>> {name: round(value, 3) for name, value in p_scores(0.4, 0.5, 0.57, 0.6).items()}
    {'p_comp': 0.622, 'p_up': 0.488, 'p_1': 0.547}
    """
    oo, no, nn, ref = np.broadcast_arrays(
        *(np.atleast_1d(np.asarray(v, np.float64)) for v in (old_old, new_old, new_new, reference))
    )
    if not np.isfinite([oo, no, nn, ref]).all() or (ref == oo).any() or (ref == 0).any():
        raise InvalidInput(
            "p_scores needs finite values and a reference that is neither 0 nor the old model's own value"
        )
    comp = 1 / (1 + np.exp(-(no - oo) / (ref - oo)))
    up = 1 / (1 + np.exp(-(nn - ref) / ref))
    return {"p_comp": float(comp.mean()), "p_up": float(up.mean()), "p_1": float((2 * comp * up / (comp + up)).mean())}


def backfill_auc(fractions: npt.ArrayLike, values: npt.ArrayLike) -> float:
    """Mean value while a gallery is backfilled at a steady rate: the area under values over fractions, both (s,).

    The integral over b in [0, 1] of M(new queries, gallery with its first b re-embedded), by the trapezoid rule
    (Jaeckle et al., FastFill, ICLR 2023). Fractions rise from 0 to 1.

    >>> round(backfill_auc([0, 0.5, 1], [0.4, 0.5, 0.6]), 6)
    0.5
    """
    x, y = np.asarray(fractions, np.float64), np.asarray(values, np.float64)
    if x.ndim != 1 or x.shape != y.shape or len(x) < 2 or not np.isfinite([x, y]).all():
        raise InvalidInput(f"fractions and values must be two finite rows of one length, got {x.shape} and {y.shape}")
    if x[0] != 0 or x[-1] != 1 or (np.diff(x) <= 0).any():
        raise InvalidInput(f"fractions must rise from 0 to 1, got {x.tolist()}")
    return float(np.trapezoid(y, x))


def negative_flip_rate(old_correct: npt.ArrayLike, new_correct: npt.ArrayLike) -> float:
    """Share of all items that the old model had right and the new one has wrong: NFR (Yan et al., CVPR 2021).

    old_correct, new_correct: booleans (n,) about the same items in one order, for instance `per_query["cmc@1"] == 1`.

    >>> negative_flip_rate([True, True, False, True], [True, False, True, True])
    0.25
    """
    old, new = np.asarray(old_correct), np.asarray(new_correct)
    if old.ndim != 1 or old.shape != new.shape or not len(old):
        raise InvalidInput(f"both must say of the same items whether they were right, got {old.shape} and {new.shape}")
    if not all(np.isin(x, (0, 1)).all() for x in (old, new)):
        raise InvalidInput(
            "old_correct and new_correct must hold only true and false: leave out queries without a value"
        )
    return float((old.astype(bool) & ~new.astype(bool)).mean())


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


def neighbour_overlap(x: npt.ArrayLike, y: npt.ArrayLike, k: int, *, block: int | None = None) -> float:
    """Mean share, in [0, 1], of an item's k nearest others that two spaces agree on (Huh et al., ICML 2024, "mutual k-NN").

    x (n, dx), y (n, dy): the same items in both; cosine, the item itself left out. |A and B| / max(|A|, |B|), where A
    and B are the items that score at least as high as the k-th best: exactly k of them, but for ties.

    >>> import numpy as np
    >>> x = np.random.default_rng(0).standard_normal((50, 3))
    >>> neighbour_overlap(x, -3 * x, k=5)
    1.0
    """
    a, b = (check_finite(as_rows(v, what=name), what=name) for v, name in ((x, "x"), (y, "y")))
    if len(a) != len(b):
        raise InvalidInput(f"x has {len(a)} rows and y {len(b)}: both must hold the same items in one order")
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or not 0 < k < len(a):
        raise InvalidInput(f"k must be from 1 to {len(a) - 1}, one less than there are items, got {k!r}")
    a, b = normalize(a), normalize(b)
    size = block or max(1, (32 << 20) // (4 * len(a)))
    total = 0.0
    with ThreadPoolExecutor(2) as pool:
        for start in range(0, len(a), size):
            rows = np.arange(start, min(start + size, len(a)))
            near = list(pool.map(_nearest, [(s[rows] @ s.T, rows, int(k)) for s in (a, b)]))
            both = np.count_nonzero(near[0] & near[1], axis=1)
            total += float((both / np.maximum(*(np.count_nonzero(m, axis=1) for m in near))).sum())
    return total / len(a)


def _nearest(job: tuple[Array, Array, int]) -> Array:
    """Mask (m, n) of each row's k best scores, ties with the last included, and never its own."""
    scores, rows, k = job
    scores[np.arange(len(rows)), rows] = -np.inf
    mask: Array = scores >= np.partition(scores, scores.shape[1] - k, axis=1)[:, -k, None]
    return mask


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


def _lower(matrix: npt.ArrayLike) -> Array:
    m = np.asarray(matrix, dtype=np.float64)
    if m.ndim != 2 or m.shape[0] != m.shape[1] or len(m) < 2:
        raise InvalidInput(f"a compatibility matrix is (t, t) over t >= 2 versions, got shape {m.shape}")
    if not np.isfinite(m[np.tril_indices(len(m))]).all():
        raise InvalidInput("the lower triangle of the compatibility matrix has gaps: evaluate every pair i >= j first")
    return m


def _numbers(**values: float) -> dict[str, float]:
    numbers = {name: float(value) for name, value in values.items()}
    for name, value in numbers.items():
        if not np.isfinite(value):
            raise InvalidInput(f"{name} must be a finite number, got {value}")
    return numbers


def _retrieval_torch(task: Task, device: str, block: int | None) -> Retrieval:
    """`registry.retrieval` in torch, on any of its devices; the formulas are explained there."""
    import torch

    with full_precision(device), torch.no_grad():
        queries, gallery = (torch.from_numpy(a).to(device) for a in (task.queries, task.gallery))
        columns = torch.full((len(task.queries), len(task.ks) + 3), torch.nan, dtype=torch.float64, device=device)
        for rows in task.blocks(task.rows(block, _GPU_BLOCK_BYTES)):
            at = torch.from_numpy(rows).to(device)
            scores = queries[at] @ gallery.T
            if task.same_items:
                scores[torch.arange(len(rows), device=device), at] = -torch.inf
            for start, stop in task.runs(rows, len(rows)):
                relevant = torch.from_numpy(task.columns(rows[start:stop])).to(device)
                columns[at[start:stop]] = _measure_torch(scores[start:stop], relevant, task)
        return summarize(columns.cpu().numpy(), task.ks)


def _measure_torch(scores: Any, relevant: Any, task: Task) -> Any:
    """Metrics (m, len(ks) + 3) of scores (m, n), whose relevant columns are (m, r)."""
    import torch

    found = scores.gather(1, relevant).sort(dim=1).values[:, int(task.same_items) :].contiguous()
    r = found.shape[1]
    geq = scores.shape[1] - torch.searchsorted(scores.sort(dim=1).values, found)
    place = torch.arange(r, 0, -1, device=scores.device)
    lowest = torch.arange(r, device=scores.device).repeat(len(found), 1)
    lowest[:, 1:][found[:, 1:] == found[:, :-1]] = 0
    tp = r - lowest.cummax(dim=1).values
    rank = (geq - tp + place).double()
    first = rank[:, -1:]
    at_r = torch.where(rank <= r, place / rank, 0.0).sum(dim=1, keepdim=True) / r
    hits = (first <= torch.tensor(task.ks, device=scores.device)).double()
    return torch.cat([hits, (tp.double() / geq).mean(dim=1, keepdim=True), at_r, 1 / first], dim=1)
