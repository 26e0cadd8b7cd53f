"""What the facts say is on disk: datasets, each at its acknowledged Lance version, and files, each with its digest."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import null, select
from sqlalchemy.orm import Session

from registry.layout import Layout
from registry.places import Place
from registry.tables import (
    BackfillRow,
    CanariesRow,
    GalleryRow,
    IndexRow,
    SegmentRow,
    StudyRow,
    TransformRow,
    VersionRow,
)

__all__ = ["Inventory", "StoredDataset", "StoredFile", "StoredIndexFiles", "inventory"]


@dataclass(frozen=True, slots=True)
class StoredDataset:
    """A Lance dataset: at `version` it has `rows` rows."""

    path: Place
    gallery: str
    version: int
    rows: int


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of a transform, the canaries of a version, the items of a study or a backfill's order, which `of` names; and its digest."""

    path: Path
    kind: str
    of: str
    digest: str


@dataclass(frozen=True, slots=True)
class StoredIndexFiles:
    """The files of a search index over what `version` wrote into a gallery, and the digest over both.

    What they hold follows from the vectors, so that nothing is lost with them but time.
    """

    paths: tuple[Path, Path]
    gallery: str
    version: str
    digest: str


@dataclass(frozen=True, slots=True)
class Inventory:
    """All of it, at one moment."""

    galleries: frozenset[str]
    datasets: tuple[StoredDataset, ...]
    files: tuple[StoredFile, ...]
    indexes: tuple[StoredIndexFiles, ...] = ()


def inventory(session: Session, layout: Layout) -> Inventory:
    """What a session's snapshot refers to, as paths of `layout`."""
    rows = session.execute(select(GalleryRow.name, GalleryRow.items_version, GalleryRow.items)).all()
    return Inventory(
        galleries=frozenset(name for name, _, _ in rows),
        datasets=(
            *(StoredDataset(layout.items_of(name), name, version, items) for name, version, items in rows if version),
            *_previews(session, layout),
            *_segments(session, layout),
            *_written(session, layout),
        ),
        files=(
            *_transforms(session, layout),
            *_canaries(session, layout),
            *_studies(session, layout),
            *_orders(session, layout),
        ),
        indexes=tuple(_indexes(session, layout)),
    )


def _previews(session: Session, layout: Layout) -> list[StoredDataset]:
    statement = (
        select(GalleryRow.name, GalleryRow.previews_version, GalleryRow.previews)
        .where(GalleryRow.previews_version > 0)
        .order_by(GalleryRow.id)
    )
    return [StoredDataset(layout.previews_of(name), name, *at) for name, *at in session.execute(statement)]


def _segments(session: Session, layout: Layout) -> list[StoredDataset]:
    statement = (
        select(GalleryRow.name, VersionRow, SegmentRow.lance_version, SegmentRow.rows)
        .join(SegmentRow, SegmentRow.gallery_id == GalleryRow.id)
        .join(VersionRow, VersionRow.id == SegmentRow.version_id)
        .where(SegmentRow.lance_version > 0, SegmentRow.backend.is_(null()))
        .order_by(SegmentRow.id)
    )
    return [
        StoredDataset(layout.segment_of(name, writer.ref), name, version, count)
        for name, writer, version, count in session.execute(statement)
    ]


def _written(session: Session, layout: Layout) -> list[StoredDataset]:
    """What backfills wrote, as long as they can be rolled back."""
    columns = (GalleryRow.name, BackfillRow.id, BackfillRow.written_version, BackfillRow.written)
    statement = select(*columns).join(GalleryRow, GalleryRow.id == BackfillRow.gallery_id)
    rows = session.execute(statement.where(BackfillRow.written_version > 0).order_by(BackfillRow.created_at))
    return [StoredDataset(layout.written_of(name, id), name, *at) for name, id, *at in rows]


def _transforms(session: Session, layout: Layout) -> list[StoredFile]:
    rows = session.execute(select(TransformRow.id, TransformRow.digest).order_by(TransformRow.id))
    return [StoredFile(layout.transform_of(id), "transform", id, digest) for id, digest in rows]


def _canaries(session: Session, layout: Layout) -> list[StoredFile]:
    statement = select(VersionRow, CanariesRow.digest).join(CanariesRow, CanariesRow.version_id == VersionRow.id)
    rows = session.execute(statement.order_by(VersionRow.id))
    return [StoredFile(layout.canaries_of(of.ref), "canaries", of.ref, digest) for of, digest in rows]


def _studies(session: Session, layout: Layout) -> list[StoredFile]:
    rows = session.execute(select(StudyRow.id, StudyRow.digest).order_by(StudyRow.created_at, StudyRow.id))
    return [StoredFile(layout.study_of(id), "study", id, digest) for id, digest in rows]


def _orders(session: Session, layout: Layout) -> list[StoredFile]:
    rows = session.execute(select(BackfillRow.id, BackfillRow.digest).order_by(BackfillRow.created_at, BackfillRow.id))
    return [StoredFile(layout.order_of(id), "backfill", id, digest) for id, digest in rows]


def _indexes(session: Session, layout: Layout) -> list[StoredIndexFiles]:
    statement = (
        select(IndexRow.id, IndexRow.digest, GalleryRow.name, VersionRow)
        .join(SegmentRow, SegmentRow.id == IndexRow.segment_id)
        .join(GalleryRow, GalleryRow.id == SegmentRow.gallery_id)
        .join(VersionRow, VersionRow.id == SegmentRow.version_id)
        .order_by(IndexRow.created_at, IndexRow.id)
    )
    return [
        StoredIndexFiles(layout.index_of(id), name, writer.ref, digest)
        for id, digest, name, writer in session.execute(statement)
    ]
