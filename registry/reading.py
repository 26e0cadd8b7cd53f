"""Reading galleries into the space that the caller asks for: fetch, scan, convert."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy.orm import Session

from registry.errors import InvalidInput
from registry.gallery import vectors_of
from registry.home import Home
from registry.index import ids_array
from registry.segments import Source, blocks, sources_of, through
from registry.services import galleries, paths, transforms
from registry.tables import GalleryRow
from registry.types import Embeddings
from registry.vectors import Array, as_rows, check_finite
from registry.writing import id_column, require_known

__all__ = ["convert", "fetch", "scan"]


def convert(home: Home, vectors: Any, *, source: str, into: str, allow_unmeasured: bool) -> Array:
    """Turn vectors of one space into vectors of another; see `Registry.convert`."""
    with home.database.reading() as session:
        source, into = transforms.resolve_space(session, source), transforms.resolve_space(session, into)
        dim, metric, _ = transforms.space_facts(session, source)
        path = paths.best_lead(session, transforms.graph(session), source, into, allow_unmeasured=allow_unmeasured)
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
    graph = transforms.graph(session)
    way = partial(paths.best_lead, session, graph, target=into, allow_unmeasured=allow_unmeasured)
    return sources_of(home, row, way=way, steps=lambda path: path.query, wanted=wanted)


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


def _blocks_of_all(sources: list[Source], into: str, rows: int) -> Iterator[Embeddings]:
    for place, source in enumerate(sources):
        for ids, block in blocks(source, sources[:place], rows):
            yield Embeddings(ids, block, into, {source.version: source.path})
