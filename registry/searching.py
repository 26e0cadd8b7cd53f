"""Searching galleries with queries of any version that has a known path to what is stored."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy.orm import Session

from registry import calibration, scales
from registry.batches import id_type
from registry.calibration import Knots
from registry.errors import Incompatible, InvalidInput
from registry.filtering import Among, Where, wanted
from registry.fingerprints import Fingerprint, check_fingerprint
from registry.home import Home
from registry.index import FlatIndex, empty_hits, merge, search_blocks
from registry.refs import is_relative, prefix_of
from registry.segments import Source, blocks, held_by, sources_of, through
from registry.services import galleries, indexes, models, paths, transforms
from registry.shortlist import rerank
from registry.tables import GalleryRow
from registry.threads import one_blas_thread
from registry.transforms import Transform
from registry.types import Hits, Path, Version
from registry.vectors import Array, Metric, as_rows, check_finite

__all__ = ["search"]

_MOST_HITS = 65536
_CACHED_BYTES = 1 << 30
_LOOKED_AGAIN_S = 10.0  # at what an engine says of its table


Elsewhere = Callable[[Source, Sequence[Source], pa.Array | None, Array, int, Metric], tuple[Array, Array] | None]
"""The exact k closest of a segment, without those that better ones hold, by a metric; None where it cannot tell."""


@dataclass(frozen=True, slots=True)
class Shortlist:
    """A first pass over the first `width` dimensions, which finds `candidates` items for the second to rank."""

    width: int
    candidates: int


def search(
    home: Home, gallery: str, queries: Any, *, version: str, k: int, allow_unmeasured: bool,
    shortlist: int | None = None, candidates: int | None = None, side: Mapping[str, Any] | None = None,
    fingerprint: Fingerprint = None, calibrate: bool = True, where: Where | None = None, elsewhere: Elsewhere | None = None,
) -> Hits:  # fmt: skip
    """The k closest items to each query; see `Registry.search`. Whole segments are searched `elsewhere` if that can."""
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or not 1 <= k <= _MOST_HITS:
        raise InvalidInput(f"k must be a whole number from 1 to {_MOST_HITS}, got {k!r}: scan the gallery for more")
    first = _shortlist(shortlist, candidates, int(k))
    if fingerprint is not None:  # before anything is compared
        _check_encoder(home, version, fingerprint)
    plan = _planned(home, gallery, version, allow_unmeasured=allow_unmeasured, beside=side)
    sides = _sides(plan, side)
    among = _among(home, plan, where)
    rows = _checked(queries, plan.dim)
    for ref, given in sides.items():
        if len(given) != len(rows):
            raise InvalidInput(f"side has {len(given)} vectors by {ref} for {len(rows)} queries: give one for each")
    best = None
    for place, (source, query_side, compared) in enumerate(plan.segments if len(rows) else ()):
        mapped = _mapped(query_side, rows, sides.get(source.version))
        found = None
        if elsewhere is not None and first is None and among is None and not _has_index(source):
            better = [s for s, _, _ in plan.segments[:place]]
            found = elsewhere(source, better, plan.held[place], mapped, int(k), compared)
        if found is None:
            found = _search_segment(home, plan, place, mapped, int(k), compared, first, among)
        if calibrate and source.version in plan.lines:
            found = found[0], calibration.apply(found[1], *plan.lines[source.version])
        best = found if best is None else merge(best, found)
    if best is None:
        best = empty_hits(len(rows), int(k), string_ids=plan.id_type == "string")
    return Hits(*best, path=plan.paths, calibrated=tuple(plan.lines) if calibrate else ())


def _has_index(source: Source) -> bool:
    """Whether a segment is searched by an index of its own."""
    return "search" in source.stored.capabilities and not source.path.gallery


def _checked(queries: Any, dim: int) -> Array:
    """Queries (q, d) that can be compared. One alone, in the form that it is needed in, has little time to be looked at."""
    if type(queries) is np.ndarray and queries.shape == (1, dim) and queries.dtype == np.float32:
        row = queries[0].astype(np.float64)  # whose squares cannot overflow
        if 0 < row.dot(row) < np.inf:
            return np.ascontiguousarray(queries)
    return check_finite(as_rows(queries, dim=dim, what="queries"), what="queries")


def _mapped(query_side: Sequence[Transform], rows: Array, side: Array | None) -> Array:
    if not query_side:
        return rows.astype(np.float32, copy=False)
    with one_blas_thread():  # the queries are few beside the gallery, and FAISS wants the cores right after
        return through(query_side, rows, side=side)


@dataclass(frozen=True, slots=True, eq=False)
class _SearchPlan:
    """What the facts say of a search: which space the queries are in, and how each segment is searched.

    `beside` are the versions that the same queries come by, too. `held[i]` are the items that segments before the i-th hold.
    `lines` are the calibrations by version. It is `fixed` unless a segment lives in an engine where it may change at any
    time; `attached` are the versions whose segments live in one.
    """

    dim: int
    beside: Mapping[str, Version]
    gallery: str
    id_type: str
    labels: tuple[str, ...]
    items_version: int
    segments: Sequence[_Plan]
    held: Sequence[pa.Array | None]
    paths: Mapping[str, Path]
    lines: Mapping[str, Knots]
    fixed: bool
    attached: tuple[str, ...]


def _planned(
    home: Home, gallery: str, version: str, *, allow_unmeasured: bool, beside: Mapping[str, Any] | None
) -> _SearchPlan:
    """The plan of a search, kept while the facts do not change."""
    if not isinstance(beside, Mapping | None):
        raise InvalidInput(
            f"side must map versions to the queries' vectors, such as {{'products/1': vectors}}, got {type(beside).__name__}"
        )
    refs = tuple(beside or ())

    def find(*, indexed: bool = True) -> _SearchPlan:
        with home.database.reading() as session:
            return _plan(home, session, gallery, version, refs, allow_unmeasured=allow_unmeasured, indexed=indexed)

    def found() -> _SearchPlan:
        with contextlib.suppress(
            FileNotFoundError
        ):  # its index was replaced since the facts were read: they say by what
            return find()
        with contextlib.suppress(FileNotFoundError):
            return find()
        return find(indexed=False)

    if not (isinstance(gallery, str) and isinstance(version, str) and all(isinstance(ref, str) for ref in refs)):
        return find()  # which says what is wrong
    return home.plans.get((gallery, version, bool(allow_unmeasured), refs), found, lasts=_lasting)


def _lasting(plan: _SearchPlan) -> float:
    """How many seconds a plan holds at most: one that rests on what is in an engine now does not outlive its search."""
    if plan.fixed:
        return math.inf
    return _LOOKED_AGAIN_S if len(plan.segments) == 1 else 0.0


def _plan(
    home: Home, session: Session, gallery: str, version: str, beside: Sequence[str], *, allow_unmeasured: bool, indexed: bool
) -> _SearchPlan:  # fmt: skip
    space = transforms.resolve_space(session, version)
    dim, _, _ = transforms.space_facts(session, space)
    row = galleries.gallery(session, gallery)
    sides = {ref: models.version(session, models.find(session, ref).ref) for ref in beside}
    refs = {of.ref for of in sides.values()}
    cells: dict[str, int | None] = {}
    plans = _meeting(home, session, row, space, allow_unmeasured=allow_unmeasured, beside=refs, cells=cells)
    _check_scores(gallery, plans)
    by = {source.version: source.path for source, _, _ in plans}
    mixed = sum(source.rows > 0 for source, _, _ in plans) > 1  # within one segment calibration changes no order
    if indexed:
        plans = _with_indexes(home, session, row, plans)
    sources = [source for source, _, _ in plans]
    held = [_held(home, sources[:place]) for place in range(len(sources))]
    return _SearchPlan(
        dim=dim, beside=sides, gallery=gallery, id_type=row.id_type, labels=tuple(row.labels),
        items_version=row.items_version, segments=plans, held=held, paths=by,
        lines=scales.lines(home, session, by, cells) if mixed else {},
        fixed=all(source.stored.state is not None for source, _, _ in plans),
        attached=tuple(segment.version.ref for segment in row.segments if segment.backend is not None),
    )  # fmt: skip


def _held(home: Home, sources: Sequence[Source]) -> pa.Array | None:
    """The ids of all items that these segments hold, read once for their states."""
    states = tuple(source.stored.state for source in sources)
    if not states or None in states:
        return held_by(sources)
    return home.filters.ids(("held", *states), lambda: held_by(sources))


def _with_indexes(home: Home, session: Session, row: GalleryRow, plans: Sequence[_Plan]) -> list[_Plan]:
    """The same, with what searches by an index where the stored side needs no map and there is one."""
    known = indexes.newest(session, row)
    if not known:
        return list(plans)
    by_version = {segment.version.ref: known[segment.id] for segment in row.segments if segment.id in known}

    def stored(source: Source) -> Source:
        index = None if source.path.gallery else by_version.get(source.version)
        return source if index is None else replace(source, stored=home.indexed(source.stored, index))

    return [(stored(source), query_side, metric) for source, query_side, metric in plans]


def _among(home: Home, plan: _SearchPlan, where: Where | None) -> Among | None:
    """The items that a search is among; None for all."""
    asked = wanted(where, plan.labels, plan.gallery)
    if asked is None:
        return None
    if plan.attached:
        raise InvalidInput(
            f"{plan.gallery} has labels where {plan.attached[0]} is attached, by which a search cannot look: leave where out"
        )
    return home.filters.among(home.items(plan.gallery), plan.items_version, asked)


def _check_encoder(home: Home, version: str, fingerprint: Fingerprint) -> None:
    """Hold the encoder of the queries to the version whose space, or a prefix of it, they are said to be of."""
    with home.database.reading() as session:
        space = transforms.resolve_space(session, version)
        if is_relative(space):
            raise InvalidInput(f"{space} belongs to no one version: leave the fingerprint out")
        cut = prefix_of(space)
        check_fingerprint(models.version(session, cut[0] if cut else space), fingerprint)


def _sides(plan: _SearchPlan, side: Mapping[str, Any] | None) -> dict[str, Array]:
    """The queries as other versions embedded them, by the version's number."""
    found: dict[str, Array] = {}
    for ref, given in (side or {}).items():
        version = plan.beside[ref]
        what = f"side by {version.ref}"
        found[version.ref] = check_finite(as_rows(given, dim=version.dim, what=what), what=what)
    return found


