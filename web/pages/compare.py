"""Two versions side by side: may the new one replace the old one, what it changes, and what re-embedding would bring."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from flask import Response, request, url_for
from werkzeug.wrappers import Response as BaseResponse

from registry.errors import InvalidInput, NotFound
from registry.services import galleries, upgrades
from registry.services.pairs import newest_versions
from registry.types import Page, Study
from web import changed, groups, pairs, planner, queries, sheets, studies
from web.access import Caller, caller
from web.api.base import covers
from web.comparisons import answer
from web.current import current_registry
from web.lines import Progress
from web.next_steps import next_steps
from web.pages.base import blueprint, render
from web.pages.working import working

if TYPE_CHECKING:
    import pyarrow as pa

    from registry.embedded import Registry

__all__: list[str] = []

_PAIR = ("old", "new", "benchmark", "label")
_PAIRS_SHOWN = 20
_VERSIONS_SUGGESTED = 200
_ITEMS_SHOWN = 20
_PREVIEW_BYTES = 512 << 10  # in one page, in which pictures grow by a third


@blueprint.get("/compare")
def compare() -> str:
    """Two versions side by side; without two the pairs that are measured, to choose from."""
    queries.accept(*_PAIR, "metric", "sort", *planner.FIELDS)
    old, new = queries.optional("old"), queries.optional("new")
    return _choosing(old, new) if old is None or new is None else _comparing(old, new)


def _choosing(old: str | None, new: str | None) -> str:
    registry, who = current_registry(), caller()
    with registry.reading() as session:
        found = upgrades.upgrades(session, limit=_PAIRS_SHOWN, models=who.models, galleries=who.galleries)
        suggested = newest_versions(session, limit=_VERSIONS_SUGGESTED, models=who.models)
    return render(
        "compare_choose.html", section="pages.compare", old=old, new=new, suggested=suggested,
        found=[answer(c, "map") for c in found], most=_PAIRS_SHOWN,
    )  # fmt: skip


def _comparing(old: str, new: str) -> str:
    registry, who = current_registry(), caller()
    metric, sort = queries.metric() or "map", groups.order()
    pair = _pair(registry, who, old, new)
    with registry.reading() as session:
        suggested = newest_versions(session, limit=_VERSIONS_SUGGESTED, models=who.models)
    study = _study(registry, pair)
    shown = answer(pair.comparison, metric) if pair.comparison else None
    return render(
        "compare.html",
        section="pages.compare",
        pair=pair,
        metric=metric,
        answer=shown,
        steps=next_steps(shown, pair.stored, study) if shown else [],
        suggested=suggested,
        may_measure=_may_measure(who, pair),
        study=study,
        here=_here(pair, metric=queries.metric()),
        **(_studied(registry, pair, study, sort) if study else {}),
    )


def _pair(registry: Registry, who: Caller, old: str, new: str) -> pairs.Pair:
    """The pair, if the caller's token covers both models and the benchmark."""
    covers(old, new)
    benchmark = queries.optional("benchmark")
    who.require("reader", galleries=[benchmark] if benchmark else [])
    with registry.reading() as session:
        return pairs.read(session, who, old, new, benchmark=benchmark, label=queries.optional("label"))


def _study(registry: Registry, pair: pairs.Pair) -> Study | None:
    """The newest study of what is shown."""
    if pair.place is None:
        return None
    found: Page[Study] = registry.page(
        "studies", old=pair.old, new=pair.new, benchmark=pair.place.benchmark, label=pair.place.label, limit=1
    )
    return found.items[0] if found.items else None


def _studied(registry: Registry, pair: pairs.Pair, study: Study, sort: str) -> dict[str, Any]:
    """What the page shows of a study."""
    items = registry.study_items(study.id)
    after = "upgraded" if study.has_path else "backfilled"
    today = {"map": float(np.nanmean(items["ap_today"].to_numpy())), "cmc@1": study.cmc["today"].values[0]}
    shown = changed.most_changed(items, after=after, limit=_ITEMS_SHOWN)
    wish = planner.wish(sum(pair.stored.rows.values()))
    with registry.reading() as session:
        kind = galleries.gallery(session, study.benchmark, segments=False).preview
    return {
        "after": after,
        "stages": studies.stages(study),
        "way": studies.way(study),
        "cmc": studies.cmc_chart(study),
        "scores": studies.score_charts(study),
        "moved": studies.moved(study),
        "sort": sort,
        "columns": groups.COLUMNS,
        "tables": groups.tables(study, sort),
        "overlap": studies.overlap_chart(study),
        "items": shown,
        "previews": _previews(registry, study.benchmark, [item.id for item in shown]) if kind else {},
        "maps_previews": kind,
        "maps_preview_address": url_for("pages.preview", name=study.benchmark),
        "filling": studies.filling_charts(study, today),
        "calibrated": any(f.raw is not None for f in study.filling),
        "wish": wish,
        "plan": planner.plan(wish),
        "brings": planner.brings(study, wish.share, today),
    }


