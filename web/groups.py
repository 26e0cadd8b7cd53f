"""Gains and losses by class and by slice, as tables that can be sorted by any column."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

from registry.errors import InvalidInput
from registry.types import STAGES, Group, Study
from web import queries

__all__ = ["COLUMNS", "Bar", "Row", "Table", "order", "rows", "tables"]

COLUMNS: dict[str, tuple[str, Callable[[Group], float | str]]] = {
    "value": ("value", lambda g: g.value),
    "queries": ("queries", lambda g: g.queries),
    **{stage: (stage, lambda g, stage=stage: g.map.get(stage, 0.0)) for stage in STAGES},  # type: ignore[misc]
    "gain": ("gain", lambda g: g.gain),
    "lost": ("lost", lambda g: g.negative_flips),
    "won": ("won", lambda g: g.positive_flips),
}
"""Column -> its heading, and what it is sorted by."""

_AT_ENDS = 10
_EDGE = 2.0  # per cent of a drawing's width kept free at its ends


@dataclass(frozen=True, slots=True)
class Bar:
    """A gain as it is drawn, in per cents of the width: from the middle, with its interval."""

    left: float
    width: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Row:
    """What the upgrade changes for one group."""

    group: Group
    bar: Bar


@dataclass(frozen=True, slots=True)
class Table:
    """The groups of one label column in order: all of them, or, of many, the first and the last ones."""

    column: str
    rows: Sequence[Row]

    @property
    def first(self) -> Sequence[Row]:
        """All, if the table is short."""
        return self.rows[:_AT_ENDS] if self.is_long else self.rows

    @property
    def last(self) -> Sequence[Row]:
        """The ends of a long table."""
        return self.rows[-_AT_ENDS:] if self.is_long else ()

    @property
    def is_long(self) -> bool:
        """Whether not all rows are shown at once."""
        return len(self.rows) > 2 * _AT_ENDS


def order() -> str:
    """The parameter `sort`: a column, with a minus the largest first; by default the losses come first."""
    asked = queries.optional("sort") or "gain"
    if asked.removeprefix("-") not in COLUMNS:
        raise InvalidInput(
            f"sort must be one of {', '.join(COLUMNS)}, or one with a minus before it, got {asked!r:.80}"
        )
    return asked


def tables(study: Study, sort: str) -> list[Table]:
    """A table for each label column: the studied one first, then its slices."""
    found = groupby(sorted(study.groups, key=lambda g: (g.column != study.label, g.column)), key=lambda g: g.column)
    return [Table(column, rows(list(groups), sort)) for column, groups in found]


def rows(groups: Sequence[Group], sort: str) -> list[Row]:
    """The groups of one column in the order asked for, drawn on one scale."""
    key = COLUMNS[sort.removeprefix("-")][1]
    ordered = sorted(groups, key=lambda g: g.value)
    ordered.sort(key=key, reverse=sort.startswith("-"))
    widest = max((abs(v) for g in groups for v in (g.gain, g.gain_low, g.gain_high)), default=0.0) or 1.0
    return [Row(g, _bar(g, widest)) for g in ordered]


def _bar(group: Group, widest: float) -> Bar:
    middle, gain, low, high = (
        round(50 + (50 - _EDGE) * value / widest, 2) for value in (0.0, group.gain, group.gain_low, group.gain_high)
    )
    return Bar(min(middle, gain), round(abs(gain - middle), 2), low, high)
