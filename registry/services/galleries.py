"""Galleries and their segments: names, kinds, and the Lance versions that count as stored."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session, lazyload

from registry.errors import AlreadyExists, InvalidInput, NotFound
from registry.previews import check_url
from registry.refs import check_name
from registry.services import pages
from registry.services.audit import record
from registry.tables import GalleryRow, ModelRow, SegmentRow, VersionRow, now
from registry.types import Effort, Gallery, Page, Segment

__all__ = ["create", "galleries", "gallery", "locked", "segment", "set_preview_url", "to_gallery", "to_segment"]

_RESERVED = {"id", "vector"}


def create(session: Session, name: str, *, id_type: str, labels: Sequence[str]) -> Gallery:
    """Add an empty gallery; with label columns it is a benchmark."""
    check_name(name, "gallery")
    if id_type not in ("string", "int"):
        raise InvalidInput(f"id_type must be 'string' or 'int', got {id_type!r}")
    if isinstance(labels, str) or not isinstance(labels, Iterable):
        raise InvalidInput(f"labels must be a list of column names, got {labels!r:.80}: write [{labels!r:.80}]")
    labels = list(labels)
    for label in labels:
        check_name(label, "label column")
        for wrong, why in (
            (label in _RESERVED, "is reserved"),
            ("." in label, "holds a dot"),
            (labels.count(label) > 1, "is given twice"),
        ):
            if wrong:
                raise InvalidInput(f"label column {label!r} {why}: choose another name")
    if session.scalar(select(GalleryRow).where(GalleryRow.name == name)) is not None:
        raise AlreadyExists(f"gallery {name} exists: append to it, or choose another name")
    row = GalleryRow(
        name=name,
        id_type=id_type,
        labels=list(labels),
        items=0,
        items_version=0,
        previews=0,
        previews_version=0,
        elsewhere=0,
        created_at=now(),
        segments=[],
    )
    session.add(row)
    record(session, "gallery.created", name, {"id_type": id_type, "labels": list(labels)})
    session.flush()
    return to_gallery(row)


def gallery(session: Session, name: str, *, segments: bool = True) -> GalleryRow:
    """The row of a gallery; NotFound names what there is. Without `segments`, which may be many, these are read if asked for."""
    query = select(GalleryRow).where(GalleryRow.name == name)
    if not segments:
        query = query.options(lazyload(GalleryRow.segments))
    row = session.scalar(query) if isinstance(name, str) else None
    if row is None:
        have = session.scalars(select(GalleryRow.name).order_by(GalleryRow.name).limit(20)).all()
        raise NotFound(
            f"there is no gallery {name!r:.120}: " + (f"there are {', '.join(have)}" if have else "create it first")
        )
    return row


def locked(session: Session, name: str) -> GalleryRow:
    """The gallery's row, locked until the transaction ends: one writer at a time decides what is stored."""
    gallery(session, name)
    statement = (
        select(GalleryRow).where(GalleryRow.name == name).with_for_update().execution_options(populate_existing=True)
    )
    return session.scalars(statement).one()


def galleries(
    session: Session,
    *,
    part: str | None = None,
    among: Collection[str] | None = None,
    benchmarks: bool = False,
    after: str | None = None,
    limit: int | None = None,
) -> Page[Gallery]:
    """Galleries by name: of these `among` alone, with this `part` in their name, and only `benchmarks`, if so asked."""
    query = select(GalleryRow).options(lazyload(GalleryRow.segments))
    if part is not None:
        query = query.where(GalleryRow.name.contains(part.lower(), autoescape=True))
    if among is not None:
        query = query.where(GalleryRow.name.in_(among))
    if benchmarks:
        query = query.where(func.json_array_length(GalleryRow.labels) > 0)
    keys = (GalleryRow.name,)
    found = pages.read(session, query, _itself, of="galleries", keys=keys, after=after, limit=limit)
    stored = _stored(session, [row.id for row in found.items])
    return Page(tuple(_made(row, stored.get(row.id, ())) for row in found.items), found.next)


def _itself(row: GalleryRow) -> GalleryRow:
    return row


def _stored(session: Session, galleries: Sequence[int]) -> Mapping[int, list[Segment]]:
    """By gallery (row id) what versions stored in it; columns alone, since there may be thousands."""
    s = SegmentRow
    query = (
        select(s.gallery_id, ModelRow.name, VersionRow.number, s.rows, s.lance_version, s.backend)
        .join(VersionRow, VersionRow.id == s.version_id)
        .join(ModelRow, ModelRow.id == VersionRow.model_id)
        .where((s.rows > 0) | s.backend.is_not(None))
        .order_by(s.id)
    )
    found: dict[int, list[Segment]] = defaultdict(list)
    for start in range(0, len(galleries), pages.AT_ONCE):
        some = query.where(s.gallery_id.in_(galleries[start : start + pages.AT_ONCE]))
        for gallery, model, number, *about in session.execute(some):
            found[gallery].append(to_segment(f"{model}/{number}", *about))
    return found


def set_preview_url(session: Session, name: str, url: str | None) -> Gallery:
    """Say where browsers find pictures of a gallery's items, or with None that they do not."""
    checked = None if url is None else check_url(url)
    row = locked(session, name)
    row.preview_url = checked
    record(session, "gallery.preview_url", name, {"url": checked})
    session.flush()
    return to_gallery(row)


def segment(session: Session, row: GalleryRow, version: VersionRow) -> SegmentRow:
    """The segment that `version` writes in this gallery, added if it has none."""
    for found in row.segments:
        if found.version_id == version.id:
            return found
    made = SegmentRow(gallery_id=row.id, version=version, rows=0, lance_version=0)
    row.segments.append(made)
    return made


def to_gallery(row: GalleryRow) -> Gallery:
    """The frozen value of a row."""
    return _made(
        row,
        [to_segment(s.version.ref, s.rows, s.lance_version, s.backend) for s in row.segments if s.rows or s.backend],
    )


def to_segment(version: str, rows: int, lance_version: int, backend: Mapping[str, Any] | None) -> Segment:
    """The frozen value of what a version stored, or of what is attached."""
    if backend is None:
        return Segment(version, rows, lance_version)
    where = backend["where"] + (f" {backend['table']}" if backend["table"] else "")
    effort = backend["seen"].get("effort")
    return Segment(
        version,
        rows,
        lance_version,
        backend["kind"],
        where,
        tuple(backend["capabilities"]),
        effort and Effort(**effort),
    )


def _made(row: GalleryRow, segments: Iterable[Segment]) -> Gallery:
    return Gallery(
        name=row.name, id_type=row.id_type, labels=tuple(row.labels), items=row.items + row.elsewhere, segments=tuple(segments),  # type: ignore[arg-type]
        created_at=row.created_at, preview=row.preview, previews=row.previews, preview_url=row.preview_url,  # type: ignore[arg-type]
    )  # fmt: skip
