"""Measuring the compatibility matrix: every query version against every gallery version, by every known path."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy.orm import Session

from registry.batches import vectors_of
from registry.bootstrap import Interval, Resamples, verdict
from registry.errors import InvalidInput, NotFound
from registry.home import Home
from registry.paths import Graph
from registry.refs import is_relative, prefix_of
from registry.retrieval import retrieval
from registry.services import evidence, galleries, transforms
from registry.tables import GalleryRow, now
from registry.types import Evaluation, Matrix, Path
from registry.vectors import Array, Metric

__all__ = ["evaluate"]

_MOST_LONG_PATHS = 8
"""Of a pair of versions every single map is measured, and so many chains of several maps."""

_KS = (1, 5)

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class _Bench:
    """The benchmark's items that all versions embedded: ids, labels (n,), and each version's vectors (n, d)."""

    name: str
    label: str
    labels: Array
    vectors: dict[str, Array]
    metric: dict[str, Metric]


@dataclass(frozen=True, slots=True)
class _Cell:
    """One way to compare, before it is measured; `path` is None for the naive control."""

    query: str
    gallery: str
    path: Path | None

    @property
    def role(self) -> str:
        if self.path is None:
            return "naive"
        return "path" if self.path.length else "self"


def evaluate(
    home: Home,
    benchmark: str,
    *,
    versions: Sequence[str] | None,
    label: str | None,
    seed: int,
    progress: Progress | None,
) -> Matrix:
    """Measure and store every cell; see `Registry.evaluate`."""
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**31:
        raise InvalidInput(f"seed must be a whole number from 0 to 2**31 - 1, got {seed!r}")
    if isinstance(versions, str) or (versions is not None and not len(versions)):
        raise InvalidInput(f"versions must be a list of one or more, such as ['products/1'], got {versions!r:.80}")
    with home.database.reading() as session:
        row = galleries.gallery(session, benchmark)
        column = evidence.label_column(row, label)
        refs, cuts = _asked(session, versions)
        refs = _embedded(row, refs)
        graph = home.graphs.of(session)
        bench = _load(home, row, refs, column)
        spaces = {
            p: transforms.space_facts(session, p)[1]
            for c in _cells(graph, refs, cuts)
            if c.path
            for p in (c.path.space,)
        }
    found = _measure(home, bench, list(_cells(graph, refs, cuts)), spaces, seed, progress)
    with home.database.writing() as session:
        evidence.store(session, found)
    with home.database.reading() as session:
        return evidence.matrix(session, benchmark, metric=evidence.RANKING_METRIC, label=column)


def _asked(session: Session, versions: Sequence[str] | None) -> tuple[list[str], list[str]]:
    """The versions to measure, none for all, and of prefix spaces (`products/2[:64]`) among them the spaces too."""
    spaces = [transforms.resolve_space(session, space) for space in versions or []]
    for space in spaces:
        if is_relative(space):
            raise InvalidInput(f"{space} is no version: name those whose way into it is to be measured")
    cuts = [space for space in spaces if prefix_of(space)]
    return [(prefix_of(space) or (space,))[0] for space in spaces], cuts


def _embedded(row: GalleryRow, refs: Sequence[str] | None) -> list[str]:
    """The versions to measure, all of which must have embedded the benchmark."""
    have = [s.version.ref for s in row.segments if s.rows]
    missing = [ref for ref in refs or [] if ref not in have]
    if missing:
        raise NotFound(f"{missing[0]} has not embedded benchmark {row.name}: append its vectors of these items first")
    if not have:
        raise NotFound(f"benchmark {row.name} is empty: append the vectors of a version first")
    return list(dict.fromkeys(refs or have))


def _load(home: Home, row: GalleryRow, refs: list[str], column: str) -> _Bench:
    segments = {s.version.ref: s for s in row.segments}
    items = home.items(row.name)
    ids = items.column("id", row.items_version)
    for ref in refs:
        stored = home.segment(row.name, ref).column("id", segments[ref].lance_version)
        ids = ids.filter(pc.is_in(ids, value_set=stored))
    if len(ids) < 2:
        fewest = min(refs, key=lambda ref: segments[ref].rows)
        raise InvalidInput(
            f"{len(ids)} items of {row.name} are embedded by all of {', '.join(refs)}, evaluation needs two or more: "
            f"name fewer versions ({fewest} has embedded the fewest items, {segments[fewest].rows}), or append more vectors"
        )
    labels = items.take(ids, row.items_version, [column])[column]
    vectors = {
        ref: vectors_of(home.segment(row.name, ref).take(ids, segments[ref].lance_version, ["vector"])["vector"])
        for ref in refs
    }
    # Only equality matters for relevance, so any label becomes a small integer.
    codes = labels.combine_chunks().dictionary_encode().indices if isinstance(labels, pa.ChunkedArray) else labels
    metric: dict[str, Metric] = {ref: segments[ref].version.metric for ref in refs}  # type: ignore[misc]
    return _Bench(row.name, column, codes.to_numpy(zero_copy_only=False), vectors, metric)


def _cells(graph: Graph, refs: Sequence[str], cuts: Sequence[str]) -> Iterator[_Cell]:
    """Own cell first: what a version is compared with must be measured before it."""
    for gallery in refs:
        yield _Cell(gallery, gallery, Path(gallery, gallery, gallery))
        for space, cut in ((c, prefix_of(c)) for c in dict.fromkeys(cuts)):
            if cut and cut[0] == gallery:
                step = (f"[:{cut[1]}]",)
                yield _Cell(gallery, gallery, Path(gallery, gallery, space, step, step, ("prefix", "prefix")))
        for query in refs:
            if query == gallery:
                continue
            paths = _worth_measuring(graph.meet(query, gallery, beside=True))
            # Where one side is a plain prefix of the other, cutting to the shorter width is right, and no control.
            if not any(set(path.kinds) == {"prefix"} for path in paths):
                yield _Cell(query, gallery, None)
            yield from (_Cell(query, gallery, path) for path in paths)


def _worth_measuring(paths: Iterator[Path]) -> list[Path]:
    """Every single map, and the shortest chains; among chains of one length those with the newest maps come first."""
    single: list[Path] = []
    longer: list[Path] = []
    for path in paths:  # shortest first
        if path.length == 1:
            single.append(path)
        elif len(longer) == _MOST_LONG_PATHS:
            break
        else:
            longer.append(path)
    return single + longer


def _sides(home: Home, bench: _Bench, cell: _Cell, spaces: dict[str, Metric]) -> tuple[Array, Array, Metric]:
    """Query and gallery vectors as the cell compares them, and by which metric."""
    queries, gallery = bench.vectors[cell.query], bench.vectors[cell.gallery]
    if cell.path is None:
        # The mistake that a registry prevents, made on purpose: equal dimensions taken for one space.
        dim = min(queries.shape[1], gallery.shape[1])
        return queries[:, :dim], gallery[:, :dim], bench.metric[cell.gallery]
    for transform in home.chain(cell.path.query, queries.shape[1], normalize=bench.metric[cell.query] == "cosine"):
        # A side is the same query as the gallery's version embedded it, and the benchmark holds it.
        queries = transform.apply(queries, bench.vectors[cell.gallery] if transform.side_dim else None)
    for transform in home.chain(cell.path.gallery, gallery.shape[1], normalize=bench.metric[cell.gallery] == "cosine"):
        gallery = transform.apply(gallery)
    return queries, gallery, spaces[cell.path.space]


def _measure(
    home: Home, bench: _Bench, cells: list[_Cell], spaces: dict[str, Metric], seed: int, progress: Progress | None
) -> list[Evaluation]:
    found: list[Evaluation] = []
    own: dict[str, dict[str, tuple[float, Array]]] = {}
    measurement = uuid4().hex
    for done, cell in enumerate(cells):
        queries, gallery, metric = _sides(home, bench, cell, spaces)
        result = retrieval(
            queries,
            gallery,
            query_labels=bench.labels,
            gallery_labels=bench.labels,
            ks=_KS,
            same_items=True,
            zeros=True,
            metric=metric,
        )
        counted = ~np.isnan(result.per_query["map"])
        resamples = Resamples(int(counted.sum()), seed=seed)
        measured = {
            name: (value, resamples.means(result.per_query[name][counted].astype(np.float64)))
            for name, value in result.values().items()
        }
        if cell.role == "self":
            own[cell.gallery] = measured
        found += _rows(bench, cell, measured, own[cell.gallery], resamples, measurement)
        if progress:
            progress(done + 1, len(cells))
    return found


def _rows(
    bench: _Bench,
    cell: _Cell,
    measured: dict[str, tuple[float, Array]],
    own: dict[str, tuple[float, Array]],
    resamples: Resamples,
    measurement: str,
) -> Iterator[Evaluation]:
    """One evaluation for each metric; the gain is paired, since both sides were resampled with the same draws."""
    path = cell.path
    for name, (value, means) in measured.items():
        interval = resamples.interval(value, means)
        is_self = cell.role == "self"
        gain = Interval(0.0, 0.0, 0.0) if is_self else resamples.interval(value - own[name][0], means - own[name][1])
        yield Evaluation(
            benchmark=bench.name, label=bench.label, metric=name, query=cell.query, gallery=cell.gallery, role=cell.role,  # type: ignore[arg-type]
            query_path=path.query if path else (), gallery_path=path.gallery if path else (), kinds=path.kinds if path else (),
            value=interval.value, low=interval.low, high=interval.high, gain=gain.value, gain_low=gain.low, gain_high=gain.high,
            verdict=None if cell.query == cell.gallery else verdict(gain), queries=resamples.queries, items=len(bench.labels), seed=resamples.seed,
            measurement=measurement, created_at=now(),
        )  # fmt: skip
