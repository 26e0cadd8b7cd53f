"""The compatibility matrix as a page shows it: one cell for each query version x gallery version."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from registry.types import Evaluation, Matrix

__all__ = ["STATES", "Cell", "State", "cells", "state_of"]

State = Literal["own", "compatible", "incompatible", "inconclusive", "nopath", "unmeasured"]

STATES: dict[State, tuple[str, str, str]] = {
    "own": ("●", "own space", "The gallery's own version searches it: what the others in the column are held against."),
    "compatible": ("✓", "compatible", "Surely better than the gallery's own version: its whole interval of gain is above 0."),
    "incompatible": ("✗", "incompatible", "Surely worse than the gallery's own version: its whole interval of gain is below 0."),
    "inconclusive": ("?", "inconclusive", "The interval of gain holds 0: measure more queries, or take it as no proof."),
    "nopath": ("∅", "no path", "Nothing makes the two comparable, so the registry refuses the search."),
    "unmeasured": ("–", "not measured", "No evaluation of this pair on this benchmark."),
}  # fmt: skip
"""State -> mark, word, meaning. The mark and the word say it without colour."""


@dataclass(frozen=True, slots=True)
class Cell:
    """How `query` does on `gallery`'s stored vectors: the best path, what else was measured, and the naive control.

    `share` is what the best path already brings of the gain that re-embedding everything would: 1 is as good as that, 0
    as today. None where re-embedding brings no sure gain, or the three were not measured together.
    """

    query: str
    gallery: str
    state: State
    best: Evaluation | None
    others: tuple[Evaluation, ...]
    share: float | None = None


def cells(matrix: Matrix) -> list[tuple[str, list[Cell]]]:
    """The matrix row by row: a query version, and its cell for each gallery version."""
    found: dict[tuple[str, str], list[Evaluation]] = defaultdict(list)
    for e in matrix.evaluations:  # best path first, the naive control last
        found[e.query, e.gallery].append(e)
    own = {e.query: e for e in matrix.evaluations if e.role == "self"}
    return [
        (query, [_cell(query, gallery, found.get((query, gallery), []), own) for gallery in matrix.versions])
        for query in matrix.versions
    ]


def _cell(query: str, gallery: str, measured: list[Evaluation], own: Mapping[str, Evaluation]) -> Cell:
    """The naive control is never an answer: where nothing else was measured there is no path."""
    ways = [e for e in measured if e.role != "naive"]
    if not ways:
        return Cell(query, gallery, "nopath" if measured else "unmeasured", None, tuple(measured))
    best = ways[0]
    others = tuple(e for e in measured if e is not best)
    return Cell(query, gallery, state_of(best), best, others, _share(best, own.get(query), own.get(gallery)))


def _share(best: Evaluation, new: Evaluation | None, old: Evaluation | None) -> float | None:
    if best.role != "path" or new is None or old is None or new is old:
        return None
    if not best.measurement == new.measurement == old.measurement or new.low <= old.high:
        return None
    return best.gain / (new.value - old.value)


def state_of(evaluation: Evaluation) -> State:
    """What a measured cell says."""
    return "own" if evaluation.query == evaluation.gallery else evaluation.verdict or "inconclusive"
