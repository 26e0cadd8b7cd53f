"""Columns of a Parquet file as NumPy arrays, a block of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import types

from registry.errors import CorruptFile, DimensionMismatch, InvalidInput
from registry.vectors import as_rows

__all__ = ["Block", "is_parquet", "names", "read"]

Array = npt.NDArray[Any]
Block = tuple[Array, dict[str, Array]]
"""Vectors (m, d), and columns (m,) by the name that they were asked for."""

_MAGIC = b"PAR1"
_UNREADABLE = (pa.ArrowException, OSError, UnicodeDecodeError)  # what a damaged file makes Arrow raise


def is_parquet(path: Path) -> bool:
    """Whether a file begins as Parquet does."""
    with path.open("rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


def names(path: Path) -> list[str]:
    """The columns of a file; CorruptFile if it does not parse."""
    return list(_open(path)[1].names)


def read(path: Path, *, vector: str, columns: Mapping[str, str], rows: int) -> tuple[int, Iterator[Block]]:
    """The number of rows, and the rows in blocks of at most `rows`.

    Vectors are float32, or float16 where they are stored so; `columns` are int64 or str.

    Raises:
        CorruptFile: the file does not parse.
        InvalidInput: no such column, or of another type; later, a missing value, by its row.
        DimensionMismatch: later, a vector of another length than the first one, by its row.
    """
    file, schema = _open(path)
    _check_type(path, schema, vector, "a list of numbers", _is_vector)
    for column in columns.values():
        _check_type(path, schema, column, "whole numbers or text", _is_plain)
    return int(file.metadata.num_rows), _blocks(path, file, vector, columns, rows)


def _open(path: Path) -> tuple[pq.ParquetFile, pa.Schema]:
    try:
        # Mapped, so that one huge row group is not read at once.
        file = pq.ParquetFile(path, memory_map=True)
        return file, file.schema_arrow
    except _UNREADABLE as error:
        raise _corrupt(path, error) from error


def _blocks(path: Path, file: pq.ParquetFile, vector: str, columns: Mapping[str, str], rows: int) -> Iterator[Block]:
    start, width = 0, None
    batches = file.iter_batches(batch_size=rows, columns=list({vector, *columns.values()}))
    while True:
        try:
            batch = next(batches, None)
            if batch is None:
                return
            vectors = _vectors(batch.column(vector), f"{path}: column {vector!r}", start, width)
            found = {n: _values(batch.column(c), f"{path}: column {c!r}", start) for n, c in columns.items()}
        except _UNREADABLE as error:
            raise _corrupt(path, error) from error
        yield vectors, found
        start, width = start + len(vectors), vectors.shape[1]


def _vectors(column: pa.Array, what: str, start: int, width: int | None) -> Array:
    _refuse_nulls(column, what, start)
    lengths = pc.list_value_length(column).to_numpy(zero_copy_only=False)
    width = int(lengths[0]) if width is None and len(lengths) else width or 0
    other = np.flatnonzero(lengths != width)
    if len(other):
        row = int(other[0])
        raise DimensionMismatch(
            f"{what} holds {lengths[row]} values in row {start + row}, {width} before: all vectors need one length"
        )
    values = column.flatten()
    _refuse_nulls(values, what, start, each=width)
    return as_rows(values.to_numpy(zero_copy_only=False).reshape(len(column), width), what=what)


def _values(column: pa.Array, what: str, start: int) -> Array:
    _refuse_nulls(column, what, start)
    if types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if not types.is_integer(column.type):
        return np.asarray(column.to_numpy(zero_copy_only=False), dtype=object)
    try:
        return np.asarray(column.cast(pa.int64()).to_numpy(zero_copy_only=False))
    except pa.ArrowInvalid as error:
        raise InvalidInput(f"{what} holds a number beyond 64 bits with a sign, after row {start}: mend it") from error


def _refuse_nulls(column: pa.Array, what: str, start: int, *, each: int = 1) -> None:
    if column.null_count:
        row = start + int(np.argmax(column.is_null().to_numpy(zero_copy_only=False))) // each
        raise InvalidInput(f"{what} has no value in row {row}: fill it in, or drop that row")


def _check_type(path: Path, schema: pa.Schema, column: str, wanted: str, is_wanted: Any) -> None:
    places = schema.get_all_field_indices(column)
    if len(places) != 1:
        have = ", ".join(schema.names[:20])
        raise InvalidInput(f"{path} has {len(places) or 'no'} columns {column!r:.80}: it has {have}; name another")
    found = schema.field(places[0]).type
    if not is_wanted(found):
        raise InvalidInput(f"{path}: column {column!r} must hold {wanted}, got {found}: name another")


def _is_vector(kind: pa.DataType) -> bool:
    lists = types.is_fixed_size_list(kind) or types.is_list(kind) or types.is_large_list(kind)
    return bool(lists and (types.is_floating(kind.value_type) or types.is_integer(kind.value_type)))


def _is_plain(kind: pa.DataType) -> bool:
    if types.is_dictionary(kind):
        kind = kind.value_type
    return bool(types.is_integer(kind) or types.is_string(kind) or types.is_large_string(kind))


def _corrupt(path: Path, error: Exception) -> CorruptFile:
    said = (str(error).splitlines() or ["unreadable"])[0]
    return CorruptFile(f"{path} cannot be read as Parquet: {said:.200}; write or fetch it again")
