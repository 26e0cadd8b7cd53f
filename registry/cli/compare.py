"""`samespace compare`: the verdict and the advice for an upgrade."""

from __future__ import annotations

from pathlib import Path

import click

from registry.cli.context import Context, pass_context
from registry.errors import InvalidInput


@click.command("compare")
@click.argument("old")
@click.argument("new")
@click.option("--benchmark", help="Needed only where several benchmarks measured the pair.")
@click.option(
    "--gate", is_flag=True, help="Exit 1 unless NEW may replace OLD without backfilling, by itself or with a bridge."
)
@click.option(
    "--summary",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Append the answer to FILE as Markdown, such as the job summary of a CI.",
)
@pass_context
def command(context: Context, old: str, new: str, benchmark: str | None, gate: bool, summary: Path | None) -> None:
    """May version NEW replace version OLD without backfilling? From stored evidence."""
    from registry.cli.evidence import comparison_lines, comparison_markdown, evidence_table

    with context.open() as reg:
        found = reg.compare(old, new, benchmark=benchmark)
    if not context.report(found):
        out = context.out
        title = f"{found.new} against {found.old} on {found.benchmark}"
        out.print(evidence_table(found.evaluations, title=title, width=out.width))
        click.echo(comparison_lines(found))
    if summary is not None:
        try:
            with summary.open("a", encoding="utf-8") as file:
                file.write(comparison_markdown(found))
        except OSError as error:
            raise InvalidInput(f"cannot write the summary to {summary}: {error.strerror}; name another file") from error
    if gate and found.advice not in ("upgrade without backfill", "bridge with a transform"):
        raise SystemExit(1)
