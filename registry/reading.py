"""Reading galleries into the space that the caller asks for: fetch, scan, search, convert."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy.orm import Session

from registry import calibration
from registry.errors import BadVector, Incompatible, InvalidInput
from registry.gallery import Dataset, vectors_of
from registry.home import Home
from registry.index import FlatIndex, empty_hits, ids_array, merge, search_blocks
from registry.services import galleries, models, paths, transforms
from registry.shortlist import rerank
from registry.tables import GalleryRow
from registry.threads import one_blas_thread
from registry.transforms import Transform
from registry.types import Embeddings, Hits, Path
from registry.vectors import Array, Metric, as_rows, check_finite
from registry.writing import id_column, require_known

__all__ = ["convert", "fetch", "scan", "search"]

_BLOCK_ROWS = 65536
_MOST_HITS = 65536
_CACHED_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class _Source:
    """A segment to read: at which state, by which path, through which transforms on the stored side."""

    dataset: Dataset
    version: str
    lance_version: int
    rows: int
    path: Path
    stored: tuple[Transform, ...]

    def ids(self) -> pa.Array:
        return self.dataset.column("id", self.lance_version)

    def mapped(self, ids: pa.Array, rows: Array, *, zeros: bool = False) -> Array:
        """Stored rows of `ids` in the path's space; an item that has no direction there is named."""
        try:
            return _through(self.stored, rows, zeros=zeros)
        except BadVector as error:
            item = ids[error.row or 0].as_py()
            raise BadVector(
                f"the vector that {self.version} stored of item {item!r:.80} has no direction left in {self.path.space}: "
                f"leave the item out, or read it into {self.version}"
            ) from error


def _through(chain: Sequence[Transform], rows: Array, *, side: Array | None = None, zeros: bool = False) -> Array:
    """Map rows through a chain; a row that ends as only zeros has no direction left, and is refused unless `zeros`."""
    for transform in chain:
        mapped = transform.apply(rows, side if transform.side_dim else None)
        rows = check_finite(mapped, what=f"vectors mapped by {transform.kind}", zeros=zeros)
    return rows.astype(np.float32, copy=False)


def convert(home: Home, vectors: Any, *, source: str, into: str, allow_unmeasured: bool) -> Array:
    """Turn vectors of one space into vectors of another; see `Registry.convert`."""
    with home.database.reading() as session:
        source, into = transforms.resolve_space(session, source), transforms.resolve_space(session, into)
        dim, metric, _ = transforms.space_facts(session, source)
        path = paths.best_lead(session, transforms.graph(session), source, into, allow_unmeasured=allow_unmeasured)
    rows = check_finite(as_rows(vectors, dim=dim))
    converted = _through(home.chain(path.query, dim, normalize=metric == "cosine"), rows)
    return converted if path.length else converted.copy()  # never the caller's own array


def _sources(
    home: Home,
    row: GalleryRow,
    *,
    way: Callable[[str], Path],
    steps: Callable[[Path], Sequence[str]],
    wanted: pa.Array | None = None,
) -> list[_Source]:
    """Every segment of a gallery that `way` can read, with the stored-side `steps` of its path, the best first.

    Raises:
        Incompatible: a segment cannot be read, and it holds items, of those `wanted`, that no other segment has.
    """
    found: list[_Source] = []
    unread: list[tuple[Incompatible, pa.Array]] = []
    for segment in (s for s in row.segments if s.lance_version):
        version = segment.version
        dataset = home.segment(row.name, version.ref)
        try:
            path = way(version.ref)
        except Incompatible as error:
            state = segment.lance_version
            ids = dataset.column("id", state) if wanted is None else dataset.known(wanted, state)
            unread.append((error, ids))
            continue
        chain = home.chain(steps(path), version.dim, normalize=version.metric == "cosine")
        found.append(_Source(dataset, version.ref, segment.lance_version, segment.rows, path, tuple(chain)))
    for why, ids in unread:
        for source in found:
            ids = ids.filter(pc.invert(pc.is_in(ids, value_set=source.ids())))
        if len(ids):
            raise why
    return sorted(found, key=_by_quality)


def _leading(
    home: Home,
    session: Session,
    row: GalleryRow,
    into: str,
    *,
    allow_unmeasured: bool,
    wanted: pa.Array | None = None,
) -> list[_Source]:
    """The segments of a gallery, each with its way into a space."""
    graph = transforms.graph(session)
    way = partial(paths.best_lead, session, graph, target=into, allow_unmeasured=allow_unmeasured)
    return _sources(home, row, way=way, steps=lambda path: path.query, wanted=wanted)


