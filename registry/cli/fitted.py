"""How a fit looks in a terminal: what the map finds on held-out pairs, its candidates, and a line of advice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

__all__ = ["advice", "candidate_table", "held_out_table", "numbers", "tracked"]

_BY_LABEL = {"cmc@1": "CMC@1", "map": "mAP"}
_CAPTION = "In per cent, higher is better; ± is half the 95 % bootstrap interval.\nNone of these pairs was fitted to."


def held_out_table(report: Mapping[str, Any], *, old: str) -> Table | None:
    """What the map finds on the held-out pairs, beside what `old` finds alone; None where none were held out."""
    found = report.get("holdout")
    if found is None:
        return None
    table = _table(f"{report['method']} on {found['pairs']} held-out pairs", "what is found", "by the map")
    for column in (f"by {old} alone", "gain"):
        table.add_column(column, justify="right", no_wrap=True)
    item = found["item"]
    for name, what in (
        ("recall@1", "own item first"),
        ("recall@10", "own item in the first 10"),
        ("mrr", "own item, MRR"),
    ):
        table.add_row(what, f"{100 * item[name]:.1f}", "", "")
    for name, what in _compared(found).items():
        table.add_row(what, _value(found[name]["bridged"]), _value(found[name]["stay"]), _gain(found[name]["gain"]))
    return table


def candidate_table(report: Mapping[str, Any]) -> Table | None:
    """The methods that were tried, and what each finds; None where there was no choice."""
    candidates = report.get("candidates")
    if not candidates:
        return None
    first = next(iter(candidates.values()))
    table = _table(f"candidates on {first['pairs']} held-out pairs", "method")
    for what in _compared(first).values():
        table.add_column(what, justify="right")
        table.add_column("gain", justify="right", no_wrap=True)
    chosen = report.get("best", report["method"])
    for name, found in candidates.items():
        cells = [
            cell for key in _compared(found) for cell in (_value(found[key]["bridged"]), _gain(found[key]["gain"]))
        ]
        table.add_row(_marked(name, name == chosen), *cells)
    return table


def advice(report: Mapping[str, Any], *, old: str) -> str:
    """One line on whether this map is worth having, as far as the held-out pairs can tell."""
    found = report.get("holdout")
    if found is None:
        return "no pairs were held out, so what this map finds is not known: evaluate it before you use it"
    by_label = [name for name in _BY_LABEL if name in found]
    gains = {name: found[name]["gain"] for name in by_label or ["recall"]}
    what = " and ".join(_BY_LABEL[name] for name in by_label) or "the neighbours of a full re-embedding"
    if all(gain["low"] > 0 for gain in gains.values()):
        said = f"across the map more is found of {what} than {old} finds alone"
    elif any(gain["high"] < 0 for gain in gains.values()):
        said = f"{old} alone finds more of {what}: stay with it, or re-embed the gallery, rather than use this map"
    else:
        said = (
            f"whether the map or {old} alone finds more of {what}, these pairs do not tell: hold out more, or evaluate"
        )
    return said + (" (few pairs for so many dimensions: low confidence)" if report.get("confidence") == "low" else "")


def numbers(report: Mapping[str, Any]) -> str:
    """The plain numbers of a report in a line."""
    return ", ".join(f"{name} {value:.4g}" for name, value in report.items() if _is_number(value))


def tracked(report: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """The nested numbers of a report under names that MLflow takes, such as `holdout.recall.gain.low`."""
    return {name.replace("@", "_at_"): value for name, value in _nested(report, prefix)}


def _nested(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, float]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _nested(value, f"{prefix}{name}.")
        elif _is_number(value):
            yield f"{prefix}{name}", float(value)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _compared(found: Mapping[str, Any]) -> dict[str, str]:
    """What was measured with a gain, and how it is called."""
    names = {"recall": f"neighbours of a full re-embedding, recall@{found['k']}", **_BY_LABEL}
    return {name: what for name, what in names.items() if name in found}


def _table(title: str, *columns: str) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), title_justify="left", title_style="bold", header_style="bold", box=SIMPLE_HEAD)
    table.caption, table.caption_justify = _CAPTION, "left"
    for i, column in enumerate(columns):
        table.add_column(column, justify="right" if i else "left")
    return table


def _marked(name: str, chosen: bool) -> Text:
    from rich.text import Text

    return Text(f"{name} *" if chosen else name, style="bold" if chosen else "")


def _value(interval: Mapping[str, float]) -> str:
    return f"{100 * interval['value']:.1f} ±{50 * (interval['high'] - interval['low']):.1f}"


def _gain(interval: Mapping[str, float]) -> Text:
    from rich.text import Text

    style = "green" if interval["low"] > 0 else "red" if interval["high"] < 0 else "yellow"
    return Text(f"{100 * interval['value']:+.1f} ±{50 * (interval['high'] - interval['low']):.1f}", style=style)
