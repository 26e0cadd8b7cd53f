"""How good a gallery is while it is re-embedded: as search serves it, or as a benchmark that both versions embedded tells."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy.orm import Session

from registry import benchmarks, scales, searching, studying
from registry.backfill import orders
from registry.benchmarks import Bench
from registry.errors import Incompatible, InvalidInput
from registry.home import Home
from registry.paths import Graph
from registry.services import backfills, calibrations, evidence, galleries, paths, transforms
from registry.study import filling
from registry.study.filling import METRICS
from registry.study.sides import Sides
from registry.types import Backfill, BackfillOrder, Path, Stage
from registry.vectors import Array, Metric

__all__ = ["PROBES", "measure", "probes_first"]

PROBES = 200
"""Items of a benchmark that is itself re-embedded which come first, in any order, since its queries are drawn of them."""

_MOST_HITS = 4 << 20
_DEEPEST = 65536


@dataclass(frozen=True, slots=True, eq=False)
class _Case:
    """A benchmark that both versions embedded, the path between them if there is one, and its own queries."""

    bench: Bench
    old: str
    new: str
    path: Path | None
    scale: filling.Scale
    metric: Metric
    label: str
    order: BackfillOrder
    seed: int


def probes_first(ids: pa.Array, seed: int) -> pa.Array:
    """The order `ids`, after a tenth of them and `PROBES` at most, drawn with `seed`."""
    many = min(PROBES, -(-len(ids) // 10))
    drawn = np.sort(np.random.default_rng([seed, 13]).choice(len(ids), many, replace=False))
    rest = np.delete(np.arange(len(ids)), drawn)
    return ids.take(pa.array(np.concatenate([drawn, rest])))


def measure(home: Home, id: str, *, runner: str) -> Backfill:
    """Measure how good the gallery is now, and keep it; see `Registry.measure_backfill`."""
    with home.database.reading() as session:
        row, _ = backfills.seen(session, id, runner)
        found = backfills.to_backfill(row)
    if found.benchmark is None:
        raise InvalidInput(f"{id} was planned without a benchmark: there is nothing to measure it on")
    if found.benchmark == found.gallery:
        values = _as_served(home, found, home.order(id, row.digest))
    else:
        values = _simulated(home, _case(home, found), found.share)
    with home.database.writing() as session:
        row, _ = backfills.locked(session, id, runner)
        before = [point for point in row.measured if point[0] < found.share]
        row.measured = [*before, [found.share, values]] if values else row.measured
        return backfills.to_backfill(row)


def _as_served(home: Home, found: Backfill, order: pa.Array) -> dict[str, float]:
    """What searches find (mAP, CMC@1) by the version itself, with the first items of the order; {} while too few are done.

    Each query's own item is left out. It asks `searching.search`, so that it is what a user gets. Of very large galleries
    the items beyond rank 65,536 count as not found.
    """
    with home.database.reading() as session:
        row = galleries.gallery(session, found.gallery)
        label = evidence.label_column(row, found.label)
    segment = next((s for s in row.segments if s.version.ref == found.version and s.rows), None)
    if segment is None:
        return {}
    items = home.items(row.name)
    ids, labels = (items.column(name, row.items_version) for name in ("id", label))
    codes = labels.dictionary_encode().indices.to_numpy()
    stored = home.stored(row, segment)
    probes = order.slice(0, min(PROBES, -(-len(order) // 10)))
    known = stored.known(probes)
    probes = probes.filter(pc.is_in(probes, value_set=known)) if len(known) else known
    own = pc.index_in(probes, value_set=ids).drop_null().to_numpy()
    own = own[np.bincount(codes)[codes[own]] > 1]
    if not len(own):
        return {}
    k = min(len(ids), _DEEPEST)
    sums, size = np.zeros(2), max(1, _MOST_HITS // k)
    for start in range(0, len(own), size):
        some = own[start : start + size]
        vectors = stored.take(ids.take(pa.array(some)))
        hits = searching.search(home, row.name, vectors, version=found.version, k=k, allow_unmeasured=False)
        places = pc.index_in(pa.array(hits.ids.ravel(), ids.type), value_set=ids).fill_null(-1).to_numpy()
        ranked = zip(places.reshape(hits.ids.shape), some, strict=True)
        sums += sum(_found(row[row >= 0], codes, query) for row, query in ranked)
    return dict(zip(METRICS, (float(value) for value in sums / len(own)), strict=True))


def _found(places: Array, codes: Array, query: int) -> Array:
    """Average precision of one query's ranking, by the places of the items (k,), and whether its first place is right."""
    right = codes[places[places != query]] == codes[query]
    ranks = np.flatnonzero(right) + 1
    relevant = np.count_nonzero(codes == codes[query]) - 1
    return np.asarray([(np.arange(1, len(ranks) + 1) / ranks).sum() / relevant, float(right[:1].any())])


