"""Home: what needs a decision, what may replace what, and what happened last."""

from __future__ import annotations

from typing import Any

from flask import redirect, request, url_for
from werkzeug.wrappers import Response

from registry import __version__
from registry.services import backfills as services
from web import changelog, queries, visible
from web.access import caller
from web.current import current_registry
from web.pages.base import blueprint, render
from web.upgrades import upgrades

__all__: list[str] = []

_METRIC = "map"  # what paths are ranked by
_DECISIONS, _DECISIONS_SHOWN = 40, 6
_UPGRADES = 6
_CHANGES = 8
_BACKFILLS = 5
_KINDS = {
    "unreadable": ("∅", "cannot be read"),
    "failing": ("✗", "loses quality"),
    "drifting": ("△", "encoder drifts"),
    "unmeasured": ("–", "not measured"),
}
"""Kind of decision -> mark and word, as of verdicts."""

_OF_THE_MATRIX = ("benchmark", "metric", "label")  # which had no page of its own before


@blueprint.get("/")
def index() -> str | Response:
    """What needs a decision, what may replace what, and what happened last."""
    queries.accept(*_OF_THE_MATRIX)
    if request.args:
        moved: dict[str, Any] = request.args.to_dict()
        return redirect(url_for("pages.matrix", **moved))
    registry, who = current_registry(), caller()
    with registry.reading() as session:
        going = services.backfills(session, going=True, among=who.galleries, models=who.models, limit=_BACKFILLS)
    scope = {"models": who.models, "galleries": who.galleries}
    found = upgrades(registry.upgrades(limit=_UPGRADES, **scope), _METRIC)
    decisions = registry.decisions(limit=_DECISIONS, **scope)
    return render(
        "home.html",
        section="pages.index",
        release=__version__,
        counts=registry.counts() if who.unlimited else None,
        decisions=decisions,
        kinds=_KINDS,
        at_once=_DECISIONS_SHOWN,
        is_cut=len(decisions) == _DECISIONS,
        upgrades=found,
        backfills=visible.backfills(who, going.items),
        metric=_METRIC,
        lines=changelog.lines(visible.changes(who, registry.changes(limit=_CHANGES))),
    )
