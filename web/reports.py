"""What a fit says of itself, as a page shows it: plain lines, what it found on held-out pairs, and its curves.

A report is whatever its author wrote, so nothing of it is taken for granted.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from registry import calibration
from web.charts import Chart, Series
from web.formats import count, decimal, plain

__all__ = ["Compared", "charts", "compared", "lines", "rest"]

_MOST_LINES = 200
_FEW = 8  # numbers of a list that are written out
_LONGEST = 400
_ENDS: tuple[calibration.End, ...] = get_args(calibration.End)
_NAMES = {"recall": "neighbours of a full re-embedding", "cmc@1": "CMC@1", "map": "mAP"}
"""What held-out pairs are measured by; see `align.bridges.holdout.HeldOut.measure`."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A share in [0, 1] with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Compared:
    """What is found on held-out pairs across the map, by the old version alone, and the difference."""

    name: str
    bridged: Interval
    stay: Interval
    gain: Interval


def lines(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    """A nested mapping of JSON values in lines of what and value, such as (`holdout › pairs`, `89`); 200 at most."""
    found: list[tuple[str, str]] = []
    for line in _lines(report, ""):
        if len(found) == _MOST_LINES:
            return [*found, ("…", "there is more: ask for it as JSON")]
        found.append(line)
    return found


def rest(report: Mapping[str, Any]) -> dict[str, Any]:
    """A report without what `compared` and `charts` show of it."""
    left = dict(report)
    shown = [("holdout", key) for key in _held(report)]
    if any(calibration.curve(report, end) is not None for end in _ENDS):
        shown += [("calibration", "x"), ("calibration", "y")]
    for part, key in shown:
        left[part] = {k: v for k, v in left[part].items() if k != key}
    if len(_curve(report.get("curve"))) > 1:
        del left["curve"]
    return left


def compared(report: Mapping[str, Any]) -> list[Compared]:
    """What the fit found on the pairs that it held out, where it did."""
    return list(_held(report).values())


def _held(report: Mapping[str, Any]) -> dict[str, Compared]:
    held = report.get("holdout")
    found = {}
    for key, name in _NAMES.items():
        three = held.get(key) if isinstance(held, Mapping) else None
        if isinstance(three, Mapping):
            bridged, stay, gain = (_interval(three.get(part)) for part in ("bridged", "stay", "gain"))
            if bridged and stay and gain:
                found[key] = Compared(name, bridged, stay, gain)
    return found


def charts(report: Mapping[str, Any]) -> list[Chart]:
    """The calibration of scores, and any curve over a number, such as slerp's over how far it leans."""
    found = []
    for end in _ENDS:
        knots = calibration.curve(report, end)
        if knots is not None and len(knots[0]) > 1:
            x, y = (axis.tolist() for axis in knots)
            found.append(_calibrated(x, y))
    curve = _curve(report.get("curve"))
    if len(curve) > 1:
        title = "What is found by how far the query leans to the new version; higher is better"
        x = sorted(curve)
        found.append(Chart(title, x, [Series("found", [curve[a] for a in x])], "alpha", "found", name="curve"))
    return found


def _calibrated(x: Sequence[float], y: Sequence[float]) -> Chart:
    return Chart(
        "Which score of the query’s own space goes with a score across this map",
        list(x),
        [Series("calibrated", list(y)), Series("as it is", list(x), look=1)],
        "score across the map",
        "score in the own space",
        y_unit="number",
        name="calibration",
        note="Search across several versions merges calibrated scores. Where the two lines are far apart, scores across the map are of another level.",
    )


def _lines(values: Mapping[str, Any], before: str) -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        name = f"{before}{str(key).replace('_', ' ')}"[:_LONGEST]
        interval = _interval(value)
        if interval is not None:
            yield name, f"{decimal(interval.value)} [{decimal(interval.low)}, {decimal(interval.high)}]"
        elif isinstance(value, Mapping) and value:
            yield from _lines(value, f"{name} › ")
        else:
            yield name, _written(value)


def _written(value: Any) -> str:
    """A value that is no mapping, plainly."""
    if value is None or value in ([], {}, ""):
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return count(value)
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        numbers = [v for v in value if _is_number(v)]
        if len(numbers) == len(value) > _FEW:
            return f"{len(value)} numbers from {decimal(min(numbers))} to {decimal(max(numbers))}"
        if not any(isinstance(v, Mapping | list) for v in value):
            return _cut(", ".join(_written(v) for v in value[: 4 * _FEW]) + (", …" if len(value) > 4 * _FEW else ""))
    return _cut(plain(value))


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _interval(value: object) -> Interval | None:
    """A value with the ends of its interval, if that is what it is."""
    if (
        not isinstance(value, Mapping)
        or set(value) != {"value", "low", "high"}
        or not all(map(_is_number, value.values()))
    ):
        return None
    return Interval(value["value"], value["low"], value["high"])


def _curve(value: object) -> dict[float, float]:
    """Numbers by number, as JSON has them: the keys are text."""
    if not isinstance(value, Mapping):
        return {}
    try:
        found = {float(at): float(y) for at, y in value.items() if _is_number(y)}
    except (TypeError, ValueError):
        return {}
    return found if len(found) == len(value) and all(map(math.isfinite, found)) else {}
