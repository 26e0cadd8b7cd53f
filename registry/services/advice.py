"""Advice: what the evidence says about replacing one version by another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy.orm import Session

from registry.errors import InvalidInput, NotFound
from registry.paths import NEEDS_SIDE
from registry.services import evidence, galleries, models
from registry.tables import VersionRow
from registry.types import DECIDING_METRICS, METRIC_NAMES, Advice, Comparison, Evaluation

__all__ = ["advised", "compare", "measured"]

Cells = Mapping[str, Evaluation]
"""One way of comparing, metric -> evaluation."""


def compare(session: Session, old: str, new: str, *, benchmark: str | None, label: str | None) -> Comparison:
    """May `new` replace `old` without backfilling? From the newest measurement of both; nothing is computed here.

    The verdicts are those of one path, the one that the advice speaks of.

    Raises:
        NotFound: the pair is not measured, or on several benchmarks or label columns of which none was named.
    """
    before, after = models.find(session, old), models.find(session, new)
    old, new = before.ref, after.ref
    if old == new:
        raise InvalidInput(f"a comparison needs two versions, got {old} twice")
    cell = measured(session, before, after, benchmark, label)[0]
    both = (before.id, after.id)
    found = evidence.evaluations(session, measurement=cell.measurement, queries=both, stored=both).items
    return advised(old, new, cell.benchmark, found)


def advised(old: str, new: str, benchmark: str, found: tuple[Evaluation, ...]) -> Comparison:
    """The advice that the cells of one measurement of `old` and `new` come to, with those cells."""
    path, advice, reason = _advise(found, old, new)
    verdicts = {m: e.verdict for m, e in path.items() if e.verdict is not None}
    return Comparison(old, new, benchmark, found, verdicts, advice, reason)


def measured(
    session: Session, before: VersionRow, after: VersionRow, benchmark: str | None, label: str | None
) -> tuple[Evaluation, ...]:
    """The newest measurement of the one version against the one before: of mAP, a cell for each way to compare.

    Raises:
        NotFound: there is none, or there are several, of benchmarks or label columns of which none was named.
    """
    old, new = before.ref, after.ref
    cells = evidence.evaluations(
        session,
        benchmark=benchmark,
        label=label,
        metric=evidence.RANKING_METRIC,
        queries=[after.id],
        stored=[before.id],
    ).items
    where = sorted({e.benchmark for e in cells})
    if len(where) != 1:
        named, asked = ("", "") if label is None else (f" for the label {label!r:.80}", f" --label {label:.80}")
        run = f"run 'samespace evaluate BENCHMARK --version {old} --version {new}{asked}'"
        hint = f"name one of {', '.join(where)}" if where else run
        raise NotFound(f"{new} against {old} is measured on {len(where)} benchmarks{named}: {hint}")
    labels = sorted({e.label for e in cells})
    first = str(galleries.gallery(session, where[0]).labels[0])
    chosen = labels[0] if len(labels) == 1 else first
    if chosen not in labels:
        raise NotFound(f"{new} against {old} is measured for the labels {', '.join(labels)}: name one of them")
    return tuple(e for e in cells if e.label == chosen)


def _advise(found: Sequence[Evaluation], old: str, new: str) -> tuple[Cells, Advice, str]:
    """The path that decides, and the advice in design order: a trained prefix, a bridge, a backfill that pays, none."""
    ways: dict[tuple[tuple[str, ...], tuple[str, ...]], dict[str, Evaluation]] = {}
    for e in found:
        if (e.query, e.gallery, e.role) == (new, old, "path"):
            ways.setdefault((e.query_path, e.gallery_path), {})[e.metric] = e
    passing = [cells for cells in ways.values() if all(cells[m].verdict == "compatible" for m in DECIDING_METRICS)]
    if passing:
        best = max(passing, key=lambda cells: (_is_prefix(cells), cells["map"].value))
        return best, *_praise(best, old, new)
    nearest = max(ways.values(), key=_nearness, default={})
    missed = _shortfall(nearest, old)
    own = {(e.query, e.metric): e for e in found if e.role == "self"}
    pays = [m for m in DECIDING_METRICS if own[new, m].low > own[old, m].high]
    costs = [m for m in DECIDING_METRICS if own[new, m].high < own[old, m].low]
    if pays and not costs:
        return nearest, "backfill", f"{missed}, but re-embedding gains surely on {_said(pays)}"
    if pays:
        mixed = f"re-embedding gains surely on {_said(pays)} and loses surely on {_said(costs)}"
        return nearest, "stay", f"{missed}, and {mixed}"
    return nearest, "stay", f"{missed}, and even re-embedding everything shows no sure gain over {old}"


def _said(metrics: Sequence[str]) -> str:
    return " and ".join(METRIC_NAMES[m] for m in metrics)


def _is_prefix(cells: Cells) -> bool:
    return set(cells["map"].kinds) == {"prefix"}


def _praise(cells: Cells, old: str, new: str) -> tuple[Advice, str]:
    gain = cells["map"]
    how = (
        f"{new} beats {old} on {old}'s stored vectors by {100 * gain.gain:+.1f} points of mAP "
        f"[{100 * gain.gain_low:+.1f}, {100 * gain.gain_high:+.1f}]"
    )
    if _is_prefix(cells):
        return "upgrade without backfill", f"{how}, read through its own prefix"
    still = f", which needs each query embedded by {old} too" if NEEDS_SIDE & set(gain.kinds) else ""
    return "bridge with a transform", f"{how}, through {gain.way}{still}"


def _nearness(cells: Cells) -> tuple[int, int, float]:
    """How close a path comes to passing: verdicts on what decides, then on all metrics, then mAP."""
    passed = [m for m, e in cells.items() if e.verdict == "compatible"]
    return sum(m in DECIDING_METRICS for m in passed), len(passed), cells["map"].value


def _shortfall(cells: Cells, old: str) -> str:
    """Why the path that comes closest is not good enough."""
    if not cells:
        return f"no path leads to {old}'s vectors"
    failed = [f"{cells[m].verdict} on {_said([m])}" for m in DECIDING_METRICS if cells[m].verdict != "compatible"]
    return f"the best way to read {old}'s vectors, {cells['map'].way}, is {' and '.join(failed)}"
