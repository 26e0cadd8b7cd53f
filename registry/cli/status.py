"""`samespace status`: how much there is, and what needs a person."""

from __future__ import annotations

from dataclasses import asdict
from itertools import islice
from typing import TYPE_CHECKING

import click

from registry.cli.backfills import show_backfills
from registry.cli.context import Context, pass_context
from registry.errors import NotAllowed

if TYPE_CHECKING:
    from registry.connecting import Connection
    from registry.types import Counts, Decision

_STYLES = {"unreadable": "bold red", "failing": "red", "drifting": "red", "unmeasured": "yellow"}


@click.command("status")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="The most decisions.")
@pass_context
def command(context: Context, limit: int) -> None:
    """How much there is, and what needs a person's decision, the most urgent first, with the command to run."""
    with context.open() as reg:
        counts, decisions = _counts(reg), reg.decisions(limit=limit)
        going = list(islice(reg.iter_backfills(going=True), limit))
    if context.report({"counts": counts, "decisions": decisions, "backfills": going}):
        return
    if counts is not None:
        held = asdict(counts)
        context.table("What there is", tuple(held), [tuple(f"{n:,}" for n in held.values())], empty="")
    if going:
        show_backfills(context, "Backfills that go on", going)
    _show(context, decisions)
    if len(decisions) == limit:
        click.echo("these are the most urgent: --limit shows others, if there are any")


def _counts(reg: Connection) -> Counts | None:
    """None where the token does not cover everything, which is what is counted."""
    try:
        return reg.counts()
    except NotAllowed:
        return None


def _show(context: Context, decisions: list[Decision]) -> None:
    from rich.text import Text

    rows = [(Text(d.kind, style=_STYLES.get(d.kind, "")), d.says, d.command) for d in decisions]
    columns = ("", "what", "command")
    context.table("What needs a decision", columns, rows, empty="nothing needs a decision")
