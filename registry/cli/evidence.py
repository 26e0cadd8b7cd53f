"""How evidence looks in a terminal: cells with intervals, verdicts by colour and by sign."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from registry.types import Comparison, Evaluation

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

__all__ = ["cell_key", "comparison_lines", "describe", "evidence_table", "verdict_text"]

_LOOKS = {
    "compatible": ("✓ compatible", "green"),
    "incompatible": ("✗ incompatible", "red"),
    "inconclusive": ("? inconclusive", "yellow"),
}
_SHOWN = ("cmc@1", "cmc@5", "map")
_NAMES = {"cmc@1": "CMC@1", "cmc@5": "CMC@5", "map": "mAP", "map@r": "mAP@R", "mrr": "MRR"}


def verdict_text(verdict: str | None) -> Text:
    """A verdict with its sign and colour."""
    from rich.text import Text

    text, style = _LOOKS.get(verdict or "", ("· own space", "dim"))
    return Text(text, style=style)


def evidence_table(found: Sequence[Evaluation], *, title: str, names: Mapping[str, str] | None = None) -> Table:
    """One row for each way of comparing: CMC@1, CMC@5 and mAP, the gain, and the verdict on CMC@1 and mAP.

    `names` calls some rows otherwise than by the kinds of their path; see `cell_key`.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", title_style="bold", header_style="bold", box=box.SIMPLE_HEAD)
    table.caption_justify = "left"
    table.caption = "% ± half the 95 % bootstrap interval. gain: against the gallery's own version, paired by query. Higher is better."
    table.add_column("query on gallery", no_wrap=True)
    table.add_column("how")
    for column in (*(_NAMES[m] for m in _SHOWN), "gain CMC@1", "gain mAP"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for cells in _rows(found):
        e = cells["map"]
        how = (names or {}).get(cell_key(e)) or describe(e)
        table.add_row(
            Text(f"{e.query} on {e.gallery}"), Text(how), *(_value(cells[m]) for m in _SHOWN),
            _gain(cells["cmc@1"]), _gain(e), verdict_text(_overall(cells)),
        )  # fmt: skip
    return table


def cell_key(e: Evaluation) -> str:
    """What tells the cells of one benchmark apart, whatever the metric."""
    return f"{e.query}|{e.gallery}|{e.role}|{'+'.join(e.kinds)}"


def _overall(cells: dict[str, Evaluation]) -> str | None:
    """One verdict of two: compatible if both are, incompatible if either is."""
    verdicts = {cells["cmc@1"].verdict, cells["map"].verdict}
    if len(verdicts) == 1:
        return verdicts.pop()
    return "incompatible" if "incompatible" in verdicts else "inconclusive"


def describe(e: Evaluation) -> str:
    """In words, how a cell compares."""
    if e.role == "naive":
        return "naive: as if one space"
    return "own space" if e.role == "self" else " + ".join(e.kinds)


def _value(e: Evaluation) -> str:
    return f"{100 * e.value:.1f} ±{50 * (e.high - e.low):.1f}"


def _gain(e: Evaluation) -> str:
    return "" if e.role == "self" else f"{100 * e.gain:+.1f} ±{50 * (e.gain_high - e.gain_low):.1f}"


def _rows(found: Sequence[Evaluation]) -> list[dict[str, Evaluation]]:
    rows: dict[tuple[object, ...], dict[str, Evaluation]] = {}
    for e in found:
        rows.setdefault((e.benchmark, e.query, e.gallery, e.role, e.query_path, e.gallery_path), {})[e.metric] = e
    return [cells for cells in rows.values() if all(metric in cells for metric in _SHOWN)]


def comparison_lines(found: Comparison) -> str:
    """The verdicts and the advice of a comparison, as text."""
    verdicts = ", ".join(f"{_NAMES.get(m, m)} {found.verdicts[m]}" for m in _NAMES if m in found.verdicts)
    return f"{found.new} instead of {found.old}, on {found.benchmark}: {verdicts or 'no path'}\n  advice: {found.advice} ({found.reason})"
