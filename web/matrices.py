"""The compatibility matrix as a page shows it: one cell for each query version x gallery version."""

from __future__ import annotations

from collections import defaultdict
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
    """How `query` does on `gallery`'s stored vectors: the best path, what else was measured, and the naive control."""

    query: str
    gallery: str
    state: State
    best: Evaluation | None
    others: tuple[Evaluation, ...]


def cells(matrix: Matrix) -> list[tuple[str, list[Cell]]]:
    """The matrix row by row: a query version, and its cell for each gallery version."""
    found: dict[tuple[str, str], list[Evaluation]] = defaultdict(list)
    for e in matrix.evaluations:  # best path first, the naive control last
        found[e.query, e.gallery].append(e)
    return [(query, [_cell(query, g, found.get((query, g), [])) for g in matrix.versions]) for query in matrix.versions]


def _cell(query: str, gallery: str, measured: list[Evaluation]) -> Cell:
    """The naive control is never an answer: where nothing else was measured there is no path."""
    ways = [e for e in measured if e.role != "naive"]
    if not ways:
        return Cell(query, gallery, "nopath" if measured else "unmeasured", None, tuple(measured))
    best = ways[0]
    return Cell(query, gallery, state_of(best), best, tuple(e for e in measured if e is not best))


def state_of(evaluation: Evaluation) -> State:
    """What a measured cell says."""
    return "own" if evaluation.query == evaluation.gallery else evaluation.verdict or "inconclusive"
