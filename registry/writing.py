"""Writing to galleries: a batch is checked whole, staged, and made visible by one database commit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from registry.errors import AlreadyExists, DuplicateId, InvalidInput, NotFound
from registry.gallery import id_type, segment_schema
from registry.home import Home
from registry.services import galleries, models
from registry.services.audit import record
from registry.tables import GalleryRow, SegmentRow
from registry.vectors import Array, as_rows, check_finite

__all__ = ["append", "delete", "id_column", "known_ids", "require_known"]

_LONGEST_ID = 512


@dataclass(frozen=True, slots=True)
class _Batch:
    """A checked batch: ids (n,), vectors as a table with them, and label columns if any were given."""

    ids: pa.Array
    table: pa.Table
    labels: Mapping[str, pa.Array]


def append(
    home: Home,
    gallery: str,
    *,
    version: str,
    ids: Sequence[Any] | Array,
    vectors: Any,
    labels: Mapping[str, Any] | None,
) -> int:
    """Store vectors that `version` made of items; see `Registry.append`. Returns the number of rows stored."""
    with home.database.reading() as session:
        row = galleries.gallery(session, gallery)
        writer = models.find(session, version)
        batch = _checked(row, writer.dim, writer.dtype, ids, vectors, labels)
        state = next((s.lance_version for s in row.segments if s.version_id == writer.id), 0)
    dataset = home.segment(gallery, writer.ref)
    _refuse_stored(batch.ids, dataset.known(batch.ids, state), f"{gallery} already has vectors of {writer.ref} for")
    staged = dataset.stage(batch.table, state)
    with home.database.writing() as session:
        row = galleries.locked(session, gallery)
        segment = galleries.segment(session, row, models.find(session, writer.ref))
        if segment.lance_version != state:  # somebody wrote since: ask again, now that nobody else can
            _refuse_stored(
                batch.ids,
                dataset.known(batch.ids, segment.lance_version),
                f"{gallery} already has vectors of {writer.ref} for",
            )
        _add_items(home, row, batch)
        segment.lance_version = dataset.publish(staged, batch.table.schema, segment.lance_version)
        segment.rows += len(batch.ids)
        record(session, "gallery.appended", gallery, {"version": writer.ref, "rows": len(batch.ids)})
    return len(batch.ids)


def delete(home: Home, gallery: str, ids: Sequence[Any] | Array) -> int:
    """Remove items with all their vectors; ids that are not stored are passed over. Returns how many items went."""
    with home.database.writing() as session:
        row = galleries.locked(session, gallery)
        gone = id_column(row.id_type, ids)
        for segment in row.segments:
            _remove(home, row, segment, gone)
        if not row.items_version:
            return 0
        row.items_version, count = home.items(gallery).remove(gone, row.items_version)
        row.items -= count
        record(session, "gallery.deleted", gallery, {"items": count})
        return count


def _remove(home: Home, row: GalleryRow, segment: SegmentRow, gone: pa.Array) -> None:
    if segment.lance_version:
        segment.lance_version, count = home.segment(row.name, segment.version.ref).remove(gone, segment.lance_version)
        segment.rows -= count


def _plain(values: Iterable[Any]) -> list[Any]:
    """Python values, of an array or of a list that holds NumPy's."""
    if isinstance(values, np.ndarray):
        return list(values.tolist())
    return [value.item() if isinstance(value, np.generic) else value for value in values]


def id_column(kind: str, ids: Sequence[Any] | Array) -> pa.Array:
    """Ids of a gallery as an Arrow array.

    Raises:
        InvalidInput: an id of another type, or one that means "no result": a negative number, an empty string.
    """
    if isinstance(ids, str | bytes) or not np.iterable(ids):  # a string is a sequence of strings, but never meant so
        raise InvalidInput(f"ids must be a list or an array, got {ids!r:.80}: write [{ids!r:.80}]")
    listed = _plain(ids)
    wanted: Any = str if kind == "string" else int
    for row, value in enumerate(listed):
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


def _checked(row: GalleryRow, dim: int, dtype: str, ids: Any, vectors: Any, labels: Mapping[str, Any] | None) -> _Batch:
    rows = check_finite(as_rows(vectors, dim=dim))
    column = id_column(row.id_type, ids)
    if not len(column):
        raise InvalidInput("the batch is empty: give at least one id and one vector")
    if len(column) != len(rows):
        raise InvalidInput(f"{len(column)} ids for {len(rows)} vectors: give one id for each row")
    _refuse_twice(column)
    with np.errstate(over="ignore"):
        # Narrowing to float16 can overflow or underflow: what would be stored is what must be fit to compare.
        stored = check_finite(np.ascontiguousarray(rows, dtype=np.dtype(dtype)), what=f"vectors as {dtype}")
    schema = segment_schema(row.id_type, dim, dtype)
    flat = pa.FixedSizeListArray.from_arrays(pa.array(stored.ravel()), type=schema.field("vector").type)
    return _Batch(column, pa.table([column, flat], schema=schema), _label_columns(row, labels, len(column)))