def _case(home: Home, found: Backfill) -> _Case:
    """The items that both versions embedded, at most as many as a study looks at."""
    if found.benchmark is None or found.old is None:
        raise InvalidInput(f"{found.id} re-embeds nothing that an older version stored: plan it without a benchmark")
    with home.database.reading() as session:
        row = galleries.gallery(session, found.benchmark)
        refs = benchmarks.embedded(row, [found.old, found.version])
        label = evidence.label_column(row, found.label)
        graph = home.graphs.of(session)
        path, scale = None, None
        with suppress(Incompatible):  # old rows are no result until they are re-embedded
            path, scale = _met(home, session, graph, found.version, found.old)
        metric = transforms.space_facts(session, path.space if path else found.version)[1]
    bench = benchmarks.load(home, row, refs, [label], most=studying.MOST_ITEMS, seed=found.seed)
    return _Case(bench, found.old, found.version, path, scale, metric, label, found.order, found.seed)


def _met(home: Home, session: Session, graph: Graph, new: str, old: str) -> tuple[Path, filling.Scale]:
    """The path that queries of `new` take to what `old` stored, and how search makes its scores comparable."""
    met = paths.measured_meeting(session, graph, new, old, allow_unmeasured=False, beside=True)
    if met.evaluation is not None and calibrations.of_evaluations(session, [met.evaluation]):
        return met.path, "measured"
    return met.path, scales.own_line(home, met.path)


def _simulated(home: Home, case: _Case, share: float) -> dict[str, float]:
    """What is found (mAP, CMC@1) on a benchmark of which the same share is re-embedded in the same kind of order.

    It is what a study predicts for that share, by `registry.study.filling`, with scores on one scale as search brings them.
    Without a path old rows are no result.
    """
    codes, new = case.bench.codes(case.label), case.bench.vectors[case.new]
    own = studying.asked(codes, case.seed)
    if not len(own):
        return {}  # nothing to find
    stages: dict[Stage, Sides] = {"backfilled": Sides(new[own], new, case.bench.metric[case.new])}
    if case.path is not None:
        stages["upgraded"] = Sides(*benchmarks.sides(home, case.bench, case.path, own), case.metric)
    return filling.served_at(share, stages, own, codes, order=_order(home, case), seed=case.seed, scale=case.scale)


def _order(home: Home, case: _Case) -> Array | None:
    """The same kind of order (n,) on the benchmark; None, for random, of counts too, which speak of other items."""
    old = case.bench.vectors[case.old]
    if case.order == "uncertainty" and case.path is not None:
        far = orders.deviations_of(home, case.bench, case.path, case.metric)
        return filling.worst_first(old, case.bench.metric[case.old], far, case.seed)
    if case.order == "centroid-distance":
        codes = case.bench.codes(case.label)
        sums = np.zeros((codes.max() + 1, old.shape[1]))
        np.add.at(sums, codes, old)
        means = (sums / np.bincount(codes)[:, None]).astype(np.float32)
        order: Array = np.argsort(-orders.from_means(old, means[codes], case.bench.metric[case.old]), kind="stable")
        return order
    return None
