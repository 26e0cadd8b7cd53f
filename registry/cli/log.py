"""`samespace log`: who changed what."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import click

from registry.cli.context import Context, pass_context


@click.command("log")
@click.option("--action", help="Only these changes, such as alias.moved.")
@click.option("--subject", help="Only what happened to this, such as products/2; 'products/*' is all that begin so.")
@click.option("--who", help="Only what this token or user did.")
@click.option("--since", metavar="TIME", help="From then on, such as 2026-01-31 or 2026-01-31T12:00+01:00; else UTC.")
@click.option("--until", metavar="TIME", help="Before then.")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="The most lines.")
@pass_context
def command(
    context: Context, action: str | None, subject: str | None, who: str | None, since: str | None, until: str | None,
    limit: int,
) -> None:  # fmt: skip
    """Show the audit log, the newest change first."""
    with context.open() as reg:
        found = reg.changes(limit=limit, action=action, subject=subject, who=who, since=since, until=until)
    if context.report(found):
        return
    rows = [(f"{c.at:%Y-%m-%d %H:%M:%S}", c.who or "", c.action, c.subject, _said(c.details)) for c in found]
    context.table("Changes, in UTC", ("when", "who", "action", "subject", "details"), rows, empty="no such changes")


def _said(details: Mapping[str, Any]) -> str:
    """`from 1, to 2`, without what is empty."""
    return ", ".join(
        f"{key.replace('_', ' ')} {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
        for key, value in details.items()
        if value not in (None, "", [], {})
    )
