"""Taking a backfill back: the vectors that it wrote go, and no others; what older versions stored is never touched."""

from __future__ import annotations

import pyarrow as pa
from sqlalchemy.orm import Session

from registry.errors import AlreadyExists, InvalidInput, NotFound
from registry.home import Home
from registry.indexing import remove_files
from registry.members import others
from registry.services import backfills, galleries, indexes, models
from registry.services.audit import record
from registry.tables import BackfillRow, GalleryRow, SegmentRow, now
from registry.types import Backfill

__all__ = ["drop_segment", "roll_back"]

_IDS_AT_ONCE = 65536


def roll_back(home: Home, id: str) -> Backfill:
    """Remove what a backfill wrote; see `Registry.roll_back_backfill`."""
    with home.database.writing() as session:
        row, gallery = backfills.locked(session, id)
        found = backfills.to_backfill(row)
        if found.is_run:
            raise AlreadyExists(f"{id} is run by {row.runner} until {row.runs_until:%H:%M:%S} UTC: pause it first")
        if row.status == "rolled back":
            return found
        if row.written and not row.written_version:
            raise InvalidInput(
                f"{id} can be rolled back no longer: that was given up when vectors of {gallery.name} were dropped"
            )
        _remove(home, gallery, row)
        row.status, row.runner, row.runs_until, row.changed_at = "rolled back", None, None, now()
        details = {"gallery": gallery.name, "version": row.version.ref, "removed": row.written}
        record(session, "backfill.rolled_back", id, details)
        row.written = row.written_version = 0
        return backfills.to_backfill(row)


def _remove(home: Home, gallery: GalleryRow, row: BackfillRow) -> None:
    """Let go of the vectors whose ids were noted, as long as each item keeps one."""
    if not row.written_version:
        return
    segment = next(s for s in gallery.segments if s.version_id == row.version_id)
    ids = home.written(gallery.name, row.id).column("id", row.written_version)
    alone = _alone(home, gallery, segment, ids)
    if len(alone):
        raise InvalidInput(
            f"{len(alone):,} items of {gallery.name}, such as {alone[0].as_py()!r:.80}, have no other vector than "
            f"{row.id} wrote: they would be lost, so it cannot be rolled back"
        )
    dataset = home.segment(gallery.name, row.version.ref)
    for start in range(0, len(ids), _IDS_AT_ONCE):
        segment.lance_version, gone = dataset.remove(ids.slice(start, _IDS_AT_ONCE), segment.lance_version)
        segment.rows -= gone


def _alone(home: Home, gallery: GalleryRow, segment: SegmentRow, ids: pa.Array) -> pa.Array:
    """Those of `ids` that no other segment of the gallery has a vector of."""
    for other in gallery.segments:
        if other.id != segment.id and other.rows and len(ids):
            ids = others(ids, home.stored(gallery, other).known(ids))
    return ids


def drop_segment(home: Home, gallery: str, version: str, *, final: bool) -> int:
    """Let go of all that a version stored in a gallery; see `Registry.drop_segment`."""
    with home.database.writing() as session:
        row = galleries.locked(session, gallery)
        writer = models.find(session, version)
        segment = next((s for s in row.segments if s.version_id == writer.id and s.rows), None)
        if segment is None:
            raise NotFound(f"gallery {gallery} has no vectors of {writer.ref}: nothing to drop")
        if segment.backend is not None:
            raise InvalidInput(f"the vectors of {writer.ref} in {gallery} are in an engine of yours: drop them there")
        alone = _alone(home, row, segment, home.stored(row, segment).ids())
        if len(alone):
            raise InvalidInput(
                f"{len(alone):,} items of {gallery}, such as {alone[0].as_py()!r:.80}, have vectors of {writer.ref} alone: "
                "re-embed them first, or delete them"
            )
        _let_go_of_backfills(session, row, segment, final=final)
        count = segment.rows
        segment.lance_version = home.segment(gallery, writer.ref).clear(segment.lance_version)
        segment.rows = 0
        forgotten = indexes.forget(session, segment)
        record(session, "gallery.segment_dropped", gallery, {"version": writer.ref, "rows": count})
    remove_files(home, forgotten)
    return count


def _let_go_of_backfills(session: Session, row: GalleryRow, segment: SegmentRow, *, final: bool) -> None:
    """Refuse while a backfill needs the segment; with `final`, those that are over can be rolled back no longer."""
    for backfill in backfills.of_gallery(session, row.id):
        if backfill.status in backfills.OPEN:
            raise InvalidInput(
                f"{backfill.id} re-embeds {row.name} by {backfill.version.ref} and is {backfill.status}: end it, or roll it back"
            )
        if not final:
            raise InvalidInput(
                f"{backfill.id} can be rolled back as long as {segment.version.ref} keeps its vectors in {row.name}: "
                "say --yes, or final=True, to give that up"
            )
        backfill.written_version = 0
        if backfill.version_id == segment.version_id:
            backfill.written = 0  # they go
