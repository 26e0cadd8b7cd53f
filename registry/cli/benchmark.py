"""`samespace benchmark`: labelled galleries."""

from __future__ import annotations

import click

from registry.cli.context import Context, pass_context


@click.group("benchmark")
def command() -> None:
    """Create labelled galleries, on which verdicts are measured."""


@command.command("create")
@click.argument("name")
@click.option("--label", "labels", multiple=True, required=True, help="A label column; may be repeated.")
@click.option("--id-type", type=click.Choice(["string", "int"]), default="string", show_default=True)
@pass_context
def create(context: Context, name: str, labels: tuple[str, ...], id_type: str) -> None:
    """Create the empty benchmark NAME; fill it with 'samespace gallery append'."""
    with context.open(create=True) as reg:
        gallery = reg.create_gallery(name, id_type=id_type, labels=labels)
    if not context.report(gallery):
        click.echo(f"created benchmark {name}: fill it with 'samespace gallery append {name} --version VERSION …'")


@command.command("list")
@pass_context
def list_(context: Context) -> None:
    """List benchmarks."""
    with context.open() as reg:
        found = [g for g in reg.galleries() if g.is_benchmark]
    if context.report(found):
        return
    rows = [(g.name, str(g.items), ", ".join(g.labels), ", ".join(s.version for s in g.segments)) for g in found]
    context.table(
        "Benchmarks",
        ("benchmark", "items", "labels", "embedded by"),
        rows,
        empty="no benchmarks yet: 'samespace benchmark create NAME --label class' makes one",
    )
