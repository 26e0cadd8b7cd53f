"""How evidence looks in a terminal: cells with intervals, verdicts by colour and by sign."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from registry.types import DECIDING_METRICS, METRIC_NAMES, Comparison, Evaluation

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

__all__ = ["cell_key", "comparison_lines", "comparison_markdown", "evidence_table", "verdict_text"]

_LOOKS = {
    "compatible": ("✓ compatible", "green"),
    "incompatible": ("✗ incompatible", "red"),
    "inconclusive": ("? inconclusive", "yellow"),
}
_WIDE = 128
_CAPTION = (
    "In per cent, higher is better; ± is half the 95 % bootstrap interval. gain: against the gallery's own version on the\n"
    "same queries. compatible: both gains are surely above 0. own space: what a gallery's own version finds."
)
_SHORT_CAPTION = (
    "Per cent; gain is against the gallery's own version.\n✓ compatible  ✗ incompatible  ? inconclusive  · own space"
)


def verdict_text(cells: Mapping[str, Evaluation]) -> Text:
    """One verdict of the two that decide, with its sign and colour, and the metric that it rests on where they differ.

    Compatible if both are; incompatible if either is.
    """
    from rich.text import Text

    verdicts = {metric: cells[metric].verdict for metric in DECIDING_METRICS}
    worst = next((v for v in ("incompatible", "inconclusive") if v in verdicts.values()), cells["map"].verdict)
    text, style = _LOOKS.get(worst or "", ("· own space", "dim"))
    where = [METRIC_NAMES[m] for m, v in verdicts.items() if v == worst]
    return Text(text if len(where) == len(DECIDING_METRICS) else f"{text} ({where[0]})", style=style)


def evidence_table(
    found: Sequence[Evaluation], *, title: str, width: int, names: Mapping[str, str] | None = None
) -> Table:
    """One row for each way of comparing: what was measured, the gain, and the verdict on CMC@1 and mAP.

    Below `_WIDE` columns CMC@5 and the intervals of values are left out, and verdicts are signs. `names` calls some
    rows otherwise than by the kinds of their path; see `cell_key`.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    wide = width >= _WIDE
    table = Table(title=title, title_justify="left", title_style="bold", header_style="bold", box=box.SIMPLE_HEAD)
    table.caption_justify = "left"
    table.caption = _CAPTION if wide else _SHORT_CAPTION
    table.add_column("query on gallery", no_wrap=True)
    table.add_column("how", min_width=12)
    shown = ("cmc@1", "cmc@5", "map") if wide else ("cmc@1", "map")
    gains = ("gain CMC@1", "gain mAP") if wide else ("gain", "gain")
    for column in (*(METRIC_NAMES[m] for m in shown), *gains):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("verdict" if wide else "", no_wrap=True)
    for cells in _rows(found):
        e = cells["map"]
        how = (names or {}).get(cell_key(e)) or e.way
        verdict = verdict_text(cells)
        table.add_row(
            Text(f"{e.query} on {e.gallery}"), Text(how), *(_value(cells[m], wide=wide) for m in shown),
            _gain(cells["cmc@1"], wide=wide), _gain(e, wide=wide), verdict if wide else verdict[:1],
        )  # fmt: skip
    return table


def cell_key(e: Evaluation) -> str:
    """What tells the cells of one benchmark apart, whatever the metric."""
    return f"{e.query}|{e.gallery}|{e.role}|{'+'.join(e.kinds)}"


def _value(e: Evaluation, *, wide: bool) -> str:
    return f"{100 * e.value:.1f} ±{50 * (e.high - e.low):.1f}" if wide else f"{100 * e.value:.1f}"


def _gain(e: Evaluation, *, wide: bool) -> str:
    if e.role == "self":
        return ""
    return _signed(e.gain) + (f" ±{50 * (e.gain_high - e.gain_low):.1f}" if wide else "")


def _signed(fraction: float) -> str:
    """In points; what rounds to nothing has no sign."""
    text = f"{100 * fraction:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text


def _rows(found: Sequence[Evaluation]) -> list[dict[str, Evaluation]]:
    rows: dict[tuple[object, ...], dict[str, Evaluation]] = {}
    for e in found:
        rows.setdefault((e.benchmark, e.query, e.gallery, e.role, e.query_path, e.gallery_path), {})[e.metric] = e
    return list(rows.values())


def comparison_markdown(found: Comparison) -> str:
    """The same as a Markdown section, for the summary of a CI job: advice, reason, evidence."""
    columns = ("query on gallery", "how", "CMC@1", "gain", "mAP", "gain", "verdict")
    lines = [columns, ("---",) * len(columns)]
    for cells in _rows(found.evaluations):
        first, e = cells["cmc@1"], cells["map"]
        measured = (text for m in (first, e) for text in (_value(m, wide=True), _gain(m, wide=True)))
        lines.append((f"{e.query} on {e.gallery}", e.way, *measured, verdict_text(cells).plain))
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return (
        f"## {found.new} instead of {found.old}: {found.advice}\n\n{found.reason}\n\n"
        f"Measured on {found.benchmark}; per cent, ± is half the 95 % bootstrap interval.\n\n{table}\n"
    )


def comparison_lines(found: Comparison) -> str:
    """The verdicts and the advice of a comparison, as text."""
    if not found.verdicts:
        said = "no path"
    elif len(set(found.verdicts.values())) == 1:
        said = f"{found.verdicts['map']} on all of {', '.join(METRIC_NAMES[m] for m in METRIC_NAMES if m in found.verdicts)}"
    else:
        said = ", ".join(f"{METRIC_NAMES[m]} {found.verdicts[m]}" for m in METRIC_NAMES if m in found.verdicts)
    return (
        f"{found.new} instead of {found.old}, on {found.benchmark}: {found.advice}\n"
        f"  {found.reason}\n  verdicts: {said}"
    )
