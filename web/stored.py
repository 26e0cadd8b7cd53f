"""What a gallery holds as a small bar: how many vectors each version stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from registry.types import Segment

__all__ = ["Bar", "bars"]

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Bar:
    """A part of the bar: its place and width in percent of the whole; `version` is None for all that are left."""

    version: str | None
    rows: int
    x: float
    width: float
    look: int


def bars(segments: Sequence[Segment]) -> list[Bar]:
    """The bar of a gallery, the largest part first; an item that two versions embedded counts in both."""
    largest = sorted(segments, key=lambda s: -s.rows)
    parts: list[tuple[str | None, int]] = [(s.version, s.rows) for s in largest[:_SHOWN]]
    if rest := sum(s.rows for s in largest[_SHOWN:]):
        parts.append((None, rest))
    whole = sum(rows for _, rows in parts) or 1
    found, x = [], 0.0
    for look, (version, rows) in enumerate(parts):
        width = 100 * rows / whole
        found.append(Bar(version, rows, round(x, 3), round(width, 3), 1 + (look + 1) % 6))
        x += width
    return found
