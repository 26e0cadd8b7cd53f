"""Looking at the items of a gallery: a page at a time in stored order, or one by its id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from registry.backends import Backend
from registry.batches import id_column
from registry.errors import CorruptFile, InvalidInput
from registry.gallery import Dataset
from registry.home import Home
from registry.itemized import listed
from registry.members import Members, members_of
from registry.previews import MOST_SHOWN, check_label, check_limit
from registry.services import galleries, pages
from registry.tables import GalleryRow
from registry.types import Ids, Item, Page
from registry.vectors import Array
from registry.writing import require_known

__all__ = ["item", "items", "items_of", "previews"]

_LOOKED_AT = 1 << 19  # rows that a page looks at for items with a label; then it ends, and the next goes on
_AT_ONCE = 1 << 16


@dataclass(frozen=True, slots=True)
class _Stored:
    """A gallery as it is: its datasets, each with the version that counts."""

    name: str
    id_type: str
    labels: tuple[str, ...]
    items: tuple[Dataset, int]
    previews: tuple[Dataset, int]
    segments: Mapping[str, Backend]
    members: Members


def items(
    home: Home, gallery: str, *, label: Mapping[str, str | int] | None, after: str | None, limit: int, previews: bool
) -> Page[Item]:
    """Some items of a gallery in stored order, behind the cursor `after`; see `Registry.items`."""
    check_limit(limit, previews=previews)
    stored = _stored(home, gallery)
    label = check_label(label, stored.labels, gallery)
    if stored.members.attached:
        some, following = listed(stored.members, after=after, limit=limit, label=label)
        return Page(tuple(_read(stored, some, near=None, previews=previews)), following)
    dataset, now = stored.items
    of = f"items of {stored.name}"
    state, start = (now, 0) if after is None else pages.decoded(after, of, (int, int))
    if not state:  # nothing was ever stored
        return Page((), None)
    ids, places, end = _listed(dataset, state, now, start, limit, of, label)
    following = pages.encoded(of, (state, end)) if end is not None else None
    return Page(tuple(_read(stored, ids, near=places, previews=previews)), following)


def items_of(home: Home, gallery: str, ids: Ids, *, previews: bool) -> Sequence[Item]:
    """These items, as far as they are there, without the versions that embedded them; see `Registry.items_of`."""
    stored = _stored(home, gallery)
    wanted = id_column(stored.id_type, ids)
    if len(wanted) > MOST_SHOWN:
        raise InvalidInput(f"at most {MOST_SHOWN} items are read at once, got {len(wanted)} ids: ask in parts")
    return _read(replace(stored, segments={}), wanted, near=None, previews=previews)


def item(home: Home, gallery: str, id: str | int) -> Item:
    """One item; see `Registry.item`."""
    stored = _stored(home, gallery)
    ids = id_column(stored.id_type, [id])
    found = _read(stored, ids, near=None, previews=True)
    require_known(ids, ids if found else ids.slice(0, 0), gallery)
    return found[0]


def previews(home: Home, gallery: str, ids: Ids) -> Mapping[str | int, bytes | str]:
    """The previews of these items by id, of those that have one; see `Registry.previews`."""
    stored = _stored(home, gallery)
    wanted = id_column(stored.id_type, ids)
    if len(wanted) > MOST_SHOWN:
        raise InvalidInput(f"at most {MOST_SHOWN} previews are read at once, got {len(wanted)} ids: ask in parts")
    found = zip(wanted.to_pylist(), _previews(stored, wanted, None), strict=True)
    return {id: preview for id, preview in found if preview is not None}


def _stored(home: Home, gallery: str) -> _Stored:
    with home.database.reading() as session:
        row: GalleryRow = galleries.gallery(session, gallery)
        segments = {s.version.ref: home.stored(row, s) for s in row.segments if s.lance_version}
        items, previews = (home.items(row.name), row.items_version), (home.previews(row.name), row.previews_version)
        return _Stored(row.name, row.id_type, tuple(row.labels), items, previews, segments, members_of(home, row))


def _listed(
    dataset: Dataset, state: int, now: int, start: int, limit: int, of: str, label: Mapping[str, str | int]
) -> tuple[pa.Array, Array, int | None]:
    """The ids of a page as the gallery was at `state`, where they stood, and where to go on: what is written shifts nothing."""
    try:
        places, end = _matching(dataset, state, start, limit, label) if label else _next(dataset, state, start, limit)
        return dataset.rows(places, state, ["id"])["id"].combine_chunks(), places, end
    except CorruptFile as error:
        if state == now:
            raise
        raise InvalidInput(f"this cursor of {of} is of a state that is gone, after a day or so: begin anew") from error


def _next(dataset: Dataset, state: int, start: int, limit: int) -> tuple[Array, int | None]:
    """The next rows, and where those behind them begin."""
    count = dataset.count(state)
    end = min(start + limit, count)
    return np.arange(min(start, end), end), end if end < count else None


def _matching(
    dataset: Dataset, state: int, start: int, limit: int, label: Mapping[str, str | int]
) -> tuple[Array, int | None]:
    """The next rows with these labels among the next `_LOOKED_AT`, and where to look on."""
    count, stop = dataset.count(state), start + _LOOKED_AT
    found: list[Array] = []
    while start < min(stop, count):
        rows = dataset.matching(start, _AT_ONCE, state, label)
        room = limit - sum(map(len, found))
        found.append(rows[:room])
        if len(rows) >= room:
            start = int(rows[room - 1]) + 1
            break
        start += _AT_ONCE
    return np.concatenate([np.empty(0, dtype=np.int64), *found]), start if start < count else None


def _read(stored: _Stored, ids: pa.Array, *, near: Array | None, previews: bool) -> list[Item]:
    """What is stored of `ids` now; what was deleted is left out."""
    dataset, version = stored.items
    if stored.members.attached:
        places, ids = None, ids.filter(pc.is_in(ids, value_set=stored.members.known(ids)))
    else:
        places = dataset.places(ids, version, near=near) if version else np.full(len(ids), -1)
        there = places >= 0
        ids, places = ids.filter(pa.array(there)), places[there]
    if not len(ids):
        return []
    # In whatever else was stored in the same order, they stand at the same rows.
    labels = _labels(stored, ids, places)
    writers: list[list[str]] = [[] for _ in range(len(ids))]
    for ref, segment in stored.segments.items():
        for row in np.flatnonzero(_held(segment, ids, places)):
            writers[row].append(ref)
    shown = _previews(stored, ids, places) if previews else [None] * len(ids)
    return [
        Item(id, of, tuple(by), preview)
        for id, of, by, preview in zip(ids.to_pylist(), labels, writers, shown, strict=True)
    ]


def _labels(stored: _Stored, ids: pa.Array, places: Array | None) -> list[Any]:
    dataset, version = stored.items
    if not stored.labels:
        return [{}] * len(ids)
    if places is None:
        return list(stored.members.labels(ids, stored.labels).to_pylist())
    return list(dataset.rows(places, version, list(stored.labels)).to_pylist())


def _held(segment: Backend, ids: pa.Array, places: Array | None) -> Array:
    """Which (m,) of `ids` a segment holds."""
    if "places" in segment.capabilities:
        return segment.places(ids, near=places) >= 0
    held: Array = pc.is_in(ids, value_set=segment.known(ids)).to_numpy(zero_copy_only=False)
    return held


def _previews(stored: _Stored, ids: pa.Array, near: Array | None) -> list[Any]:
    """The preview of each of `ids`, or None."""
    dataset, version = stored.previews
    found: list[Any] = [None] * len(ids)
    if version:
        places: Array = dataset.places(ids, version, near=near)
        rows = np.flatnonzero(places >= 0)
        previews = dataset.rows(places[rows], version, ["preview"])["preview"].to_pylist() if len(rows) else []
        for row, preview in zip(rows, previews, strict=True):
            found[row] = preview
    return found