def _by_quality(source: _Source) -> tuple[bool, float, int]:
    """Native vectors first, then those with the best evidence, then the shortest path."""
    path = source.path
    return (path.length > 0, -(path.evidence.value if path.evidence else 0.0), path.length)


def fetch(home: Home, gallery: str, *, ids: Sequence[Any] | Array, into: str, allow_unmeasured: bool) -> Embeddings:
    """The vectors of items, in the space asked for; see `Registry.fetch`."""
    with home.database.reading() as session:
        into = transforms.resolve_space(session, into)
        dim, _, _ = transforms.space_facts(session, into)
        row = galleries.gallery(session, gallery)
        wanted = id_column(row.id_type, ids)
        sources = _leading(home, session, row, into, allow_unmeasured=allow_unmeasured, wanted=wanted)
    known = (
        pa.concat_arrays([s.dataset.known(wanted, s.lance_version) for s in sources]) if sources else wanted.slice(0, 0)
    )
    require_known(wanted, known, gallery)
    vectors = np.empty((len(wanted), dim), dtype=np.float32)
    open_rows = np.ones(len(wanted), dtype=bool)
    for source in sources:
        here = (
            pc.is_in(wanted, value_set=source.dataset.known(wanted, source.lance_version)).to_numpy(
                zero_copy_only=False
            )
            & open_rows
        )
        if here.any():
            table = source.dataset.take(wanted.filter(pa.array(here)), source.lance_version, ["vector"])
            vectors[here] = source.mapped(table["id"], vectors_of(table["vector"]))
            open_rows &= ~here
    return Embeddings(ids_array(wanted), vectors, into, {s.version: s.path for s in sources})


def scan(home: Home, gallery: str, *, into: str, rows: int, allow_unmeasured: bool) -> Iterator[Embeddings]:
    """All vectors of a gallery in the space asked for, in blocks; see `Registry.scan`."""
    _check_rows(rows)
    with home.database.reading() as session:
        into = transforms.resolve_space(session, into)
        row = galleries.gallery(session, gallery)
        sources = _leading(home, session, row, into, allow_unmeasured=allow_unmeasured)
    return _blocks_of_all(sources, into, rows)


def _check_rows(rows: object) -> None:
    if isinstance(rows, bool) or not isinstance(rows, int | np.integer) or not 1 <= rows < 2**31:
        raise InvalidInput(f"rows must be a whole number of rows from 1, got {rows!r:.80}")


def _blocks_of_all(sources: list[_Source], into: str, rows: int) -> Iterator[Embeddings]:
    for place, source in enumerate(sources):
        for ids, block in _blocks(source, sources[:place], rows):
            yield Embeddings(ids, block, into, {source.version: source.path})


def _blocks(
    source: _Source, better: Sequence[_Source], rows: int = _BLOCK_ROWS, *, zeros: bool = False
) -> Iterator[tuple[Array, Array]]:
    """(ids, mapped rows) of a segment, without the items that a better segment holds: an item counts once.

    A search admits `zeros`: an item that a map leaves without direction is close to nothing, and the rest is found.
    """
    taken = [s.ids() for s in better]
    superseded = pa.concat_arrays(taken) if taken else None
    for batch in source.dataset.batches(source.lance_version, ["id", "vector"], rows):
        if superseded is not None and len(superseded):
            batch = batch.filter(pc.invert(pc.is_in(batch.column("id"), value_set=superseded)))
        if batch.num_rows:
            ids = batch.column("id")
            yield ids_array(ids), source.mapped(ids, vectors_of(batch.column("vector")), zeros=zeros)


@dataclass(frozen=True, slots=True)
class Shortlist:
    """A first pass over the first `width` dimensions, which finds `candidates` items for the second to rank."""

    width: int
    candidates: int


