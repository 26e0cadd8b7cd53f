"""How good a gallery is while it is re-embedded: as search serves it, or as a benchmark that both versions embedded tells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from registry import benchmarks, searching
from registry.backfill import orders
from registry.benchmarks import Bench
from registry.errors import Incompatible, InvalidInput
from registry.home import Home
from registry.retrieval.backfilling import backfill_curve
from registry.services import backfills, evidence, galleries, paths, transforms
from registry.study.filling import METRICS, MOST_QUERIES, worst_first
from registry.studying import MOST_ITEMS
from registry.types import Backfill, BackfillOrder, Path
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
        sums += sum(_found(found_ids, ids, codes, q) for found_ids, q in zip(hits.ids, some, strict=True))
    return dict(zip(METRICS, (float(value) for value in sums / len(own)), strict=True))


def _found(hits: Array, ids: pa.Array, codes: Array, query: int) -> Array:
    """Average precision of one query's ranking, and whether its first place is right."""
    places = pc.index_in(pa.array(hits, ids.type), value_set=ids).drop_null().to_numpy()
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
        try:
            path: Path | None = paths.best_meeting(session, graph, found.version, found.old, allow_unmeasured=False)
        except Incompatible:
            path = None
        metric = transforms.space_facts(session, path.space if path else found.version)[1]
    bench = benchmarks.load(home, row, refs, [label], most=MOST_ITEMS, seed=found.seed)
    return _Case(bench, found.old, found.version, path, metric, label, found.order, found.seed)


def _simulated(home: Home, case: _Case, share: float) -> dict[str, float]:
    """What is found (mAP, CMC@1) on a benchmark of which the same share is re-embedded in the same kind of order.

    At most `MOST_QUERIES` of its items are queries, each without its own row; without a path old rows are no result.
    """
    codes = case.bench.codes(case.label)
    own = np.flatnonzero(np.bincount(codes)[codes] > 1)
    if not len(own) or (case.path is not None and case.metric != case.bench.metric[case.new]):
        return {}  # nothing to find, or scores that no search would merge
    rng = np.random.default_rng([case.seed, 2])
    own = np.sort(rng.choice(own, min(len(own), MOST_QUERIES), replace=False))
    new = case.bench.vectors[case.new]
    met, old = benchmarks.sides(home, case.bench, case.path, own) if case.path is not None else (None, None)
    inner = [share] if 0 < share < 1 else []
    curve = backfill_curve(
        new[own], old, new, queries_old=met, query_labels=codes[own], gallery_labels=codes, order=_order(home, case),
        fractions=[0.0, *inner, 1.0], ks=(1,), metric=case.bench.metric[case.new], zeros=True, own=own,
    )  # fmt: skip
    at = 0 if share <= 0 else -1 if share >= 1 else 1
    return {metric: float(curve.values[metric][at]) for metric in METRICS}


def _order(home: Home, case: _Case) -> Array:
    """The same kind of order (n,) on the benchmark; counts speak of other items, so that theirs is random here."""
    n, old = len(case.bench), case.bench.vectors[case.old]
    if case.order == "uncertainty" and case.path is not None:
        far = orders.deviations_of(home, case.bench, case.path, case.metric)
        return worst_first(old, case.bench.metric[case.old], far, case.seed)
    if case.order == "centroid-distance":
        codes = case.bench.codes(case.label)
        sums = np.zeros((codes.max() + 1, old.shape[1]))
        np.add.at(sums, codes, old)
        means = (sums / np.bincount(codes)[:, None]).astype(np.float32)
        order: Array = np.argsort(-orders.from_means(old, means[codes], case.bench.metric[case.old]), kind="stable")
        return order
    return np.random.default_rng([case.seed, 2]).permutation(n)
