"""Vectors on disk: Lance datasets, read and written at versions that the database acknowledges.

Each gallery is a folder (or object-store prefix) `<name>/` with `items.lance` (id and item columns) and one
`<model>-<number>.lance` for each version that wrote vectors (id, vector). A write is staged first, as data files that
no version refers to, then published as a new Lance version; the caller makes it visible by recording that version
number in the database. Versions beyond the recorded one were never acknowledged: the next write rolls them back.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

# Lance reads this once, at import. It warns on standard error of every dataset that is created, which is no news here.
os.environ.setdefault("LANCE_LOG", "error")

import lance
from lance.fragment import write_fragments

from registry.errors import CorruptFile, NotFound, SamespaceError, Unavailable
from registry.vectors import Array

__all__ = ["Dataset", "OpenDatasets", "id_type", "segment_schema", "vectors_of"]

_ID_TYPES = {"string": pa.string(), "int": pa.int64()}
_OPEN_DATASETS = 64
_SMALL_FILES = 64
_WHOLE_FILE_ROWS = 1 << 17  # whoever scans holds a few files in memory, and whoever opens a dataset reads of each
_KEPT_FOR = timedelta(days=1)
_ID_ROWS = 1 << 20


def id_type(name: str) -> pa.DataType:
    """The Arrow type of a gallery's ids: `string` or `int`."""
    return _ID_TYPES[name]


def segment_schema(ids: str, dim: int, dtype: str) -> pa.Schema:
    """The columns of a segment: id, and vector (dim,) of float32 or float16."""
    value = pa.float16() if dtype == "float16" else pa.float32()
    return pa.schema(
        [pa.field("id", id_type(ids), nullable=False), pa.field("vector", pa.list_(value, dim), nullable=False)]
    )


def vectors_of(column: pa.ChunkedArray | pa.Array) -> Array:
    """The vector column as one (n, d) array, without a copy where it is one chunk."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    dim = column.type.list_size
    # flatten() honours the slice; .values would show the parent's rows as well.
    rows: Array = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, dim)
    return rows


@contextmanager
def _reading(uri: str, version: int) -> Iterator[None]:
    """Say which data could not be read, and what to do, instead of what Lance says."""
    try:
        yield
    except (ValueError, OSError) as error:
        if isinstance(error, SamespaceError):
            raise
        first = (str(error).splitlines() or ["unreadable"])[0]
        raise CorruptFile(
            f"{uri} cannot be read at version {version}: {first:.200}; restore it from a backup"
        ) from error


@contextmanager
def _writing(uri: str) -> Iterator[None]:
    """Say that nothing was stored and why, instead of what Lance says."""
    try:
        yield
    except OSError as error:
        first = (str(error).splitlines() or ["no reason given"])[0]
        raise Unavailable(
            f"{uri} cannot be written: {first:.200}; nothing was stored: mend that and try again"
        ) from error


class OpenDatasets:
    """Datasets that are open, by address and version: an opened version never changes."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, int], Any] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, uri: str, version: int) -> Any:
        """The dataset at `uri` as it was at `version`."""
        key = (uri, version)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        with _reading(uri, version):
            opened = lance.dataset(uri, version=version)
        with self._lock:
            self._kept[key] = opened
            while len(self._kept) > _OPEN_DATASETS:
                self._kept.popitem(last=False)
        return opened


def _crowded(dataset: Any) -> bool:
    """Whether so many small files have come together that each further write and read would cost more."""
    small = [f for f in dataset.get_fragments() if f.count_rows() < _WHOLE_FILE_ROWS]
    return len(small) >= _SMALL_FILES


