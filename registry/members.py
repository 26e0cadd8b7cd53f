"""The items of a gallery: those that samespace wrote down, and those that attached segments hold where they already live."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from registry.backends import Backend
from registry.batches import id_type
from registry.errors import InvalidInput
from registry.gallery import Dataset
from registry.home import Home
from registry.tables import GalleryRow

__all__ = ["Members", "held_in", "members_of", "others"]


@dataclass(frozen=True, slots=True)
class Members:
    """A gallery's items: its item columns in `dataset` at `state` (0 for none), and its `attached` segments.

    An item that both have is one, with the labels of the item columns.
    """

    name: str
    id_type: str
    dataset: Dataset
    state: int
    attached: tuple[Backend, ...]

    def ids(self) -> pa.Array:
        """All ids (n,), each once: those of attached segments first, in their order."""
        parts = [backend.ids() for backend in self.attached]
        if self.state:
            parts.append(self.dataset.column("id", self.state))
        if len(parts) == 1:
            return parts[0]
        return pa.concat_arrays(parts).unique() if parts else pa.array([], id_type(self.id_type))

    def known(self, ids: pa.Array) -> pa.Array:
        """Those of `ids` that are items, each once."""
        found = self.dataset.known(ids, self.state)
        return pa.concat_arrays([found, self.elsewhere(others(ids, found))]) if self.attached else found

    def elsewhere(self, ids: pa.Array) -> pa.Array:
        """Those of `ids` that attached segments hold, each once."""
        parts = [backend.known(ids) for backend in self.attached if len(ids)]
        return pa.concat_arrays(parts).unique() if parts else ids.slice(0, 0)

    def alone(self, held: pa.Array) -> int:
        """How many of the items `held` by attached segments they alone hold; nothing attached is asked."""
        return len(others(held, self.dataset.column("id", self.state)) if self.state and len(held) else held)

    def labels(self, ids: pa.Array, columns: Sequence[str]) -> pa.Table:
        """The label `columns` of `ids` (m,), in that order. NotFound for an id that is no item."""
        if not columns:
            return pa.table({"id": ids}).select([])
        if not self.attached:
            return self.dataset.take(ids, self.state, list(columns)).select(list(columns))
        left, found = ids.unique(), []
        written = self.dataset.known(left, self.state)
        if len(written):
            found.append(self.dataset.take(written, self.state, list(columns)))
        for backend in self.attached:
            left = others(left, found[-1]["id"].combine_chunks()) if found else left
            here = backend.known(left)
            if len(here):
                found.append(backend.labels(here, columns).add_column(0, "id", here))
        _refuse_mixed(found, self.name)
        whole = pa.concat_tables(found) if found else pa.table({"id": ids.slice(0, 0)})
        places = pc.index_in(ids, value_set=whole["id"].combine_chunks())
        if places.null_count:
            raise self.attached[0].unknown(ids.filter(places.is_null())[0].as_py())
        return whole.take(places).select(list(columns))


def members_of(home: Home, row: GalleryRow) -> Members:
    """The items of a gallery as it is now."""
    attached = tuple(home.stored(row, s) for s in row.segments if s.backend is not None)
    return Members(row.name, row.id_type, home.items(row.name), row.items_version, attached)


def held_in(attached: Sequence[Backend]) -> pa.Array:
    """The ids of all items that attached segments hold, each once."""
    return pa.concat_arrays([backend.ids() for backend in attached]).unique()


def others(ids: pa.Array, those: pa.Array) -> pa.Array:
    """`ids` without `those`, in their order."""
    return ids.filter(pc.invert(pc.is_in(ids, value_set=those))) if len(those) else ids


def _refuse_mixed(tables: Sequence[pa.Table], gallery: str) -> None:
    kinds = [t.schema.remove(0) for t in tables]
    for other in kinds[1:]:
        if other != kinds[0]:
            raise InvalidInput(
                f"the labels of {gallery} are {kinds[0].types} in one place and {other.types} in another: make them of one type"
            )
