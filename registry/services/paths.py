"""The path that is taken: of all ways between two spaces, the one with the best evidence."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, cast

from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.errors import Unmeasured
from registry.paths import Graph, incompatible, split_chain
from registry.refs import is_relative, prefix_of
from registry.services import models
from registry.services.evidence import RANKING_METRIC
from registry.tables import EvaluationRow, GalleryRow
from registry.types import Evidence, Path, Verdict

__all__ = ["Meeting", "best_lead", "best_meeting", "best_meetings", "measured_meeting"]

_CELLS_READ = 2000  # the newest ones: a search must not read years of measurements
_CELLS_READ_TOGETHER = 5000  # of many pairs

Steps = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Meeting:
    """A path, and the evaluation that its evidence is, if that speaks of just these queries on just these vectors."""

    path: Path
    evaluation: int | None = None


@dataclass(frozen=True, slots=True)
class _Cell:
    """A measured way between two versions, and what it says."""

    id: int
    query: int
    gallery: int
    query_path: Steps
    gallery_path: Steps
    measurement: str
    queries: int
    evidence: Evidence


_Group = tuple[Any, ...]
"""Cells whose values compare. It begins with whether they speak of the wanted way itself, not of a part of another."""

_Found = tuple[Path, _Cell, _Group]
"""A way that there is, a cell that measured it, and the cell's group."""


def best_meeting(
    session: Session, graph: Graph, query: str, gallery: str, *, allow_unmeasured: bool, beside: bool = False
) -> Path:
    """The best measured way to compare vectors of space `query` with those that version `gallery` stored.

    One space with itself, and a plain cut to a prefix, hold by definition and need no evidence. Of the others, values
    are compared only within one measurement, since those of different items or labels are not comparable: of the one
    that measured the most of the ways, then with the most queries, then the newest. `beside` is that of `Graph.meet`.

    Raises:
        Incompatible: there is no way.
        Unmeasured: there is one, but no evaluation of it, and the caller does not allow that.
    """
    return measured_meeting(session, graph, query, gallery, allow_unmeasured=allow_unmeasured, beside=beside).path


def measured_meeting(
    session: Session, graph: Graph, query: str, gallery: str, *, allow_unmeasured: bool, beside: bool = False
) -> Meeting:
    """The way of `best_meeting`, and which evaluation speaks for it; none does for queries in a part of a version's space."""
    if is_relative(query):  # such queries have no cells of their own; how well the stored side gets there has
        lead = best_lead(session, graph, gallery, query, allow_unmeasured=allow_unmeasured)
        return Meeting(Path(query, gallery, query, (), lead.query, lead.kinds, lead.evidence))
    version, cut = _version(session, query)
    stored = models.fixed(session, gallery).id

    def found() -> Iterator[_Found]:
        cells = _cells(session, (EvaluationRow.query_id == version) & (EvaluationRow.gallery_id == stored))
        return _meeting_by(graph, query, gallery, cut, cells, beside=beside)

    first = next(graph.meet(query, gallery, beside=beside), None)
    if first is None:
        needs_side = not beside and graph.needs_side(query, gallery)
        raise incompatible(query, gallery, paired=True, needs_side=needs_side)
    path, cell = _best(first, found, allow_unmeasured=allow_unmeasured)
    return Meeting(path, cell.id if cell and not cut else None)


def best_meetings(
    session: Session, graph: Graph, queries: Mapping[str, int], stored: Mapping[str, int]
) -> Mapping[tuple[str, str], Path]:
    """Of queries of each version on what each other one stored, the path that `best_meeting` takes, measured or not.

    Both sides are versions, with their row ids; pairs without a way are left out. It takes one statement, which reads so
    many of the newest cells of all pairs together, not of each.
    """
    e = EvaluationRow
    where = e.query_id.in_(queries.values()) & e.gallery_id.in_(stored.values())
    cells: dict[tuple[int, int], list[_Cell]] = defaultdict(list)
    for cell in _cells(session, where, _CELLS_READ_TOGETHER):
        cells[cell.query, cell.gallery].append(cell)
    found: dict[tuple[str, str], Path] = {}
    for query, number in queries.items():
        for gallery in graph.readable(query, stored):
            first = next(graph.meet(query, gallery), None)
            if first is not None:
                known = partial(_meeting_by, graph, query, gallery, (), cells[number, stored[gallery]])
                found[query, gallery], _ = _best(first, known, allow_unmeasured=True)
    return found


def _meeting_by(
    graph: Graph, query: str, gallery: str, cut: Steps, cells: Iterable[_Cell], *, beside: bool = False
) -> Iterator[_Found]:
    """The ways that measured cells of this pair speak of, as far as they are still there."""
    for cell in cells:
        if cell.query_path[: len(cut)] == cut:
            path = graph.way(query, gallery, cell.query_path[len(cut) :], cell.gallery_path, beside=beside)
            if path is not None:
                yield path, cell, (True, cell.measurement)


