"""Vectors of the same items by several versions, row by row: what bridges between them are fitted to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from registry.backends import Backend
from registry.batches import check_rows
from registry.errors import InvalidInput, NotFound
from registry.home import Home
from registry.index import ids_array
from registry.members import Members, members_of
from registry.services import evidence, galleries, models
from registry.vectors import Array

__all__ = ["Shared", "shared"]


@dataclass(frozen=True, slots=True, eq=False)
class Shared:
    """The items of a gallery that all of some versions embedded, as it was when this was asked for.

    Iterating gives blocks of at most `rows` items, each a tuple of matrices (m, d), one for each version; every time anew,
    in one order. `labels` (n,) are whole numbers in that order, equal where the labels are; None unless asked for.
    """

    rows: int
    labels: Array | None
    _ids: pa.Array = field(repr=False)
    _segments: tuple[Backend, ...] = field(repr=False)

    @property
    def ids(self) -> Array:
        """The items' ids (n,), in order."""
        return ids_array(self._ids)

    def __len__(self) -> int:
        return len(self._ids)

    def __iter__(self) -> Iterator[tuple[Array, ...]]:
        first, *others = self._segments
        for ids, rows in first.blocks(self.rows):
            both = pc.is_in(ids, value_set=self._ids).to_numpy(zero_copy_only=False)
            if both.any():
                ids = ids.filter(pa.array(both))
                yield rows[both], *(other.take(ids) for other in others)


def shared(home: Home, gallery: str, *, versions: Sequence[str], rows: int, label: str | None = None) -> Shared:
    """See `Registry.shared`."""
    check_rows(rows)
    if isinstance(versions, str) or not len(versions):
        raise InvalidInput(f"versions must be a list such as ['products/1', 'products/2'], got {versions!r:.80}")
    with home.database.reading() as session:
        refs = [models.find(session, ref).ref for ref in versions]
        row = galleries.gallery(session, gallery)
        column = None if label is None else evidence.label_column(row, label)
        stored = {s.version.ref: home.stored(row, s) for s in row.segments if s.lance_version}
        items = members_of(home, row)
    for ref in refs:
        if ref not in stored:
            raise NotFound(f"gallery {gallery} has no vectors of {ref}: append them, or name a gallery that holds both")
    segments = tuple(stored[ref] for ref in refs)
    ids = segments[0].ids()
    for other in segments[1:]:
        ids = ids.filter(pc.is_in(ids, value_set=other.ids()))
    return Shared(int(rows), None if column is None else _codes(items, ids, column), ids, segments)


def _codes(items: Members, ids: pa.Array, column: str) -> Array:
    labels = items.labels(ids, [column])[column].combine_chunks()
    codes: Array = labels.dictionary_encode().indices.to_numpy(zero_copy_only=False).astype(np.int64)
    return codes
