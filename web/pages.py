"""The pages for people, and the health check for machines."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from flask import Blueprint, Response, jsonify, render_template

from registry import __version__
from registry.types import Gallery
from web import queries
from web.current import current_registry
from web.matrices import STATES, cells, state_of
from web.upgrades import pairs, upgrades

if TYPE_CHECKING:
    from registry.embedded import Registry

__all__ = ["blueprint"]

blueprint = Blueprint("pages", __name__)

_CHANGES_SHOWN = 8


@blueprint.get("/healthz")
def healthz() -> Response:
    """Whether the registry answers: the database is read."""
    current_registry().changes(limit=1)
    return jsonify(status="ok", release=__version__)


@blueprint.get("/")
def index() -> str:
    """What is registered, and what may replace what."""
    queries.accept("benchmark", "metric", "label")
    registry = current_registry()
    metric = queries.metric() or "map"
    galleries, versions = registry.galleries(), registry.versions()
    benchmark = queries.optional("benchmark") or _default_benchmark(registry, galleries, metric)
    labels = next((g.labels for g in galleries if g.name == benchmark), ())
    matrix = registry.matrix(benchmark, metric=metric, label=_label(labels)) if benchmark else None
    measured = pairs(matrix, versions) if matrix else []
    return render_template(
        "index.html",
        release=__version__,
        benchmarks=[g.name for g in galleries if g.is_benchmark],
        benchmark=benchmark,
        labels=labels,
        metric=metric,
        metrics=queries.METRICS,
        states=STATES,
        state_of=state_of,
        matrix=matrix,
        rows=cells(matrix) if matrix else [],
        upgrades=upgrades(registry, matrix, measured) if matrix else [],
        pairs=len(measured),
        models=registry.models(),
        versions={name: list(group) for name, group in groupby(versions, key=lambda v: v.model)},
        galleries=galleries,
        transforms=registry.transforms(),
        anchor_sets=registry.anchor_sets(),
        changes=registry.changes(limit=_CHANGES_SHOWN),
    )


def _label(labels: Sequence[str]) -> str | None:
    """The label column asked for. The form sends one of the benchmark shown before: it means nothing on another."""
    asked = queries.optional("label")
    return asked if asked in labels else None


def _default_benchmark(registry: Registry, galleries: Sequence[Gallery], metric: str) -> str | None:
    """The benchmark measured last; without evidence the first one there is."""
    first = next((g.name for g in galleries if g.is_benchmark), None)
    newest = max(registry.evaluations(metric=metric), key=lambda e: e.created_at, default=None) if first else None
    return newest.benchmark if newest else first
