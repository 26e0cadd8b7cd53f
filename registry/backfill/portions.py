"""The steps of a run: which items come next, and their vectors, stored with the mark how far it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy.orm import Session

from registry.backfill.wishes import MOST_BATCH
from registry.batches import Batch, Target, check_rows, checked, id_column
from registry.errors import InvalidInput
from registry.home import Home
from registry.members import others
from registry.services import backfills, galleries
from registry.services.audit import record
from registry.staging import Staging, staging
from registry.tables import BackfillRow, GalleryRow, SegmentRow
from registry.types import Backfill, Portion

__all__ = ["missing", "next_portion", "store_portion", "within"]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a backfill is: its facts, the gallery, and what its version stored there."""

    row: BackfillRow
    gallery: GalleryRow
    segment: SegmentRow | None

    @property
    def states(self) -> list[int]:
        """The states of the items and of the segment: while they stay, what is to be done stays."""
        return [self.gallery.items_version, self.segment.lance_version if self.segment else 0]

    @property
    def is_alone(self) -> bool:
        """Whether nobody but the backfill wrote since it was planned, so that its order holds as it is."""
        seen: list[int] = self.row.settings["seen"]
        return seen == self.states


def _place(row: BackfillRow, gallery: GalleryRow) -> _Place:
    return _Place(row, gallery, next((s for s in gallery.segments if s.version_id == row.version_id), None))


def missing(home: Home, gallery: GalleryRow, segment: SegmentRow | None) -> pa.Array:
    """The ids of all items, in stored order, that a segment has no vector of."""
    ids = home.items(gallery.name).column("id", gallery.items_version)
    return ids if segment is None or not segment.rows else others(ids, home.stored(gallery, segment).ids())


def within(ids: pa.Array, those: pa.Array) -> pa.Array:
    """Those of `ids` that are among `those`, in their order."""
    return ids.filter(pc.is_in(ids, value_set=those)) if len(those) else ids.slice(0, 0)


def next_portion(home: Home, id: str, *, runner: str, most: int | None) -> Portion | None:
    """The items to encode next; None when all is done, which is noted then. See `Registry.next_portion`."""
    if most is not None:
        check_rows(most)
    while True:
        with home.database.reading() as session:
            row, gallery = backfills.seen(session, id, runner)
            place = _place(row, gallery)
        order = home.order(id, row.digest)
        many = min(most or row.settings["batch"], row.settings["batch"])
        if row.done < len(order):
            part = order.slice(row.done, many)
            kept = part if place.is_alone else _wanted(home, place, part)
            return Portion(row.done, row.done + len(part), tuple(kept.to_pylist()))
        late = missing(home, gallery, place.segment).slice(0, many)
        if len(late):
            return Portion(row.done, row.done + len(late), tuple(late.to_pylist()))
        if _finished(home, id, runner, place.states):
            return None


def _wanted(home: Home, place: _Place, ids: pa.Array) -> pa.Array:
    """Those of `ids` that are still items, and have no vector of the version."""
    there = home.items(place.gallery.name).known(ids, place.gallery.items_version)
    kept = within(ids, there)
    if place.segment is None or not place.segment.rows:
        return kept
    return others(kept, home.stored(place.gallery, place.segment).known(kept))


def _finished(home: Home, id: str, runner: str, states: Sequence[int]) -> bool:
    """Note that all is done, unless somebody wrote since that was found."""
    with home.database.writing() as session:
        row, gallery = backfills.locked(session, id, runner)
        if _place(row, gallery).states != list(states):
            return False
        backfills.finish(session, row)
    return True