class Dataset:
    """One Lance dataset at `uri`; every read names the version that it wants."""

    def __init__(self, uri: str, opened: OpenDatasets) -> None:
        self.uri = uri
        self._opened = opened

    def at(self, version: int) -> Any:
        """The dataset as it was at `version`."""
        return self._opened.get(self.uri, version)

    def stage(self, table: pa.Table, version: int) -> list[Any]:
        """Write the rows as data files that no version refers to yet; the slow half of an append, outside any lock.

        `version` is what they will be appended to; 0 announces a dataset that is to be created.
        """
        with _writing(self.uri):
            return list(
                write_fragments(
                    table,
                    self.uri,
                    schema=table.schema,
                    mode="append" if version else "overwrite",
                    max_rows_per_file=_WHOLE_FILE_ROWS,
                )
            )

    def publish(self, fragments: list[Any], schema: pa.Schema, version: int) -> int:
        """Append staged rows after `version` (0 creates the dataset); return the new version."""
        with _writing(self.uri):
            if version == 0:
                operation = lance.LanceOperation.Overwrite(schema, fragments)
                return int(lance.LanceDataset.commit(self.uri, operation).version)
            base = self._rolled_back(version)
            crowded = _crowded(base)
            if crowded and base.version == version:
                # Old states go now, while the newest is the acknowledged one, which is kept: were it done after this
                # write, the state that counts until the caller's commit could be among them.
                base.cleanup_old_versions(older_than=_KEPT_FOR)
            operation = lance.LanceOperation.Append(fragments)
            grown = lance.LanceDataset.commit(self.uri, operation, read_version=base.version)
            if crowded:  # files of `_WHOLE_FILE_ROWS` are left alone, so a row is rewritten a bounded number of times
                grown.optimize.compact_files(target_rows_per_fragment=_WHOLE_FILE_ROWS)
            return int(grown.version)

    def remove(self, ids: pa.Array, version: int) -> tuple[int, int]:
        """Delete the rows of `ids` that are there after `version`; return (new version, how many went)."""
        gone = self.known(ids, version)
        if not len(gone):
            return version, 0
        with _writing(self.uri):
            base = self._rolled_back(version)
            base.delete(pc.field("id").isin(gone))
            return int(base.version), len(gone)

    def _rolled_back(self, version: int) -> Any:
        """The newest state, brought back to `version` if an unacknowledged write (a killed process) went beyond it."""
        newest = lance.dataset(self.uri)
        if newest.version == version:
            return newest
        lance.dataset(self.uri, version=version).restore()
        return lance.dataset(self.uri)

    def known(self, ids: pa.Array, version: int) -> pa.Array:
        """Those of `ids` that are stored at `version`, each once."""
        if version == 0 or not len(ids):
            return ids.slice(0, 0)
        columns = (batch.column("id") for batch in self.batches(version, ["id"], _ID_ROWS))
        hits = [column.filter(pc.is_in(column, value_set=ids)) for column in columns]
        return pa.concat_arrays(hits) if hits else ids.slice(0, 0)

    def take(self, ids: pa.Array, version: int, columns: list[str]) -> pa.Table:
        """The rows of `ids`, in their order, with `columns`.

        Raises:
            NotFound: an id is not stored.
        """
        if version == 0:
            raise NotFound(f"{self.uri.rsplit('/', 2)[-2]} holds nothing yet: append to it first")
        with _reading(self.uri, version):
            found = self.at(version).to_table(columns=["id", *columns], filter=pc.field("id").isin(ids))
        stored = found["id"].combine_chunks()
        position = pc.index_in(ids, value_set=stored)
        if position.null_count:
            row = int(np.flatnonzero(position.is_null().to_numpy(zero_copy_only=False))[0])
            raise NotFound(
                f"id {ids[row].as_py()!r} is not in {self.uri.rsplit('/', 2)[-2]}: check the id, or append it first"
            )
        return found.take(position)

    def batches(self, version: int, columns: list[str], rows: int) -> Iterator[pa.RecordBatch]:
        """Batches of at most `rows` rows with `columns`, in stored order; memory is bounded by a few of them."""
        if not version:
            return
        with _reading(self.uri, version):
            yield from self.at(version).to_batches(
                columns=columns, batch_size=rows, batch_readahead=2, fragment_readahead=2
            )

    def column(self, name: str, version: int) -> pa.Array:
        """One whole column; for ids and labels, never vectors."""
        if version == 0:
            return pa.array([])
        with _reading(self.uri, version):
            return self.at(version).to_table(columns=[name])[name].combine_chunks()
