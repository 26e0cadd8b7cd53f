"""`samespace gallery export`: a whole gallery, in the space that is asked for, as Parquet or .npy files."""

from __future__ import annotations

from pathlib import Path

import click

from registry.cli.context import Context, pass_context

__all__ = ["export"]


@click.command("export")
@click.argument("name")
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--into", required=True, metavar="SPACE", help="The space of the vectors, such as products/2.")
@click.option("--allow-unmeasured", is_flag=True, help="Use a path that no evaluation speaks for.")
@pass_context
def export(context: Context, name: str, target: Path, into: str, allow_unmeasured: bool) -> None:
    """Write all items of gallery NAME to TARGET: a .parquet file (id, vector), or a folder of vectors.npy and ids.npy.

    Memory does not grow with the gallery. 'samespace gallery append' and 'attach' read both.
    """
    from registry import exporting

    with context.open() as reg:
        blocks = reg.scan(name, into=into, allow_unmeasured=allow_unmeasured)
        rows = exporting.export(blocks, target)
    if not context.report({"gallery": name, "into": into, "rows": rows, "target": target}):
        click.echo(f"wrote {rows} vectors of {name} in {into} to {target}")
