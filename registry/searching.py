"""Searching galleries with queries of any version that has a known path to what is stored."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy.orm import Session

from registry import calibration, scales
from registry.batches import id_type
from registry.errors import Incompatible, InvalidInput
from registry.fingerprints import Fingerprint, check_fingerprint
from registry.home import Home
from registry.index import FlatIndex, empty_hits, merge, search_blocks
from registry.refs import is_relative, prefix_of
from registry.segments import Source, blocks, held_by, sources_of, through
from registry.services import galleries, models, paths, transforms
from registry.shortlist import rerank
from registry.tables import GalleryRow
from registry.threads import one_blas_thread
from registry.transforms import Transform
from registry.types import Hits, Path
from registry.vectors import Array, Metric, as_rows, check_finite

__all__ = ["search"]

_MOST_HITS = 65536
_CACHED_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Shortlist:
    """A first pass over the first `width` dimensions, which finds `candidates` items for the second to rank."""

    width: int
    candidates: int


def search(
    home: Home, gallery: str, queries: Any, *, version: str, k: int, allow_unmeasured: bool,
    shortlist: int | None = None, candidates: int | None = None, side: Mapping[str, Any] | None = None,
    fingerprint: Fingerprint = None, calibrate: bool = True,
) -> Hits:  # fmt: skip
    """The k closest items to each query; see `Registry.search`."""
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or not 1 <= k <= _MOST_HITS:
        raise InvalidInput(f"k must be a whole number from 1 to {_MOST_HITS}, got {k!r}: scan the gallery for more")
    first = _shortlist(shortlist, candidates, int(k))
    with home.database.reading() as session:
        space = transforms.resolve_space(session, version)
        dim, _, _ = transforms.space_facts(session, space)
        _check_encoder(session, space, fingerprint)
        row = galleries.gallery(session, gallery)
        sides = _sides(session, side)
        cells: dict[str, int | None] = {}
        plans = _meeting(home, session, row, space, allow_unmeasured=allow_unmeasured, beside=sides, cells=cells)
        by = {source.version: source.path for source, _, _ in plans}
        mixed = sum(source.rows > 0 for source, _, _ in plans) > 1  # within one segment calibration changes no order
        lines = scales.lines(home, session, by, cells) if calibrate and mixed else {}
    _check_scores(gallery, plans)
    rows = check_finite(as_rows(queries, dim=dim, what="queries"), what="queries")
    for ref, given in sides.items():
        if len(given) != len(rows):
            raise InvalidInput(f"side has {len(given)} vectors by {ref} for {len(rows)} queries: give one for each")
    best = empty_hits(len(rows), int(k), string_ids=row.id_type == "string")
    for place, (source, query_side, compared) in enumerate(plans):
        better = [s for s, _, _ in plans[:place]]
        with one_blas_thread():  # the queries are few beside the gallery, and FAISS wants the cores right after
            mapped = through(query_side, rows, side=sides.get(source.version))
        ids, scores = _search_segment(home, source, better, mapped, int(k), compared, row.id_type, first)
        if source.version in lines:
            scores = calibration.apply(scores, *lines[source.version])
        best = merge(best, (ids, scores))
    return Hits(*best, path=by, calibrated=tuple(lines))


def _check_encoder(session: Session, space: str, fingerprint: Fingerprint) -> None:
    """Hold the encoder of the queries to the version whose space, or a prefix of it, they are said to be of."""
    if fingerprint is None:
        return
    if is_relative(space):
        raise InvalidInput(f"{space} belongs to no one version: leave the fingerprint out")
    cut = prefix_of(space)
    check_fingerprint(models.version(session, cut[0] if cut else space), fingerprint)


def _sides(session: Session, side: Mapping[str, Any] | None) -> dict[str, Array]:
    """The queries as other versions embedded them, by the version's number."""
    if not isinstance(side, Mapping | None):
        raise InvalidInput(
            f"side must map versions to the queries' vectors, such as {{'products/1': vectors}}, got {type(side).__name__}"
        )
    found: dict[str, Array] = {}
    for ref, given in (side or {}).items():
        version = models.find(session, ref)
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
    home: Home,
    source: Source,
    better: list[Source],
    queries: Array,
    k: int,
    metric: Metric,
    id_type: str,
    shortlist: Shortlist | None,
) -> tuple[Array, Array]:
    dim = queries.shape[1]
    if shortlist is not None and (metric == "l2" or shortlist.width >= dim):
        raise InvalidInput(
            f"a shortlist by {shortlist.width} dimensions needs a space of more, compared by cosine or dot: "
            f"{source.path.space} has {dim}, compared by {metric}"
        )
    width = dim if shortlist is None else shortlist.width
    strings = id_type == "string"
    if "search" in source.stored.capabilities and not source.chain and shortlist is None:
        return source.stored.search(queries, k, metric=metric, without=held_by(better))
    fixed = all(s.stored.state is not None for s in (source, *better))  # else there is nothing to keep an index by
    if (source.rows * width * 4 > _CACHED_BYTES or not fixed) and shortlist is None:
        return search_blocks(blocks(source, better, zeros=True), queries, k, metric, string_ids=strings)
    key = (source.stored.state, source.path.gallery, tuple(s.stored.state for s in better), width)
    build = partial(_build, source, better, width, metric)
    index = home.indexes.get(key, build) if fixed else build()
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


def _build(source: Source, better: list[Source], width: int, metric: Metric) -> FlatIndex:
    """An index of the first `width` dimensions of a segment's vectors."""
    index = FlatIndex(width, metric)
    for ids, rows in blocks(source, better, zeros=True):
        index.add(ids, rows[:, :width])
    return index
