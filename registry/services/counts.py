"""How much there is, counted in one statement."""

from __future__ import annotations

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from registry.tables import (
    Base,
    EvaluationRow,
    GalleryRow,
    ModelRow,
    SegmentRow,
    StudyRow,
    TransformRow,
    VersionRow,
)
from registry.types import Counts

__all__ = ["counts"]


def counts(session: Session) -> Counts:
    """What the registry holds now."""
    found = session.execute(
        select(
            _rows(ModelRow).label("models"),
            _rows(VersionRow).label("versions"),
            _rows(GalleryRow).label("galleries"),
            _rows(GalleryRow, func.json_array_length(GalleryRow.labels) > 0).label("benchmarks"),
            (_sum(GalleryRow.items) + _sum(GalleryRow.elsewhere)).label("items"),
            _sum(SegmentRow.rows).label("vectors"),
            _rows(TransformRow).label("transforms"),
            _rows(EvaluationRow).label("evaluations"),
            _rows(StudyRow).label("studies"),
        )
    ).one()
    return Counts(**{name: int(number) for name, number in found._mapping.items()})


def _rows(table: type[Base], *where: ColumnElement[bool]) -> ColumnElement[int]:
    return select(func.count()).select_from(table).where(*where).scalar_subquery()


def _sum(column: InstrumentedAttribute[int]) -> ColumnElement[int]:
    return select(func.coalesce(func.sum(column), 0)).scalar_subquery()
