"""Scales of scores: by which calibration a search makes those across a path comparable with its own."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy.orm import Session

from registry import calibration
from registry.calibration import Knots
from registry.home import Home
from registry.services import calibrations
from registry.types import Path

__all__ = ["lines", "own_line"]


def lines(home: Home, session: Session, paths: Mapping[str, Path], cells: Mapping[str, int | None]) -> dict[str, Knots]:
    """By version the calibration of its scores: that of the evaluation its path rests on, else the map's own.

    `cells` are the evaluations, by row ids; versions whose scores nobody calibrated are left out. One statement.
    """
    measured = calibrations.of_evaluations(session, [id for id in cells.values() if id is not None])
    found = {ref: measured.get(cells.get(ref) or 0) or own_line(home, path) for ref, path in paths.items()}
    return {ref: line for ref, line in found.items() if line is not None}


def own_line(home: Home, path: Path) -> Knots | None:
    """What the fit of a path's one transform found out about its scores."""
    steps = (*path.query, *path.gallery)
    if len(steps) != 1 or steps[0].startswith("[:"):
        return None
    # The knots count for queries of one end: of the source where the query is mapped, else of the target.
    return calibration.curve(home.transform(steps[0]).report, "source" if path.query else "target")
