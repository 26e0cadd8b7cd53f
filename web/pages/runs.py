"""Training and fit runs, as MLflow keeps them, and what came of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from flask import current_app, url_for

from registry.errors import NotAllowed, NotFound
from registry.runs import STATUSES, Measured, Run, Runs
from registry.services import outcomes
from registry.services.outcomes import Outcome
from registry.types import DECIDING_METRICS, METRIC_NAMES, AnchorSet, Evaluation, Page
from web import queries, visible
from web.access import Caller, caller
from web.charts import Chart, Series
from web.current import current_registry, current_settings
from web.pages.base import blueprint, render

if TYPE_CHECKING:
    from flask import Flask

__all__ = ["results"]

_KEY = "samespace.runs"
_RUNS_SHOWN = 50
_CELLS = {
    "old_old": "old queries on old vectors",
    "new_old": "new queries on old vectors",
    "new_new": "new queries on new vectors",
}
"""What `align.reporting` calls the three cells of an upgrade, and what they are."""

_OF_MODELS, _OF_GALLERIES = ("model", "old", "source", "target"), ("gallery", "benchmark")
"""Parameters of runs whose values name models, or versions of them, and galleries."""

Results = Sequence[tuple[str, Mapping[str, float]]]


def _runs(app: Flask) -> Runs:
    """The store, opened once by a process, and not before somebody asks."""
    if _KEY not in app.extensions:
        app.extensions[_KEY] = Runs(current_registry().home, current_settings().tracking_uri)
    kept: Runs = app.extensions[_KEY]
    return kept


@blueprint.get("/runs")
def runs() -> str:
    """The runs, newest first."""
    queries.accept("experiment", "status", "after")
    store, who = _runs(current_app), caller()
    experiment, status = queries.optional("experiment"), queries.optional("status")
    after = queries.optional("after")
    page = (
        store.page(experiment=experiment, status=status, ids=_covered(who), after=after, limit=_RUNS_SHOWN)
        if store.exist()
        else Page((), None)
    )
    with current_registry().reading() as session:
        made = outcomes.of_runs(session, [run.id for run in page.items])
    sets = _anchor_sets(who)
    return render(
        "runs.html",
        section="pages.runs",
        runs=page.items,
        made={id: _seen(who, outcome, sets) for id, outcome in made.items()},
        experiments=list(store.experiments().items()) if who.unlimited else [],
        experiment=experiment,
        statuses=STATUSES,
        status=status,
        next=url_for("pages.runs", experiment=experiment, status=status, after=page.next) if page.next else None,
        back=url_for("pages.runs", experiment=experiment, status=status) if after else None,
    )


@blueprint.get("/runs/<run_id>")
def run(run_id: str) -> str:
    """One run: its curves, what it made, and how that does on stored vectors."""
    queries.accept()
    store, who = _runs(current_app), caller()
    with current_registry().reading() as session:
        made = outcomes.of_runs(session, [run_id]).get(run_id, Outcome())
        seen = _seen(who, made, _anchor_sets(who))
        if not who.unlimited and not (seen.versions or seen.transforms):
            raise NotAllowed(f"{who.name} covers no model that run {run_id:.80} made: ask for a token that does")
        measured = visible.evaluations(who, outcomes.measured(session, seen, metrics=DECIDING_METRICS))
    try:
        found = store.run(run_id)
    except NotFound:
        if not (made.versions or made.transforms):
            raise
        found = None  # registered with a run that is kept elsewhere
    return render(
        "run.html",
        section="pages.runs",
        run_id=run_id,
        run=found,
        params=_params(who, found) if found else {},
        charts=_charts(store.curves(found)) if found else [],
        results=results(found.metrics) if found else [],
        artifacts=store.artifacts(found) if found else [],
        made=seen,
        cells=_cells(measured),
        elsewhere=_in_mlflow(found) if found else None,
    )


def _covered(who: Caller) -> Sequence[str] | None:
    """The runs that a caller may see, since it sees something of what they made; None for all."""
    if who.models is None:
        return None if who.unlimited else []
    with current_registry().reading() as session:
        made = outcomes.of_runs(session, outcomes.of_models(session, who.models))
    sets = _anchor_sets(who)
    return [id for id, outcome in made.items() if _seen(who, outcome, sets) != Outcome()]


def _anchor_sets(who: Caller) -> Sequence[AnchorSet]:
    """Those that the caller sees; nothing is read for one who sees everything."""
    return () if who.unlimited else visible.anchor_sets(who, current_registry().anchor_sets())


def _seen(who: Caller, outcome: Outcome, sets: Sequence[AnchorSet]) -> Outcome:
    """What the caller sees of what a run made."""
    if who.unlimited:
        return outcome
    covered = tuple(ref for ref in outcome.versions if who.sees_model(ref.partition("/")[0]))
    return Outcome(covered, tuple(visible.transforms(who, outcome.transforms, sets)))


def _params(who: Caller, run: Run) -> Mapping[str, str]:
    """What a run was started with; of what samespace notes there, models and galleries that are not covered are left out."""
    return {
        name: value
        for name, value in run.params.items()
        if not (name in _OF_MODELS and not who.sees_model(value.partition("/")[0].partition("@")[0]))
        and not (name in _OF_GALLERIES and not who.sees_gallery(value))
    }


def _charts(curves: Sequence[Measured]) -> list[Chart]:
    """The losses in one chart; the rest, such as the learning rate, in one each."""
    losses = [curve for curve in curves if curve.metric.endswith("loss")]
    others = [curve for curve in curves if curve not in losses]
    charts = [_chart("Losses by epoch; lower is better", "loss", losses)] if losses else []
    return charts + [_chart(f"{_said(c.metric).capitalize()} by epoch", _said(c.metric), [c]) for c in others]


def _chart(title: str, y_label: str, curves: Sequence[Measured]) -> Chart:
    steps = sorted({step for curve in curves for step in curve.steps})
    series = []
    for look, curve in enumerate(curves, 2 if len(curves) < 5 else 1):
        at = dict(zip(curve.steps, curve.values, strict=True))
        series.append(Series(_said(curve.metric), [at.get(step) for step in steps], look=1 + (look - 1) % 6))
    return Chart(title, steps, series, "epoch", y_label, y_unit="number", name=y_label.replace(" ", "-"))


def _said(metric: str) -> str:
    return {"lr": "learning rate", "seconds": "seconds"}.get(metric, metric.replace("_", " "))


def results(metrics: Mapping[str, float]) -> Results:
    """What the run itself measured at its end (`new_old/map`): one row for each cell, metric -> value."""
    rows: dict[str, dict[str, float]] = {}
    for name, value in metrics.items():
        cell, slash, metric = name.partition("/")
        metric = metric.replace("_at_", "@")
        if slash and cell in _CELLS and metric in METRIC_NAMES:
            rows.setdefault(_CELLS[cell], {})[metric] = value
    return [(cell, rows[cell]) for cell in _CELLS.values() if cell in rows]


Way = Mapping[str, Evaluation]
"""Metric -> evaluation of one way of comparing."""


def _cells(found: Sequence[Evaluation]) -> list[tuple[str, str, list[Way]]]:
    """The ways that were measured on each benchmark and label column, in the order given."""
    groups: dict[tuple[str, str], dict[tuple[object, ...], dict[str, Evaluation]]] = {}
    for e in found:
        ways = groups.setdefault((e.benchmark, e.label), {})
        ways.setdefault((e.query, e.gallery, e.role, e.query_path, e.gallery_path), {})[e.metric] = e
    return [(benchmark, label, list(ways.values())) for (benchmark, label), ways in groups.items()]


def _in_mlflow(run: Run) -> str | None:
    """Where MLflow's own pages show the run; those of a tracking server are the server."""
    settings = current_settings()
    base = settings.mlflow_url or settings.tracking_uri
    if not base.startswith(("http://", "https://")) or "@" in base:
        return None
    return f"{base.rstrip('/')}/#/experiments/{run.experiment_id}/runs/{run.id}"
