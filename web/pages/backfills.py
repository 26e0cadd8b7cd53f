"""Backfills: which go on and how far they are, and one of them, with what was predicted and measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from flask import redirect, url_for
from werkzeug.wrappers import Response

from registry.backfill.wishes import target
from registry.services import backfills as services
from registry.types import METRIC_NAMES, Backfill, Curve
from web import queries, visible
from web.access import caller
from web.charts import Chart, Mark, Series
from web.current import current_registry
from web.pages.base import blueprint, render

__all__: list[str] = []

_SHOWN = 50
_SEE_OTHER = 303


@blueprint.get("/backfills")
def backfills() -> str:
    """The backfills, newest first; of a gallery if it is named."""
    queries.accept("gallery", "after")
    who, gallery, after = caller(), queries.optional("gallery"), queries.optional("after")
    if gallery is not None:
        who.require("reader", galleries=[gallery])
    with current_registry().reading() as session:
        page = services.backfills(
            session, gallery=gallery, among=who.galleries, models=who.models, after=after, limit=_SHOWN
        )
    found = visible.backfills(who, page.items)
    return render(
        "backfills.html",
        section="pages.backfills",
        backfills=found,
        gallery=gallery,
        is_live=any(b.is_run for b in found),
        next=url_for("pages.backfills", gallery=gallery, after=page.next) if page.next else None,
        back=url_for("pages.backfills", gallery=gallery) if after else None,
    )


@blueprint.get("/backfills/<id>")
def backfill(id: str) -> str:
    """One backfill: how far it is, what it was predicted to bring and what was measured, and how it is run."""
    queries.accept()
    found = _seen(id)
    return render(
        "backfill.html",
        section="pages.backfills",
        b=found,
        is_live=found.is_run,
        charts=_charts(found),
        may_write=caller().role != "reader",
    )


@blueprint.post("/backfills/<id>/pause")
def pause_backfill(id: str) -> Response:
    """Stop it after the batch at hand."""
    current_registry().pause_backfill(_written(id).id)
    return redirect(url_for("pages.backfill", id=id), _SEE_OTHER)


@blueprint.post("/backfills/<id>/resume")
def resume_backfill(id: str) -> Response:
    """Let it be run again: where its command is called, never by this server."""
    current_registry().resume_backfill(_written(id).id)
    return redirect(url_for("pages.backfill", id=id), _SEE_OTHER)


@blueprint.get("/backfills/<id>/rollback")
def ask_to_roll_back(id: str) -> str:
    """Ask whether what it wrote is to be removed."""
    queries.accept()
    return render("backfill_rollback.html", section="pages.backfills", b=_seen(id))


@blueprint.post("/backfills/<id>/rollback")
def roll_back_backfill(id: str) -> Response:
    """Remove what it wrote."""
    current_registry().roll_back_backfill(_written(id).id)
    return redirect(url_for("pages.backfill", id=id), _SEE_OTHER)


def _seen(id: str) -> Backfill:
    """A backfill whose gallery and version the caller's token covers, as far as it covers what it rests on."""
    who, found = caller(), current_registry().backfill(id)
    model = found.version.partition("/")[0]
    who.require_of(f"backfill {found.id}", models=[model], galleries=[found.gallery])
    return visible.backfills(who, [found])[0]


def _written(id: str) -> Backfill:
    caller().require("writer")
    return _seen(id)


def _charts(found: Backfill) -> list[Chart]:
    """What was predicted and measured, a chart for each metric."""
    metrics = [m for m in ("map", "cmc@1") if m in found.predicted or m in found.measured]
    return [_chart(found, metric) for metric in metrics]


def _chart(found: Backfill, metric: str) -> Chart:
    told = {"predicted": found.predicted.get(metric), "measured": found.measured.get(metric)}
    x = _shares(told.values())
    series = [
        Series(name, [_at(curve, share) for share in x], look=look)
        for look, (name, curve) in enumerate(told.items(), 2)
        if curve is not None
    ]
    wanted = target(found.stop_at)
    if wanted is not None and wanted.metric == metric:
        series.append(Series("where it may end", [wanted.value] * len(x), look=4, level=True))
    return Chart(
        f"{METRIC_NAMES[metric]} by the share that is re-embedded; higher is better", x, series, "share re-embedded",
        METRIC_NAMES[metric], x_unit="percent", name=f"backfill-{metric.replace('@', '-')}",
        marks=[Mark(found.share, "now")] if 0 < found.share < 1 else [],
    )  # fmt: skip


def _shares(curves: Iterable[Curve | None]) -> list[float]:
    return sorted({round(share, 4) for curve in curves if curve is not None for share in curve.at})


def _at(curve: Curve, share: float) -> float | None:
    known: Mapping[float, float] = {round(at, 4): value for at, value in zip(curve.at, curve.values, strict=True)}
    return known.get(share)
