"""Compatibility from measured values: over a chain of versions, over one update, and what an update breaks.

M(q, g) is a metric, larger is better, of queries by model q on a gallery by model g.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from registry.errors import InvalidInput
from registry.retrieval.checks import as_numbers, check_finite_numbers
from registry.vectors import Array

__all__ = [
    "average_accuracy",
    "average_compatibility",
    "backward_gain",
    "compatibility_tax",
    "forward_gain",
    "negative_flip_rate",
    "p_scores",
    "relative_negative_flip_rate",
    "update_gain",
]


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


def forward_gain(matrix: npt.ArrayLike) -> float:
    """How much each version's queries gain, on its predecessor's gallery, over their own gallery: FC.

    FC = 1 / (t - 1) * sum over i >= 2 of (matrix[i, i - 1] - matrix[i, i])  (Biondi et al., CL2R, 2023), for a (t, t)
    matrix as in `average_compatibility`. Below 0 as a rule: it is what not backfilling costs.

    >>> round(forward_gain([[0.4, 0], [0.5, 0.6]]), 6)
    -0.1
    """
    m = _lower(matrix)
    return float((np.diag(m, -1) - np.diag(m)[1:]).mean())


def update_gain(old_old: float, new_old: float, reference: float) -> float:
    """Share of the possible improvement that arrives without a backfill.

    (M(new, old) - M(old, old)) / (M(ref, ref) - M(old, old)), where ref is the new model trained independently, queries
    and gallery both by it. 0 is parity with the old model, 1 as good as a full backfill; below 0 is harm.

    >>> round(update_gain(old_old=0.4, new_old=0.5, reference=0.6), 6)
    0.5
    """
    oo, no, ref = (
        _number(v, what) for v, what in ((old_old, "old_old"), (new_old, "new_old"), (reference, "reference"))
    )
    if ref == oo:
        raise InvalidInput("the reference is exactly as good as the old model, so there is no gain to take a share of")
    return (no - oo) / (ref - oo)


def compatibility_tax(new_new: float, reference: float) -> float:
    """What a compatible model gives up in its own space: M(ref, ref) - M(new, new), in the metric's own units.

    ref is the new model trained independently, queries and gallery both by it. 0 is no tax; below 0 compatibility helped.

    >>> round(compatibility_tax(new_new=0.57, reference=0.6), 6)
    0.03
    """
    return _number(reference, "reference") - _number(new_new, "new_new")


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
    given = {"old_old": old_old, "new_old": new_old, "new_new": new_new, "reference": reference}
    values = {what: np.atleast_1d(check_finite_numbers(value, what)) for what, value in given.items()}
    sizes = {value.size for value in values.values()} - {1}
    if any(value.ndim > 1 or not value.size for value in values.values()) or len(sizes) > 1:
        shapes = ", ".join(f"{what} {value.shape}" for what, value in values.items())
        raise InvalidInput(f"p_scores needs one value, or one for each test set, of all four, got {shapes}")
    oo, no, nn, ref = np.broadcast_arrays(*values.values())
    if (ref == oo).any() or (ref == 0).any():
        raise InvalidInput("p_scores needs a reference that is neither 0 nor the old model's own value")
    comp, up = _sigmoid((no - oo) / (ref - oo)), _sigmoid((nn - ref) / ref)
    return {"p_comp": float(comp.mean()), "p_up": float(up.mean()), "p_1": float((2 * comp * up / (comp + up)).mean())}


def negative_flip_rate(old_correct: npt.ArrayLike, new_correct: npt.ArrayLike) -> float:
    """Share of all items that the old model had right and the new one has wrong: NFR (Yan et al., CVPR 2021).

    old_correct, new_correct: booleans (n,) about the same items in one order, for instance `per_query["cmc@1"] == 1`.

    >>> negative_flip_rate([True, True, False, True], [True, False, True, True])
    0.25
    """
    old, new = _flags(old_correct, new_correct)
    return float((old & ~new).mean())


def relative_negative_flip_rate(old_correct: npt.ArrayLike, new_correct: npt.ArrayLike) -> float:
    """Negative flips relative to those of two models whose mistakes fall independently (Yan et al., CVPR 2021).

    NFR / ((1 - ER_old) ER_new), where ER is the share of items (n,) that a model has wrong; arguments as in
    `negative_flip_rate`. 1 is what chance gives, below 1 the mistakes are shared. Where no flip is possible, since the
    old model has nothing right or the new one nothing wrong, it is 0.

    >>> round(relative_negative_flip_rate([True, True, False, True], [True, False, True, True]), 3)  # 0.25 / (0.75 * 0.25)
    1.333
    """
    old, new = _flags(old_correct, new_correct)
    chance = float(old.mean()) * float((~new).mean())
    return float((old & ~new).mean()) / chance if chance else 0.0


def _flags(old_correct: npt.ArrayLike, new_correct: npt.ArrayLike) -> tuple[Array, Array]:
    old, new = as_numbers(old_correct, "old_correct"), as_numbers(new_correct, "new_correct")
    if old.ndim != 1 or old.shape != new.shape or not len(old):
        raise InvalidInput(f"both must say of the same items whether they were right, got {old.shape} and {new.shape}")
    if not all(np.isin(x, (0, 1)).all() for x in (old, new)):
        raise InvalidInput(
            "old_correct and new_correct must hold only true and false: leave out queries without a value"
        )
    return old.astype(bool), new.astype(bool)


def _sigmoid(x: Array) -> Array:
    with np.errstate(over="ignore"):  # exp(1000) is infinity, whose inverse is the right answer
        y: Array = 1 / (1 + np.exp(-x))
    return y


def _number(value: float, what: str) -> float:
    number = check_finite_numbers(value, what)
    if number.ndim:
        raise InvalidInput(f"{what} must be one number, got shape {number.shape}: compare one metric at a time")
    return float(number)


def _lower(matrix: npt.ArrayLike) -> Array:
    m = as_numbers(matrix, "a compatibility matrix")
    if m.ndim != 2 or m.shape[0] != m.shape[1] or len(m) < 2:
        raise InvalidInput(f"a compatibility matrix is (t, t) over t >= 2 versions, got shape {m.shape}")
    if not np.isfinite(m[np.tril_indices(len(m))]).all():
        raise InvalidInput("the lower triangle of the compatibility matrix has gaps: evaluate every pair i >= j first")
    return m
