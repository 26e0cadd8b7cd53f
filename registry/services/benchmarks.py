"""Benchmarks: which there are, the one measured last, and the versions measured on one. A statement each."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import CTE, Select, func, select
from sqlalchemy.orm import Session

from registry.services import evidence, galleries
from registry.tables import EvaluationRow, GalleryRow, ModelRow, SegmentRow, VersionRow

__all__ = ["Measured", "benchmarks", "measured", "newest", "stored"]


@dataclass(frozen=True, slots=True)
class Measured:
    """The newest versions measured on a benchmark for a label column, by model and number, and how many each model has."""

    benchmark: str
    label: str
    versions: tuple[str, ...]
    counts: Mapping[str, int]


def benchmarks(session: Session) -> Mapping[str, tuple[str, ...]]:
    """The label columns of each benchmark, by name; of galleries and what they hold nothing else is read."""
    has_labels = func.json_array_length(GalleryRow.labels) > 0
    rows = session.execute(select(GalleryRow.name, GalleryRow.labels).where(has_labels).order_by(GalleryRow.name))
    return {name: tuple(labels) for name, labels in rows}


def newest(
    session: Session, *, models: Collection[str] | None = None, among: Collection[str] | None = None
) -> str | None:
    """The benchmark measured last, of some `models` on either side and of those `among` if they are given; None if none was."""
    cell = EvaluationRow
    # One metric, which every measurement has, is enough to look at.
    last = select(func.max(cell.id)).where(cell.metric == evidence.RANKING_METRIC)
    if models is not None:
        covered = select(VersionRow.id).join(VersionRow.model).where(ModelRow.name.in_(models))
        # The sum keeps databases from an index of both sides, in which they would look up every pair of versions.
        last = last.where(cell.query_id.in_(covered), (cell.gallery_id + 0).in_(covered))
    if among is not None:
        last = last.where(cell.benchmark_id.in_(select(GalleryRow.id).where(GalleryRow.name.in_(among))))
    name = select(GalleryRow.name).join(cell, cell.benchmark_id == GalleryRow.id)
    return session.scalar(name.where(cell.id == last.scalar_subquery()))


def measured(
    session: Session,
    benchmark: str,
    *,
    label: str | None = None,
    model: str | None = None,
    models: Collection[str] | None = None,
    limit: int,
) -> Measured:
    """The `limit` newest versions measured for a label column, by default the first, and how many there are of each model.

    Of one `model`, and of these `models`, only, if they are given; the counts are of all `models`.
    """
    row = galleries.gallery(session, benchmark, segments=False)
    label = evidence.label_column(row, label)
    every = _versions(row.id, label)
    counts = _of(every, models, ModelRow.name, func.count()).group_by(ModelRow.name).order_by(ModelRow.name)
    return Measured(
        benchmark=row.name,
        label=label,
        versions=_newest(session, every, _both(model, models), limit),
        counts={name: number for name, number in session.execute(counts)},  # noqa: C416 - a row is no pair to mypy
    )


def stored(
    session: Session, benchmark: str, *, model: str | None = None, models: Collection[str] | None = None, limit: int
) -> tuple[str, ...]:
    """The `limit` newest versions that stored vectors in a benchmark: what there is to measure."""
    row = galleries.gallery(session, benchmark, segments=False)
    every = select(SegmentRow.version_id.label("id")).where(SegmentRow.gallery_id == row.id, SegmentRow.rows > 0)
    return _newest(session, every.cte("stored"), _both(model, models), limit)


def _both(model: str | None, models: Collection[str] | None) -> Collection[str] | None:
    """The models that are meant by one and by some; None are all."""
    if model is None:
        return models
    return {model} if models is None else {model} & set(models)


def _newest(session: Session, versions: CTE, models: Collection[str] | None, limit: int) -> tuple[str, ...]:
    """The newest of these versions, by model and number."""
    last = _of(versions, models, ModelRow.name, VersionRow.number).order_by(VersionRow.id.desc()).limit(limit)
    return tuple(sorted((f"{name}/{n}" for name, n in session.execute(last)), key=evidence.release_order))


def _versions(benchmark: int, label: str) -> CTE:
    """The row ids of the versions that were measured, each found by a step in an index from the one before it.

    `DISTINCT` would read every cell there is.
    """
    cell = EvaluationRow
    here = (cell.benchmark_id == benchmark, cell.label == label)
    found = select(func.min(cell.query_id).label("id")).where(*here).cte("measured", recursive=True)
    following = select(func.min(cell.query_id)).where(*here, cell.query_id > found.c.id).scalar_subquery()
    return found.union_all(select(following).where(found.c.id.is_not(None)))


def _of(versions: CTE, models: Collection[str] | None, *columns: Any) -> Select[Any]:
    """These columns of versions and their models, if they are of `models`."""
    query = (
        select(*columns).select_from(VersionRow).join(VersionRow.model).where(VersionRow.id.in_(select(versions.c.id)))
    )
    return query if models is None else query.where(ModelRow.name.in_(models))