def search(
    home: Home, gallery: str, queries: Any, *, version: str, k: int, allow_unmeasured: bool,
    shortlist: int | None = None, candidates: int | None = None, side: Mapping[str, Any] | None = None,
) -> Hits:  # fmt: skip
    """The k closest items to each query; see `Registry.search`."""
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or not 1 <= k <= _MOST_HITS:
        raise InvalidInput(f"k must be a whole number from 1 to {_MOST_HITS}, got {k!r}: scan the gallery for more")
    first = _shortlist(shortlist, candidates, int(k))
    with home.database.reading() as session:
        space = transforms.resolve_space(session, version)
        dim, _, _ = transforms.space_facts(session, space)
        row = galleries.gallery(session, gallery)
        sides = _sides(session, side)
        plans = _meeting(home, session, row, space, allow_unmeasured=allow_unmeasured, beside=sides)
    _check_scores(gallery, plans)
    rows = check_finite(as_rows(queries, dim=dim, what="queries"), what="queries")
    for ref, given in sides.items():
        if len(given) != len(rows):
            raise InvalidInput(f"side has {len(given)} vectors by {ref} for {len(rows)} queries: give one for each")
    best = empty_hits(len(rows), int(k), string_ids=row.id_type == "string")
    for place, (source, query_side, compared) in enumerate(plans):
        better = [s for s, _, _ in plans[:place]]
        with one_blas_thread():  # the queries are few beside the gallery, and FAISS wants the cores right after
            mapped = _through(query_side, rows, side=sides.get(source.version))
        ids, scores = _search_segment(home, source, better, mapped, int(k), compared, row.id_type, first)
        if len(plans) > 1:  # within one segment calibration changes no order
            scores = _calibrated(home, source.path, scores)
        best = merge(best, (ids, scores))
    return Hits(*best, path={s.version: s.path for s, _, _ in plans})


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


def _calibrated(home: Home, path: Path, scores: Array) -> Array:
    """Scores as the query's own space would give them, where the path is one transform whose fit measured that."""
    steps = (*path.query, *path.gallery)
    if len(steps) != 1 or steps[0].startswith("[:"):
        return scores
    report = home.transform(steps[0]).report
    # The knots count for queries of one end: of the source where the query is mapped, else of the target.
    knots = calibration.curve(report, "source" if path.query else "target")
    return scores if knots is None else calibration.apply(scores, *knots)


_Plan = tuple[_Source, list[Transform], Metric]
"""A segment with its stored-side map, the query-side map, and the metric of the space where both meet."""


def _check_scores(gallery: str, plans: Sequence[_Plan]) -> None:
    """Scores of different metrics cannot be merged: every cosine would beat every negated distance."""
    if len({metric for _, _, metric in plans}) < 2:
        return
    by_metric: dict[Metric, _Source] = {}
    seen = pa.concat_arrays([source.ids() for source, _, _ in plans]).slice(0, 0)
    for source, _, metric in plans:
        ids = source.ids()
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
    home: Home, session: Session, row: GalleryRow, space: str, *, allow_unmeasured: bool, beside: Collection[str]
) -> list[_Plan]:
    """How to search each segment."""
    graph = transforms.graph(session)
    dim, metric, _ = transforms.space_facts(session, space)

    def way(version: str) -> Path:
        return paths.best_meeting(
            session, graph, space, version, allow_unmeasured=allow_unmeasured, beside=version in beside
        )

    return [
        (
            source,
            home.chain(source.path.query, dim, normalize=metric == "cosine"),
            transforms.space_facts(session, source.path.space)[1],
        )
        for source in _sources(home, row, way=way, steps=lambda path: path.gallery)
    ]


def _search_segment(
    home: Home,
    source: _Source,
    better: list[_Source],
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
    if source.rows * width * 4 > _CACHED_BYTES and shortlist is None:
        return search_blocks(_blocks(source, better, zeros=True), queries, k, metric, string_ids=strings)
    key = (
        source.dataset.uri,
        source.lance_version,
        source.path.gallery,
        tuple((s.dataset.uri, s.lance_version) for s in better),
        width,
    )
    index = home.indexes.get(key, partial(_build, source, better, width, metric))
    if not len(index.ids):
        return empty_hits(len(queries), k, string_ids=strings)
    if shortlist is None:
        return index.search(queries, k)
    rows_of = partial(_rows_of, source)
    return rerank(index, queries, k, width=width, candidates=shortlist.candidates, metric=metric, rows_of=rows_of)


def _rows_of(source: _Source, ids: Array) -> Array:
    """Whole vectors of some items of a segment, in the path's space."""
    wanted = pa.array(ids.tolist(), type=source.ids().type)
    stored = source.dataset.take(wanted, source.lance_version, ["vector"])
    return source.mapped(wanted, vectors_of(stored["vector"]), zeros=True)


def _build(source: _Source, better: list[_Source], width: int, metric: Metric) -> FlatIndex:
    """An index of the first `width` dimensions of a segment's vectors."""
    index = FlatIndex(width, metric)
    for ids, rows in _blocks(source, better, zeros=True):
        index.add(ids, rows[:, :width])
    return index
