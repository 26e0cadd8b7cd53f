"""Calibrations: what evaluations found out about the scores across a path, one line each."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sqlalchemy import select
from sqlalchemy.orm import Session

from registry import calibration
from registry.calibration import Knots
from registry.paths import joined_chain
from registry.tables import CalibrationRow, EvaluationRow
from registry.types import Evaluation

__all__ = ["add", "is_measured", "of_evaluations"]


def add(session: Session, found: Mapping[EvaluationRow, Knots]) -> None:
    """Keep the calibrations of new evaluations."""
    if not found:
        return
    session.flush()  # gives the evaluations their numbers
    for row, (x, y) in found.items():
        session.add(CalibrationRow(evaluation_id=row.id, x=x.tolist(), y=y.tolist()))


def of_evaluations(session: Session, ids: Collection[int]) -> Mapping[int, Knots]:
    """The calibrations of some evaluations, in one statement; those that have none are left out."""
    if not ids:
        return {}
    c = CalibrationRow
    rows = session.execute(select(c.evaluation_id, c.x, c.y).where(c.evaluation_id.in_(ids)))
    lines = ((id, calibration.line(x, y)) for id, x, y in rows)
    return {id: knots for id, knots in lines if knots is not None}


def is_measured(session: Session, cell: Evaluation, query: int, gallery: int) -> bool:
    """Whether the calibration of a measured cell is kept; `query` and `gallery` are its versions, by row ids."""
    query_path, gallery_path = (joined_chain(steps) for steps in (cell.query_path, cell.gallery_path))
    e = EvaluationRow
    found = (
        select(CalibrationRow.evaluation_id)
        .join(e, e.id == CalibrationRow.evaluation_id)
        .where(
            e.measurement == cell.measurement,
            e.query_id == query,
            e.gallery_id == gallery,
            e.query_path == query_path,
            e.gallery_path == gallery_path,
        )
    )
    return session.scalar(found.limit(1)) is not None
