"""Summaries: each model in a line, with what its current version reads and how good it is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session

from registry.paths import Graph
from registry.services import cells, evidence, models
from registry.services.current import ALIASES
from registry.tables import EvaluationRow, GalleryRow, ModelRow, SegmentRow, VersionRow
from registry.types import Evaluation, Model, Page

__all__ = ["Summary", "summaries"]


@dataclass(frozen=True, slots=True)
class Summary:
    """A model, its current version, and its newest.

    The current version is the one that the alias `champion` names, or else `live` or `production`; without any of them
    it is the newest. Of the `galleries` that hold vectors of the model it reads those where some path leads to all of
    them, or to vectors of every item: `read`. `quality` is its newest mAP on its own vectors, if that was measured.
    """

    model: Model
    current: str
    newest: str
    dim: int
    metric: str
    registered_at: datetime
    galleries: int
    read: int
    quality: Evaluation | None


@dataclass(frozen=True, slots=True)
class _Version:
    """What is told of the newest versions, and the row id that current ones are looked up by."""

    id: int
    dim: int
    metric: str
    created_at: datetime


def summaries(
    session: Session,
    graph: Graph,
    *,
    part: str | None = None,
    among: Collection[str] | None = None,
    galleries: Collection[str] | None = None,
    after: str | None = None,
    limit: int,
) -> Page[Summary]:
    """Models by name, those with this `part` in it, at most `limit`; in five statements, however many there are.

    Of models only those `among` are listed, and of galleries none but those named are counted, where they are given.
    """
    page = models.models(session, part=part, among=among, after=after, limit=limit)
    current = {m.name: f"{m.name}/{_current(m)}" for m in page.items}
    newest = {m.name: f"{m.name}/{m.versions}" for m in page.items}  # versions are numbered from 1, and none ever goes
    versions = _versions(session, {*current.values(), *newest.values()})
    stored = _stored(session, list(current), galleries)
    quality = _quality(session, [versions[ref].id for ref in current.values()], galleries)

    def summary(m: Model) -> Summary:
        ref, last, held = current[m.name], newest[m.name], stored.get(m.name, {})
        readable = graph.readable(ref, {v for inside in held.values() for v in inside})
        read = sum(
            readable.issuperset(s) or any(whole and v in readable for v, whole in s.items()) for s in held.values()
        )
        v = versions[last]
        return Summary(m, ref, last, v.dim, v.metric, v.created_at, len(held), read, quality.get(ref))

    return Page(tuple(summary(m) for m in page.items), page.next)


def _current(model: Model) -> int:
    return next((model.aliases[name] for name in ALIASES if name in model.aliases), model.versions)


def _versions(session: Session, refs: Collection[str]) -> Mapping[str, _Version]:
    named = [(name, int(number)) for name, _, number in (ref.partition("/") for ref in refs)]
    row = VersionRow
    query = (
        select(ModelRow.name, row.number, row.id, row.dim, row.metric, row.created_at)
        .join(ModelRow, ModelRow.id == row.model_id)
        .where(ModelRow.name.in_({name for name, _ in named}), tuple_(ModelRow.name, row.number).in_(named))
    )
    return {
        f"{name}/{number}": _Version(id, dim, metric, at)
        for name, number, id, dim, metric, at in session.execute(query)
    }


def _stored(
    session: Session, names: Sequence[str], galleries: Collection[str] | None
) -> Mapping[str, Mapping[str, dict[str, bool]]]:
    """By model and gallery, the versions whose vectors are stored, and whether of every item."""
    query = (
        select(ModelRow.name, GalleryRow.name, VersionRow.number, SegmentRow.rows == GalleryRow.items)
        .select_from(SegmentRow)
        .join(GalleryRow, GalleryRow.id == SegmentRow.gallery_id)
        .join(VersionRow, VersionRow.id == SegmentRow.version_id)
        .join(ModelRow, ModelRow.id == VersionRow.model_id)
        .where(ModelRow.name.in_(names), SegmentRow.rows > 0)
    )
    found: dict[str, dict[str, dict[str, bool]]] = defaultdict(lambda: defaultdict(dict))
    for model, gallery, number, whole in session.execute(query):
        if galleries is None or gallery in galleries:
            found[model][gallery][f"{model}/{number}"] = whole
    return found


def _quality(
    session: Session, versions: Collection[int], galleries: Collection[str] | None
) -> Mapping[str, Evaluation]:
    """By version, the newest measurement on its own vectors, of any benchmark."""
    row = EvaluationRow
    own = [row.gallery_id == row.query_id, row.role == "self", *cells.covered(None, galleries)]
    read = evidence.evaluations(session, metric=evidence.RANKING_METRIC, queries=versions, where=own).items
    return {e.query: e for e in sorted(read, key=lambda e: e.created_at)}
