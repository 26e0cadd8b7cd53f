"""How backfills look in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from registry.cli.context import Context
from registry.types import METRIC_NAMES, Backfill

if TYPE_CHECKING:
    from rich.text import Text

__all__ = ["duration", "show_backfill", "show_backfills"]

_STYLES = {"planned": "", "running": "cyan", "paused": "yellow", "finished": "green", "rolled back": "dim"}
_TENTHS = 10


def duration(seconds: float | None) -> str:
    """Some time, in two units: `2 h 5 min`."""
    if seconds is None:
        return "unknown"
    whole = round(seconds)
    days, hours, minutes = whole // 86400, whole // 3600 % 24, whole // 60 % 60
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (whole % 60, "s")]
    first = next((i for i, (n, _) in enumerate(parts) if n), len(parts) - 1)
    return " ".join(f"{n} {unit}" for n, unit in parts[first : first + 2])


def show_backfills(context: Context, title: str, found: Sequence[Backfill]) -> None:
    """A table, a line for each."""
    rows = [
        (
            b.id,
            b.gallery,
            b.version,
            _styled(b),
            f"{b.done:,} of {b.total:,}",
            f"{100 * b.share:.1f} %",
            _left(b),
            b.order,
        )
        for b in found
    ]
    columns = ("backfill", "gallery", "by", "state", "done", "", "left", "order")
    empty = "no backfills yet: 'samespace backfill plan GALLERY --into VERSION --encoder …' plans one"
    context.table(title, columns, rows, empty=empty)


def _styled(found: Backfill) -> Text:
    from rich.text import Text

    return Text(found.state, style=_STYLES.get(found.status, ""))


def _left(found: Backfill) -> str:
    return duration(found.seconds_left) if found.is_open else ""


def show_backfill(context: Context, found: Backfill) -> None:
    """All of one."""
    context.out.print(
        f"{found.id}: {found.gallery} by {found.version}, ", _styled(found), sep="", end="\n", markup=False
    )
    click.echo(f"{found.done:,} of {found.total:,} items are dealt with, {found.written:,} vectors of it are there")
    if found.is_run:
        click.echo(f"run by {found.runner}")
    pace = f"{found.pace:,.1f} items/s" if found.pace else "not known yet"
    limit = f", at most {found.rate:g} items/s" if found.rate else ""
    click.echo(
        f"order {found.order}, batches of {found.batch:,}{limit}; pace {pace}; {duration(found.seconds_left)} left"
    )
    click.echo(f"encoder {found.encoder or '(given to run_backfill)'}, of {found.inputs}")
    if found.stop_at:
        click.echo(f"ends at {found.stop_at}, measured on {found.benchmark}")
    if found.advice:
        click.echo(found.advice)
    if found.error:
        click.echo(f"the last run ended: {found.error}")
    _curves(context, found)


def _curves(context: Context, found: Backfill) -> None:
    """What was predicted and measured, in per cent."""
    rows = []
    for told, curves in (("predicted", found.predicted), ("measured", found.measured)):
        for metric, curve in curves.items():
            at = {round(_TENTHS * share): value for share, value in zip(curve.at, curve.values, strict=True)}
            cells = (f"{100 * at[i]:.1f}" if i in at else "" for i in range(_TENTHS + 1))
            rows.append((told, METRIC_NAMES[metric], *cells))
    where = f"predicted by {found.predicted_from}" if found.predicted_from else "no study measured this order"
    columns = ("", "metric", *(f"{_TENTHS * i} %" for i in range(_TENTHS + 1)))
    context.table(f"Quality by the share that is done, in per cent; {where}", columns, rows, empty=where)
