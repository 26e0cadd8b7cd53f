"""Upgrades: the measured pairs of an older and a newer version, with the advice on each, several at once."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import islice

from sqlalchemy import Select, select
from sqlalchemy.orm import Session, aliased

from registry.services import advice, evidence
from registry.services.pages import checked_limit
from registry.tables import EvaluationRow, GalleryRow, ModelRow, VersionRow
from registry.types import Comparison

__all__ = ["upgrades"]

_LOOKED_BACK = 500
"""How many of the newest cells are looked at. A pair has one for each path, so these are a hundred pairs or more."""


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two versions that were measured with each other, by row ids and by name."""

    measurement: str
    new: int
    old: int
    new_ref: str
    old_ref: str
    benchmark: str

    @property
    def refs(self) -> frozenset[str]:
        return frozenset((self.new_ref, self.old_ref))


def upgrades(
    session: Session, *, limit: int, models: Collection[str] | None = None, galleries: Collection[str] | None = None
) -> list[Comparison]:
    """The upgrades that were measured last; see `Registry.upgrades`.

    It takes two statements, however large the registry. With `models` or `galleries` none but these are named.
    """
    chosen = list(islice(_pairs(session, models, galleries), checked_limit(limit)))
    cells = evidence.of_measurements(session, [(p.measurement, p.new, p.old) for p in chosen])
    return [
        advice.advised(
            p.old_ref, p.new_ref, p.benchmark,
            tuple(e for e in cells if e.measurement == p.measurement and p.refs >= {e.query, e.gallery}),
        )
        for p in chosen
    ]  # fmt: skip


def _pairs(session: Session, models: Collection[str] | None, galleries: Collection[str] | None) -> Iterator[_Pair]:
    """Each pair once: those measured last first, and of one measurement those between the newest versions."""
    found = [
        _Pair(name, new, old, f"{new_model}/{new_number}", f"{old_model}/{old_number}", benchmark)
        for name, new, old, new_model, new_number, old_model, old_number, benchmark in session.execute(
            _newest(models, galleries)
        )
    ]
    order = {name: i for i, name in enumerate(dict.fromkeys(p.measurement for p in found))}
    told = set()
    for pair in sorted(set(found), key=lambda p: (order[p.measurement], -p.new, -p.old)):
        if (pair.new, pair.old) not in told:
            told.add((pair.new, pair.old))
            yield pair


def _newest(
    models: Collection[str] | None, galleries: Collection[str] | None
) -> Select[str, int, int, str, int, str, int, str]:
    """The newest cells of which the query's version was registered after the gallery's."""
    cell, new, old = EvaluationRow, aliased(VersionRow), aliased(VersionRow)
    new_model, old_model = aliased(ModelRow), aliased(ModelRow)
    query = (
        select(
            cell.measurement, cell.query_id, cell.gallery_id,
            new_model.name, new.number, old_model.name, old.number, GalleryRow.name,
        )
        .join(new, new.id == cell.query_id)
        .join(new_model, new_model.id == new.model_id)
        .join(old, old.id == cell.gallery_id)
        .join(old_model, old_model.id == old.model_id)
        .join(GalleryRow, GalleryRow.id == cell.benchmark_id)
        .where(cell.metric == evidence.RANKING_METRIC, cell.query_id > cell.gallery_id)
        .order_by(cell.id.desc())
        .limit(_LOOKED_BACK)
    )  # fmt: skip
    if models is not None:
        query = query.where(new_model.name.in_(models), old_model.name.in_(models))
    if galleries is not None:
        query = query.where(GalleryRow.name.in_(galleries))
    return query
