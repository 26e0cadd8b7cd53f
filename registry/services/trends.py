"""Trends: how quality went from version to version, on one benchmark and label column."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sqlalchemy import func, select, tuple_
from sqlalchemy.orm import Session

from registry.services import cells, evidence
from registry.tables import EvaluationRow, GalleryRow
from registry.types import Evaluation

__all__ = ["best", "measured_on"]


def measured_on(
    session: Session, versions: Collection[int], *, galleries: Collection[str] | None = None
) -> list[tuple[str, str]]:
    """The (benchmark, label column) by which these versions (row ids) were measured on their own vectors.

    The one of the newest measurement comes first. One statement; with `galleries` no others are named.
    """
    cell = EvaluationRow
    newest = func.max(cell.id)
    query = (
        select(GalleryRow.name, cell.label)
        .join(GalleryRow, GalleryRow.id == cell.benchmark_id)
        .where(
            cell.query_id.in_(versions), cell.metric == evidence.RANKING_METRIC, cell.gallery_id == cell.query_id,
            cell.role == "self", *cells.covered(None, galleries),
        )
        .group_by(GalleryRow.name, cell.label)
        .order_by(newest.desc())
    )  # fmt: skip
    return [(benchmark, label) for benchmark, label in session.execute(query)]


def best(
    session: Session, pairs: Collection[tuple[int, int]], *, benchmark: str, label: str, metric: str
) -> Mapping[tuple[str, str], Evaluation]:
    """By (query, gallery) the best way of the newest measurement of these pairs of versions, given by row ids.

    Of a version with itself that is its whole vectors, and the naive control is no way. Two statements.
    """
    row = EvaluationRow
    where = [tuple_(row.query_id, row.gallery_id).in_(pairs), row.role != "naive"]
    read = evidence.evaluations(
        session, benchmark=benchmark, label=label, metric=metric, queries={query for query, _ in pairs}, where=where
    ).items
    ordered = sorted(read, key=lambda e: (e.role == "self", e.value))
    return {(e.query, e.gallery): e for e in ordered}
