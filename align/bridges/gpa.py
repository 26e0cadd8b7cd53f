"""A hub for three versions or more: one map for each of them, instead of one for each pair."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from typing import Any, cast

import numpy as np

from align.bridges.closed import shift
from align.bridges.correction import MOST_ROWS, correction
from align.bridges.holdout import HeldOut
from align.bridges.hub import Hub
from align.bridges.methods import check_share
from align.bridges.pairs import Split, checked
from align.bridges.solver import confidence, warn_few
from align.moments import Part, Progress, accumulate
from registry.errors import InvalidInput
from registry.transforms import Orthogonal
from registry.vectors import Array, Metric, as_rows, normalize

__all__ = ["fit_gpa"]

_ROWS = 8192


def fit_gpa(
    spaces: Sequence[Array] | Iterable[Sequence[Array]],
    *,
    normalize: bool = True,
    reference: int | None = None,
    correct: bool = False,
    holdout: float = 0.0,
    metrics: tuple[Metric, Metric] | None = None,
    iterations: int = 100,
    tolerance: float = 1e-8,
    seed: int = 0,
    device: str | None = None,
    progress: Progress | None = None,
) -> Hub:
    """Generalised Procrustes analysis (Gower, Psychometrika 1975; for versions arXiv 2602.06205).

    spaces: the same n items' rows (n, d_m) by each of M >= 2 versions, the oldest first, arrays or memory maps; or an
    iterator of chunks, each a sequence of M matrices. Rows are read once: what follows runs on the M^2 covariances C_mj.

    Each version is centred and scaled to variance 1, narrower ones padded with zeros to the widest. In turn the consensus
    becomes the mean of all X_m R_m, and each R_m the Procrustes map to it, U V^T from the SVD of sum_j C_mj R_j / M, until
    the misfit changes by less than `tolerance` or `iterations` have passed. Then all is turned into the coordinates of
    version `reference`, by default the widest: Q_m is the polar factor of R_m R_ref^T, with the scale and the shift of
    `orthogonal`, so that every map is an ordinary one between two versions.

    `correct` adds GCPA's correction, see `align.bridges.correction`, which needs arrays and directions. With `holdout` each
    map's report holds what it finds on held-out items, as in `fit`: that of an older version than the reference as `fct`,
    which queries of the reference search, the others as queries of their own that search the reference's vectors.
    `metrics` are those of all versions but the reference, and of that.

    Raises:
        InvalidInput: fewer than two versions or items, rows that do not fit together, a version whose rows are all equal
            or do not vary with the others', a bad option.
        BadVector: a row is not finite or only zeros.

    >>> x = np.random.default_rng(0).standard_normal((100, 4))
    >>> hub = fit_gpa([x, -3 * x[:, ::-1] + 1, x[:, [1, 0, 3, 2]]], normalize=False, device="cpu")
    >>> [bool(np.allclose(m.apply(y), x, atol=1e-4)) for m, y in zip(hub.maps, [x, -3 * x[:, ::-1] + 1], strict=False)]
    [True, True]
    """
    check_share(holdout)
    tuples, dims, total = _opened(spaces)
    ref = _reference(reference, dims)
    if correct and (total is None or not normalize):
        raise InvalidInput(
            "the correction reads arrays many times over and is of directions: give arrays, and normalize"
        )
    split = Split(holdout, seed=seed)
    v = _versions(split, tuples, dims, normalize, device, progress and (lambda done, _: progress(done, total)))
    warn_few(v.n, max(dims), dims[ref], holdout=holdout, held=split.held is not None)
    turned, misfit, rounds = _turned(v, iterations, tolerance)
    facts = {"reference": ref, "versions": len(dims), "misfit": misfit, "iterations": rounds}
    maps = [_star(v, turned, i, ref, normalize, facts) for i in range(len(dims))]
    if split.held is not None:
        ends = metrics or (("cosine", "cosine") if normalize else ("dot", "dot"))
        held = [split.held.x[:, part] for part in v.parts]
        maps = [
            m if i == ref else _measured(m, HeldOut(held[i], held[ref], metrics=ends, forward=i < ref, seed=seed))
            for i, m in enumerate(maps)
        ]
    hub = Hub(tuple(maps), ref, misfit, rounds, normalize)
    if not correct:
        return hub
    rows = _learnable(split, v.n, seed)
    mapped = [m.apply(x[rows]) for m, x in zip(maps, cast("Sequence[Array]", spaces), strict=True)]
    return replace(hub, correction=correction(mapped, seed=seed, device=device))


@dataclass(frozen=True, slots=True, eq=False)
class _Versions:
    """Means and covariances of all versions' n rows, side by side; `parts` are the columns of each."""

    n: int
    mean: Array
    cov: Array
    parts: tuple[slice, ...]

    def between(self, i: int, j: int) -> Array:
        """C_ij (d_i, d_j)."""
        block: Array = self.cov[self.parts[i], self.parts[j]]
        return block

    def spread(self, i: int) -> float:
        """The total variance of one version."""
        return float(np.trace(self.between(i, i)))


def _opened(spaces: Any) -> tuple[Iterator[Sequence[Array]], list[int], int | None]:
    """Chunks of all versions from the start, their widths, and the number of rows where it is known."""
    arrays = isinstance(spaces, list | tuple)
    if not arrays and (isinstance(spaces, np.ndarray) or not isinstance(spaces, Iterable)):
        raise InvalidInput("gpa needs a list with the rows of each version, or an iterator of such lists of chunks")
    rest = iter([spaces] if arrays else spaces)
    first = next(rest, ())
    if not isinstance(first, list | tuple) or len(first) < 2:
        raise InvalidInput("gpa needs the rows of two versions or more, in a list: a hub of one has nothing to align")
    dims = [int((0, *np.shape(x))[-1]) for x in first]
    return chain([first], rest), dims, len(first[0]) if arrays else None


