"""What is in use: the current version of each model, what is stored, and what was measured of reading it. A statement each."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import Integer, Subquery, and_, func, or_, select, text
from sqlalchemy.orm import Session, aliased

from registry.services.evidence import RANKING_METRIC
from registry.tables import AliasRow, EvaluationRow, GalleryRow, ModelRow, SegmentRow, VersionRow
from registry.types import DECIDING_METRICS

__all__ = ["ALIASES", "Cell", "Cells", "Line", "Segment", "cells", "lines", "segments"]

ALIASES = ("champion", "live", "production")
"""The aliases that say which version of a model is in use: the first that there is; without any it is the newest."""

_PAIRS = {
    "sqlite": "SELECT json_extract(value, '$[0]') AS query, json_extract(value, '$[1]') AS gallery FROM json_each(:pairs)",
    "postgresql": "SELECT CAST(value->>0 AS integer) AS query, CAST(value->>1 AS integer) AS gallery "
    "FROM json_array_elements(CAST(:pairs AS json))",
}
"""By database, the rows of a JSON list of pairs: one value that is bound, however many there are."""


@dataclass(frozen=True, slots=True)
class Line:
    """A model's current version, its newest, and whether any evaluation is of the newest."""

    current: int
    current_ref: str
    newest_ref: str
    is_measured: bool


class Segment(NamedTuple):  # made by the ten thousand, several times faster than a frozen dataclass
    """What a version stored in a gallery of `items`; `model` and `version` are row ids."""

    gallery: str
    is_benchmark: bool
    items: int
    model: int
    version: int
    ref: str
    rows: int


@dataclass(frozen=True, slots=True)
class Cell:
    """One measured path between two versions, by one of the metrics that decide; `measured` grows with time."""

    measured: int
    benchmark: str
    label: str
    metric: str
    value: float
    gain: float
    gain_low: float
    gain_high: float
    verdict: str | None


Cells = Mapping[tuple[int, int], Sequence[Cell]]
"""By versions (query, gallery), as row ids."""


def lines(session: Session, models: Collection[str] | None = None) -> Mapping[int, Line]:
    """By row id the models, in the order of their names; only those named, if any are."""
    newest, named = aliased(VersionRow), aliased(VersionRow)
    last = select(func.max(VersionRow.number)).where(VersionRow.model_id == ModelRow.id).scalar_subquery()
    sides = (EvaluationRow.query_id, EvaluationRow.gallery_id)
    is_measured = or_(*(select(EvaluationRow.id).where(side == newest.id).exists() for side in sides))
    query = (
        select(ModelRow.id, ModelRow.name, newest.id, newest.number, is_measured, AliasRow.name, named.id, named.number)
        .select_from(ModelRow)
        .join(newest, and_(newest.model_id == ModelRow.id, newest.number == last))
        .outerjoin(AliasRow, and_(AliasRow.model_id == ModelRow.id, AliasRow.name.in_(ALIASES)))
        .outerjoin(named, named.id == AliasRow.version_id)
        .order_by(ModelRow.name)
    )
    found: dict[int, Line] = {}
    ranks: dict[int, int] = {}
    for model, name, id, number, measured, alias, alias_id, alias_number in session.execute(query):
        rank = len(ALIASES) if alias is None else ALIASES.index(alias)
        if (models is None or name in models) and rank <= ranks.get(model, rank):
            ranks[model] = rank
            current = (id, number) if alias is None else (alias_id, alias_number)
            found[model] = Line(current[0], f"{name}/{current[1]}", f"{name}/{number}", measured)
    return found


def segments(session: Session) -> list[Segment]:
    """What is stored, of every version that stored anything."""
    query = (
        select(
            GalleryRow.name, func.json_array_length(GalleryRow.labels) > 0, GalleryRow.items,
            ModelRow.id, VersionRow.id, ModelRow.name, VersionRow.number, SegmentRow.rows,
        )
        .select_from(SegmentRow)
        .join(GalleryRow, GalleryRow.id == SegmentRow.gallery_id)
        .join(VersionRow, VersionRow.id == SegmentRow.version_id)
        .join(ModelRow, ModelRow.id == VersionRow.model_id)
        .where(SegmentRow.rows > 0)
    )  # fmt: skip
    # Past the ORM, which would take half of the time to hand ten thousand plain rows on.
    return [
        Segment(gallery, is_benchmark, items, model, version, f"{name}/{number}", rows)
        for gallery, is_benchmark, items, model, version, name, number, rows in session.connection().execute(query)
    ]


def cells(session: Session, pairs: Iterable[tuple[int, int]]) -> Cells:
    """Of versions (query, gallery), by row id, what the newest measurements say of the paths between them.

    Of each benchmark, those of the label column that `compare` takes: the first, or else the one measured last. Pairs
    without any are left out.
    """
    e, newest, last = EvaluationRow, _newest(session, pairs), aliased(EvaluationRow)
    same = and_(e.query_id == newest.c.query, e.gallery_id == newest.c.gallery, e.measurement == last.measurement)
    query = (
        select(
            e.query_id, e.gallery_id, GalleryRow.labels, last.id, GalleryRow.name, e.label, e.metric, e.value, e.gain,
            e.gain_low, e.gain_high, e.verdict,
        )
        .select_from(newest)
        .join(last, last.id == newest.c.id)
        .join(e, same)
        .join(GalleryRow, GalleryRow.id == e.benchmark_id)
        .where(e.role == "path", e.metric.in_(DECIDING_METRICS))
    )  # fmt: skip
    found: dict[tuple[int, int], list[Cell]] = defaultdict(list)
    chosen: dict[tuple[int, int, str], tuple[bool, int, str]] = {}
    for new, old, labels, *rest in session.execute(query):
        cell = Cell(*rest)
        found[new, old].append(cell)
        rank = (cell.label == labels[0], cell.measured, cell.label)
        chosen[new, old, cell.benchmark] = max(rank, chosen.get((new, old, cell.benchmark), rank))
    return {pair: [c for c in read if c.label == chosen[*pair, c.benchmark][-1]] for pair, read in found.items()}


def _newest(session: Session, pairs: Iterable[tuple[int, int]]) -> Subquery:
    """The newest cell of each pair by benchmark and label column, which tells the newest measurement."""
    e, listed = EvaluationRow, text(_PAIRS[session.get_bind().dialect.name])
    asked = listed.bindparams(pairs=json.dumps(list(pairs))).columns(query=Integer, gallery=Integer).subquery()
    cell = and_(e.query_id == asked.c.query, e.gallery_id == asked.c.gallery, e.metric == RANKING_METRIC)
    newest = select(asked.c.query, asked.c.gallery, func.max(e.id).label("id")).join(e, cell)
    return newest.group_by(asked.c.query, asked.c.gallery, e.benchmark_id, e.label).subquery()
