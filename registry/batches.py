"""A batch of items to append: ids, vectors and labels, checked alike by whoever sends and whoever stores it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from registry.errors import DuplicateId, InvalidInput
from registry.vectors import Array, as_rows, check_finite

__all__ = [
    "Batch",
    "Target",
    "check_rows",
    "checked",
    "id_column",
    "id_type",
    "refuse_twice",
    "segment_schema",
    "vectors_of",
]

_LONGEST_ID = 512
_ID_TYPES = {"string": pa.string(), "int": pa.int64()}


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


@dataclass(frozen=True, slots=True)
class Target:
    """What a batch must fit: a gallery's ids and labels, and a version's vectors."""

    gallery: str
    id_type: str
    labels: tuple[str, ...]
    dim: int
    dtype: str


@dataclass(frozen=True, slots=True)
class Batch:
    """A checked batch: ids (n,), vectors as a table with them, and label columns if any were given."""

    ids: pa.Array
    table: pa.Table
    labels: Mapping[str, pa.Array]


def _plain(values: Iterable[Any]) -> list[Any]:
    """Python values, of an array or of a list that holds NumPy's."""
    if isinstance(values, np.ndarray):
        return list(values.tolist())
    if isinstance(values, pa.Array):
        return list(values.to_pylist())
    return [value.item() if isinstance(value, np.generic) else value for value in values]


def id_column(kind: str, ids: Sequence[Any] | Array | pa.Array, *, start: int = 0) -> pa.Array:
    """Ids of a gallery as an Arrow array. Of a part of more ids, `start` is the number of the first.

    Raises:
        InvalidInput: an id of another type, or one that means "no result": a negative number, an empty string.
    """
    quick = _quick_column(kind, ids)
    return _checked_column(kind, ids, start) if quick is None else quick


def _quick_column(kind: str, ids: Any) -> pa.Array | None:
    """The column of ids that Arrow can check as a whole; None where each must be looked at, if only to name one."""
    import pyarrow.compute as pc  # takes a fifth of a second to import, and whoever only reads does without

    if isinstance(ids, np.ndarray) and ids.ndim == 1 and ids.dtype.kind == "i":
        ids = pa.array(ids, pa.int64())
    if not isinstance(ids, pa.Array) or ids.type != id_type(kind) or ids.null_count or not len(ids):
        return None
    if kind == "int":
        return ids if pc.min(ids).as_py() >= 0 else None
    lengths = pc.min_max(pc.utf8_length(ids)).as_py()
    fits = lengths["min"] >= 1 and lengths["max"] <= _LONGEST_ID
    return ids if fits and not pc.any(pc.match_substring(ids, "\0")).as_py() else None


def _checked_column(kind: str, ids: Any, start: int) -> pa.Array:
    if isinstance(ids, str | bytes) or not np.iterable(ids):  # a string is a sequence of strings, but never meant so
        raise InvalidInput(f"ids must be a list or an array, got {ids!r:.80}: write [{ids!r:.80}]")
    listed = _plain(ids)
    wanted: Any = str if kind == "string" else int
    for row, value in enumerate(listed, start):
        if not isinstance(value, wanted) or isinstance(value, bool):
            raise InvalidInput(f"ids of this gallery are of type {kind}, row {row} is {value!r:.80}: convert it")
        if value == "" or (kind == "string" and (len(value) > _LONGEST_ID or "\0" in value)):
            raise InvalidInput(
                f"row {row} has the id {value!r:.80}: a string id has 1 to {_LONGEST_ID} characters, none of them NUL"
            )
        if kind == "int" and not 0 <= value < 2**63:
            raise InvalidInput(
                f"row {row} has the id {value}: an integer id lies between 0 and 2**63 - 1, -1 means no result"
            )
    try:
        return pa.array(listed, id_type(kind))
    except UnicodeEncodeError as error:
        raise InvalidInput(f"id {error.object!r:.80} is no valid text: {error.reason}") from error


def check_rows(rows: object) -> None:
    """Refuse what is no number of rows of a block."""
    if isinstance(rows, bool) or not isinstance(rows, int | np.integer) or not 1 <= rows < 2**31:
        raise InvalidInput(f"rows must be a whole number of rows from 1, got {rows!r:.80}")


def checked(into: Target, ids: Any, vectors: Any, labels: Mapping[str, Any] | None, *, start: int = 0) -> Batch:
    """A batch that may be stored, or an error that names what is wrong; `start` is the number of its first row.

    Raises:
        InvalidInput, BadVector, DimensionMismatch, DuplicateId: see `Registry.append`.
    """
    rows = check_finite(as_rows(vectors, dim=into.dim), start=start)
    column = id_column(into.id_type, ids, start=start)
    if not len(column):
        raise InvalidInput("the batch is empty: give at least one id and one vector")
    if len(column) != len(rows):
        raise InvalidInput(f"{len(column)} ids for {len(rows)} vectors: give one id for each row")
    refuse_twice(column, start=start)
    if rows.dtype != np.dtype(into.dtype):
        with np.errstate(over="ignore"):
            # Narrowing to float16 can overflow or underflow: what would be stored is what must be fit to compare.
            rows = check_finite(rows.astype(into.dtype), what=f"vectors as {into.dtype}", start=start)
    schema = segment_schema(into.id_type, into.dim, into.dtype)
    flat = pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), type=schema.field("vector").type)
    return Batch(column, pa.table([column, flat], schema=schema), _label_columns(into, labels, len(column)))


def refuse_twice(column: pa.Array, *, start: int = 0) -> None:
    """Raise `DuplicateId` for the first id that stands twice in a column."""
    if len(column.unique()) == len(column):
        return
    seen: set[Any] = set()
    for row, value in enumerate(column.to_pylist(), start):
        if value in seen:
            raise DuplicateId(
                f"id {value!r:.80} stands twice in the batch, again at row {row}: give each item once", row=row
            )
        seen.add(value)


def _label_columns(into: Target, labels: Mapping[str, Any] | None, n: int) -> dict[str, pa.Array]:
    columns: dict[str, pa.Array] = {}
    if labels is not None and not isinstance(labels, Mapping):
        raise InvalidInput(f"labels must map columns to values, such as {{'class': [...]}}, got {labels!r:.80}")
    for name, values in (labels or {}).items():
        if name not in into.labels:
            raise InvalidInput(
                f"gallery {into.gallery} has no label column {name!r:.80}: it has {', '.join(into.labels) or 'none'}"
            )
        if isinstance(values, pa.Array) and values.type in (pa.string(), pa.int64()) and not values.null_count:
            if len(values) != n:
                raise InvalidInput(f"{len(values)} labels {name!r} for {n} items: give one for each row")
            columns[name] = values
            continue
        if isinstance(values, str | bytes) or not np.iterable(values):
            raise InvalidInput(f"labels {name!r} must be a list or an array, got {values!r:.80}: give one for each row")
        listed = _plain(values)
        if len(listed) != n:
            raise InvalidInput(f"{len(listed)} labels {name!r} for {n} items: give one for each row")
        kind = type(listed[0])
        if kind not in (int, str) or any(type(v) is not kind for v in listed):
            raise InvalidInput(
                f"labels {name!r} must be all strings or all integers, got {sorted({type(v).__name__ for v in listed})}"
            )
        try:
            columns[name] = pa.array(listed, pa.string() if kind is str else pa.int64())
        except (OverflowError, UnicodeEncodeError) as error:
            raise InvalidInput(f"labels {name!r} hold a value that cannot be stored: {error}") from error
    return columns