def _learnable(split: Split, fitted: int, seed: int) -> Array:
    """Places of items, none of them held out, from which the correction learns: some of them where they are many."""
    held = np.empty(0, np.int64) if split.held is None else split.held.at
    rows = np.setdiff1d(np.arange(fitted + len(held)), held, assume_unique=True)
    few = np.random.default_rng(seed).choice(rows, min(len(rows), MOST_ROWS), replace=False)
    few.sort()
    return few


def _reference(given: int | None, dims: Sequence[int]) -> int:
    if given is None:
        return int(np.argmax(dims))
    if isinstance(given, bool) or not isinstance(given, int | np.integer) or not 0 <= given < len(dims):
        raise InvalidInput(f"reference must be the place of a version, 0 to {len(dims) - 1}, got {given!r:.80}")
    return int(given)


def _joint(tuples: Iterator[Sequence[Array]], dims: list[int], unit: bool) -> Iterator[tuple[Array, Array]]:
    """Checked rows of all versions side by side (m, sum of d_m), and nothing beside them."""
    done = 0
    for listed in tuples:
        lengths = [len(x) for x in listed]
        if len(listed) != len(dims) or len(set(lengths)) > 1:
            raise InvalidInput(
                f"{len(dims)} versions need as many rows each, got {lengths}: row i of each is of one item"
            )
        for start in range(0, lengths[0], _ROWS):
            at = np.arange(done + start, done + min(start + _ROWS, lengths[0]))
            sides = []
            for i, (x, dim) in enumerate(zip(listed, dims, strict=True)):
                rows = as_rows(x[start : start + _ROWS], dim=dim, what=f"version {i}").astype(np.float32, copy=False)
                sides.append(checked(normalize(rows) if unit else rows, at, f"version {i}"))
            joint = np.concatenate(sides, axis=1)
            yield joint, joint[:, :0]
        done += lengths[0]


def _versions(
    split: Split, tuples: Iterator[Sequence[Array]], dims: list[int], unit: bool, device: str | None,
    progress: Progress | None,
) -> _Versions:  # fmt: skip
    stream = ((x, y) for _, x, y in split.stream(_joint(tuples, dims, unit), None))
    wanted: tuple[Part, ...] = ("xx",)
    m = accumulate(stream, parts=wanted, device=device, progress=progress)
    edges = np.cumsum([0, *dims]).tolist()
    v = _Versions(m.n, m.mean_x, m.part("xx"), tuple(slice(a, b) for a, b in pairwise(edges)))
    for i, part in enumerate(v.parts):
        if not v.spread(i) > 1e-12 * float(v.mean[part] @ v.mean[part]):
            raise InvalidInput(f"all rows of version {i} are equal: one point says nothing about a map")
    return v


def _turned(v: _Versions, iterations: int, tolerance: float) -> tuple[list[Array], float, int]:
    """R_m (d_m, D) of each version, with orthonormal rows; the misfit; and the number of rounds."""
    count, scales = len(v.parts), [v.spread(i) ** -0.5 for i in range(len(v.parts))]
    cov = [[scales[i] * scales[j] * v.between(i, j) for j in range(count)] for i in range(count)]
    widest = int(np.argmax([len(cov[i][i]) for i in range(count)]))
    turned = [np.eye(len(cov[i][i])) if i == widest else _polar(cov[i][widest]) for i in range(count)]
    misfit, rounds = np.inf, 0
    while rounds < iterations:
        rounds += 1
        toward = [sum(cov[i][j] @ turned[j] for j in range(count)) / count for i in range(count)]
        before, misfit = misfit, 1 - sum(float((r * t).sum()) for r, t in zip(turned, toward, strict=True)) / count
        if before - misfit < tolerance:
            break
        turned = [_polar(t) for t in toward]
    return turned, min(1.0, max(0.0, misfit)), rounds


def _star(v: _Versions, turned: list[Array], i: int, ref: int, unit: bool, facts: dict[str, Any]) -> Orthogonal:
    """The map of version `i` to the reference's space."""
    rotation = np.eye(len(turned[i])) if i == ref else _polar(turned[i] @ turned[ref].T)
    along = float((rotation * v.between(i, ref)).sum())
    kept = float((rotation * (v.between(i, i) @ rotation)).sum())
    if not (along > 0 and kept > 0):
        raise InvalidInput(f"version {i} does not vary together with the others: are the rows in the same order?")
    scale = along / kept
    residual = min(1.0, max(0.0, 1 - scale * along / v.spread(ref)))
    weight = scale * rotation
    spread = scale * scale * kept / v.spread(ref)
    bias, stretch = shift(v.mean[v.parts[i]], v.mean[v.parts[ref]], weight, spread, unit and i != ref)
    report = {
        "method": "gpa", "scale": scale, **stretch, "pairs": v.n, "residual": residual, "explained": 1 - residual, **facts,
    }  # fmt: skip
    return Orthogonal(weight=weight, bias=bias, normalize=unit, report=report)


def _measured(m: Orthogonal, held: HeldOut) -> Orthogonal:
    level = confidence(int(m.report["pairs"]), m.source_dim, m.target_dim)
    found = {"confidence": level, "holdout": held.measure(m), "calibration": held.calibration(m)}
    return replace(m, report={**m.report, **found})


def _polar(a: Array) -> Array:
    """The semi-orthogonal matrix U V^T nearest to `a` = U S V^T."""
    u, _, vt = np.linalg.svd(a, full_matrices=False)
    nearest: Array = u @ vt
    return nearest