def _shortlist(width: int | None, candidates: int | None, k: int) -> Shortlist | None:
    if width is None:
        if candidates is not None:
            raise InvalidInput("candidates belong to a shortlist: give the width of its prefix too")
        return None
    many = 10 * k if candidates is None else candidates
    for name, value, least in (("shortlist", width, 1), ("candidates", many, k)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or not least <= value <= _MOST_HITS:
            raise InvalidInput(f"{name} must be a whole number from {least} to {_MOST_HITS}, got {value!r:.80}")
    return Shortlist(int(width), int(many))


_Plan = tuple[Source, list[Transform], Metric]
"""A segment with its stored-side map, the query-side map, and the metric of the space where both meet."""


def _check_scores(gallery: str, plans: Sequence[_Plan]) -> None:
    """Scores of different metrics cannot be merged: every cosine would beat every negated distance."""
    if len({metric for _, _, metric in plans}) < 2:
        return
    by_metric: dict[Metric, Source] = {}
    seen = pa.concat_arrays([source.stored.ids() for source, _, _ in plans]).slice(0, 0)
    for source, _, metric in plans:
        ids = source.stored.ids()
        if not pc.all(pc.is_in(ids, value_set=seen)).as_py():  # else better segments have all of its items
            by_metric.setdefault(metric, source)
        seen = pa.concat_arrays([seen, ids])
    if len(by_metric) > 1:
        found = " and ".join(f"{s.version} by {metric} in {s.path.space}" for metric, s in by_metric.items())
        raise Incompatible(
            f"segments of {gallery} are compared {found}, whose scores have no common order: "
            "lead them into one space with 'samespace fit', or keep them in galleries of their own"
        )


def _meeting(
    home: Home, session: Session, row: GalleryRow, space: str, *, allow_unmeasured: bool, beside: Collection[str],
    cells: dict[str, int | None],
) -> list[_Plan]:  # fmt: skip
    """How to search each segment; `cells` takes the evaluations that this rests on."""
    graph = home.graphs.of(session)
    dim, metric, _ = transforms.space_facts(session, space)

    def way(version: str) -> Path:
        found = paths.measured_meeting(
            session, graph, space, version, allow_unmeasured=allow_unmeasured, beside=version in beside
        )
        cells[version] = found.evaluation
        return found.path

    return [
        (
            source,
            home.chain(source.path.query, dim, normalize=metric == "cosine"),
            transforms.space_facts(session, source.path.space)[1],
        )
        for source in sources_of(home, row, way=way, steps=lambda path: path.gallery)
    ]


def _search_segment(
    home: Home, plan: _SearchPlan, place: int, queries: Array, k: int, metric: Metric, shortlist: Shortlist | None,
    among: Among | None,
) -> tuple[Array, Array]:  # fmt: skip
    source, better = plan.segments[place][0], [s for s, _, _ in plan.segments[:place]]
    dim = queries.shape[1]
    if shortlist is not None and (metric == "l2" or shortlist.width >= dim):
        raise InvalidInput(
            f"a shortlist by {shortlist.width} dimensions needs a space of more, compared by cosine or dot: "
            f"{source.path.space} has {dim}, compared by {metric}"
        )
    wanted_ids = None if among is None else among.ids
    if shortlist is None and _has_index(source):
        return source.stored.search(queries, k, metric=metric, without=plan.held[place], among=wanted_ids)
    width = dim if shortlist is None else shortlist.width
    strings = plan.id_type == "string"
    rows = source.rows if wanted_ids is None else min(source.rows, len(wanted_ids))
    if (rows * width * 4 > _CACHED_BYTES or not plan.fixed) and shortlist is None:
        wanted_blocks = blocks(source, better, zeros=True, among=wanted_ids)
        return search_blocks(wanted_blocks, queries, k, metric, string_ids=strings)
    what = (plan.gallery, source.version, source.path.gallery, width, among and among.key)
    key = (what, source.stored.state, tuple(s.stored.state for s in better))
    build = partial(_build, source, better, width, metric, wanted_ids)
    index = home.indexes.get(key, build) if plan.fixed else build()
    if not len(index.ids):
        return empty_hits(len(queries), k, string_ids=strings)
    if shortlist is None:
        return index.search(queries, k)
    rows_of = partial(_rows_of, source)
    return rerank(index, queries, k, width=width, candidates=shortlist.candidates, metric=metric, rows_of=rows_of)


def _rows_of(source: Source, ids: Array) -> Array:
    """Whole vectors of some items of a segment, in the path's space."""
    wanted = pa.array(ids.tolist(), type=id_type(source.stored.id_type))
    return source.mapped(wanted, source.stored.take(wanted), zeros=True)


def _build(source: Source, better: list[Source], width: int, metric: Metric, among: pa.Array | None) -> FlatIndex:
    """An index of the first `width` dimensions of a segment's vectors, `among` some items if they are named."""
    index = FlatIndex(width, metric)
    for ids, rows in blocks(source, better, zeros=True, among=among):
        index.add(ids, rows[:, :width])
    return index
