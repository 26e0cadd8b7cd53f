"""`samespace study`: a closer look at one upgrade, measured and kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from registry.cli.context import Context, pass_context, plain

if TYPE_CHECKING:
    import pyarrow as pa

    from registry.types import Study

__all__ = ["command", "mean_precision"]

_WORST = 5


@click.command("study")
@click.argument("old")
@click.argument("new")
@click.option("--benchmark", help="Needed only where several benchmarks measured the pair.")
@click.option("--label", help="The label column; by default the one that was measured.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of samples, intervals, orders and maps.")
@pass_context
def command(context: Context, old: str, new: str, benchmark: str | None, label: str | None, seed: int) -> None:
    """Look closer at replacing version OLD by NEW: classes, scores, neighbours, and what a backfill brings.

    The pair must be measured, see 'samespace evaluate'. What is found is kept, for the pages too.
    """
    with context.open() as reg:
        with context.progress() as bars:
            task = bars.add_task("studying", total=None)
            found = reg.study(
                old, new, benchmark=benchmark, label=label, seed=seed,
                progress=lambda done, total: bars.update(task, completed=done, total=total),
            )  # fmt: skip
        precision = mean_precision(found, reg.study_items(found.id))
    if context.report({**plain(found), "map": precision}):
        return
    click.echo(f"{found.new} instead of {found.old}, on {found.items:,} items of {found.benchmark}, by {found.label}")
    click.echo(f"{found.queries:,} queries; kept as {found.id}\n")
    _stages(context, found, precision)
    _groups(context, found)
    _thresholds(context, found)
    _filling(context, found)
    click.echo(
        f"of an item's {found.overlap.k} nearest neighbours both versions agree on {100 * found.overlap.mean:.1f} %"
    )


def mean_precision(found: Study, items: pa.Table) -> Mapping[str, float]:
    """The mAP of each stage, from the items of the study."""
    import numpy as np

    return {stage: float(np.nanmean(items[f"ap_{stage}"].to_numpy())) for stage in found.cmc}


def _stages(context: Context, found: Study, precision: Mapping[str, float]) -> None:
    what = {
        "today": f"{found.old} on {found.old}",
        "upgraded": f"{found.new} on {found.old}, by {' + '.join(found.kinds)}",
        "backfilled": f"{found.new} on {found.new}",
    }
    rows = []
    for stage, curve in found.cmc.items():
        at = dict(zip(curve.at, curve.values, strict=True))
        cmc = (_percent(at[k]) if k in at else "" for k in (1, 5))
        rows.append((stage, what[stage], _percent(precision[stage]), *cmc))
    if not found.has_path:
        click.echo(f"no measured path leads from {found.new} to the vectors of {found.old}: nothing is upgraded\n")
    context.table("What queries find, in per cent", ("stage", "", "mAP", "CMC@1", "CMC@5"), rows, empty="")


def _groups(context: Context, found: Study) -> None:
    after = "upgraded" if found.has_path else "backfilled"
    rows = [
        (
            f"{g.column} {g.value}", str(g.queries), _percent(g.map["today"]), _percent(g.map[after]),
            f"{100 * g.gain:+.1f} [{100 * g.gain_low:+.1f}, {100 * g.gain_high:+.1f}]", str(g.negative_flips),
            str(g.positive_flips),
        )
        for g in found.groups[:_WORST]
    ]  # fmt: skip
    title = f"Where {after} is worst against today, {len(rows)} of {len(found.groups)} groups"
    columns = ("group", "queries", "mAP today", after, "gain", "right, now wrong", "wrong, now right")
    context.table(title, columns, rows, empty="")


def _thresholds(context: Context, found: Study) -> None:
    rows = [
        (
            f"{100 * t.false_match_rate:g}", t.stage, f"{t.threshold:.4f}", _percent(t.match_rate),
            f"{100 * t.kept_false_match_rate:.2f}",
        )
        for t in sorted(found.thresholds, key=lambda t: -t.false_match_rate)
    ]  # fmt: skip
    columns = ("false matches, %", "stage", "threshold", "matches, %", "false matches by today's threshold, %")
    context.table("Thresholds on the score", columns, rows, empty="too few pairs of two classes for thresholds\n")


def _filling(context: Context, found: Study) -> None:
    orders = {"random": "random", "uncertainty": "worst served first"}
    areas: dict[tuple[str, str], tuple[float, float | None]]
    areas = {(f.order, f.metric): (f.area, f.raw_area) for f in found.filling}
    rows = [
        (orders[o], *(_percent(area) for m in ("map", "cmc@1") for area in areas[o, m] if area is not None))
        for o in orders
        if (o, "map") in areas
    ]
    empty = "a search would not merge old and new vectors, which different metrics compare: no backfill was measured\n"
    title = "Over a whole backfill, in per cent (area under the curve)"
    raw = any(f.raw is not None for f in found.filling)
    metrics = ("mAP", "mAP, not calibrated", "CMC@1", "CMC@1, not calibrated") if raw else ("mAP", "CMC@1")
    context.table(title, ("order", *metrics), rows, empty=empty)


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"
