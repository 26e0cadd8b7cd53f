"""`samespace evaluate`: fill the compatibility matrix."""

from __future__ import annotations

import click

from registry.cli.context import Context, pass_context


@click.command("evaluate")
@click.argument("benchmark")
@click.option(
    "--version",
    "versions",
    multiple=True,
    help="Only these versions, or prefixes such as products/2[:64]; may be repeated.",
)
@click.option("--label", help="The label column; the first by default.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the bootstrap.")
@pass_context
def command(context: Context, benchmark: str, versions: tuple[str, ...], label: str | None, seed: int) -> None:
    """Measure every query version against every gallery version on BENCHMARK, by every known path."""
    from registry.cli.evidence import evidence_table

    with context.open() as reg:
        with context.progress() as bars:
            task = bars.add_task("evaluating", total=None)
            reg.evaluate(
                benchmark, versions=versions or None, label=label, seed=seed,
                progress=lambda done, total: bars.update(task, completed=done, total=total),
            )  # fmt: skip
        found = reg.evaluations(benchmark)
    if not context.report(found):
        out = context.out
        out.print(evidence_table(found, title=f"Compatibility on {benchmark}", width=out.width))
