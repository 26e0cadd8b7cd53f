"""Upgrades as a page shows them: the advice on a pair, and the three numbers that it rests on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from registry.types import Advice, Comparison, Evaluation
from web.matrices import State

__all__ = ["Rung", "Upgrade", "rungs", "upgrades"]

_ADVICE = get_args(Advice)  # in the order of what costs least

_STEP = 0.05  # the scale of a drawing ends at multiples of this, so that neighbours look alike
_EDGE = 2.0  # per cent of the drawing's width kept free for the dots at its ends


@dataclass(frozen=True, slots=True)
class Rung:
    """One of the numbers, and where it is drawn: per cents of the width; None where it was not measured."""

    label: str
    evaluation: Evaluation | None
    at: float = 0.0
    left: float = 0.0
    right: float = 0.0


@dataclass(frozen=True, slots=True)
class Upgrade:
    """May `new` replace `old`? Verdict for each metric, and what searching gives today, after the upgrade, and at best."""

    comparison: Comparison
    verdicts: dict[str, State]
    rungs: tuple[Rung, ...]

    @property
    def label(self) -> str:
        """The label column that says what is relevant."""
        return self.comparison.evaluations[0].label


def upgrades(found: Sequence[Comparison], metric: str) -> list[Upgrade]:
    """Comparisons as they are shown, drawn for one metric. Those that may go ahead come first, each kind in its order."""
    shown = [Upgrade(c, _verdicts(c), _rungs(c, metric)) for c in found]
    return sorted(shown, key=lambda u: _ADVICE.index(u.comparison.advice))


def _verdicts(comparison: Comparison) -> dict[str, State]:
    measured = sorted({e.metric for e in comparison.evaluations})
    return {metric: comparison.verdicts.get(metric, "nopath") for metric in measured}


def _rungs(comparison: Comparison, metric: str) -> tuple[Rung, ...]:
    old, new = comparison.old, comparison.new
    cells = [e for e in comparison.evaluations if e.metric == metric and e.role != "naive"]
    wanted = (
        (f"{old} today", old, old),
        (f"{new}, stored vectors", new, old),
        (f"{new}, backfilled", new, new),
    )
    best = [
        (label, max((e for e in cells if (e.query, e.gallery) == (q, g)), key=lambda e: e.value, default=None))
        for label, q, g in wanted
    ]
    return rungs(best)


def rungs(found: Sequence[tuple[str, Evaluation | None]]) -> tuple[Rung, ...]:
    """Labelled numbers as rungs of one drawing, on a scale that holds all their intervals."""
    measured = [e for _, e in found if e]
    low = math.floor(min((e.low for e in measured), default=0.0) / _STEP) * _STEP
    high = max(math.ceil(max((e.high for e in measured), default=1.0) / _STEP) * _STEP, low + _STEP)
    return tuple(_rung(label, e, low, high) for label, e in found)


def _rung(label: str, e: Evaluation | None, low: float, high: float) -> Rung:
    if e is None:
        return Rung(label, None)
    at, left, right = (
        round(_EDGE + (100 - 2 * _EDGE) * (value - low) / (high - low), 2) for value in (e.value, e.low, e.high)
    )
    return Rung(label, e, at, left, right)
