"""`samespace db`: the database's revision."""

from __future__ import annotations

import click

from registry.cli.context import Context, pass_context


@click.group("db")
def command() -> None:
    """Look after the database."""


@command.command("upgrade")
@pass_context
def upgrade(context: Context) -> None:
    """Bring the database to this release's revision; does nothing if it is there."""
    with context.open() as reg:
        from registry.database import HEAD

        if not context.report({"revision": HEAD, "home": reg.home}):
            click.echo(f"{reg.home} is at revision {HEAD}")


@command.command("check")
@pass_context
def check(context: Context) -> None:
    """Say which revision the database is at, and which one this release wants; exit 1 if they differ."""
    from pathlib import Path

    from registry.database import HEAD, Database

    database = Database(context.database or f"sqlite:///{Path(context.home).resolve() / 'registry.db'}")
    at = database.revision() if context.database or Path(context.home, "registry.db").exists() else None
    if not context.report({"revision": at, "wanted": HEAD}):
        click.echo(f"revision {at or 'none'}, this release wants {HEAD}")
    if at != HEAD:
        raise SystemExit(1)
