"""Charts as a page shows them: a table of numbers, which `static/js/charts.js` draws.

The table is in the page whether it is drawn or not, so a chart and its numbers can never differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = ["Chart", "Mark", "Series"]

Kind = Literal["line", "steps", "bars"]
Unit = Literal["percent", "number", "count", "time", "text"]


@dataclass(frozen=True, slots=True)
class Series:
    """Values (n,), None where nothing was measured, with the ends of their intervals if they have some.

    A `level` is one value all along, drawn without points. `look` is the number of its colour, dash and point from 1, the same for one thing on all pages: today is 1, upgraded 2,
    backfilled 3, the naive control 4.
    """

    name: str
    values: Sequence[float | None]
    low: Sequence[float | None] = ()
    high: Sequence[float | None] = ()
    look: int = 2
    level: bool = False


@dataclass(frozen=True, slots=True)
class Mark:
    """A line across the chart at `at` of the horizontal axis, such as a threshold."""

    at: float
    label: str
    look: int = 1


@dataclass(frozen=True, slots=True)
class Chart:
    """Series over `x` (n,). The title says what is better.

    `x_unit` text: `x` are words, at equal distances. `kind` steps: each value reaches from its x to the next one, as of a
    histogram, whose last x closes the last bin and has no value. `log` draws the horizontal axis by powers of ten.
    """

    title: str
    x: Sequence[float | str]
    series: Sequence[Series]
    x_label: str
    y_label: str
    x_unit: Unit = "number"
    y_unit: Unit = "percent"
    kind: Kind = "line"
    log: bool = False
    marks: Sequence[Mark] = ()
    note: str = ""
    name: str = ""
    """What the page calls it in an address or a test; optional."""
