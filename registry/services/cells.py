"""Cells: conditions on what was measured, for `evidence.evaluations`."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import ColumnElement, Select, false, or_, select, union

from registry.tables import EvaluationRow, GalleryRow, ModelRow, VersionRow

__all__ = ["covered", "near", "through"]


def covered(models: Collection[str] | None, galleries: Collection[str] | None) -> list[ColumnElement[bool]]:
    """The cells of these models alone, on these galleries; None is all of them."""
    conditions: list[ColumnElement[bool]] = []
    if models is not None:
        of_models = _versions(models)
        conditions += [EvaluationRow.query_id.in_(of_models), EvaluationRow.gallery_id.in_(of_models)]
    if galleries is not None:
        conditions.append(EvaluationRow.benchmark_id.in_(select(GalleryRow.id).where(GalleryRow.name.in_(galleries))))
    return conditions


def near(models: Collection[str], metric: str, going: ColumnElement[bool]) -> ColumnElement[bool]:
    """The cells by a metric with one of these models on a side, whose ways are `going` so.

    Each side is looked up in an index of its own: asked of both at once, SQLite reads all cells there are.
    """
    sides = (
        select(EvaluationRow.id)
        .where(side.in_(_versions(models)), EvaluationRow.metric == metric, going)
        .correlate(None)
        for side in (EvaluationRow.query_id, EvaluationRow.gallery_id)
    )
    return EvaluationRow.id.in_(union(*sides))


def through(transforms: Collection[str]) -> ColumnElement[bool]:
    """The cells whose way goes through one of these transforms, on either side."""
    chains = (EvaluationRow.query_path, EvaluationRow.gallery_path)
    return or_(false(), *(chain.contains(id, autoescape=True) for id in transforms for chain in chains))


def _versions(models: Collection[str]) -> Select[int]:
    return select(VersionRow.id).join(ModelRow, ModelRow.id == VersionRow.model_id).where(ModelRow.name.in_(models))