def _previews(registry: Registry, gallery: str, ids: Sequence[str | int]) -> Mapping[str | int, str]:
    """By id a picture as an address, or a text; of the first items that have one, as far as they are not too heavy."""
    shown: dict[str | int, str] = {}
    room = _PREVIEW_BYTES
    for id, preview in registry.previews(gallery, ids).items():
        room -= len(preview)
        if room < 0:
            break
        shown[id] = changed.picture(preview) if isinstance(preview, bytes) else preview
    return shown


def _here(pair: pairs.Pair, **more: str | None) -> dict[str, str | None]:
    """The parameters that lead back to what is shown."""
    place = pair.place
    where = {"benchmark": place.benchmark, "label": place.label} if place else {}
    return {"old": pair.old, "new": pair.new, **where, **more}


# Files


@blueprint.get("/compare/groups.csv")
def compare_groups() -> Response:
    """Gains and losses by class and slice, as a file."""
    queries.accept(*_PAIR, "sort")
    study = _asked(current_registry())
    shown = studies.stages(study)
    header = (
        "column",
        "value",
        "queries",
        *(f"map {s}" for s in shown),
        "gain",
        "gain low",
        "gain high",
        "lost",
        "won",
    )
    rows = (
        (g.column, g.value, g.queries, *(g.map[s] for s in shown), g.gain, g.gain_low, g.gain_high, g.negative_flips,
         g.positive_flips)
        for table in groups.tables(study, groups.order()) for row in table.rows for g in (row.group,)
    )  # fmt: skip
    return sheets.saved(f"groups {study.new} on {study.old}.csv", header, rows)


@blueprint.get("/compare/items.csv")
def compare_items() -> Response:
    """Every item of the study, as a file."""
    queries.accept(*_PAIR)
    registry = current_registry()
    study = _asked(registry)
    items: pa.Table = registry.study_items(study.id)
    return sheets.saved(f"items {study.new} on {study.old}.csv", changed.header(items), changed.rows(items))


def _asked(registry: Registry) -> Study:
    """The study that an address of a file names."""
    old, new = queries.optional("old"), queries.optional("new")
    if old is None or new is None:
        raise InvalidInput("a file is of two versions: name them, as in ?old=products/1&new=products/2")
    pair = _pair(registry, caller(), old, new)
    study = _study(registry, pair)
    if study is None:
        raise NotFound(
            f"there is no study of {pair.new} against {pair.old}: run 'samespace study {pair.old} {pair.new}'"
        )
    return study


# Measuring


def _may_measure(who: Caller, pair: pairs.Pair) -> bool:
    """Whether the page offers to measure: writers, where both versions embedded a benchmark."""
    return who.role != "reader" and bool(pair.benchmarks)


@blueprint.post("/compare/evaluate")
def compare_evaluate() -> BaseResponse:
    """Measure the two versions with each other."""
    old, new, benchmark, label = _form()
    registry = current_registry()

    def work(progress: Progress) -> None:
        registry.evaluate(benchmark, versions=[old, new], label=label, progress=progress)

    return working(work, what=f"an evaluation of {benchmark}", done=_seen(old, new, benchmark, label))


@blueprint.post("/compare/study")
def compare_study() -> BaseResponse:
    """Measure and keep a study of the two versions."""
    old, new, benchmark, label = _form()
    registry = current_registry()

    def work(progress: Progress) -> None:
        registry.study(old, new, benchmark=benchmark, label=label, progress=progress)

    return working(work, what=f"a study on {benchmark}", done=_seen(old, new, benchmark, label))


def _form() -> tuple[str, str, str, str | None]:
    """The pair and the benchmark that a form sends, which the caller must be allowed to measure."""
    sent = [request.form.get(name, "") for name in ("old", "new", "benchmark")]
    if not all(sent):
        raise InvalidInput("the form names no pair of versions and benchmark: open the page again, then send it")
    old, new, benchmark = sent
    caller().require("writer", galleries=[benchmark])
    covers(old, new)
    return old, new, benchmark, request.form.get("label") or None


def _seen(old: str, new: str, benchmark: str, label: str | None) -> str:
    return url_for("pages.compare", old=old, new=new, benchmark=benchmark, label=label)
