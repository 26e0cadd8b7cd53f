"""The items of a benchmark that several versions embedded: their labels, their vectors, and how a path compares them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from registry.errors import InvalidInput, NotFound
from registry.home import Home
from registry.members import members_of
from registry.tables import GalleryRow
from registry.transforms import mapped
from registry.types import Path
from registry.vectors import Array, Metric

__all__ = ["Bench", "embedded", "load", "queries", "sides"]


@dataclass(frozen=True, slots=True, eq=False)
class Bench:
    """The benchmark's items that all versions embedded: ids and label columns (n,), and each version's vectors (n, d)."""

    name: str
    ids: pa.Array
    labels: dict[str, pa.Array]
    vectors: dict[str, Array]
    metric: dict[str, Metric]

    def __len__(self) -> int:
        return len(self.ids)

    def codes(self, column: str) -> Array:
        """A label column as whole numbers (n,): only equality matters for relevance."""
        codes: Array = self.labels[column].dictionary_encode().indices.to_numpy(zero_copy_only=False)
        return codes


def embedded(row: GalleryRow, refs: Sequence[str] | None) -> list[str]:
    """The versions to measure, by default all that embedded the benchmark, which all of those named must have done."""
    have = [s.version.ref for s in row.segments if s.rows]
    missing = [ref for ref in refs or [] if ref not in have]
    if missing:
        raise NotFound(f"{missing[0]} has not embedded benchmark {row.name}: append its vectors of these items first")
    if not have:
        raise NotFound(f"benchmark {row.name} is empty: append the vectors of a version first")
    return list(dict.fromkeys(refs or have))


def load(
    home: Home, row: GalleryRow, refs: Sequence[str], columns: Sequence[str], *, most: int | None = None, seed: int = 0
) -> Bench:
    """Read the items that all of `refs` embedded; of more than `most` a sample, drawn with `seed`.

    Raises:
        InvalidInput: there are fewer than two.
    """
    segments = {s.version.ref: s for s in row.segments}
    stored = {ref: home.stored(row, segments[ref]) for ref in refs}
    items = members_of(home, row)
    ids = items.ids()
    for ref in refs:
        ids = ids.filter(pc.is_in(ids, value_set=stored[ref].ids()))
    if len(ids) < 2:
        fewest = min(refs, key=lambda ref: segments[ref].rows)
        raise InvalidInput(
            f"{len(ids)} items of {row.name} are embedded by all of {', '.join(refs)}, evaluation needs two or more: "
            f"name fewer versions ({fewest} has embedded the fewest items, {segments[fewest].rows}), or append more vectors"
        )
    if most is not None and len(ids) > most:
        drawn = np.random.default_rng(seed).choice(len(ids), most, replace=False)
        ids = ids.take(pa.array(np.sort(drawn)))
    labels = items.labels(ids, columns)
    vectors = {ref: stored[ref].take(ids) for ref in refs}
    metric: dict[str, Metric] = {ref: segments[ref].version.metric for ref in refs}  # type: ignore[misc]
    return Bench(row.name, ids, {name: labels[name].combine_chunks() for name in columns}, vectors, metric)


def sides(home: Home, bench: Bench, path: Path, rows: Array | slice = slice(None)) -> tuple[Array, Array]:
    """The vectors of queries `rows`, by default of all items, and of all stored items, as `path` compares them.

    Queries are of the version `path.source`, what is stored is of `path.target`; both come out in `path.space`.
    """
    gallery = bench.vectors[path.target]
    chain = home.chain(path.gallery, gallery.shape[1], normalize=bench.metric[path.target] == "cosine")
    return queries(home, bench, path, rows), mapped(chain, gallery)


def queries(home: Home, bench: Bench, path: Path, rows: Array | slice) -> Array:
    """The query side alone, of some of the items."""
    found = bench.vectors[path.source][rows]
    chain = home.chain(path.query, found.shape[1], normalize=bench.metric[path.source] == "cosine")
    # A side is the same query as the gallery's version embedded it, and the benchmark holds it.
    return mapped(chain, found, bench.vectors[path.target][rows])
