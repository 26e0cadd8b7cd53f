"""Search indexes of segments: which there are, and what was measured of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from registry.errors import InvalidInput, NotFound
from registry.services import galleries, models
from registry.services.audit import record
from registry.tables import GalleryRow, IndexRow, ModelRow, SegmentRow, VersionRow, now
from registry.types import IndexInfo

__all__ = ["StoredIndex", "Target", "add", "drop", "forget", "indexes", "newest", "target"]


@dataclass(frozen=True, slots=True)
class StoredIndex:
    """What a search must know of an index: the digest of its files, its kind, and how it is asked."""

    id: str
    digest: str
    kind: str
    compression: str
    settings: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Target:
    """A segment that is to be indexed, at the state that counts; `backend` is where its vectors are, None for Lance."""

    gallery: str
    version: str
    id_type: str
    rows: int
    lance_version: int
    dim: int
    metric: str
    backend: Mapping[str, Any] | None


def target(session: Session, gallery: str, version: str | None, *, among: Collection[str] | None = None) -> Target:
    """The segment that `version` wrote, or the only one that there is, of models `among` if they are named.

    Raises:
        NotFound: there is no such gallery or version, or nothing is stored.
        InvalidInput: the gallery holds several, and none was named.
    """
    row = galleries.gallery(session, gallery)
    stored = [segment for segment in row.segments if segment.rows]
    if among is not None:
        stored = [segment for segment in stored if segment.version.model.name in among]
    if version is not None:
        ref = models.find(session, version).ref
        stored = [segment for segment in stored if segment.version.ref == ref]
        if not stored:
            raise NotFound(f"{ref} stored nothing in {gallery}: append to it first")
    if not stored:
        raise NotFound(f"{gallery} holds nothing yet: append to it first")
    if len(stored) > 1:
        refs = ", ".join(segment.version.ref for segment in stored)
        raise InvalidInput(f"{gallery} holds vectors of {refs}: name the version whose vectors are to be indexed")
    (found,) = stored
    of = found.version
    return Target(
        gallery, of.ref, row.id_type, found.rows, found.lance_version, of.dim, of.metric, found.backend
    )  # fmt: skip


def newest(session: Session, row: GalleryRow) -> Mapping[int, StoredIndex]:
    """By segment (row id) of a gallery the index that searches use. One statement."""
    i = IndexRow
    query = (
        select(i.segment_id, i.id, i.digest, i.kind, i.compression, i.settings)
        .join(SegmentRow, SegmentRow.id == i.segment_id)
        .where(SegmentRow.gallery_id == row.id)
        .order_by(i.created_at, i.id)
    )
    return {segment: StoredIndex(*found) for segment, *found in session.execute(query)}


def add(
    session: Session, of: Target, id: str, built: Mapping[str, Any], *, kind: str, compression: str
) -> tuple[IndexInfo, list[str]]:
    """Let searches use an index that was `built` of a segment; return it, and the ids of those that it replaces.

    Raises:
        NotFound: the segment is gone.
    """
    row = galleries.locked(session, of.gallery)
    segment = next((s for s in row.segments if s.version.ref == of.version and s.rows), None)
    if segment is None:
        raise NotFound(f"{of.version} stores nothing in {of.gallery} any more: append to it first")
    replaced = forget(session, segment)
    session.add(
        IndexRow(
            id=id, segment_id=segment.id, kind=kind, compression=compression, lance_version=of.lance_version,
            rows=of.rows, created_at=now(), **built,
        )
    )  # fmt: skip
    details = {"version": of.version, "index": id, "kind": kind, "recall": built["recall"]}
    record(session, "index.built", of.gallery, details)
    session.flush()
    (info,) = indexes(session, gallery=of.gallery, version=of.version)
    return info, replaced


def drop(session: Session, gallery: str, version: str) -> list[str]:
    """Forget the index of what `version` wrote; return the ids of those that go. NotFound if there is none."""
    row = galleries.locked(session, gallery)
    ref = models.find(session, version).ref
    segment = next((s for s in row.segments if s.version.ref == ref), None)
    gone = [] if segment is None else forget(session, segment)
    if not gone:
        raise NotFound(f"the vectors of {ref} in {gallery} have no index: 'samespace gallery index list' shows all")
    record(session, "index.dropped", gallery, {"version": ref})
    return gone


def forget(session: Session, segment: SegmentRow) -> list[str]:
    """Forget the indexes of a segment; return their ids, whose files go after the commit."""
    gone = list(session.scalars(select(IndexRow.id).where(IndexRow.segment_id == segment.id)))
    session.execute(delete(IndexRow).where(IndexRow.segment_id == segment.id))
    return gone


def indexes(
    session: Session,
    *,
    gallery: str | None = None,
    version: str | None = None,
    galleries_among: Collection[str] | None = None,
    models_among: Collection[str] | None = None,
) -> list[IndexInfo]:
    """Indexes by gallery and version: of one gallery, of one version, or of some galleries and models, if so asked.

    NotFound for an unknown gallery.
    """
    i, s, v = IndexRow, SegmentRow, VersionRow
    query = (
        select(
            i.id, GalleryRow.name, ModelRow.name, v.number, i.kind, i.compression, i.settings, i.rows, s.rows, i.bytes,
            v.dim, i.recall, i.k, i.queries, i.seconds, i.created_at,
        )
        .select_from(i)
        .join(s, s.id == i.segment_id)
        .join(GalleryRow, GalleryRow.id == s.gallery_id)
        .join(v, v.id == s.version_id)
        .join(ModelRow, ModelRow.id == v.model_id)
        .order_by(GalleryRow.name, ModelRow.name, v.number, i.created_at)
    )  # fmt: skip
    if gallery is not None:
        query = query.where(s.gallery_id == galleries.gallery(session, gallery, segments=False).id)
    if galleries_among is not None:
        query = query.where(GalleryRow.name.in_(galleries_among))
    if models_among is not None:
        query = query.where(ModelRow.name.in_(models_among))
    found = [_to_info(*row) for row in session.execute(query)]
    return [info for info in found if version is None or info.version == version]


def _to_info(
    id: str, gallery: str, model: str, number: int, kind: str, compression: str, settings: Mapping[str, Any], rows: int,
    rows_now: int, size: int, dim: int, recall: float, k: int, queries: int, seconds: float, created_at: Any,
) -> IndexInfo:  # fmt: skip
    return IndexInfo(
        id=id, gallery=gallery, version=f"{model}/{number}", kind=kind, compression=compression, settings=settings,
        rows=rows, rows_now=rows_now, bytes=size, exact_bytes=4 * dim * rows, recall=recall, k=k, queries=queries,
        seconds=seconds, created_at=created_at,
    )  # fmt: skip
