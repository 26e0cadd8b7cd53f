"""Pairs that are read once, and any number of maps that are fitted to them and measured on those held out."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from align.bridges import closed
from align.bridges.holdout import HeldOut
from align.bridges.methods import CLOSED
from align.bridges.pairs import Block, Rows, Split, spool, widths
from align.chunks import Chunks
from align.moments import Moments, Part, Progress, accumulate
from registry.errors import BadVector, InvalidInput
from registry.transforms import Transform
from registry.vectors import Array, Metric

__all__ = ["Setting", "Solver", "confidence", "warn_few"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Setting:
    """What all maps of one call share; see `align.fit`."""

    normalize: bool = True
    holdout: float = 0.0
    labels: Array | None = None
    side: Array | None = None
    metrics: tuple[Metric, Metric] = ("cosine", "cosine")
    seed: int = 0
    device: str | None = None
    progress: Progress | None = None


class Solver:
    """Reads pairs once: their moments for `methods` in closed form, and the rows themselves for those that learn.

    `forward` says that the map leads from the old version to the new one; see `HeldOut`.
    """

    def __init__(
        self, source: Array | Chunks, target: Array | None, methods: Collection[str], setting: Setting, *,
        forward: bool = False,
    ) -> None:  # fmt: skip
        self.setting = setting
        source, self.dims = widths(source, target)
        self._split = Split(setting.holdout, seed=setting.seed)
        self._rows: Rows | None = None
        self._moments: Moments | None = None
        if not set(methods) <= set(CLOSED):
            self._rows = self._materialized(source, target)
        if set(methods) & set(CLOSED):
            self._moments = self._accumulated(source, target, _parts(methods, self.dims))
        self.pairs = len(self._rows) if self._rows is not None else self._moments.n if self._moments is not None else 0
        self._check()
        self.held = self._held(forward)

    def solve(self, method: str, options: Mapping[str, Any]) -> Transform:
        """Fit one map."""
        setting, m = self.setting, self._moments
        if method in CLOSED and m is not None:
            solve = {"orthogonal": closed.orthogonal, "affine": closed.affine, "lowrank": closed.lowrank}[method]
            return solve(m, normalize=setting.normalize, **options)  # type: ignore[operator, no-any-return]
        return self._learned(method, options)

    def reported(
        self,
        transform: Transform,
        *,
        measured: Mapping[str, Any] | None = None,
        candidates: Mapping[str, Any] | None = None,
    ) -> Transform:
        """The map with what it finds on the held-out pairs in its report, unless that is already `measured`.

        `candidates` are the methods that it was chosen from, and what each of them finds.
        """
        if self.held is None:
            return transform
        found = {
            "confidence": confidence(self.pairs, *self.dims),
            "holdout": measured or self.held.measure(transform),
            "calibration": self.held.calibration(transform),
        }
        if candidates is not None:
            found["candidates"] = candidates
        return replace(transform, report={**transform.report, **found})

    def _learned(self, method: str, options: Mapping[str, Any]) -> Transform:
        from align.bridges.learned import fct, lambda_orthogonal, mlp
        from align.bridges.slerp import fit_slerp

        rows, setting = self._rows, self.setting
        if rows is None:
            raise InvalidInput(f"method {method!r} was not among those that these pairs were read for")
        common: dict[str, Any] = {"normalize": setting.normalize, **options}
        if method == "slerp":
            return fit_slerp(rows.x, rows.y, labels=self._of(setting.labels, rows), seed=setting.seed, **common)
        common |= {"seed": setting.seed, "device": setting.device, "progress": setting.progress}
        if method == "mlp":
            return mlp(rows.x, rows.y, **common)
        if method == "fct":
            return fct(rows.x, rows.y, side=self._of(setting.side, rows), **common)
        return lambda_orthogonal(rows.x, rows.y, labels=self._of(setting.labels, rows), **common)

    def _materialized(self, source: Array | Chunks, target: Array | None) -> Rows:
        """Rows that can be read many times over: arrays as they are, all else from temporary files."""
        arrays = isinstance(source, np.ndarray) and isinstance(target, np.ndarray)
        if arrays and not self.setting.holdout and len(source) == len(target):  # type: ignore[arg-type]
            return Rows(np.arange(len(source)), source, target)  # type: ignore[arg-type]
        return spool(self._split.stream(source, target))

    def _accumulated(self, source: Array | Chunks, target: Array | None, parts: tuple[Part, ...]) -> Moments:
        setting, total = self.setting, len(source) if isinstance(source, np.ndarray) else None
        progress = setting.progress
        common: dict[str, Any] = {"parts": parts, "normalize": setting.normalize, "device": setting.device}
        if self._rows is not None:
            return accumulate(self._rows.x, self._rows.y, progress=progress, **common)
        if not setting.holdout:
            return accumulate(source, target, progress=progress, **common)
        try:
            return accumulate(
                _pairs(self._split.stream(source, target)),
                progress=progress and (lambda done, _: progress(done, total)),
                **common,
            )
        except BadVector as error:
            raise self._split.named(error) from None

    def _held(self, forward: bool) -> HeldOut | None:
        setting, held = self.setting, self._split.held
        total = self.pairs + (len(held) if held is not None else 0)
        for name, given in (("labels", setting.labels), ("side", setting.side)):
            if given is not None and len(given) != total:
                raise InvalidInput(f"{name} has {len(given)} entries for {total} pairs: give one for each pair")
        if held is None:
            return None
        return HeldOut(
            held.x, held.y, metrics=setting.metrics, forward=forward, seed=setting.seed,
            side=self._of(setting.side, held), labels=self._of(setting.labels, held),
        )  # fmt: skip

    def _of(self, values: Array | None, rows: Rows) -> Array | None:
        """What belongs to some rows, of `values` that count all pairs."""
        return values if values is None or not self.setting.holdout else values[rows.at]

    def _check(self) -> None:
        if self.pairs < 2:
            raise InvalidInput(f"a map needs at least 2 pairs, got {self.pairs}")
        if self._moments is not None and not self._moments.varies:
            raise InvalidInput("all rows of the source or of the target are equal: one point says nothing about a map")
        warn_few(self.pairs, *self.dims, holdout=self.setting.holdout, held=self._split.held is not None)


def confidence(pairs: int, ds: int, dt: int) -> Literal["low", "fair", "good"]:
    """How far a map ds -> dt from so many pairs is to be trusted before anything is measured.

    low: fewer pairs than dimensions of the wider side; fair: fewer than ten for each dimension of the narrower side, up to
    where published maps still gain from more.

    >>> [confidence(n, 384, 768) for n in (500, 2000, 5000)]
    ['low', 'fair', 'good']
    """
    if pairs < max(ds, dt):
        return "low"
    return "fair" if pairs < 10 * min(ds, dt) else "good"


def warn_few(pairs: int, ds: int, dt: int, *, holdout: float, held: bool) -> None:
    """Warn where `pairs` fitted to are few for a map ds -> dt, or too few for any to be `held` out though that was asked."""
    enough = 2 * max(ds, dt)
    level = confidence(pairs, ds, dt)
    if pairs < enough:
        trust = ", and trust the map little until then" if level == "low" else ""
        said = f"{pairs} pairs are few for {ds} -> {dt} dimensions: give {enough} or more{trust}"
        warnings.warn(said, UserWarning, stacklevel=2)
    elif holdout and level == "fair":
        said = f"{pairs} pairs for {ds} -> {dt} dimensions: maps often improve up to some {10 * min(ds, dt)}"
        warnings.warn(said, UserWarning, stacklevel=2)
    if holdout and not held:
        said = f"{pairs} pairs are too few to hold any out: what a map finds was not measured"
        warnings.warn(said, UserWarning, stacklevel=2)


def _parts(methods: Collection[str], dims: tuple[int, int]) -> tuple[Part, ...]:
    simple = set(methods) & set(CLOSED) == {"orthogonal"}
    return ("xy",) if simple and dims[0] <= dims[1] else ("xx", "xy")


def _pairs(blocks: Iterator[Block]) -> Iterator[tuple[Array, Array]]:
    for _, x, y in blocks:
        yield x, y
