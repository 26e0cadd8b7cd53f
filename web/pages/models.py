"""Models, and one model: its versions, what leads from one to another, and how quality went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flask import url_for

from registry.services import anchors, evidence, galleries, lineages, links, models, summaries, trends
from registry.types import Evaluation, Version
from web import graphs, queries, reports
from web.access import Caller, caller
from web.charts import Chart, Series
from web.current import current_registry
from web.pages.base import blueprint, render

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from registry.services.lineages import Release

__all__: list[str] = []

_MODELS_SHOWN = 50
_VERSIONS_SHOWN = 50
_LINKS_SHOWN = 100
_SPANS_SHOWN = 50
_FEW_VERSIONS, _SHORT_NAME = 3, 12  # up to which an axis has room for their whole names


@blueprint.get("/models", endpoint="models")
def listed() -> str:
    """The models by name, each in a line."""
    queries.accept("q", "after")
    registry, who = current_registry(), caller()
    part, after = queries.optional("q"), queries.optional("after")
    with registry.reading() as session:
        page = summaries.summaries(
            session, registry.graph(session), part=part, among=who.models, galleries=who.galleries, after=after,
            limit=_MODELS_SHOWN,
        )  # fmt: skip
        spans = anchors.spans(session, galleries=who.galleries, limit=_SPANS_SHOWN + 1)
    return render(
        "models.html",
        section="pages.models",
        page=page,
        spans=spans[:_SPANS_SHOWN],
        more_spans=len(spans) > _SPANS_SHOWN,
        part=part,
        next=url_for("pages.models", q=part, after=page.next) if page.next else None,
        back=url_for("pages.models", q=part) if after else None,
    )


@blueprint.get("/models/<name>")
def model(name: str) -> str:
    """One model: quality from version to version, the graph of its spaces, and its versions, the newest first."""
    queries.accept("after", "benchmark", "label", "metric")
    registry, who = current_registry(), caller()
    who.require("reader", models=[name])
    metric, after = queries.metric() or "map", queries.whole("after")
    with registry.reading() as session:
        found = lineages.releases(session, name, below=after, limit=_VERSIONS_SHOWN, galleries=who.galleries)
        (known,) = models.models(session, among=[name]).items
        versions = [release.version for release in found]
        choices = trends.measured_on(session, [release.id for release in found], galleries=who.galleries)
        benchmark, label = _chosen(session, who, choices)
        linked = links.links(
            session, name, [v.ref for v in versions], metric=metric, models=who.models, galleries=who.galleries,
            on=(benchmark, label) if benchmark and label else None,
        )  # fmt: skip
        best = _best(session, who, found, benchmark, label, metric)
    return render(
        "model.html",
        section="pages.models",
        model=known,
        releases=found,
        graph=graphs.draw(versions, linked[:_LINKS_SHOWN], _parents(who, versions)),
        linked=linked[:_LINKS_SHOWN],
        unshown=len(linked[_LINKS_SHOWN:]),
        classes={name: sum(graphs.class_of(link) == name for link in linked[:_LINKS_SHOWN]) for name in graphs.CLASSES},
        class_of=graphs.class_of,
        parents=_parents(who, versions),
        lines=reports.lines,
        benchmarks=list(dict.fromkeys(b for b, _ in choices)),
        labels=[name for b, name in choices if b == benchmark],
        benchmark=benchmark,
        label=label,
        metric=metric,
        chart=_chart(versions[::-1], best, benchmark, label, metric),
        measurements=len({e.measurement for e in best.values()}),
        fit=_fit(found),
        older=_older(name, versions[-1].number) if versions and versions[-1].number > 1 else None,
        newest=_older(name, None) if after else None,
    )


def _older(name: str, than: int | None) -> str:
    """The address of this page for versions older than one, with all else as it is."""
    kept: dict[str, Any] = {key: queries.optional(key) for key in ("benchmark", "label", "metric")}
    return url_for("pages.model", name=name, after=than, **kept)


def _chosen(session: Session, who: Caller, choices: Sequence[tuple[str, str]]) -> tuple[str | None, str | None]:
    """The benchmark and label column asked for, or those measured last.

    The form sends a label of the benchmark shown before: it means nothing on another.
    """
    asked, wanted = queries.optional("benchmark"), queries.optional("label")
    if asked is None:
        return next(((b, label) for b, label in choices if label == wanted), choices[0] if choices else (None, None))
    who.require("reader", galleries=[asked])
    labels = [label for b, label in choices if b == asked]
    if not labels:
        return asked, evidence.label_column(galleries.gallery(session, asked), None)
    return asked, wanted if wanted in labels else labels[0]


def _sees(who: Caller, ref: str | None) -> bool:
    return ref is not None and who.sees_model(ref.partition("/")[0])


def _parents(who: Caller, versions: Sequence[Version]) -> dict[str, str]:
    """By version what it was made from, as far as the caller sees that."""
    return {v.ref: v.parent for v in versions if v.parent is not None and _sees(who, v.parent)}


def _best(
    session: Session, who: Caller, found: Sequence[Release], benchmark: str | None, label: str | None, metric: str
) -> Mapping[tuple[str, str], Evaluation]:
    """What was measured of the versions on their own vectors, and on their parents'."""
    if benchmark is None or label is None or not found:
        return {}
    pairs = [(r.id, r.id) for r in found]
    pairs += [(r.id, r.parent_id) for r in found if r.parent_id is not None and _sees(who, r.version.parent)]
    return trends.best(session, pairs, benchmark=benchmark, label=label, metric=metric)


def _chart(
    versions: Sequence[Version],
    best: Mapping[tuple[str, str], Evaluation],
    benchmark: str | None,
    label: str | None,
    metric: str,
) -> Chart | None:
    """Quality by version, the oldest first; None where nothing was measured."""
    own = [best.get((v.ref, v.ref)) for v in versions]
    kept = [best.get((v.ref, v.parent)) if v.parent else None for v in versions]
    if not any(own) and not any(kept):
        return None
    written = queries.METRICS[metric][0]
    series = [_series("on its own vectors", own, look=3)]
    if any(kept):
        series.append(_series("on its parent’s stored vectors, by the best path", kept, look=2))
    short = len(versions) <= _FEW_VERSIONS and len(versions[0].model) <= _SHORT_NAME
    words = [v.ref if short else str(v.number) for v in versions]
    title = f"{written} of each version on {benchmark} by {label}; higher is better"
    x_label = "version" if short else "number of the version"
    return Chart(
        title, words, series, x_label, written, x_unit="text", name="quality", note="Bands are 95 % intervals."
    )


def _series(name: str, cells: Sequence[Evaluation | None], *, look: int) -> Series:
    values, low, high = ([getattr(e, f) if e else None for e in cells] for f in ("value", "low", "high"))
    return Series(name, values, low, high, look=look)


def _fit(found: Sequence[Release]) -> str:
    """The command that would lead from the newest version shown to the one before, by a gallery that both embedded."""
    if len(found) < 2:
        return "samespace train oca --help"
    new, old = found[0], found[1]
    both = {s.gallery: s.rows for s in new.stored if s.gallery in {t.gallery for t in old.stored}}
    gallery = max(both, key=lambda name: both[name], default="GALLERY")
    return f"samespace fit orthogonal --source {new.version.ref} --target {old.version.ref} --gallery {gallery}"
