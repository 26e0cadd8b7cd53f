"""1:1 verification: telling whether two vectors are of the same thing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from registry.errors import DimensionMismatch, InvalidInput
from registry.retrieval.checks import as_numbers, check_whole
from registry.retrieval.relevance import as_labels
from registry.vectors import METRICS, Array, Metric, as_rows, check_finite, normalize

__all__ = ["Verification", "draw_pairs", "verification"]

_BLOCK_ROWS = 16_384


@dataclass(frozen=True, slots=True, eq=False)
class Verification:
    """How well one threshold on the score tells same pairs from different ones; fractions in [0, 1].

    tar[f]: share of same pairs accepted at the most accepting threshold that accepts at most a share f of the different
    pairs. accuracy: mean of `per_fold` (folds,), each at its own threshold, `thresholds` (folds,), chosen on the other
    folds; a pair is accepted from it upwards, and infinity accepts none. auc: area under the ROC curve. same and
    different: how many pairs of each kind; a FAR below 1 / different means no false acceptance at all.
    """

    tar: dict[float, float]
    accuracy: float
    per_fold: Array
    thresholds: Array
    auc: float
    same: int
    different: int


def verification(
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    same: npt.ArrayLike,
    *,
    far: Sequence[float] = (1e-3, 1e-2, 1e-1),
    folds: int = 10,
    metric: Metric = "cosine",
) -> Verification:
    """TAR@FAR, k-fold accuracy and ROC AUC of pairs: row i of a (p, d) against row i of b (p, d).

    a and b may be by two versions, in a space that both reach. same (p,): booleans. Pairs of equal score are accepted
    together, and nothing is interpolated, so TAR@FAR is a point of scikit-learn's `roc_curve`.

    The accuracy is that of labelled faces in the wild (Huang et al., 2007): the best threshold on the other folds,
    tested on the one left out. Each kind of pair is dealt out to the folds in turn. CoReS (TPAMI 2023) looks for the
    threshold in steps of 0.001 of the squared distance; here it lies halfway between two scores of the data, so that no
    pair is missed between two steps; among equally good ones it is the highest.

    >>> import numpy as np
    >>> a = np.asarray([[1, 0], [1, 0], [1, 0], [1, 0.0]])
    >>> b = np.asarray([[1, 0.1], [1, 0.5], [1, 0.4], [0, 1.0]])
    >>> found = verification(a, b, [True, True, False, False], far=(0.1, 0.5), folds=2)
    >>> found.tar, found.auc
    ({0.1: 0.5, 0.5: 1.0}, 0.75)

    Raises:
        InvalidInput: lengths that do not fit; fewer pairs of a kind than folds; a FAR outside [0, 1]; a bad metric.
        DimensionMismatch: a and b differ in width.
        BadVector: a row is not finite or only zeros.
    """
    folds = check_whole(folds, "folds", 2)
    rates = as_numbers(far, "far")
    if rates.ndim != 1 or not len(rates) or not ((rates >= 0) & (rates <= 1)).all():
        raise InvalidInput(f"far must be fractions from 0 to 1, such as (1e-3, 1e-2), got {far!r:.80}")
    scores = _scores(a, b, metric)
    kinds = _kinds(same, len(scores), folds)
    order = np.argsort(-scores, kind="stable")
    scores, truth, fold = scores[order], kinds[order], _dealt(kinds, folds)[order]
    ends = _last_of_equals(scores)
    tp, fp = (np.append(0, np.cumsum(kind)[ends]) for kind in (truth, ~truth))
    positives, negatives = int(tp[-1]), int(fp[-1])
    tpr, fpr = tp / positives, fp / negatives
    tar = {float(f): float(tpr[np.searchsorted(fpr, f, side="right") - 1]) for f in rates}
    thresholds = np.asarray([_best_threshold(scores[fold != i], truth[fold != i]) for i in range(folds)])
    per_fold = np.asarray([((scores >= t) == truth)[fold == i].mean() for i, t in enumerate(thresholds)])
    return Verification(
        tar=tar,
        accuracy=float(per_fold.mean()),
        per_fold=per_fold,
        thresholds=thresholds,
        auc=float(np.trapezoid(tp, fp)) / (positives * negatives),
        same=positives,
        different=negatives,
    )


def draw_pairs(labels: npt.ArrayLike, n: int, seed: int = 0) -> tuple[Array, Array, Array]:
    """Draw n pairs of items, half of one label and half of two, uniformly and none twice.

    labels (items,): integers or strings. Returns left (n,), right (n,), the positions of both items, never the same one,
    and same (n,), booleans; the n / 2 same pairs come first.

    >>> left, right, same = draw_pairs(["a", "a", "b", "b"], 4, seed=0)
    >>> same.tolist(), sorted(zip(left[:2].tolist(), right[:2].tolist()))
    ([True, True, False, False], [(0, 1), (2, 3)])

    Raises:
        InvalidInput: n is odd or more than there are pairs of either kind.
    """
    n, seed = check_whole(n, "n", 2), check_whole(seed, "seed", 0)
    if n % 2:
        raise InvalidInput(f"n must be even, half of it same pairs, got {n}")
    names = as_labels(labels, np.shape(labels)[0] if np.ndim(labels) else 0, "labels")
    if names.ndim != 1:
        raise InvalidInput(f"labels must be one for each item (items,), got shape {names.shape}")
    items = np.argsort(names, kind="stable")
    # Sorted by label, an item's partners of its own label follow it up to `end`, and those of later labels from there.
    end = np.searchsorted(names[items], names[items], side="right")
    after = np.arange(1, len(items) + 1)
    rng = np.random.default_rng(seed)
    halves = [
        _draw(end - after, after, n // 2, "same", rng),
        _draw(len(items) - end, end, n // 2, "different", rng),
    ]
    left, right = (items[np.concatenate(side)] for side in zip(*halves, strict=True))
    return np.minimum(left, right), np.maximum(left, right), np.arange(n) < n // 2


def _draw(partners: Array, first: Array, n: int, kind: str, rng: np.random.Generator) -> tuple[Array, Array]:
    """Draw n of all pairs (i, first[i] + 0 .. partners[i] - 1), none twice."""
    upto = np.cumsum(partners)
    total = int(upto[-1]) if len(upto) else 0
    if n > total:
        raise InvalidInput(f"{n} {kind} pairs were asked for, the labels allow {total}: draw fewer")
    pick = rng.choice(total, size=n, replace=False)
    i = np.searchsorted(upto, pick, side="right")
    return i, first[i] + pick - (upto[i] - partners[i])


def _dealt(kinds: Array, folds: int) -> Array:
    """The fold (p,) of each pair: those of one kind go round the folds in the order they were given."""
    fold = np.empty(len(kinds), dtype=np.int64)
    for kind in (True, False):
        mine = np.flatnonzero(kinds == kind)
        fold[mine] = np.arange(len(mine)) % folds
    return fold


def _last_of_equals(scores: Array) -> Array:
    """Positions of the last of each run of equal scores."""
    return np.flatnonzero(np.append(np.diff(scores) != 0, True))


def _best_threshold(scores: Array, same: Array) -> float:
    """The threshold that decides most pairs right, from scores (m,) in falling order."""
    ends = _last_of_equals(scores)
    gained = np.cumsum(np.where(same, 1, -1))[ends]  # over accepting none
    best = int(np.argmax(gained))
    if gained[best] <= 0:
        return float("inf")
    lowest = float(scores[ends[best]])
    if best + 1 == len(ends):
        return float("-inf")
    between = (lowest + float(scores[ends[best] + 1])) / 2
    return between if between > scores[ends[best] + 1] else lowest


def _scores(a: npt.ArrayLike, b: npt.ArrayLike, metric: Metric) -> Array:
    x, y = (check_finite(as_rows(v, what=what), what=what) for v, what in ((a, "a"), (b, "b")))
    if len(x) != len(y):
        raise InvalidInput(f"a has {len(x)} rows and b {len(y)}: row i of one is compared with row i of the other")
    if x.shape[1] != y.shape[1]:
        raise DimensionMismatch(f"a has {x.shape[1]} dimensions, b {y.shape[1]}: map one first")
    if metric not in METRICS:
        raise InvalidInput(f"metric {metric!r} is not known: use one of {', '.join(METRICS)}")
    blocks = [slice(start, start + _BLOCK_ROWS) for start in range(0, len(x), _BLOCK_ROWS)]
    return np.concatenate([_scored(x[rows], y[rows], metric) for rows in blocks] or [np.empty(0)])


def _scored(x: Array, y: Array, metric: Metric) -> Array:
    if metric == "cosine":
        x, y = normalize(x), normalize(y)
    x, y = x.astype(np.float64), y.astype(np.float64)
    return np.asarray(-np.vecdot(x - y, x - y) if metric == "l2" else np.vecdot(x, y))


def _kinds(same: npt.ArrayLike, n: int, folds: int) -> Array:
    flags = as_numbers(same, "same")
    if flags.shape != (n,) or not np.isin(flags, (0, 1)).all():
        raise InvalidInput(f"same must say true or false of each of {n} pairs, got shape {flags.shape}")
    fewest = min(np.count_nonzero(flags == kind) for kind in (0, 1))
    if fewest < folds:
        raise InvalidInput(
            f"{folds} folds need as many same and different pairs, got {fewest} of one: take fewer folds"
        )
    return flags.astype(bool)
