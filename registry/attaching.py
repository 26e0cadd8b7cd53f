"""Attaching vectors to a gallery where they already live, and letting go of them: nothing is copied, nothing written there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from registry.attachments import Attachment
from registry.backends.opening import attached, kept, told
from registry.errors import AlreadyExists, InvalidInput, NotFound
from registry.home import Home, writer_of
from registry.members import members_of
from registry.services import galleries, models, operations
from registry.services.audit import record
from registry.tables import GalleryRow, SegmentRow, VersionRow
from registry.types import Gallery

__all__ = ["attach", "detach"]


def attach(home: Home, gallery: str, *, version: str, at: Attachment | None, key: str | None = None) -> Gallery:
    """Attach what `at` says, or look again at what is attached; see `Registry.attach`."""
    once = operations.once(key, "attach", gallery, version, at and at.where)
    with home.database.reading() as session:
        writer = models.find(session, version)
        row = _row(session, gallery)
        segment = None if row is None else _segment(row, writer)
        place = at or _again(gallery, writer, segment)
        id_type, labels = (row.id_type, tuple(row.labels)) if row else ("", tuple(place.labels))
    if missing := [name for name in labels if name not in place.labels]:
        raise InvalidInput(f"{gallery} has the label column {missing[0]!r}: say which column of {place.name} has it")
    backend = attached(gallery, writer_of(writer), "", place, home.engines)
    found = backend.look()  # may take a while: outside the lock
    if id_type and found.id_type != id_type:
        raise InvalidInput(f"ids of {gallery} are of type {id_type}, those of {place.name} of type {found.id_type}")
    with home.database.writing() as session:
        if operations.result(session, once) is not None:
            return galleries.to_gallery(galleries.gallery(session, gallery))
        if _row(session, gallery) is None:
            galleries.create(session, gallery, id_type=found.id_type, labels=list(place.labels))
        locked = galleries.locked(session, gallery)
        _refuse_taken(gallery, _segment(locked, writer), again=at is None)
        made = galleries.segment(session, locked, models.find(session, writer.ref))
        made.backend, made.rows, made.lance_version = kept(backend, found), found.rows, made.lance_version + 1
        session.flush()
        locked.elsewhere = members_of(home, locked).alone()
        record(session, "gallery.attached", gallery, {"version": writer.ref, "where": place.name, "rows": found.rows})
        operations.note(session, once, gallery)
        return galleries.to_gallery(locked)


def detach(home: Home, gallery: str, *, version: str) -> Gallery:
    """Forget an attached segment; see `Registry.detach`."""
    with home.database.writing() as session:
        row = galleries.locked(session, gallery)
        writer = models.find(session, version)
        segment = _segment(row, writer)
        if segment is None or segment.backend is None:
            raise NotFound(
                f"no vectors of {writer.ref} are attached to {gallery}: 'samespace gallery list' says what is"
            )
        others = [s for s in row.segments if s.backend is not None and s is not segment]
        where = told(segment.backend).name
        session.delete(segment)
        session.flush()
        session.refresh(row, ["segments"])
        row.elsewhere = members_of(home, row).alone() if others else 0
        record(session, "gallery.detached", gallery, {"version": writer.ref, "where": where})
        return galleries.to_gallery(row)


def _row(session: Session, gallery: str) -> GalleryRow | None:
    try:
        return galleries.gallery(session, gallery)
    except NotFound:
        return None


def _segment(row: GalleryRow, writer: VersionRow) -> SegmentRow | None:
    return next((s for s in row.segments if s.version_id == writer.id and s.lance_version), None)


def _again(gallery: str, writer: VersionRow, segment: SegmentRow | None) -> Attachment:
    backend: Mapping[str, Any] | None = segment.backend if segment else None
    if backend is None:
        raise NotFound(f"no vectors of {writer.ref} are attached to {gallery}: say where they are")
    return told(backend)


def _refuse_taken(gallery: str, segment: SegmentRow | None, *, again: bool) -> None:
    if again and (segment is None or segment.backend is None):
        raise NotFound(f"what was attached to {gallery} was detached meanwhile")
    if segment is not None and not again:
        what = "already stored vectors in" if segment.backend is None else "is already attached to"
        raise AlreadyExists(
            f"{segment.version.ref} {what} {gallery}: attach it to another gallery, or look at it anew with --again"
        )
