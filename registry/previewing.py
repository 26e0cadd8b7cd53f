"""Storing previews: a batch is checked whole, staged, and made visible by one database commit, as vectors are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from registry.batches import refuse_twice
from registry.errors import InvalidInput
from registry.gallery import Dataset
from registry.home import Home
from registry.members import Members, members_of
from registry.previews import check_kind, checked, preview_schema
from registry.services import galleries, operations
from registry.services.audit import record
from registry.staging import Staging, staging
from registry.tables import GalleryRow
from registry.types import Preview
from registry.vectors import Array
from registry.writing import digest, refuse_stored, require_known

__all__ = ["Part", "add"]

Part = tuple[Sequence[Any] | Array | pa.Array, Sequence[bytes] | Sequence[str] | pa.Array]
"""Some items of a batch: ids (n,), and a picture or a text of each."""


@dataclass(frozen=True, slots=True)
class _Staged:
    """A batch on disk that nothing refers to yet: its ids (n,) and data files."""

    ids: pa.Array
    files: Staging


@dataclass(frozen=True, slots=True)
class _State:
    """The versions of a gallery's items and previews that count."""

    items: int
    previews: int


def add(home: Home, gallery: str, *, kind: Preview, parts: Iterable[Part], key: str | None = None) -> int:
    """Store previews as they come, all of them or, where one is refused, nothing; see `Registry.add_previews`."""
    with home.database.reading() as session:
        row = galleries.gallery(session, gallery)
        check_kind(kind, gallery, row.preview)
        ids_are, state, members = row.id_type, _state(row), members_of(home, row)
    dataset = home.previews(gallery)
    with _staged(dataset, kind, ids_are, parts, state.previews) as batch:
        once = operations.once(key, "add_previews", gallery, kind, digest(batch.ids) if key else "")
        # Reading a big gallery's ids takes a while: done here, outside the lock, and again below only if it changed.
        items, taken = _known(members, home.previews(gallery), batch.ids, state)
        with home.database.writing() as session:
            row = galleries.locked(session, gallery)
            if (before := operations.result(session, once)) is not None:
                return int(before)
            check_kind(kind, gallery, row.preview)
            if _state(row) != state:
                items, taken = _known(members_of(home, row), home.previews(gallery), batch.ids, _state(row))
            require_known(batch.ids, items, gallery)
            refuse_stored(batch.ids, taken, f"{gallery} already has a preview for", "previews")
            row.previews_version = batch.files.publish(preview_schema(ids_are, kind), row.previews_version)
            row.previews += len(batch.ids)
            row.preview = kind
            record(session, "gallery.previewed", gallery, {"kind": kind, "previews": len(batch.ids)})
            operations.note(session, once, len(batch.ids))
    return len(batch.ids)


@contextmanager
def _staged(dataset: Dataset, kind: Preview, ids_are: str, parts: Iterable[Part], state: int) -> Iterator[_Staged]:
    """The parts, checked and written as files after `state`; the files go again unless the batch is published."""
    ids: list[pa.Array] = []
    start = 0
    with staging(dataset, state) as files:
        for part, values in parts:
            table = checked(kind, ids_are, part, values, start=start)
            start += len(table)
            ids.append(table["id"].combine_chunks())
            files.add(table)
        files.flush()
        if not ids:
            raise InvalidInput("the batch is empty: give at least one id and its preview")
        whole = pa.concat_arrays(ids)
        if len(ids) > 1:
            refuse_twice(whole)
        yield _Staged(whole, files)


def _state(row: GalleryRow) -> _State:
    return _State(row.items_version, row.previews_version)


def _known(items: Members, previews: Dataset, ids: pa.Array, state: _State) -> tuple[pa.Array, pa.Array]:
    """Those of `ids` that are items, and those that have previews."""
    return items.known(ids), previews.known(ids, state.previews)