def _refuse_twice(column: pa.Array) -> None:
    if len(column.unique()) == len(column):
        return
    seen: set[Any] = set()
    for row, value in enumerate(column.to_pylist()):
        if value in seen:
            raise DuplicateId(
                f"id {value!r:.80} stands twice in the batch, again at row {row}: give each item once", row=row
            )
        seen.add(value)


def _refuse_stored(ids: pa.Array, stored: pa.Array, what: str) -> None:
    if len(stored):
        row = int(np.flatnonzero(pc.is_in(ids, value_set=stored).to_numpy(zero_copy_only=False))[0])
        raise AlreadyExists(
            f"{what} id {ids[row].as_py()!r:.80} (row {row}): stored vectors are never replaced; delete it first, or leave it out"
        )


def _label_columns(row: GalleryRow, labels: Mapping[str, Any] | None, n: int) -> dict[str, pa.Array]:
    columns: dict[str, pa.Array] = {}
    if labels is not None and not isinstance(labels, Mapping):
        raise InvalidInput(f"labels must map columns to values, such as {{'class': [...]}}, got {labels!r:.80}")
    for name, values in (labels or {}).items():
        if name not in row.labels:
            raise InvalidInput(
                f"gallery {row.name} has no label column {name!r:.80}: it has {', '.join(row.labels) or 'none'}"
            )
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


def _add_items(home: Home, row: GalleryRow, batch: _Batch) -> None:
    """Make the batch's new items known, and hold the labels of the known ones to what is stored."""
    items = home.items(row.name)
    known = items.known(batch.ids, row.items_version)
    is_new = (
        pc.invert(pc.is_in(batch.ids, value_set=known)) if len(known) else pa.array(np.ones(len(batch.ids), dtype=bool))
    )
    if len(known) and batch.labels:
        _check_labels(home, row, batch, pc.invert(is_new))
    if len(known) == len(batch.ids):
        return
    missing = [name for name in row.labels if name not in batch.labels]
    if missing:
        first = batch.ids.filter(is_new)[0].as_py()
        raise InvalidInput(
            f"item {first!r:.80} is new to benchmark {row.name}: give its label {missing[0]!r}, as labels={{{missing[0]!r}: [...]}}"
        )
    table = pa.table({"id": batch.ids, **batch.labels}).filter(is_new)
    if row.items_version:
        stored = items.at(row.items_version).schema
        for name in row.labels:
            if stored.field(name).type != table.schema.field(name).type:
                raise InvalidInput(
                    f"labels {name!r} are stored as {stored.field(name).type}, got {table.schema.field(name).type}: convert them"
                )
    row.items_version = items.publish(items.stage(table, row.items_version), table.schema, row.items_version)
    row.items += len(table)


def _check_labels(home: Home, row: GalleryRow, batch: _Batch, old: pa.Array) -> None:
    ids = batch.ids.filter(old)
    stored = home.items(row.name).take(ids, row.items_version, list(batch.labels))
    for name, column in batch.labels.items():
        before, given = stored[name].to_pylist(), column.filter(old).to_pylist()
        for id, was, is_now in zip(ids.to_pylist(), before, given, strict=True):
            if was != is_now:
                raise InvalidInput(
                    f"item {id!r:.80} has label {name} = {was!r:.80}, got {is_now!r:.80}: labels do not change; delete the item first"
                )


def known_ids(home: Home, gallery: str, ids: Sequence[Any] | Array) -> list[Any]:
    """The ids as a list, once all of them are found to be items of the gallery; NotFound names the first that is not."""
    with home.database.reading() as session:
        row = galleries.gallery(session, gallery)
        column = id_column(row.id_type, ids)
        require_known(column, home.items(gallery).known(column, row.items_version), gallery)
    return list(column.to_pylist())


def require_known(ids: pa.Array, stored: pa.Array, gallery: str) -> None:
    """Raise `NotFound` for the first of `ids` that is not in `stored`."""
    absent = pc.invert(pc.is_in(ids, value_set=stored)).to_numpy(zero_copy_only=False)
    if absent.any():
        raise NotFound(
            f"gallery {gallery} has no item {ids[int(np.argmax(absent))].as_py()!r:.80}: check the id, or append it first"
        )