def store_portion(home: Home, id: str, *, runner: str, portion: Portion, vectors: Any, pace: float | None) -> Backfill:
    """Store the vectors of a portion, and move on behind it; see `Registry.store_portion`."""
    if (
        not 0 <= portion.start < portion.stop <= portion.start + MOST_BATCH
        or len(portion.ids) > portion.stop - portion.start
    ):
        raise InvalidInput(
            f"a portion of {len(portion.ids)} items cannot lie between {portion.start} and {portion.stop}"
        )
    with home.database.reading() as session:
        row, gallery = backfills.seen(session, id, runner)
        version, place = row.version, _place(row, gallery)
        target = Target(gallery.name, gallery.id_type, (), version.dim, version.dtype)
        state = place.segment.lance_version if place.segment else 0
    if not portion.ids:
        with home.database.writing() as session:
            return _moved(session, backfills.locked(session, id, runner)[0], portion, pace)
    batch = checked(target, id_column(gallery.id_type, portion.ids), vectors, None)
    _check_order(home, row, portion, batch.ids)
    segment, written = home.segment(gallery.name, version.ref), home.written(gallery.name, id)
    with staging(segment, state) as files, staging(written, row.written_version) as marks:
        _fill(files, marks, batch)
        with home.database.writing() as session:
            return _stored(home, session, id, runner, portion, batch, (files, marks), pace)


def _check_order(home: Home, row: BackfillRow, portion: Portion, ids: pa.Array) -> None:
    """Refuse items that are not those of the order here; late ones are looked up when they are stored."""
    order = home.order(row.id, row.digest)
    if portion.start < len(order):
        here = order.slice(portion.start, portion.stop - portion.start)
        if len(within(ids, here)) != len(ids):
            raise InvalidInput(f"the portion from {portion.start} on holds items that are not of it: ask for it anew")


def _fill(files: Staging, marks: Staging, batch: Batch) -> None:
    files.add(batch.table)
    files.flush()
    marks.add(batch.table.select(["id"]))
    marks.flush()


def _stored(
    home: Home, session: Session, id: str, runner: str, portion: Portion, batch: Batch, staged: tuple[Staging, Staging],
    pace: float | None,
) -> Backfill:  # fmt: skip
    """Make the staged vectors visible, of what is still wanted of them, under the gallery's lock."""
    row, gallery = backfills.locked(session, id, runner)
    if row.done >= portion.stop:
        return backfills.to_backfill(row)  # the answer to the first call was lost
    place = _place(row, gallery)
    is_alone = place.is_alone and portion.stop <= row.total
    kept = batch.ids if is_alone else _wanted(home, place, batch.ids)
    if len(kept) < len(batch.ids):  # somebody deleted or wrote some of it meanwhile: rare, so done anew in here
        table = (
            batch.table.filter(pc.is_in(batch.table["id"], value_set=kept)) if len(kept) else batch.table.slice(0, 0)
        )
        return _restaged(home, session, place, runner, portion, table, pace)
    files, marks = staged
    segment = galleries.segment(session, gallery, row.version)
    segment.lance_version = files.publish(batch.table.schema, segment.lance_version)
    segment.rows += len(kept)
    row.written_version = marks.publish(batch.table.select(["id"]).schema, row.written_version)
    row.written += len(kept)
    session.flush()  # a segment that is new knows its version from then on
    record(session, "gallery.appended", gallery.name, {"version": row.version.ref, "rows": len(kept), "backfill": id})
    return _moved(session, row, portion, pace, seen=_place(row, gallery).states if is_alone else None)


def _restaged(
    home: Home, session: Session, place: _Place, runner: str, portion: Portion, table: pa.Table, pace: float | None
) -> Backfill:
    row, gallery = place.row, place.gallery
    if not len(table):
        return _moved(session, row, portion, pace)
    segment = galleries.segment(session, gallery, row.version)
    files, marks = home.segment(gallery.name, row.version.ref), home.written(gallery.name, row.id)
    with staging(files, segment.lance_version) as rows, staging(marks, row.written_version) as ids:
        batch = Batch(table["id"].combine_chunks(), table, {})
        _fill(rows, ids, batch)
        return _stored(home, session, row.id, runner, portion, batch, (rows, ids), pace)


def _moved(
    session: Session, row: BackfillRow, portion: Portion, pace: float | None, *, seen: list[int] | None = None
) -> Backfill:
    """Note how far it is; once, however often that is asked for."""
    if row.done < portion.stop:
        if row.done != portion.start:
            raise InvalidInput(
                f"{row.id} is at item {row.done}, got a portion from {portion.start} on: ask for the next one"
            )
        row.done, row.total = portion.stop, max(row.total, portion.stop)
        if pace is not None:
            row.pace = float(pace)
        if seen is not None:
            row.settings = {**row.settings, "seen": seen}
    session.flush()
    return backfills.to_backfill(row)
