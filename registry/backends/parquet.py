"""Vectors in a folder of Parquet files, or in one file: a column of ids and one of lists, read a row group at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from registry.backends.attached import Seen, label_column
from registry.backends.base import BLOCK_ROWS, Capability
from registry.backends.files import AttachedFiles, as_ids, reading, type_of
from registry.errors import InvalidInput
from registry.vectors import Array

__all__ = ["ParquetBackend"]


class ParquetBackend(AttachedFiles):
    """The rows of all files, in the order of their names."""

    capabilities: frozenset[Capability] = frozenset({"read", "places", "labels"})

    def files(self) -> list[Path]:
        """Those of the folder whose names end in .parquet or .pq."""
        where = Path(self.at.where)
        if not where.is_dir():
            return [where]
        found = [path for path in sorted(where.iterdir()) if path.suffix in (".parquet", ".pq")]
        if not found:
            raise InvalidInput(f"{where.name} holds no .parquet file: name a folder that does, or one file")
        return found

    def look(self) -> Seen:
        """The labels too."""
        found = super().look()
        for name, column in self.at.labels.items():
            label_column(name, self._whole(column), self.at.name)
        return found

    def found_type(self) -> str:
        """That of the column of the first file."""
        path = self.files()[0]
        with reading(path):
            schema = pq.read_schema(path)
        return type_of(schema.field(self._column(schema, self.at.id or "")).type, self.at.name)

    def ids(self) -> pa.Array:
        """In the order of the rows."""
        return self._ids

    @cached_property
    def _ids(self) -> pa.Array:
        return as_ids(self.id_type, self._whole(self.at.id or ""))

    def blocks(self, rows: int = BLOCK_ROWS) -> Iterator[tuple[pa.Array, Array]]:
        """A part of a row group at a time."""
        for path in self.files():
            with reading(path), pq.ParquetFile(path) as file:
                names = [self._column(file.schema_arrow, n or "") for n in (self.at.id, self.at.vector)]
                for batch in file.iter_batches(batch_size=rows, columns=names):
                    ids = as_ids(self.id_type, batch.column(names[0]))
                    yield ids, self.clean(ids, self._matrix(batch.column(names[1])))

    def rows(self, places: Array) -> Array:
        """From the row groups that they are in, each read once."""
        found = np.empty((len(places), self.writer.dim), dtype=np.float32)
        start = 0
        for path in self.files():
            with reading(path), pq.ParquetFile(path) as file:
                name = self._column(file.schema_arrow, self.at.vector or "")
                for group in range(file.num_row_groups):
                    stop = start + file.metadata.row_group(group).num_rows
                    here = (places >= start) & (places < stop)
                    if here.any():
                        column = (
                            file.read_row_group(group, columns=[name]).column(name).take(pa.array(places[here] - start))
                        )
                        found[here] = self._matrix(column.combine_chunks())
                    start = stop
        return self.clean(self.ids_at(places), found)

    def labels(self, ids: pa.Array, columns: Sequence[str]) -> pa.Table:
        """Whole columns are read, without vectors."""
        if any(name not in self.at.labels for name in columns):
            return super().labels(ids, columns)
        places = pa.array(self.places(ids))
        return pa.table(
            {n: label_column(n, self._whole(self.at.labels[n]), self.at.name).take(places) for n in columns}
        )

    def _whole(self, name: str) -> pa.ChunkedArray:
        """One column of all files; for ids and labels, never vectors."""
        parts: list[pa.Array] = []
        kind = None
        for path in self.files():
            with reading(path), pq.ParquetFile(path) as file:
                here = file.schema_arrow.field(self._column(file.schema_arrow, name)).type
                parts += file.read(columns=[name]).column(name).chunks
            if here != (kind := kind or here):
                raise InvalidInput(
                    f"column {name!r:.80} of {self.at.name} is of type {kind} in one file and of {here} in {path.name}: write "
                    "it alike in all"
                )
        return pa.chunked_array(parts, kind)

    def _column(self, schema: pa.Schema, name: str) -> str:
        if name not in schema.names:
            raise InvalidInput(f"{self.at.name} has no column {name!r:.80}: it has {', '.join(schema.names)[:200]}")
        return name

    def _matrix(self, column: pa.Array) -> Array:
        """Lists as rows (m, d)."""
        kind = column.type
        lists = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
        if not lists or not pa.types.is_floating(kind.value_type):
            raise InvalidInput(
                f"column {self.at.vector!r} of {self.at.name} is of type {kind}: vectors are lists of floats"
            )
        values = column.flatten()
        if column.null_count or values.null_count:
            raise InvalidInput(f"column {self.at.vector!r} of {self.at.name} has rows without a vector: leave them out")
        if not pa.types.is_fixed_size_list(kind):
            lengths = np.unique(column.value_lengths().to_numpy(zero_copy_only=False))
            if len(lengths) > 1:
                raise InvalidInput(
                    f"column {self.at.vector!r} of {self.at.name} has vectors of {lengths[0]} and of {lengths[-1]} numbers: "
                    "they have one width"
                )
        rows: Array = values.to_numpy(zero_copy_only=False).reshape(len(column), -1)
        return rows
