"""`samespace compare`: the verdict and the advice for an upgrade."""

from __future__ import annotations

import click

from registry.cli.context import Context, pass_context


@click.command("compare")
@click.argument("old")
@click.argument("new")
@click.option("--benchmark", help="Needed only where several benchmarks measured the pair.")
@click.option(
    "--gate", is_flag=True, help="Exit 1 unless NEW may replace OLD without backfilling, by itself or with a bridge."
)
@pass_context
def command(context: Context, old: str, new: str, benchmark: str | None, gate: bool) -> None:
    """May version NEW replace version OLD without backfilling? From stored evidence."""
    from registry.cli.evidence import comparison_lines, evidence_table

    with context.open() as reg:
        found = reg.compare(old, new, benchmark=benchmark)
    if not context.report(found):
        out = context.out
        title = f"{found.new} against {found.old} on {found.benchmark}"
        out.print(evidence_table(found.evaluations, title=title, width=out.width))
        click.echo(comparison_lines(found))
    if gate and found.advice not in ("upgrade without backfill", "bridge with a transform"):
        raise SystemExit(1)