def best_lead(session: Session, graph: Graph, source: str, target: str, *, allow_unmeasured: bool) -> Path:
    """The best measured way to turn vectors of space `source` into vectors of space `target`; see `best_meeting`.

    A way is measured where an evaluation used its maps on either side. A cell between the two versions with nothing
    done to the other side speaks of it most directly, so such cells go first.
    """
    start, cut = _version(session, source)
    end, _ = _version(session, target)

    lead_by = cache(partial(_lead_by, graph, source, target, cut))  # many cells speak of few ways

    def found() -> Iterator[_Found]:
        for cell in _cells(session, (EvaluationRow.query_id == start) | (EvaluationRow.gallery_id == start)):
            sides = (
                (cell.query, cell.query_path, cell.gallery, cell.gallery_path),
                (cell.gallery, cell.gallery_path, cell.query, cell.query_path),
            )
            for here, steps, other, rest in sides:
                path = lead_by(_uncut(steps)) if here == start else None
                if path is not None:
                    yield path, cell, (other == end and not rest, cell.measurement, other, rest)

    first = next(graph.lead(source, target), None)
    if first is None:
        raise incompatible(source, target)
    return _best(first, found, allow_unmeasured=allow_unmeasured)[0]


def _lead_by(graph: Graph, source: str, target: str, cut: Steps, measured: Steps) -> Path | None:
    """The way into `target` by the maps of a measured way of the version that `source` is cut from."""
    steps = measured[len(cut) :]
    if not steps or measured[: len(cut)] != cut:
        return None
    inner = prefix_of(target)  # what ends in a larger prefix is cut to it, which holds by definition
    return graph.way(source, target, steps, ()) or (
        graph.way(source, target, (*steps, f"[:{inner[1]}]"), ()) if inner else None
    )


def _best(first: Path, found: Callable[[], Iterable[_Found]], *, allow_unmeasured: bool) -> tuple[Path, _Cell | None]:
    """The best way by what was measured, and the cell; `first` is the shortest of all, `found` gives those that cells speak of."""
    if all(_by_definition(step) for step in (*first.query, *first.gallery)):
        return first, None
    groups: dict[_Group, dict[Path, _Cell]] = defaultdict(dict)
    for path, cell, group in found():
        groups[group].setdefault(path, cell)  # the newest comes first
    if groups:
        judged = max(groups.items(), key=_authority)[1]
        # Of equals, the one that was measured first: a measurement begins with the shortest way and the newest maps.
        path, cell = max(judged.items(), key=lambda way: (way[1].evidence.value, -way[0].length, -way[1].id))
        return replace(path, evidence=cell.evidence), cell
    if allow_unmeasured:
        return first, None
    raise Unmeasured(
        f"{first.source} reaches {first.target} by {first}, but nobody measured how well: run 'samespace evaluate BENCHMARK' "
        "on a benchmark that both sides have embedded, or pass allow_unmeasured=True"
    )


def _authority(group: tuple[_Group, dict[Path, _Cell]]) -> tuple[bool, int, int, int]:
    """Which group is believed: a direct one, then that of the most ways, then of the most queries, then the newest."""
    (direct, *_), cells = group
    newest = max(cells.values(), key=lambda cell: cell.id)
    return direct, len(cells), newest.queries, newest.id


def _cells(session: Session, where: Any, limit: int = _CELLS_READ) -> Iterator[_Cell]:
    """The newest measured ways, by the ranking metric."""
    e = EvaluationRow
    rows = session.execute(
        select(
            e.id, e.query_id, e.gallery_id, e.query_path, e.gallery_path, e.measurement, e.queries,
            GalleryRow.name, e.value, e.low, e.high, e.verdict,
        )
        .join(GalleryRow, e.benchmark_id == GalleryRow.id)
        .where(e.role == "path", e.metric == RANKING_METRIC, where)
        .order_by(e.id.desc())
        .limit(limit)
    )  # fmt: skip
    for (
        id,
        query,
        gallery,
        query_path,
        gallery_path,
        measurement,
        queries,
        benchmark,
        value,
        low,
        high,
        verdict,
    ) in rows:
        evidence = Evidence(benchmark, RANKING_METRIC, value, low, high, cast("Verdict | None", verdict))
        steps = split_chain(query_path), split_chain(gallery_path)
        yield _Cell(id, query, gallery, *steps, measurement, queries, evidence)


def _version(session: Session, space: str) -> tuple[int | None, Steps]:
    """The version whose vectors a space is made of, and the cut that makes it; None for a relative space."""
    if is_relative(space):
        return None, ()
    cut = prefix_of(space)
    return models.fixed(session, cut[0] if cut else space).id, (f"[:{cut[1]}]",) if cut else ()


def _uncut(steps: Steps) -> Steps:
    """Without the plain cuts at the end: they hold by definition."""
    while steps and _by_definition(steps[-1]):
        steps = steps[:-1]
    return steps


def _by_definition(step: str) -> bool:
    return step.startswith("[:")
