"""Attaching vectors to a gallery where they already live, and letting go of them: nothing is copied, nothing written there."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Any

import pyarrow as pa
from sqlalchemy.orm import Session

from registry.attachments import Attachment
from registry.backends.opening import attached, kept, told
from registry.errors import AlreadyExists, CorruptFile, InvalidInput, MissingExtra, NotFound, Unavailable
from registry.home import Home, writer_of
from registry.members import held_in, members_of
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
        others = {} if row is None else {v: home.stored(row, s) for v, s in _others(row, writer).items()}
        id_type, labels = (row.id_type, tuple(row.labels)) if row else ("", tuple(place.labels))
    if missing := [name for name in labels if name not in place.labels]:
        raise InvalidInput(f"{gallery} has the label column {missing[0]!r}: say which column of {place.name} has it")
    backend = attached(gallery, writer_of(writer), "", place, home.engines)
    found = backend.look()  # may take a while, and so may ids: outside the lock
    if id_type and found.id_type != id_type:
        raise InvalidInput(f"ids of {gallery} are of type {id_type}, those of {place.name} of type {found.id_type}")
    held = held_in([*others.values(), backend])
    with home.database.writing() as session:
        if operations.result(session, once) is not None:
            return galleries.to_gallery(galleries.gallery(session, gallery))
        if _row(session, gallery) is None:
            galleries.create(session, gallery, id_type=found.id_type, labels=list(place.labels))
        locked = galleries.locked(session, gallery)
        _refuse_taken(gallery, _segment(locked, writer), again=at is None)
        _refuse_others(locked, writer, others)
        made = galleries.segment(session, locked, models.find(session, writer.ref))
        made.backend, made.rows, made.lance_version = kept(backend, found), found.rows, made.lance_version + 1
        session.flush()
        locked.elsewhere = members_of(home, locked).alone(held)
        record(session, "gallery.attached", gallery, {"version": writer.ref, "where": place.name, "rows": found.rows})
        operations.note(session, once, gallery)
        return galleries.to_gallery(locked)


def detach(home: Home, gallery: str, *, version: str) -> Gallery:
    """Forget an attached segment; see `Registry.detach`. Neither it nor what else is attached has to be there."""
    with home.database.reading() as session:
        row, writer = galleries.gallery(session, gallery), models.find(session, version)
        _again(gallery, writer, _segment(row, writer))
        others, backends = _others(row, writer).keys(), None
        with suppress(MissingExtra):
            backends = [home.stored(row, s) for s in _others(row, writer).values()]
    held = None if others else pa.array([])
    with suppress(CorruptFile, InvalidInput, Unavailable):  # one that is gone counts as it was seen last
        held = held_in(backends) if backends else held
    with home.database.writing() as session:
        row = galleries.locked(session, gallery)
        segment = _segment(row, writer)
        where = _again(gallery, writer, segment).name
        _refuse_others(row, writer, others)
        session.delete(segment)
        session.flush()
        session.refresh(row, ["segments"])
        seen = sum(s.rows for s in row.segments if s.backend is not None)
        row.elsewhere = min(row.elsewhere, seen) if held is None else members_of(home, row).alone(held)
        record(session, "gallery.detached", gallery, {"version": writer.ref, "where": where})
        return galleries.to_gallery(row)


def _row(session: Session, gallery: str) -> GalleryRow | None:
    try:
        return galleries.gallery(session, gallery)
    except NotFound:
        return None


def _segment(row: GalleryRow, writer: VersionRow) -> SegmentRow | None:
    return next((s for s in row.segments if s.version_id == writer.id and s.lance_version), None)


def _others(row: GalleryRow, writer: VersionRow) -> dict[str, SegmentRow]:
    """What other versions are attached to a gallery."""
    return {s.version.ref: s for s in row.segments if s.backend is not None and s.version_id != writer.id}


def _refuse_others(row: GalleryRow, writer: VersionRow, before: Collection[str]) -> None:
    """Raise `Unavailable` if these are no longer the other versions that are attached: they were counted."""
    if set(_others(row, writer)) != set(before):
        raise Unavailable(f"what is attached to {row.name} changed meanwhile: try again")


def _again(gallery: str, writer: VersionRow, segment: SegmentRow | None) -> Attachment:
    backend: Mapping[str, Any] | None = segment.backend if segment else None
    if backend is None:
        raise NotFound(f"no vectors of {writer.ref} are attached to {gallery}: 'samespace gallery list' says what is")
    return told(backend)


def _refuse_taken(gallery: str, segment: SegmentRow | None, *, again: bool) -> None:
    if again and (segment is None or segment.backend is None):
        raise NotFound(f"what was attached to {gallery} was detached meanwhile")
    if segment is not None and not again:
        what = "already stored vectors in" if segment.backend is None else "is already attached to"
        raise AlreadyExists(
            f"{segment.version.ref} {what} {gallery}: attach it to another gallery, or look at it anew with --again"
        )
