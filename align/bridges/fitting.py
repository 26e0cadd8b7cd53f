"""`align.fit`: a map from one space to another, learned from vectors of the same items in both."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, overload

import numpy as np
import numpy.typing as npt

from align.bridges.auto import candidates_for, choose
from align.bridges.gpa import fit_gpa
from align.bridges.hub import Hub
from align.bridges.methods import CANDIDATES, CLOSED, LABELLED, OPTIONS, Method, check, check_share
from align.bridges.solver import Setting, Solver
from align.chunks import Chunks
from align.moments import Progress
from registry.errors import InvalidInput
from registry.transforms import Transform
from registry.vectors import METRICS, Array, Metric

__all__ = ["fit", "fit_closed"]

_SHARE = 0.1


@overload
def fit(
    source: Sequence[Array] | Iterable[Sequence[Array]], target: None = None, method: Literal["gpa"] = ..., *,
    normalize: bool = ..., holdout: float = ..., metrics: tuple[Metric, Metric] | None = ..., seed: int = ...,
    reference: int | None = ..., correct: bool | None = ..., device: str | None = ..., progress: Progress | None = ...,
) -> Hub: ...  # fmt: skip


@overload
def fit(
    source: Array | Chunks, target: Array | None = None, method: Method = ..., *, normalize: bool = ...,
    holdout: float = ..., labels: npt.ArrayLike | None = ..., metrics: tuple[Metric, Metric] | None = ..., seed: int = ...,
    ridge: float | None = ..., rank: int | None = ..., hidden: int | None = ..., epochs: int | None = ...,
    lr: float | None = ..., batch: int | None = ..., lam: float | None = ..., side: Array | None = ...,
    alpha: float | None = ..., candidates: Sequence[str] | None = ..., device: str | None = ...,
    progress: Progress | None = ...,
) -> Transform: ...  # fmt: skip


def fit(
    source: Any,
    target: Any = None,
    method: Method = "orthogonal",
    *,
    normalize: bool = True,
    holdout: float = 0.0,
    labels: npt.ArrayLike | None = None,
    metrics: tuple[Metric, Metric] | None = None,
    seed: int = 0,
    ridge: float | None = None,
    rank: int | None = None,
    hidden: int | None = None,
    epochs: int | None = None,
    lr: float | None = None,
    batch: int | None = None,
    lam: float | None = None,
    side: Array | None = None,
    alpha: float | None = None,
    candidates: Sequence[str] | None = None,
    reference: int | None = None,
    correct: bool | None = None,
    device: str | None = None,
    progress: Progress | None = None,
) -> Transform | Hub:
    """Learn a map from the source space to the target space, from vectors of the same items in both.

    source (n, ds), target (n, dt): paired rows, arrays or memory maps of float16, float32 or float64; or `fit(chunks)`,
    where chunks iterates over pairs of such matrices. `normalize` is for spaces of directions (metric cosine): rows are
    scaled to length 1 first, as `Transform.apply` will. The source is the new version's space and the target the old
    one's, but for `fct`.

    Closed forms read each row once, a block at a time. With centred rows X, Y and their covariances:

    * orthogonal: Y ~ s X Q with Q = U V^T from the thin SVD of Cxy = U S V^T, and s = tr S / tr(Q^T Cxx Q)
      (Schönemann, Psychometrika 1966). Q is semi-orthogonal where the widths differ: the least-squares optimum for
      ds <= dt, and the map of largest tr(Q^T Cxy) otherwise. It keeps angles: the safe choice with few pairs.
    * affine: Y ~ X W with W = (Cxx + ridge I)^-1 Cxy. By default the ridge minimises the generalised cross-validation
      score (Golub, Heath and Wahba, 1979) (RSS/n) / (1 - (1 + tr H)/n)^2, known in closed form from the eigenvalues of
      Cxx. `ridge` overrides it; directions in which the source does not vary are left out, so 0 is safe.
    * lowrank: the same of at most `rank` dimensions (Izenman, 1975); see `align.bridges.closed.lowrank`.

    All take the means off first and put the shift into the bias, with `normalize` shortened by the report's `stretch`, see
    `align.bridges.closed`. The report holds `residual`, the share in [0, 1] of the
    target's variance over these pairs that the map misses, and `explained`, the rest: how well it fits, not how well it
    retrieves. These read the pairs many times, an iterator's from temporary files:

    * mlp, lambda-orthogonal, fct (from the old version to the new one, with `side` (n, s) beside the source): see
      `align.bridges.learned`, and there for `hidden`, `epochs`, `lr`, `batch` and `lam`.
    * slerp: see `align.bridges.slerp`; `alpha` is chosen on validation pairs unless it is given.

    gpa is for three versions or more, whose rows `source` lists; see `align.bridges.fit_gpa`. auto fits `candidates`, by
    default the closed forms that so many pairs allow, and chooses by what they find on held-out pairs.

    `holdout`, such as 0.1, is the share of pairs, 4,096 at most, that are picked by `seed` and never fitted to (auto holds
    out a tenth where none is named). The report then holds what the map finds among them, see `HeldOut.measure`; the
    `calibration` of its scores, see `calibrate`; and the `confidence` that the number of pairs allows. With `labels` (n,)
    also CMC@1 and mAP. `metrics` are those of both spaces, by default cosine, or dot without `normalize`.

    `device` and `progress` are those of `align.moments.accumulate`. A UserWarning says so where pairs are few.

    Raises:
        InvalidInput: fewer than two pairs, sides of different length, a side on which all rows are equal, sides that
            do not vary together at all, or an option that is bad or belongs to another method.
        BadVector: a row is not finite or only zeros; the message names it.
        NotWorthIt: auto found that every candidate loses against staying with the old version.

    >>> import numpy as np
    >>> x = np.random.default_rng(0).standard_normal((100, 3))
    >>> bridge = fit(x, -2 * x[:, ::-1], normalize=False, device="cpu")
    >>> np.round(bridge.weight, 4) + 0.0
    array([[ 0.,  0., -2.],
           [ 0., -2.,  0.],
           [-2.,  0.,  0.]], dtype=float32)
    """
    options: dict[str, Any] = {
        "ridge": ridge, "rank": rank, "hidden": hidden, "epochs": epochs, "lr": lr, "batch": batch, "lam": lam,
        "side": side, "alpha": alpha, "candidates": candidates, "reference": reference, "correct": correct,
    }  # fmt: skip
    given = {name: value for name, value in options.items() if value is not None}
    check(method, given)
    if method == "gpa":
        if target is not None or labels is not None:
            raise InvalidInput(
                "gpa takes the rows of all versions in one list, and no target or labels: leave them out"
            )
        return fit_gpa(
            source, normalize=normalize, holdout=holdout, metrics=metrics, seed=seed, device=device, progress=progress,
            **given,
        )  # fmt: skip
    setting = Setting(
        normalize=normalize, holdout=holdout or (_SHARE if method == "auto" else 0.0), seed=seed, device=device,
        labels=None if labels is None else np.asarray(labels), metrics=_metrics(metrics, normalize), progress=progress,
        side=None if side is None else np.asarray(side),
    )  # fmt: skip
    _check(setting, method)
    if method == "auto":
        return _auto(source, target, candidates, setting)
    given.pop("side", None)
    solver = Solver(source, target, (method,), setting, forward=method == "fct")
    return solver.reported(solver.solve(method, given))


def fit_closed(
    source: Array | Chunks,
    target: Array | None = None,
    *,
    methods: Sequence[str] = CLOSED,
    normalize: bool = True,
    holdout: float = 0.0,
    labels: npt.ArrayLike | None = None,
    metrics: tuple[Metric, Metric] | None = None,
    seed: int = 0,
    ridge: float | None = None,
    rank: int | None = None,
    device: str | None = None,
    progress: Progress | None = None,
) -> dict[str, Transform]:
    """Several closed forms from one pass over the pairs: method -> map. Arguments and errors are those of `fit`."""
    unknown = [name for name in methods if name not in CLOSED]
    if isinstance(methods, str) or unknown or not methods:
        raise InvalidInput(f"methods must be among {', '.join(CLOSED)}, got {methods!r:.80}")
    setting = Setting(
        normalize=normalize, holdout=holdout, labels=None if labels is None else np.asarray(labels),
        metrics=_metrics(metrics, normalize), seed=seed, device=device, progress=progress,
    )  # fmt: skip
    _check(setting, "closed forms")
    given = {name: value for name, value in {"ridge": ridge, "rank": rank}.items() if value is not None}
    options = {method: {name: given[name] for name in OPTIONS[method] if name in given} for method in methods}
    for name in given:
        if not any(name in taken for taken in options.values()):
            raise InvalidInput(f"none of {', '.join(methods)} takes {name}: leave it out")
    for method, taken in options.items():
        check(method, taken)
    solver = Solver(source, target, methods, setting)
    return {method: solver.reported(solver.solve(method, options[method])) for method in methods}


def _auto(source: Any, target: Any, candidates: Sequence[str] | None, setting: Setting) -> Transform:
    """The best of some methods on held-out pairs; the simplest of them where there are too few pairs to hold any out."""
    solver = Solver(source, target, candidates or CLOSED, setting)
    names = sorted(candidates or candidates_for(solver.pairs, *solver.dims), key=CANDIDATES.index)
    if solver.held is None:
        return solver.solve(names[0], {})
    fitted = {name: solver.solve(name, {}) for name in names}
    measured = {name: solver.held.measure(transform) for name, transform in fitted.items()}
    best = choose(measured)
    return solver.reported(fitted[best], measured=measured[best], candidates=measured)


def _metrics(metrics: tuple[Metric, Metric] | None, normalize: bool) -> tuple[Metric, Metric]:
    if metrics is None:
        return ("cosine", "cosine") if normalize else ("dot", "dot")
    if len(metrics) != 2 or not set(metrics) <= set(METRICS) or (normalize and set(metrics) != {"cosine"}):
        raise InvalidInput(
            f"metrics are those of source and target, among {', '.join(METRICS)}, and cosine where rows are normalized; "
            f"got {metrics!r:.80}"
        )
    return metrics


def _check(setting: Setting, method: str) -> None:
    check_share(setting.holdout)
    if setting.labels is not None and not setting.holdout and method not in LABELLED:
        raise InvalidInput(f"labels are used on held-out pairs, and {method} holds none out: give holdout=0.1, or none")
    if setting.labels is not None and setting.labels.ndim != 1:
        raise InvalidInput(f"labels must be (n,), one for each pair, got shape {setting.labels.shape}")
