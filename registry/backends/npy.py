"""Vectors in a .npy file, mapped into memory: a folder with vectors.npy and perhaps ids.npy, or one file and its ids."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from registry.backends.base import BLOCK_ROWS, Capability
from registry.backends.files import AttachedFiles, as_ids, ids_in, reading, type_of
from registry.errors import DimensionMismatch, InvalidInput
from registry.vectors import Array

__all__ = ["NpyBackend"]


class NpyBackend(AttachedFiles):
    """Rows of a matrix; where there are no ids, its row numbers are."""

    capabilities: frozenset[Capability] = frozenset({"read", "places"})

    def files(self) -> list[Path]:
        """The matrix, and the ids if there are some."""
        where = Path(self.at.where)
        vectors = where / "vectors.npy" if where.is_dir() else where
        ids = Path(self.at.ids) if self.at.ids else where / "ids.npy" if where.is_dir() else None
        return [vectors, ids] if ids is not None and (self.at.ids or ids.exists()) else [vectors]

    @cached_property
    def _matrix(self) -> Array:
        path = self.files()[0]
        with reading(path):
            found: Array = np.load(path, mmap_mode="r", allow_pickle=False)
            if not isinstance(found, np.ndarray) or found.ndim != 2 or found.dtype.kind != "f":
                raise InvalidInput(
                    f"{path.name} is no matrix (n, d) of floating-point numbers: write it with numpy.save"
                )
        if found.shape[1] != self.writer.dim:
            raise DimensionMismatch(
                f"{path.name} has {found.shape[1]} dimensions, {self.version} has {self.writer.dim}"
            )
        return found

    @cached_property
    def _ids(self) -> pa.Array:
        _, *ids = self.files()
        found = ids_in(ids[0]) if ids else pa.array(np.arange(len(self._matrix)))
        if len(found) != len(self._matrix):
            raise InvalidInput(
                f"{ids[0].name} holds {len(found)} ids for {len(self._matrix)} vectors: give one for each"
            )
        return found

    def found_type(self) -> str:
        """That of the file of ids; row numbers are whole."""
        return type_of(self._ids.type, self.at.name)

    def ids(self) -> pa.Array:
        """In the order of the rows."""
        return as_ids(self.id_type, self._ids)

    def blocks(self, rows: int = BLOCK_ROWS) -> Iterator[tuple[pa.Array, Array]]:
        """As they are mapped."""
        ids = self.ids()
        for start in range(0, len(ids), rows):
            part = ids.slice(start, rows)
            yield part, self.clean(part, self._matrix[start : start + rows])

    def rows(self, places: Array) -> Array:
        """As they are mapped."""
        return self.clean(self.ids_at(places), self._matrix[places])
