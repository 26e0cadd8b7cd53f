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
    with context.open(create=True) as reg:
        from registry.database import HEAD

        if not context.report({"revision": HEAD, "home": reg.home}):
            click.echo(f"{reg.home} is at revision {HEAD}")


@command.command("check")
@pass_context
def check(context: Context) -> None:
    """Say which revision the database is at, and which one this release wants; exit 1 if they differ."""
    from pathlib import Path

    from registry.database import HEAD, Database
    from registry.errors import NotFound

    file = Path(context.home).resolve() / "registry.db"
    if not context.database and not file.is_file():
        raise NotFound(f"there is no registry at {context.home}: check --home, or make one with 'samespace db upgrade'")
    at = Database(context.database or f"sqlite:///{file}").revision()
    if not context.report({"revision": at, "wanted": HEAD}):
        hint = "" if at == HEAD else ": run 'samespace db upgrade'"
        click.echo(f"revision {at or 'none'}, this release wants {HEAD}{hint}")
    if at != HEAD:
        raise SystemExit(1)
