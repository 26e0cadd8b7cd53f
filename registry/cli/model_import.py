"""`samespace model import`: versions and aliases from a model registry of MLflow."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from registry.cli.context import Context, pass_context

if TYPE_CHECKING:
    from align.importing import Imported


@click.command("import")
@click.argument("source", metavar="models:/NAME[/NUMBER|@ALIAS]")
@click.option("--as", "model", metavar="MODEL", help="The model's name here; by default its name in MLflow.")
@click.option("--dim", type=click.IntRange(min=1), help="Width of the vectors, where MLflow does not say it.")
@click.option(
    "--metric", type=click.Choice(["cosine", "dot", "l2"]), default="cosine", show_default=True,
    help="How the vectors are compared; a model that samespace made says it itself.",
)  # fmt: skip
@click.option("--tracking-uri", metavar="ADDRESS", help="Where MLflow is; by default in the home.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@pass_context
def command(
    context: Context, source: str, model: str | None, dim: int | None, metric: str, tracking_uri: str | None,
    dry_run: bool,
) -> None:  # fmt: skip
    """Register what an MLflow model registry holds: all versions of a model, or one, with their aliases.

    May be repeated: what is known here is passed over, and aliases that moved in MLflow move here.
    """
    from align.importing import import_models

    def tell(done: Imported) -> None:
        if not context.as_json:
            click.echo(_line(done, dry_run=dry_run))

    with context.open(create=not dry_run) as reg:
        done = import_models(
            reg, source, tracking_uri=tracking_uri or context.tracking_uri, model=model, dim=dim, metric=metric,
            dry_run=dry_run, progress=tell,
        )  # fmt: skip
    if not context.report(done) and not done:
        click.echo(f"{source} has no versions")


def _line(done: Imported, *, dry_run: bool) -> str:
    what = {
        "new": f"would import {done.source}" if dry_run else f"imported {done.source} as {done.version}",
        "known": f"{done.source} is {done.version}",
        "left out": f"left out {done.source}",
    }[done.state]
    width = f" ({done.dim}-d)" if done.dim else ""
    aliases = "".join(f" @{alias}" for alias in done.aliases)
    return f"{what}{width}{aliases}{f': {done.note}' if done.note else ''}"
