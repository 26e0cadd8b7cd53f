"""Shades of the compatibility matrix: which one a cell has, and what they say.

Blue is more, orange is less than the gallery's own version: colours that people tell apart whatever they see of red and
green. The shades are classes, which `static/css/matrix.css` colours.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from registry.errors import InvalidInput
from web import queries
from web.matrices import Cell

__all__ = ["SHOWN", "Scale", "Shown", "scale_of", "shown"]

Shown = Literal["value", "gain", "share"]
SHOWN: dict[Shown, tuple[str, str]] = {
    "value": ("Value", "how good the search is, in per cent"),
    "gain": ("Gain", "by how much the search is better than the gallery's own version, in points"),
    "share": ("Share of re-embedding", "how much of what re-embedding everything would gain is there without it"),
}
"""What number and colour say -> its name, and what it says."""

_UP, _DOWN = 8, 4
_STEPS = 20  # scales end at such parts of the whole, so that pages of neighbouring versions look alike
_LEAST_SHARE = -1.0


def shown() -> Shown:
    """The parameter `show`; the value by default."""
    asked = queries.optional("show") or "value"
    if asked not in SHOWN:
        raise InvalidInput(f"show {asked!r:.120} is not known: use one of {', '.join(SHOWN)}")
    return asked


@dataclass(frozen=True, slots=True)
class Scale:
    """Shades from `low` to `high`; those below `zero` are orange."""

    show: Shown
    low: float
    zero: float
    high: float

    def number(self, cell: Cell) -> float | None:
        """What the cell shows; None where there is nothing to show. A version is no gain over itself."""
        if cell.best is None:
            return None
        if self.show == "value":
            return cell.best.value
        if cell.state == "own":
            return None
        return cell.best.gain if self.show == "gain" else cell.share

    def shade(self, cell: Cell) -> str:
        """The class of the cell: `up-0` to `up-7`, `down-1` to `down-4`, or `plain`."""
        number = self.number(cell)
        if number is None:
            return "plain"
        if number < self.zero and self.low < self.zero:
            return f"down-{min(1 + int(_DOWN * (self.zero - number) / (self.zero - self.low)), _DOWN)}"
        return f"up-{min(int(_UP * (number - self.zero) / (self.high - self.zero)), _UP - 1)}"

    @property
    def shades(self) -> Sequence[str]:
        """All shades of the scale, from `low` to `high`."""
        down = [f"down-{i}" for i in range(_DOWN, 0, -1)] if self.low < self.zero else []
        return [*down, *(f"up-{i}" for i in range(_UP))]


def scale_of(cells: Iterable[Cell], show: Shown) -> Scale:
    """The scale that these cells need."""
    numbers = [n for cell in cells if (n := Scale(show, 0, 0, 1).number(cell)) is not None] or [0.0]
    least, most = min(numbers), max(numbers)
    if show == "share":
        return Scale(show, _LEAST_SHARE if least < 0 else 0.0, 0.0, 1.0)
    low, high = math.floor(least * _STEPS) / _STEPS, math.ceil(most * _STEPS) / _STEPS
    if show == "value":
        return Scale(show, low, low, max(high, low + 1 / _STEPS))
    return Scale(show, min(low, 0.0), 0.0, max(high, 1 / _STEPS))
