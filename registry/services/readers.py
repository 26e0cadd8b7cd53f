"""Readers: which versions can search what a gallery holds, by which path, and what was measured of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, or_, select, tuple_
from sqlalchemy.orm import Session

from registry.paths import Graph
from registry.refs import is_relative, prefix_of
from registry.services import models, pages
from registry.services.current import ALIASES
from registry.services.evidence import RANKING_METRIC, release_order
from registry.services.galleries import to_segment
from registry.services.paths import best_meetings
from registry.tables import EvaluationRow, GalleryRow, ModelRow, SegmentRow, TransformRow, VersionRow
from registry.types import Effort, Model, Path

__all__ = ["Reader", "Readers", "Stored", "readers", "stored"]

_MEASURED, _LINKED = 60, 200  # versions that are looked at: those measured last, and the ends of the newest transforms


@dataclass(frozen=True, slots=True)
class Stored:
    """A segment: the vectors that a version, by row id too, stored; `lance_version` is the state that counts.

    `capabilities` and `effort` are those of an engine that had them before, of the kind `backend`; see `Segment`.
    """

    version: str
    id: int
    rows: int
    lance_version: int
    dim: int
    metric: str
    dtype: str
    backend: str = "lance"
    where: str | None = None
    capabilities: tuple[str, ...] = ()
    effort: Effort | None = None


@dataclass(frozen=True, slots=True)
class Reader:
    """A version, and by the version that stored vectors the path to them, measured or not; without one it cannot read them.

    `alias` is what says that it is in use, empty if nothing does and it is the newest; None if it is not in use.
    `needs_side` are those whose vectors it could search if each query came as they embed it, too.
    """

    version: str
    alias: str | None
    paths: Mapping[str, Path]
    needs_side: frozenset[str]


@dataclass(frozen=True, slots=True)
class Readers:
    """The versions in use first, then the newest; `more` others have a path too, as far as was looked."""

    readers: tuple[Reader, ...]
    more: int


def stored(session: Session, gallery: str, *, among: Collection[str] | None = None) -> list[Stored]:
    """What is stored in a gallery, the most first; by models `among` only, if they are named. One statement."""
    query = (
        select(
            ModelRow.name, VersionRow.number, VersionRow.id, SegmentRow.rows, SegmentRow.lance_version, VersionRow.dim,
            VersionRow.metric, VersionRow.dtype, SegmentRow.backend,
        )
        .select_from(SegmentRow)
        .join(GalleryRow, GalleryRow.id == SegmentRow.gallery_id)
        .join(VersionRow, VersionRow.id == SegmentRow.version_id)
        .join(ModelRow, ModelRow.id == VersionRow.model_id)
        .where(GalleryRow.name == gallery, SegmentRow.lance_version > 0)
        .order_by(SegmentRow.rows.desc(), SegmentRow.id)
    )  # fmt: skip
    return [
        Stored(f"{name}/{number}", id, rows, state, dim, metric, dtype, *_place(f"{name}/{number}", backend))
        for name, number, id, rows, state, dim, metric, dtype, backend in session.execute(query)
        if among is None or name in among
    ]


def _place(version: str, backend: Mapping[str, Any] | None) -> tuple[str, str | None, tuple[str, ...], Effort | None]:
    """What keeps a segment, where, what it does itself, and by how much effort."""
    found = to_segment(version, 0, 0, backend)
    return found.backend, found.where, found.capabilities, found.effort


def readers(
    session: Session, graph: Graph, found: Sequence[Stored], *, limit: int, among: Collection[str] | None = None
) -> Readers:
    """Who reads what was `found` stored: the version in use of each model concerned, and others that have a path.

    Concerned are the models that stored it. Of other versions, of models `among` if they are named, those are looked at
    that stored it, that were measured on it last, or that a transform leads from or to. It takes six statements.
    """
    owners = {s.version.partition("/")[0] for s in found}
    current = _current(models.models(session, among=owners).items)
    others = [s.version for s in found]
    others += _measured(session, [s.id for s in found]) + _linked(session, [s.version for s in found])
    wanted = [ref for ref in dict.fromkeys([*current, *others]) if among is None or ref.partition("/")[0] in among]
    ids = _ids(session, wanted)
    held = {s.version: s.id for s in found}
    ways: dict[str, dict[str, Path]] = {ref: {} for ref in ids}
    for (query, gallery), path in best_meetings(session, graph, ids, held).items():
        ways[query][gallery] = path
    made = [
        Reader(ref, current.get(ref), ways[ref], frozenset(s for s in held if graph.needs_side(ref, s)))
        for ref in ids
        if ref in current or ways[ref]
    ]
    made.sort(key=lambda r: release_order(r.version), reverse=True)
    made.sort(key=lambda r: r.alias is None)
    return Readers(tuple(made[:limit]), len(made[limit:]))


def _current(found: Iterable[Model]) -> dict[str, str]:
    """The version in use of each model, and the alias that says so."""
    alias = {m.name: next((name for name in ALIASES if name in m.aliases), "") for m in found}
    return {f"{m.name}/{m.aliases.get(alias[m.name], m.versions)}": alias[m.name] for m in found}


def _measured(session: Session, ids: Sequence[int]) -> list[str]:
    """The versions whose queries were measured on these, the last ones first."""
    e, last = EvaluationRow, func.max(EvaluationRow.id)
    query = (
        select(ModelRow.name, VersionRow.number)
        .select_from(e)
        .join(VersionRow, VersionRow.id == e.query_id)
        .join(ModelRow, ModelRow.id == VersionRow.model_id)
        .where(e.gallery_id.in_(ids), e.metric == RANKING_METRIC, e.role == "path")
        .group_by(ModelRow.name, VersionRow.number)
        .order_by(last.desc())
        .limit(_MEASURED)
    )
    return [f"{name}/{number}" for name, number in session.execute(query)]


def _linked(session: Session, refs: Sequence[str]) -> list[str]:
    """The versions that a transform leads from, or to, one of these or a prefix of one, by the newest transforms."""
    t = TransformRow
    near = (
        or_(end.in_(refs), *(pages.begins(session, end, f"{ref}[") for ref in refs)) for end in (t.source, t.target)
    )
    query = select(t.source, t.target).where(or_(*near)).order_by(t.created_at.desc()).limit(_LINKED)
    ends = (space for row in session.execute(query) for space in row if not is_relative(space))
    cuts = ((space, prefix_of(space)) for space in ends)
    return list(dict.fromkeys(cut[0] if cut else space for space, cut in cuts))


def _ids(session: Session, refs: Sequence[str]) -> dict[str, int]:
    """The row ids of these versions, in their order."""
    named = [(name, int(number)) for name, _, number in (ref.partition("/") for ref in refs)]
    query = (
        select(ModelRow.name, VersionRow.number, VersionRow.id)
        .join(ModelRow, ModelRow.id == VersionRow.model_id)
        .where(ModelRow.name.in_({name for name, _ in named}), tuple_(ModelRow.name, VersionRow.number).in_(named))
    )
    found = {f"{name}/{number}": id for name, number, id in session.execute(query)}
    return {ref: found[ref] for ref in refs if ref in found}
