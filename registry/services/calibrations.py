"""Calibrations: what evaluations found out about the scores across a path, one line each."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sqlalchemy import select
from sqlalchemy.orm import Session

from registry import calibration
from registry.calibration import Knots
from registry.tables import CalibrationRow, EvaluationRow

__all__ = ["add", "of_evaluations"]


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
