"""Two versions, an old and a new one: where they are measured with each other, and what they stored. A statement each."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from registry.services.evidence import RANKING_METRIC
from registry.tables import AliasRow, EvaluationRow, GalleryRow, ModelRow, SegmentRow, VersionRow

__all__ = ["Place", "Rows", "aliases", "newest_versions", "places", "stored"]


@dataclass(frozen=True, slots=True)
class Place:
    """A benchmark and one of its label columns, on which the new version is measured on what the old one stored."""

    benchmark: str
    label: str


@dataclass(frozen=True, slots=True)
class Rows:
    """How much a version, by row id, stored in a gallery."""

    gallery: str
    is_benchmark: bool
    version: int
    rows: int


def places(session: Session, *, old: int, new: int, galleries: Collection[str] | None = None) -> list[Place]:
    """Where the pair, by row ids, is measured, the newest measurement first; only on `galleries`, if they are named."""
    e, last = EvaluationRow, func.max(EvaluationRow.id)
    query = (
        select(GalleryRow.name, e.label)
        .join(GalleryRow, GalleryRow.id == e.benchmark_id)
        .where(e.query_id == new, e.gallery_id == old, e.metric == RANKING_METRIC)
        .group_by(GalleryRow.name, e.label)
        .order_by(last.desc())
    )
    return [Place(name, label) for name, label in session.execute(query) if galleries is None or name in galleries]


def stored(session: Session, versions: Sequence[int], *, galleries: Collection[str] | None = None) -> list[Rows]:
    """What the versions, by row ids, stored, the most first; only in `galleries`, if they are named."""
    query = (
        select(
            GalleryRow.name, func.json_array_length(GalleryRow.labels) > 0, SegmentRow.version_id, SegmentRow.rows
        )
        .join(GalleryRow, GalleryRow.id == SegmentRow.gallery_id)
        .where(SegmentRow.version_id.in_(versions), SegmentRow.rows > 0)
        .order_by(SegmentRow.rows.desc(), GalleryRow.name)
    )  # fmt: skip
    return [Rows(*found) for found in session.execute(query) if galleries is None or found[0] in galleries]


def aliases(session: Session, version: int) -> list[str]:
    """What a version, by row id, is called by beside its number."""
    return list(session.scalars(select(AliasRow.name).where(AliasRow.version_id == version).order_by(AliasRow.name)))


def newest_versions(session: Session, *, limit: int, models: Collection[str] | None = None) -> list[str]:
    """The versions registered last, of `models` if they are named, in the order of their names."""
    query = (
        select(ModelRow.name, VersionRow.number)
        .join(ModelRow, ModelRow.id == VersionRow.model_id)
        .order_by(VersionRow.id.desc())
        .limit(limit)
    )
    if models is not None:
        query = query.where(ModelRow.name.in_(models))
    return [f"{name}/{number}" for name, number in sorted(map(tuple, session.execute(query)))]
