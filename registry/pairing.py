"""Vectors of the same items by several versions, row by row: what bridges between them are fitted to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from registry.batches import check_rows, vectors_of
from registry.errors import InvalidInput, NotFound
from registry.gallery import Dataset
from registry.home import Home
from registry.index import ids_array
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
    _segments: tuple[tuple[Dataset, int], ...] = field(repr=False)

    @property
    def ids(self) -> Array:
        """The items' ids (n,), in order."""
        return ids_array(self._ids)

    def __len__(self) -> int:
        return len(self._ids)

    def __iter__(self) -> Iterator[tuple[Array, ...]]:
        (first, state), *others = self._segments
        for batch in first.batches(state, ["id", "vector"], self.rows):
            both = batch.filter(pc.is_in(batch.column("id"), value_set=self._ids))
            if both.num_rows:
                ids = both.column("id")
                tables = [dataset.take(ids, at, ["vector"])["vector"] for dataset, at in others]
                yield vectors_of(both.column("vector")), *map(vectors_of, tables)


def shared(home: Home, gallery: str, *, versions: Sequence[str], rows: int, label: str | None = None) -> Shared:
    """See `Registry.shared`."""
    check_rows(rows)
    if isinstance(versions, str) or not len(versions):
        raise InvalidInput(f"versions must be a list such as ['products/1', 'products/2'], got {versions!r:.80}")
    with home.database.reading() as session:
        refs = [models.find(session, ref).ref for ref in versions]
        row = galleries.gallery(session, gallery)
        column = None if label is None else evidence.label_column(row, label)
        states = {s.version.ref: s.lance_version for s in row.segments if s.lance_version}
        items = home.items(row.name), row.items_version
    for ref in refs:
        if ref not in states:
            raise NotFound(f"gallery {gallery} has no vectors of {ref}: append them, or name a gallery that holds both")
    segments = tuple((home.segment(gallery, ref), states[ref]) for ref in refs)
    ids = segments[0][0].column("id", segments[0][1])
    for dataset, state in segments[1:]:
        ids = ids.filter(pc.is_in(ids, value_set=dataset.column("id", state)))
    return Shared(int(rows), None if column is None else _codes(*items, ids, column), ids, segments)


def _codes(items: Dataset, state: int, ids: pa.Array, column: str) -> Array:
    labels = items.take(ids, state, [column])[column].combine_chunks()
    codes: Array = labels.dictionary_encode().indices.to_numpy(zero_copy_only=False).astype(np.int64)
    return codes
