"""What a study found of each item: an Arrow table, kept as a file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from registry.errors import CorruptFile
from registry.retrieval import Retrieval
from registry.types import STAGES, Stage
from registry.vectors import Array

__all__ = ["digest_of", "dumps", "loads", "table"]


def table(
    ids: pa.Array,
    labels: Mapping[str, pa.Array],
    maps: tuple[Array, Array],
    overlap: Array,
    found: Mapping[Stage, Retrieval],
    own: Array,
) -> pa.Table:
    """The columns that `Registry.study_items` tells of, a row for each item.

    `found` are the values of queries, rows `own` (q,) of the items; all others have NaN there.
    """
    columns: dict[str, pa.Array] = {"id": ids, **{f"label.{name}": column for name, column in labels.items()}}
    for version, places in zip(("old", "new"), maps, strict=True):
        for axis, values in zip("xy", places.T, strict=True):
            columns[f"{axis}_{version}"] = _numbers(values)
    columns["overlap"] = _numbers(overlap)
    for name, metric in (("ap", "map"), ("hit", "cmc@1")):
        for stage in STAGES:
            values = np.full(len(ids), np.nan, dtype=np.float32)
            if stage in found:
                values[own] = found[stage].per_query[metric]
            columns[f"{name}_{stage}"] = _numbers(values)
    return pa.table(columns)


def _numbers(values: Array) -> pa.Array:
    return pa.array(np.ascontiguousarray(values, dtype=np.float32))


def dumps(items: pa.Table) -> bytes:
    """The bytes of the file: Arrow's, uncompressed."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, items.schema) as writer:
        writer.write_table(items)
    return bytes(sink.getvalue().to_pybytes())


def digest_of(data: bytes) -> str:
    """sha-256, hex, of the file."""
    return hashlib.sha256(data).hexdigest()


def loads(data: bytes, *, digest: str, name: str) -> pa.Table:
    """The table of a file. CorruptFile if it is not the one of this digest."""
    if digest_of(data) != digest:
        raise CorruptFile(f"{name} fails its checksum: it was damaged or edited; restore it from a backup")
    try:
        return pa.ipc.open_file(pa.py_buffer(data)).read_all()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise CorruptFile(f"{name} holds no items of a study: restore it from a backup") from error
