"""Reading galleries into the space that the caller asks for: fetch, scan, convert."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy.orm import Session

from registry.backends import Backend
from registry.batches import check_rows, id_column
from registry.home import Home
from registry.index import ids_array
from registry.segments import Source, blocks, sources_of, through
from registry.services import galleries, paths, transforms
from registry.tables import GalleryRow
from registry.types import Embeddings
from registry.vectors import Array, as_rows, check_finite
from registry.writing import require_known

__all__ = ["convert", "fetch", "fetch_blocks", "scan", "scanned"]


def convert(home: Home, vectors: Any, *, source: str, into: str, allow_unmeasured: bool) -> Array:
    """Turn vectors of one space into vectors of another; see `Registry.convert`."""
    with home.database.reading() as session:
        source, into = transforms.resolve_space(session, source), transforms.resolve_space(session, into)
        dim, metric, _ = transforms.space_facts(session, source)
        path = paths.best_lead(session, home.graphs.of(session), source, into, allow_unmeasured=allow_unmeasured)
    rows = check_finite(as_rows(vectors, dim=dim))
    converted = through(home.chain(path.query, dim, normalize=metric == "cosine"), rows)
    return converted if path.length else converted.copy()  # never the caller's own array


def _leading(
    home: Home,
    session: Session,
    row: GalleryRow,
    into: str,
    *,
    allow_unmeasured: bool,
    wanted: pa.Array | None = None,
) -> list[Source]:
    """The segments of a gallery, each with its way into a space."""
    graph = home.graphs.of(session)
    way = partial(paths.best_lead, session, graph, target=into, allow_unmeasured=allow_unmeasured)
    return sources_of(home, row, way=way, steps=lambda path: path.query, wanted=wanted)


def fetch(home: Home, gallery: str, *, ids: Sequence[Any] | Array, into: str, allow_unmeasured: bool) -> Embeddings:
    """The vectors of items, in the space asked for; see `Registry.fetch`."""
    wanted = _find(home, gallery, ids, into, allow_unmeasured=allow_unmeasured)
    return wanted.embeddings(0, len(wanted.ids))


def fetch_blocks(
    home: Home, gallery: str, *, ids: Sequence[Any] | Array, into: str, allow_unmeasured: bool, rows: int
) -> Iterator[Embeddings]:
    """The same in blocks of at most `rows`, all of one state; what is missing is said before the first of them."""
    check_rows(rows)
    wanted = _find(home, gallery, ids, into, allow_unmeasured=allow_unmeasured)
    return (wanted.embeddings(start, start + rows) for start in range(0, len(wanted.ids), rows))


@dataclass(frozen=True, slots=True, eq=False)
class _Wanted:
    """Items to read: of each, by its place in `sources`, who has the best vector, and at which row there."""

    ids: pa.Array
    space: str
    dim: int
    sources: list[Source]
    source: Array
    row: Array

    def embeddings(self, start: int, stop: int) -> Embeddings:
        ids, chosen, rows = self.ids[start:stop], self.source[start:stop], self.row[start:stop]
        vectors = np.empty((len(ids), self.dim), dtype=np.float32)
        for place, source in enumerate(self.sources):
            here = chosen == place
            if here.any():
                some = ids.filter(pa.array(here))
                by_row = "places" in source.stored.capabilities
                found = source.stored.rows(rows[here]) if by_row else source.stored.take(some)
                vectors[here] = source.mapped(some, found)
        return Embeddings(ids_array(ids), vectors, self.space, {s.version: s.path for s in self.sources})


def _find(home: Home, gallery: str, ids: Sequence[Any] | Array, into: str, *, allow_unmeasured: bool) -> _Wanted:
    with home.database.reading() as session:
        into = transforms.resolve_space(session, into)
        dim, _, _ = transforms.space_facts(session, into)
        row = galleries.gallery(session, gallery)
        wanted = id_column(row.id_type, ids)
        sources = _leading(home, session, row, into, allow_unmeasured=allow_unmeasured, wanted=wanted)
    chosen = np.full(len(wanted), -1, dtype=np.int32)
    rows = np.full(len(wanted), -1, dtype=np.int64)
    for place, source in enumerate(sources):
        found = _found(source.stored, wanted)
        better = (chosen < 0) & (found >= 0)
        chosen[better], rows[better] = place, found[better]
        if (chosen >= 0).all():
            break
    require_known(wanted, wanted.filter(pa.array(chosen >= 0)), gallery)
    return _Wanted(wanted, into, dim, sources, chosen, rows)


def _found(stored: Backend, wanted: pa.Array) -> Array:
    """At which row each of `wanted` is, or -1; where a backend has no rows, 0 for those that it holds."""
    if "places" in stored.capabilities:
        return stored.places(wanted)
    found: Array = pc.is_in(wanted, value_set=stored.known(wanted)).to_numpy(zero_copy_only=False).astype(np.int64) - 1
    return found


def scan(home: Home, gallery: str, *, into: str, rows: int, allow_unmeasured: bool) -> Iterator[Embeddings]:
    """All vectors of a gallery in the space asked for, in blocks; see `Registry.scan`."""
    sources, into = scanned(home, gallery, into=into, rows=rows, allow_unmeasured=allow_unmeasured)
    return _blocks_of_all(sources, into, rows)


def scanned(home: Home, gallery: str, *, into: str, rows: int, allow_unmeasured: bool) -> tuple[list[Source], str]:
    """What a scan reads, one source after the other, and the space that it leads them into."""
    check_rows(rows)
    with home.database.reading() as session:
        into = transforms.resolve_space(session, into)
        row = galleries.gallery(session, gallery)
        return _leading(home, session, row, into, allow_unmeasured=allow_unmeasured), into


def _blocks_of_all(sources: list[Source], into: str, rows: int) -> Iterator[Embeddings]:
    for place, source in enumerate(sources):
        for ids, block in blocks(source, sources[:place], rows):
            yield Embeddings(ids, block, into, {source.version: source.path})
