"""`samespace gallery index`: search indexes over what versions stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from registry.cli.context import Context, pass_context

if TYPE_CHECKING:
    from rich.text import Text

    from registry.types import IndexInfo

__all__ = ["index"]

_GOOD, _FAIR = 0.95, 0.8


@click.group("index")
def index() -> None:
    """Build, list and drop search indexes."""


@index.command("build")
@click.argument("name")
@click.option("--version", help="Whose vectors; may be left out where one version alone wrote.")
@click.option(
    "--kind",
    type=click.Choice(["auto", "exact", "hnsw", "ivf", "ivfpq", "opq"]),
    default="auto",
    show_default=True,
    help="auto chooses by the number of rows.",
)
@click.option(
    "--compression",
    type=click.Choice(["none", "half", "int8", "pq", "lowrank"]),
    default="none",
    show_default=True,
    help="What of each vector is kept; the loss is measured.",
)
@click.option("--recall", type=float, default=0.95, show_default=True, help="The share of the closest 10 to reach.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=NUMBER",
    help="m, ef_construction, ef_search, nlist, nprobe, pq_m, pq_bits or rank; may be repeated.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@pass_context
def build(
    context: Context, name: str, version: str | None, kind: str, compression: str, recall: float,
    settings: tuple[str, ...], seed: int,
) -> None:  # fmt: skip
    """Build an index over what a version stored in gallery NAME; searches go on meanwhile, and use it from then on."""
    given = dict(_number(text) for text in settings) or None
    with context.open() as reg, context.progress() as bars:
        task = bars.add_task(f"indexing {name}", total=None)
        made = reg.build_index(
            name, version, kind=kind, compression=compression, recall=recall, settings=given, seed=seed,
            progress=lambda done, of: bars.update(task, completed=done, total=of),
        )  # fmt: skip
    if not context.report(made):
        click.echo(
            f"indexed {made.rows} vectors of {made.version} in {name} by {made.how} in {made.seconds:.0f} s: "
            f"recall@{made.k} {made.recall:.3f}, {_size(made.bytes)} (exact: {_size(made.exact_bytes)})"
        )
        if made.recall < made.target:
            click.secho(
                f"that recall is below the {made.target:g} that was asked for: another --kind or --compression keeps more",
                fg="yellow",
            )


@index.command("list")
@click.argument("name", required=False)
@pass_context
def list_(context: Context, name: str | None) -> None:
    """List the indexes of gallery NAME, or all."""
    with context.open() as reg:
        found = reg.indexes(name)
    if context.report(found):
        return
    rows = [
        (i.gallery, i.version, i.how, _recall(i), _covered(i), _size(i.bytes), f"{i.created_at:%Y-%m-%d %H:%M}")
        for i in found
    ]
    columns = ("gallery", "version", "index", "recall", "covers", "size", "built (UTC)")
    context.table("Indexes", columns, rows, empty="no indexes: 'samespace gallery index build NAME' makes one")


@index.command("drop")
@click.argument("name")
@click.option("--version", required=True, help="Whose vectors it is over.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_context
def drop(context: Context, name: str, version: str, yes: bool) -> None:
    """Let the index over what a version stored in gallery NAME go; searches are exact again."""
    with context.open() as reg:
        if not yes:
            click.confirm(f"drop the index of {version} in {name}? Its vectors stay", abort=True)
        reg.drop_index(name, version)
    if not context.report({"gallery": name, "version": version, "dropped": True}):
        click.echo(f"dropped the index of {version} in {name}")


def _number(text: str) -> tuple[str, int]:
    name, sign, value = text.partition("=")
    if not sign or not value.isdecimal():
        raise click.UsageError(f"--set is NAME=NUMBER, such as m=32, got {text!r:.80}")
    return name, int(value)


def _recall(info: IndexInfo) -> Text:
    from rich.text import Text

    style = "green" if info.recall >= _GOOD else "yellow" if info.recall >= _FAIR else "red"
    return Text(f"{info.recall:.3f} @{info.k}", style=style)


def _covered(info: IndexInfo) -> str:
    return f"{info.rows} of {info.rows_now}" if info.rows != info.rows_now else f"all {info.rows}"


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB"
