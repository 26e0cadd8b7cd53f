"""`samespace gallery drop-segment`: old vectors go, once newer ones are there."""

from __future__ import annotations

import click

from registry.cli.context import Context, pass_context

__all__ = ["drop_segment"]


@click.command("drop-segment")
@click.argument("name")
@click.argument("version")
@click.option("--yes", is_flag=True, help="Do not ask, and give up that backfills of the gallery can be rolled back.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@pass_context
def drop_segment(context: Context, name: str, version: str, yes: bool, dry_run: bool) -> None:
    """Let go of all vectors that VERSION stored in gallery NAME, if each item has another version's.

    Their files go after a day, with 'samespace doctor --fix' or a later append.
    """
    with context.open() as reg:
        ref = reg.version(version).ref
        rows = sum(s.rows for s in reg.gallery(name).segments if s.version == ref)
        if dry_run:
            if not context.report({"gallery": name, "version": ref, "rows": rows, "dropped": 0}):
                click.echo(f"would drop {rows:,} vectors of {ref} from {name}, unless an item has no other")
            return
        if not yes:
            click.confirm(f"drop all {rows:,} vectors of {ref} from {name}?", abort=True)
        dropped = reg.drop_segment(name, ref, final=yes)
    if not context.report({"gallery": name, "version": ref, "dropped": dropped}):
        click.echo(f"dropped {dropped:,} vectors of {ref} from {name}")
