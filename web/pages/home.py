"""Home: what is registered, and what needs a decision."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from registry import __version__
from registry.types import Gallery, Matrix
from web import queries, visible
from web.access import Caller, caller
from web.current import current_registry
from web.matrices import cells
from web.pages.base import blueprint, render
from web.upgrades import pairs, upgrades

if TYPE_CHECKING:
    from registry.embedded import Registry

_CHANGES_SHOWN = 8


@blueprint.get("/")
def index() -> str:
    """What is registered, and what may replace what."""
    queries.accept("benchmark", "metric", "label")
    registry, who = current_registry(), caller()
    metric = queries.metric() or "map"
    galleries, versions = visible.galleries(who, registry.galleries()), visible.versions(who, registry.versions())
    benchmark = queries.optional("benchmark") or _default_benchmark(registry, who, galleries, metric)
    labels = next((g.labels for g in galleries if g.name == benchmark), ())
    matrix = _matrix(registry, who, benchmark, metric, _label(labels)) if benchmark else None
    measured = pairs(matrix, versions) if matrix else []
    anchor_sets = visible.anchor_sets(who, registry.anchor_sets())
    return render(
        "home.html",
        section="pages.index",
        release=__version__,
        benchmarks=[g.name for g in galleries if g.is_benchmark],
        benchmark=benchmark,
        labels=labels,
        metric=metric,
        matrix=matrix,
        rows=cells(matrix) if matrix else [],
        upgrades=upgrades(registry, matrix, measured) if matrix else [],
        pairs=len(measured),
        models=visible.models(who, registry.models()),
        versions={name: list(group) for name, group in groupby(versions, key=lambda v: v.model)},
        galleries=galleries,
        transforms=visible.transforms(who, registry.transforms(), anchor_sets),
        anchor_sets=anchor_sets,
        changes=visible.changes(who, registry.changes(limit=_CHANGES_SHOWN)),
    )


def _matrix(registry: Registry, who: Caller, benchmark: str, metric: str, label: str | None) -> Matrix:
    who.require("reader", galleries=[benchmark])
    return visible.matrix(who, registry.matrix(benchmark, metric=metric, label=label))


def _label(labels: Sequence[str]) -> str | None:
    """The label column asked for. The form sends one of the benchmark shown before: it means nothing on another."""
    asked = queries.optional("label")
    return asked if asked in labels else None


def _default_benchmark(registry: Registry, who: Caller, galleries: Sequence[Gallery], metric: str) -> str | None:
    """The benchmark measured last; without evidence the first one there is."""
    first = next((g.name for g in galleries if g.is_benchmark), None)
    measured = visible.evaluations(who, registry.evaluations(metric=metric)) if first else []
    newest = max(measured, key=lambda e: e.created_at, default=None)
    return newest.benchmark if newest else first
