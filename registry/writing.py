"""Writing to galleries: a batch is checked whole, staged, and made visible by one database commit."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from registry.batches import Batch, Target, checked, id_column, refuse_twice, segment_schema
from registry.elsewhere import new_items, refuse_attached, refuse_elsewhere, refuse_other_labels
from registry.errors import AlreadyExists, InvalidInput, NotFound
from registry.fingerprints import Fingerprint, check_fingerprint
from registry.gallery import Dataset
from registry.home import Home
from registry.members import members_of
from registry.services import backfills, galleries, models, operations
from registry.services.audit import record
from registry.staging import Staging, staging
from registry.tables import BackfillRow, GalleryRow, SegmentRow
from registry.vectors import Array

__all__ = [
    "Part",
    "append",
    "append_parts",
    "delete",
    "digest",
    "known_ids",
    "refuse_stored",
    "require_known",
]

Part = tuple[Sequence[Any] | Array | pa.Array, Any, Mapping[str, Any] | None]
"""Some items of a batch: ids (n,), vectors (n, d), and the labels of columns."""


@dataclass(frozen=True, slots=True)
class _Staged:
    """A batch on disk that nothing refers to yet: its ids (n,), label columns, and data files."""

    ids: pa.Array
    labels: Mapping[str, pa.Array]
    schema: pa.Schema
    files: Staging


def append(
    home: Home,
    gallery: str,
    *,
    version: str,
    ids: Sequence[Any] | Array,
    vectors: Any,
    labels: Mapping[str, Any] | None,
    fingerprint: Fingerprint = None,
    key: str | None = None,
) -> int:
    """Store vectors that `version` made of items; see `Registry.append`. Returns the number of rows stored."""
    parts = iter([(ids, vectors, labels)])
    return append_parts(home, gallery, version=version, parts=parts, fingerprint=fingerprint, key=key)


def append_parts(
    home: Home,
    gallery: str,
    *,
    version: str,
    parts: Iterable[Part],
    fingerprint: Fingerprint = None,
    key: str | None = None,
) -> int:
    """Store parts of one batch as they come, all of them or, where one is refused, nothing."""
    with home.database.reading() as session:
        row = galleries.gallery(session, gallery)
        writer = models.find(session, version)
        check_fingerprint(models.to_version(writer), fingerprint)
        target = Target(row.name, row.id_type, tuple(row.labels), writer.dim, writer.dtype)
        refuse_attached(row, writer)
        state = next((s.lance_version for s in row.segments if s.version_id == writer.id), 0)
    dataset = home.segment(gallery, writer.ref)
    taken = f"{gallery} already has vectors of {writer.ref} for"
    with _staged(dataset, target, parts, state) as batch:
        once = operations.once(key, "append", gallery, writer.ref, digest(batch.ids) if key else "")
        # Reading a big segment's ids takes a while: done here, outside the lock, and again below only if it changed.
        stored = dataset.known(batch.ids, state)
        with home.database.writing() as session:
            row = galleries.locked(session, gallery)
            if (before := operations.result(session, once)) is not None:
                return int(before)
            refuse_attached(row, writer)
            segment = galleries.segment(session, row, models.find(session, writer.ref))
            if segment.lance_version != state:
                stored = dataset.known(batch.ids, segment.lance_version)
            refuse_stored(batch.ids, stored, taken)
            _add_items(home, row, batch)
            segment.lance_version = batch.files.publish(batch.schema, segment.lance_version)
            segment.rows += len(batch.ids)
            record(session, "gallery.appended", gallery, {"version": writer.ref, "rows": len(batch.ids)})
            operations.note(session, once, len(batch.ids))
    return len(batch.ids)


@contextmanager
def _staged(dataset: Dataset, target: Target, parts: Iterable[Part], state: int) -> Iterator[_Staged]:
    """The parts, checked and written as files after `state`; the files go again unless the batch is published."""
    ids: list[pa.Array] = []
    labels: list[Mapping[str, pa.Array]] = []
    start = 0
    with staging(dataset, state) as files:
        for part in parts:
            batch = checked(target, *part, start=start)
            _check_same_labels(labels, batch)
            start += len(batch.ids)
            ids.append(batch.ids)
            labels.append(batch.labels)
            files.add(batch.table)
        files.flush()
        if not ids:
            raise InvalidInput("the batch is empty: give at least one id and one vector")
        whole = pa.concat_arrays(ids)
        if len(ids) > 1:
            refuse_twice(whole)
        yield _Staged(
            whole,
            {name: pa.concat_arrays([part[name] for part in labels]) for name in labels[0]},
            segment_schema(target.id_type, target.dim, target.dtype),
            files,
        )


def _check_same_labels(before: Sequence[Mapping[str, pa.Array]], batch: Batch) -> None:
    kinds = [{name: column.type for name, column in labels.items()} for labels in (*before[:1], batch.labels)]
    if kinds[0] != kinds[-1]:
        raise InvalidInput(f"all parts of a batch have the same label columns, got {kinds[0]} and then {kinds[-1]}")


def digest(ids: pa.Array) -> str:
    """sha-256, hex, over ids (n,)."""
    whole = ids.to_numpy().tobytes() if ids.type == pa.int64() else "\0".join(ids.to_pylist()).encode()
    return hashlib.sha256(whole).hexdigest()


def delete(home: Home, gallery: str, ids: Sequence[Any] | Array, *, key: str | None = None) -> int:
    """Remove items with all their vectors; ids that are not stored are passed over. Returns how many items went."""
    with home.database.writing() as session:
        row = galleries.locked(session, gallery)
        gone = id_column(row.id_type, ids)
        once = operations.once(key, "delete", gallery, digest(gone) if key else "")
        if (before := operations.result(session, once)) is not None:
            return int(before)
        count = 0
        refuse_elsewhere(home, row, gone)
        if row.items_version:
            for segment in row.segments:
                _remove(home, row, segment, gone)
            for backfill in backfills.of_gallery(session, row.id):
                _forget(home, row, backfill, gone)
            if row.previews_version:
                row.previews_version, seen = home.previews(gallery).remove(gone, row.previews_version)
                row.previews -= seen
            row.items_version, count = home.items(gallery).remove(gone, row.items_version)
            row.items -= count
            record(session, "gallery.deleted", gallery, {"items": count})
        operations.note(session, once, count)
        return count


def _remove(home: Home, row: GalleryRow, segment: SegmentRow, gone: pa.Array) -> None:
    if segment.lance_version and segment.backend is None:
        segment.lance_version, count = home.segment(row.name, segment.version.ref).remove(gone, segment.lance_version)
        segment.rows -= count


def _forget(home: Home, row: GalleryRow, backfill: BackfillRow, gone: pa.Array) -> None:
    """What comes after the item under its id is not the backfill's: a rollback must leave it alone."""
    if backfill.written_version:
        written = home.written(row.name, backfill.id)
        backfill.written_version, count = written.remove(gone, backfill.written_version)
        backfill.written -= count


