"""Links: the transforms that lead from and to some versions of a model, each with what was measured of it alone."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, and_, or_, select
from sqlalchemy.orm import Session

from registry.paths import Edge
from registry.refs import RELATIVE, is_relative, prefix_of
from registry.services import cells, evidence, pages
from registry.tables import AnchorSetRow, EvaluationRow, GalleryRow, TransformRow
from registry.types import Evaluation

__all__ = ["Link", "chain", "links"]

_MOST_READ = 2000


@dataclass(frozen=True, slots=True)
class Link:
    """A transform, and the newest measurement of the way that consists of it alone.

    It serves two directions, mapping the queries of the one and the stored vectors of the other. What counts is how
    queries of the newer version do on vectors of the older; only if that was not measured, the other direction. A map
    into a relative space leads nowhere alone: of it the newest way counts on which it meets another version there.
    """

    edge: Edge
    created_at: datetime
    evaluation: Evaluation | None


def links(
    session: Session,
    model: str,
    versions: Collection[str],
    *,
    metric: str,
    on: tuple[str, str] | None = None,
    models: Collection[str] | None = None,
    galleries: Collection[str] | None = None,
) -> list[Link]:
    """The transforms that begin or end at one of these `versions` of a model, or at a prefix of one; the newest first.

    What was measured `on` a benchmark and by its label column goes before what was measured elsewhere. It takes two statements, three with `galleries`. With `models` or `galleries` none but these are named.
    """
    relative = None if galleries is None else _relative_spaces(session, galleries)
    found = [
        (edge, at)
        for edge, at in _edges(session, model)
        if not {_version(edge.source), _version(edge.target)}.isdisjoint(versions)
        and all(_is_covered(space, models, relative) for space in (edge.source, edge.target))
    ]
    where = cells.covered(models, galleries)
    measured = _measured(session, model, [edge for edge, _ in found], metric, where, on) if found else {}
    return [Link(edge, at, measured.get(edge.id)) for edge, at in found]


def _edges(session: Session, model: str) -> Iterator[tuple[Edge, datetime]]:
    """The newest transforms from and to a model's spaces, up to so many that no page shows more."""
    row = TransformRow
    query = (
        select(row.id, row.kind, row.source, row.target, row.created_at)
        .where(or_(*(pages.begins(session, end, f"{model}/") for end in (row.source, row.target))))
        .order_by(row.created_at.desc(), row.id)
        .limit(_MOST_READ)
    )
    return ((Edge(id, kind, source, target), at) for id, kind, source, target, at in session.execute(query))


def _version(space: str) -> str:
    """The version that a space is a prefix of; any other space itself."""
    cut = prefix_of(space)
    return cut[0] if cut else space


def _relative_spaces(session: Session, galleries: Collection[str]) -> set[str]:
    """The relative spaces that items of these galleries span."""
    query = select(AnchorSetRow.name).join(GalleryRow, GalleryRow.id == AnchorSetRow.gallery_id)
    return {f"{RELATIVE}/{name}" for name in session.scalars(query.where(GalleryRow.name.in_(galleries)))}


def _is_covered(space: str, models: Collection[str] | None, relative: Collection[str] | None) -> bool:
    if is_relative(space):
        return relative is None or space in relative
    return models is None or space.partition("/")[0] in models


def _measured(
    session: Session,
    model: str,
    edges: Sequence[Edge],
    metric: str,
    where: Sequence[ColumnElement[bool]],
    on: tuple[str, str] | None,
) -> dict[str, Evaluation]:
    """By transform, its newest measurement; see `Link`."""
    alone = {way: edge.id for edge in edges if not is_relative(edge.target) for way in _ways(edge)}
    meeting = {chain(edge): edge.id for edge in edges if is_relative(edge.target)}
    chains, row = {chain(edge) for edge in edges}, EvaluationRow
    going = and_(row.role == "path", or_(row.query_path.in_(chains), row.gallery_path.in_(chains)))
    read = evidence.evaluations(session, metric=metric, where=[cells.near([model], metric, going), *where]).items
    found: dict[str, Evaluation] = {}
    for e in sorted(read, key=lambda e: ((e.benchmark, e.label) == on, *_weight(e))):  # what counts most stays
        way = ">".join(e.query_path), ">".join(e.gallery_path)
        if way in alone:
            found[alone[way]] = e
        elif sum(not step.startswith("[:") for step in (*e.query_path, *e.gallery_path)) == 2:
            found.update({meeting[side]: e for side in way if side in meeting})
    return found


def _weight(e: Evaluation) -> tuple[bool, bool, datetime]:
    """Newer queries on older vectors count before anything else, and between models a map of the queries."""
    query, gallery = evidence.release_order(e.query), evidence.release_order(e.gallery)
    return query[0] == gallery[0] and query > gallery, bool(e.query_path), e.created_at


def chain(edge: Edge) -> str:
    """A side of a way that goes through this transform alone, as cells have it: cutting its source is a step of its own."""
    cut = prefix_of(edge.source)
    return f"[:{cut[1]}]>{edge.id}" if cut else edge.id


def _ways(edge: Edge) -> tuple[tuple[str, str], ...]:
    """Query side and stored side of the two ways that consist of this transform alone."""
    cut = prefix_of(edge.target)
    other = f"[:{cut[1]}]" if cut else ""
    return (chain(edge), other), (other, chain(edge))
