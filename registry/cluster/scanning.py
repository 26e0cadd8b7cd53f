"""Scans on a cluster: fragments are read and mapped by its nodes, and come in the order in which one process reads them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from registry.backends import LanceBackend
from registry.cluster.nodes import Cluster
from registry.cluster.parts import Segment, grouped, segment_of, source_of
from registry.index import ids_array
from registry.segments import Source, blocks, blocks_without, held_by
from registry.types import Embeddings
from registry.vectors import Array

if TYPE_CHECKING:
    from registry.home import Home

__all__ = ["scan"]

_PART_ROWS = 16384  # or one file: enough work to be worth sending
_PER_CPU = 1  # an answer may hold a file of 131,072 rows


def scan(
    cluster: Cluster, home: Home, gallery: str, *, into: str, rows: int, allow_unmeasured: bool
) -> Iterator[Embeddings]:
    """See `Registry.scan`: the same blocks. A segment that is attached is read by this process."""
    from registry import reading  # the facts, which nodes do without

    sources, into = reading.scanned(home, gallery, into=into, rows=rows, allow_unmeasured=allow_unmeasured)
    return _all(cluster, sources, into, rows)


def _all(cluster: Cluster, sources: Sequence[Source], into: str, rows: int) -> Iterator[Embeddings]:
    for place, source in enumerate(sources):
        for ids, block in _mapped(cluster, source, sources[:place], rows):
            yield Embeddings(ids, block, into, {source.version: source.path})


def _mapped(cluster: Cluster, source: Source, better: Sequence[Source], rows: int) -> Iterator[tuple[Array, Array]]:
    stored = source.stored
    if not isinstance(stored, LanceBackend):
        yield from blocks(source, better, rows)
        return
    of, without = cluster.put(segment_of(source, stored)), cluster.put(held_by(better))
    parts = ((group, rows, of, without) for group in grouped(stored, max(rows, _PART_ROWS)))
    for found in cluster.map(_read, parts, per_cpu=_PER_CPU):
        for ids, block in found:
            yield ids_array(ids), np.array(block)  # a copy: what comes is the cluster's memory, and cannot be written


def _read(
    fragments: tuple[int, ...], rows: int, segment: Segment, without: pa.Array | None
) -> list[tuple[pa.Array, Array]]:
    """The blocks of some fragments, of `rows` rows at most, mapped; in a worker."""
    kind = pa.int64() if segment.id_type == "int" else pa.string()
    source = source_of(segment, fragments)
    return [(pa.array(ids, kind), block) for ids, block in blocks_without(source, without, rows)]