def refuse_stored(ids: pa.Array, stored: pa.Array, taken: str, what: str = "vectors") -> None:
    """Raise `AlreadyExists` for the first of `ids` that is in `stored`."""
    if len(stored):
        row = int(np.flatnonzero(pc.is_in(ids, value_set=stored).to_numpy(zero_copy_only=False))[0])
        raise AlreadyExists(
            f"{taken} id {ids[row].as_py()!r:.80} (row {row}): stored {what} are never replaced; delete it first, or leave it out"
        )


def _add_items(home: Home, row: GalleryRow, batch: _Staged) -> None:
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
    table = new_items(home, row, pa.table({"id": batch.ids, **batch.labels}).filter(is_new))
    if row.items_version:
        stored = items.at(row.items_version).schema
        for name in row.labels:
            if stored.field(name).type != table.schema.field(name).type:
                raise InvalidInput(
                    f"labels {name!r} are stored as {stored.field(name).type}, got {table.schema.field(name).type}: convert them"
                )
    row.items_version = items.publish(items.stage(table, row.items_version), table.schema, row.items_version)
    row.items += len(table)


def _check_labels(home: Home, row: GalleryRow, batch: _Staged, old: pa.Array) -> None:
    given = pa.table({"id": batch.ids, **batch.labels}).filter(old)
    ids = given["id"].combine_chunks()
    refuse_other_labels(given, home.items(row.name).take(ids, row.items_version, list(batch.labels)))


def known_ids(home: Home, gallery: str, ids: Sequence[Any] | Array) -> list[Any]:
    """The ids as a list, once all of them are found to be items of the gallery; NotFound names the first that is not."""
    with home.database.reading() as session:
        row = galleries.gallery(session, gallery)
        column = id_column(row.id_type, ids)
        require_known(column, members_of(home, row).known(column), gallery)
    return list(column.to_pylist())


def require_known(ids: pa.Array, stored: pa.Array, gallery: str) -> None:
    """Raise `NotFound` for the first of `ids` that is not in `stored`."""
    absent = pc.invert(pc.is_in(ids, value_set=stored)).to_numpy(zero_copy_only=False)
    if absent.any():
        raise NotFound(
            f"gallery {gallery} has no item {ids[int(np.argmax(absent))].as_py()!r:.80}: check the id, or append it first"
        )
