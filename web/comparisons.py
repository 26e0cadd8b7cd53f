"""A comparison as its page shows it: the path that the advice speaks of, and what each metric says on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from registry.types import METRIC_NAMES, Comparison, Evaluation
from web.matrices import State, state_of
from web.upgrades import Rung, rungs

__all__ = ["ANSWERS", "Answer", "Line", "Way", "answer"]

Way = Mapping[str, Evaluation]
"""Metric -> evaluation, of one way of comparing."""

ANSWERS: Mapping[str, tuple[str, str, str]] = {
    "upgrade without backfill": ("go", "✓", "Yes. {new} can search what {old} stored, today, and finds more."),
    "bridge with a transform": ("go", "⇄", "Yes, through a bridge. {new} finds more in what {old} stored once its queries are mapped."),
    "backfill": ("work", "↻", "Not as it is. {new} is better, but only on vectors of its own: re-embed first."),
    "stay": ("stay", "■", "No. Nothing measured speaks for replacing {old} by {new}."),
}  # fmt: skip
"""Advice -> look, mark, and the answer in words."""


@dataclass(frozen=True, slots=True)
class Line:
    """What one metric says: today, upgraded (None without a path) and backfilled, and the verdict on the upgrade."""

    metric: str
    today: Evaluation
    upgraded: Evaluation | None
    backfilled: Evaluation
    state: State


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one comparison.

    `way` is the path that the advice speaks of, or that comes closest; empty where there is none. `others` are the other
    ways that were measured, best first, the naive control last.
    """

    comparison: Comparison
    look: str
    mark: str
    says: str
    label: str
    way: Way
    lines: Sequence[Line]
    rungs: Sequence[Rung]
    others: Sequence[Way]


def answer(comparison: Comparison, metric: str) -> Answer:
    """The answer, with the numbers of `metric` drawn."""
    old, new = comparison.old, comparison.new
    look, mark, says = ANSWERS[comparison.advice]
    ways = _ways(comparison)
    way = _deciding(comparison, ways)
    own = {(e.query, e.metric): e for e in comparison.evaluations if e.role == "self"}
    lines = [
        Line(m, own[old, m], way.get(m), own[new, m], state_of(way[m]) if m in way else "nopath")
        for m in METRIC_NAMES
        if (old, m) in own and (new, m) in own
    ]
    shown = next((line for line in lines if line.metric == metric), lines[0])
    named = (
        (f"today: {old} searches what it stored", shown.today),
        (f"upgraded: {new} searches what {old} stored", shown.upgraded),
        (f"backfilled: all stored anew by {new}", shown.backfilled),
    )
    others = sorted((w for w in ways if w is not way), key=_rank, reverse=True)
    return Answer(
        comparison, look, mark, says.format(old=old, new=new), comparison.evaluations[0].label, way, lines, rungs(named), others
    )  # fmt: skip


def _ways(comparison: Comparison) -> list[Way]:
    """Every way in which `new` was measured on the vectors of `old`."""
    ways: dict[tuple[object, ...], dict[str, Evaluation]] = {}
    for e in comparison.evaluations:
        if (e.query, e.gallery) == (comparison.new, comparison.old):
            ways.setdefault((e.role, e.query_path, e.gallery_path), {})[e.metric] = e
    return list(ways.values())


def _deciding(comparison: Comparison, ways: Sequence[Way]) -> Way:
    """The path of the verdicts. Of several with the same verdicts `registry.services.advice` takes the best, prefixes first."""
    goes = comparison.advice in ("upgrade without backfill", "bridge with a transform")
    same = [
        way
        for way in ways
        if {m: e.verdict for m, e in way.items()} == comparison.verdicts and _first(way).role == "path"
    ]
    return max(same, key=lambda way: (goes and set(_first(way).kinds) == {"prefix"}, _rank(way)), default={})


def _rank(way: Way) -> tuple[bool, float]:
    return _first(way).role != "naive", way["map"].value if "map" in way else 0.0


def _first(way: Way) -> Evaluation:
    return next(iter(way.values()))
