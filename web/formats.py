"""How values are written on pages. Every filter returns plain text, which Jinja escapes."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

__all__ = ["FILTERS"]

_MINUS = "\N{MINUS SIGN}"


def percent(fraction: float) -> str:
    """0.8731 -> `87.3`; the unit stands in the caption."""
    return f"{100 * fraction:.1f}"


def points(fraction: float) -> str:
    """-0.021 -> `−2.1`, always signed, except for a zero."""
    text = f"{100 * abs(fraction):.1f}"
    if text == "0.0":
        return text
    return f"{_MINUS if fraction < 0 else '+'}{text}"


def count(number: int) -> str:
    """12345 -> `12 345`, with narrow spaces that do not break."""
    return f"{number:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def decimal(number: float) -> str:
    """0.123456 -> `0.123`, 1234.5 -> `1234`: three significant digits, more where they stand before the point."""
    text = f"{number:.3g}" if abs(number) < 1000 else f"{number:.0f}"
    return text.replace("-", _MINUS)


def moment(at: datetime) -> str:
    """`2025-11-24 04:08` in UTC."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M")


def duration(seconds: float) -> str:
    """75.2 -> `1 min 15 s`; below ten seconds with one decimal."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def iso(at: datetime) -> str:
    """For the `datetime` attribute of a time element."""
    return at.astimezone(UTC).isoformat(timespec="seconds")


def short(digest: str) -> str:
    """The first twelve characters of a digest or run id."""
    return digest[:12]


def plain(value: Any) -> str:
    """A JSON value in one line: a string as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


FILTERS: dict[str, Callable[..., str]] = {
    f.__name__: f for f in (count, decimal, duration, iso, moment, percent, plain, points, short)
}
