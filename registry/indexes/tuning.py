"""How well an index finds what exact search finds: the knob is set on some held-out rows, and measured on others."""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np

from registry.index import FAISS_METRIC
from registry.indexes.making import core_of, parameters
from registry.vectors import Array, Metric

__all__ = ["Truth", "recall_of", "tuned"]

_ERRORS = 2.0  # standard errors by which the recall on the rows that it is tuned on exceeds the one that is aimed at
_AS_GOOD = 0.002


class Truth:
    """The exact `k` nearest of queries (q, d), found while rows pass by in blocks."""

    def __init__(self, queries: Array, k: int, metric: Metric) -> None:
        self.queries = queries
        self.k = k
        self._metric: Metric = metric
        self._worst = np.inf if metric == "l2" else -np.inf
        self.positions = np.full((len(queries), k), -1, dtype=np.int64)
        self.scores = np.full((len(queries), k), self._worst, dtype=np.float32)

    def see(self, rows: Array, start: int) -> None:
        """Take account of rows (m, d), the first of which has the position `start`."""
        if not len(rows) or not len(self.queries):
            return
        scores, found = faiss.knn(self.queries, rows, min(self.k, len(rows)), metric=FAISS_METRIC[self._metric])
        scores = np.concatenate([self.scores, scores], axis=1)
        positions = np.concatenate([self.positions, np.where(found < 0, -1, found + start)], axis=1)
        order = np.argsort(scores if self._metric == "l2" else -scores, axis=1, kind="stable")[:, : self.k]
        self.scores, self.positions = np.take_along_axis(scores, order, 1), np.take_along_axis(positions, order, 1)

    def part(self, which: slice) -> Truth:
        """That of some of the queries."""
        made = Truth(self.queries[which], self.k, self._metric)
        made.positions, made.scores = self.positions[which], self.scores[which]
        return made

    def shares(self, scores: Array, positions: Array, *, lossless: bool) -> Array:
        """The recall (q,) of found rows (q, k): of each query the share of the exact k nearest among them.

        Where scores are exact, what is as close as the k-th nearest counts too: of equals any may be found.
        """
        hit = (positions[:, :, None] == self.positions[:, None, :]).any(axis=2) & (positions >= 0)
        if lossless:
            last = self.scores[:, -1:]
            near = np.abs(last) * 1e-5 + 1e-6
            hit |= (positions >= 0) & (scores <= last + near if self._metric == "l2" else scores >= last - near)
        there = (self.positions >= 0).sum(axis=1)
        found: Array = hit.sum(axis=1) / np.maximum(there, 1)
        return found


def recall_of(index: Any, truth: Truth, knob: int | None, *, lossless: bool) -> float:
    """The recall of an index at one setting of its knob, a share."""
    return float(_shares(index, truth, knob, lossless=lossless).mean())


def tuned(index: Any, truth: Truth, recall: float, *, lossless: bool) -> int:
    """The smallest `ef_search` or `nprobe` that surely reaches a recall; where none does, the smallest as good as any.

    Surely is by some standard errors over the queries, as others are to reach it, too.
    """
    measured: list[tuple[int, float]] = []
    for knob in _steps(core_of(index)):
        shares = _shares(index, truth, knob, lossless=lossless)
        found, error = float(shares.mean()), float(shares.std() / np.sqrt(max(len(shares), 1)))
        measured.append((knob, found))
        if found - _ERRORS * error >= recall:
            return knob
        if len(measured) > 3 and found - measured[-4][1] < _AS_GOOD / 4:
            break  # what is lost is lost to compression, or is within the error
    best = max(found for _, found in measured)
    return next(knob for knob, found in measured if found >= best - _AS_GOOD)


def _shares(index: Any, truth: Truth, knob: int | None, *, lossless: bool) -> Array:
    scores, positions = index.search(truth.queries, truth.k, params=parameters(index, knob))
    return truth.shares(scores, positions, lossless=lossless)


def _steps(core: Any) -> list[int]:
    """Settings to try, each a quarter to a half above the one before."""
    low, high = (10, 2048) if isinstance(core, faiss.IndexHNSW) else (1, core.nlist)
    steps = [low]
    while steps[-1] < high:
        steps.append(min(high, max(steps[-1] + 1, round(steps[-1] * 1.3))))
    return steps
