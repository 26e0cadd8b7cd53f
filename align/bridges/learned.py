"""Maps that are learned by gradient descent, with torch: residual networks and nearly orthogonal matrices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from align.bridges import closed
from align.bridges.batches import Batches, Validation
from align.bridges.descent import Course, Drawn, Network, descend
from align.bridges.networks import NearlyOrthogonal, Residual, deviation, supervised_contrast
from align.moments import Moments, Progress
from registry.errors import InvalidInput
from registry.transforms import Affine, Mlp, Transform
from registry.vectors import Array
from registry.vectors import normalize as unit_rows

__all__ = ["fct", "lambda_orthogonal", "mlp"]

_DECAY = 0.1
_TEMPERATURE = 0.1
_SAMPLE = 4096  # rows by which the spread of a map is known well enough
_HALVINGS = 12

T = TypeVar("T", Affine, Mlp)


def mlp(
    x: Array,
    y: Array,
    *,
    normalize: bool,
    hidden: int | None = None,
    epochs: int = 40,
    lr: float = 1e-3,
    batch: int = 512,
    seed: int = 0,
    device: str | None = None,
    validation: Validation = 0.1,
    progress: Progress | None = None,
) -> Mlp:
    """A linear map and one hidden layer of ReLU beside it: the residual adapter of Drift-Adapter (arXiv 2509.23471).

    x (n, ds), y (n, dt), arrays or memory maps, of which batches are read. The linear part starts as the ridge map of
    `align.fit(..., "affine")`, the hidden layer (default width: twice the wider side, at least 512) adds nothing at first,
    and both are trained: on 1 - cosine where directions count, else on the share of the target's variance that is missed.
    The epoch that does best on held-out pairs is kept, so the result never does worse on them than the ridge map. Where
    directions count, both are stretched about the target's mean first, as the maps in closed form are.

    The report says how many pairs were learned from and held out, how many epochs ran and which was kept, and how the
    start and the result score on the held-out pairs: see `Batches.score`. On the CPU the result is the same bit for bit
    for one seed and number of threads.

    Raises:
        InvalidInput: options out of range, or pairs that `Batches` refuses.
        BadVector: a row is not finite or only zeros.
    """
    course = Course(epochs, lr, batch, seed, device, progress, weight_decay=_DECAY)
    batches = Batches(x, y, normalize=normalize, validation=validation, seed=seed)
    wider = max(batches.held.x.shape[1], batches.held.y.shape[1])
    return _residual("mlp", batches, (_hidden(hidden, max(512, 2 * wider)),), course)


def fct(
    old: Array,
    new: Array,
    *,
    side: Array | None = None,
    normalize: bool,
    hidden: int = 2048,
    epochs: int = 80,
    lr: float = 5e-4,
    batch: int = 512,
    seed: int = 0,
    device: str | None = None,
    validation: Validation = 0.1,
    progress: Progress | None = None,
) -> Mlp:
    """The forward map old -> new of FCT (Ramanujan et al., CVPR 2022): stored vectors are mapped, queries are not.

    old (n, d_old), new (n, d_new), and optionally side (n, s), what was stored beside each old vector to help: it enters
    the hidden layers alone, centred and scaled, which is folded into their weights. Two hidden layers of `hidden`, 80 epochs
    and the rate 5e-4 as published; unlike there, no batch normalisation, and a linear part as in `mlp` to start from.
    Held-out pairs, the report and errors are those of `mlp`; `validation` may be (old, new, side).
    """
    course = Course(epochs, lr, batch, seed, device, progress, weight_decay=_DECAY)
    batches = Batches(old, new, side=side, normalize=normalize, validation=validation, seed=seed)
    width = _hidden(hidden, 2048)
    return _residual("fct", batches, (width, width), course)


def lambda_orthogonal(
    x: Array,
    y: Array,
    *,
    normalize: bool,
    lam: float = 12.0,
    strict: bool = False,
    labels: Array | None = None,
    epochs: int = 40,
    lr: float = 1e-3,
    batch: int = 512,
    seed: int = 0,
    device: str | None = None,
    validation: Validation = 0.1,
    progress: Progress | None = None,
) -> Affine:
    """A nearly orthogonal backward map new -> old: lambda-orthogonality (NeurIPS 2025, arXiv 2509.16664).

    y ~ s x W + b, s and the first W being those of the Procrustes map of `align.fit(..., "orthogonal")` (s = 1 where
    directions count). Minimises the distance to the old vectors (as in `mlp`), with labels (n,) also the supervised
    contrast with old vectors of the own class at temperature 0.1, and sigmoid(D - lam) D with D = |W W^T - I|_F: free
    within `lam` of orthogonal, held beyond. lam 12 is the paper's best; 0 is plain soft orthogonality. `strict` keeps W
    exactly orthogonal instead, as Q exp(P) with P skew-symmetric.

    Where the widths differ D is of the smaller of W W^T and W^T W: W is what a square matrix of the wider side keeps when
    the longer vector is cut. The paper's sharpness of the sigmoid could not be read and is 1 here; its forward map into
    this space, trained along with it, is left to `align.fit` from old to mapped vectors.

    Held-out pairs and errors are those of `mlp`; with labels the contrast is taken off the score, and `validation` may be
    (x, y, labels). The report holds also `lam`, the scale s, and the final D as `deviation`.
    """
    if isinstance(lam, bool) or not isinstance(lam, int | float) or not 0 <= lam < np.inf:
        raise InvalidInput(f"lam must be a finite number from 0 up, got {lam!r:.80}")
    course = Course(epochs, lr, batch, seed, device, progress)
    batches = Batches(x, y, labels=labels, normalize=normalize, validation=validation, seed=seed)
    m = batches.moments(("xx", "xy"))
    start = closed.orthogonal(m, normalize=False)
    size = float(start.report["scale"])
    # Of directions only the ratio of weight and bias counts.
    bias, scale = (start.bias / size, 1.0) if normalize else (start.bias, size)
    network = NearlyOrthogonal(start.weight / size, bias, scale, strict=strict)
    distance = _distance(batches, m)

    def loss(mapped: Tensor, drawn: Drawn) -> Tensor:
        missed = distance(mapped, drawn) + _contrast(mapped, drawn)
        if strict:
            return missed
        away = deviation(network.weight)
        return missed + torch.sigmoid(away - lam) * away

    held = Drawn.of(batches.held, "cpu")

    def judge(transform: Transform) -> float:
        score = batches.score(transform, m.spread_y)
        return score - float(_contrast(torch.tensor(transform.apply(batches.held.x)), held))

    best, facts = _trained(network, batches, course, m, loss=loss, judge=judge)
    away = float(deviation(torch.tensor(best.weight / scale)))
    report = {"method": "lambda-orthogonal", "lam": float(lam), "strict": strict, "scale": scale, "deviation": away}
    return replace(best, report={**report, **facts})


def _residual(method: str, batches: Batches, widths: tuple[int, ...], course: Course) -> Mlp:
    m = batches.moments()
    start = closed.affine(m, normalize=False)
    beside = None if batches.held.side is None else batches.side_scale()
    network = Residual(start, m, widths, beside, course.seed)

    def judge(transform: Transform) -> float:
        return batches.score(transform, m.spread_y)

    best, facts = _trained(network, batches, course, m, loss=_distance(batches, m), judge=judge)
    report = {"method": method, "hidden": widths[0], "layers": len(widths), "ridge": start.report["ridge"], **facts}
    return replace(best, report=report)


def _trained(
    network: Network[T],
    batches: Batches,
    course: Course,
    m: Moments,
    *,
    loss: Callable[[Tensor, Drawn], Tensor],
    judge: Callable[[Transform], float],
) -> tuple[T, dict[str, int | float]]:
    """The better of the start and what `descend` makes of it, both stretched, and the facts of the fit."""
    first = network.transform(batches.normalize)
    best, facts = descend(network, batches, course, loss=loss, judge=judge)
    if batches.normalize:
        first, best = (_stretched(t, batches, m) for t in (first, best))
    started, score = judge(first), judge(best)
    if score <= started:
        best, score, facts = first, started, {**facts, "kept_epoch": 0}
    return best, {**facts, "start_score": started, "score": score}


def _stretched(transform: T, batches: Batches, m: Moments) -> T:
    """The map with so much of its shift taken off that unit rows spread as the target's do; see `align.bridges.closed`.

    The spread of a map that is not linear, or was trained on cosines, is known only from rows that went through it.
    """
    few = np.linspace(0, len(batches.train) - 1, min(len(batches.train), _SAMPLE)).astype(np.int64)
    rows = batches.rows(batches.train[few])
    mapped = replace(transform, normalize=False).apply(rows.x, rows.side if transform.side_dim else None)
    mean = mapped.mean(axis=0)

    def spread(part: float) -> float:
        center = unit_rows(mapped - np.float32(part) * mean).mean(axis=0)
        return 1 - float(center @ center)

    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if spread(middle) < m.spread_y else (low, middle)
    return replace(transform, bias=transform.bias - low * mean)


def _distance(batches: Batches, m: Moments) -> Callable[[Tensor, Drawn], Tensor]:
    """The mean of 1 - cosine where directions count, else the share missed of the target's variance."""
    if batches.normalize:
        return lambda mapped, drawn: 1 - functional.cosine_similarity(mapped, drawn.y).mean()
    return lambda mapped, drawn: (mapped - drawn.y).square().sum(1).mean() / m.spread_y


def _contrast(mapped: Tensor, drawn: Drawn) -> Tensor:
    if drawn.codes is None:
        return mapped.new_zeros(())
    return supervised_contrast(mapped, drawn.y, drawn.codes, temperature=_TEMPERATURE)


def _hidden(given: int | None, default: int) -> int:
    if given is None:
        return default
    if isinstance(given, bool) or not isinstance(given, int | np.integer) or given < 1:
        raise InvalidInput(f"hidden must be a whole number from 1, got {given!r:.80}")
    return int(given)
