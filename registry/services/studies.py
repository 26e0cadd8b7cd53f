"""Studies: closer looks at one upgrade, each measured once on a benchmark and kept."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session, defaultload

from registry import wire
from registry.errors import NotFound
from registry.services import evidence, galleries, models, pages
from registry.services.audit import record
from registry.tables import GalleryRow, StudyRow, VersionRow
from registry.types import Page, Study

__all__ = ["digest", "store", "studies", "study"]

_COLUMNS = ("id", "benchmark", "label", "old", "new", "created_at")
"""What of a study has a column of its own; all else is in `findings`."""

_NAMES_ALONE = (  # of benchmarks and versions
    defaultload(StudyRow.benchmark).load_only(GalleryRow.name).lazyload(GalleryRow.segments),
    defaultload(StudyRow.old).load_only(VersionRow.number),
    defaultload(StudyRow.new).load_only(VersionRow.number),
)


def store(session: Session, found: Study, digest: str) -> None:
    """Keep a study whose items are in a file of this digest."""
    session.add(
        StudyRow(
            id=found.id, digest=digest, benchmark_id=galleries.gallery(session, found.benchmark).id, label=found.label,
            old_id=models.find(session, found.old).id, new_id=models.find(session, found.new).id,
            findings={name: value for name, value in wire.to_json(found).items() if name not in _COLUMNS},
            created_at=found.created_at,
        )
    )  # fmt: skip
    details = {"study": found.id, "old": found.old, "new": found.new, "label": found.label}
    record(session, "benchmark.studied", found.benchmark, details)
    session.flush()


def studies(
    session: Session,
    *,
    old: str | None = None,
    new: str | None = None,
    benchmark: str | None = None,
    label: str | None = None,
    after: str | None = None,
    limit: int | None = None,
) -> Page[Study]:
    """Studies, newest first: of these versions, this benchmark and this label column, where they are named."""
    whole = select(StudyRow).options(*_NAMES_ALONE)
    for column, ref in ((StudyRow.old_id, old), (StudyRow.new_id, new)):
        if ref is not None:
            whole = whole.where(column == models.fixed(session, ref).id)
    if benchmark is not None:
        row = galleries.gallery(session, benchmark)
        whole = whole.where(StudyRow.benchmark_id == row.id)
        label = evidence.label_column(row, label) if label is not None else None
    if label is not None:
        whole = whole.where(StudyRow.label == label)
    keys = (StudyRow.created_at, StudyRow.id)
    return pages.read(session, whole, _to_study, of="studies", keys=keys, after=after, limit=limit, descending=True)


def study(session: Session, id: str) -> Study:
    """One study. NotFound if there is none."""
    return _to_study(_row(session, id))


def digest(session: Session, id: str) -> str:
    """What the file of a study's items is checked against. NotFound if there is no such study."""
    return _row(session, id).digest


def _row(session: Session, id: str) -> StudyRow:
    found = select(StudyRow).where(StudyRow.id == id).options(*_NAMES_ALONE)
    row = session.scalar(found) if isinstance(id, str) and id.isprintable() else None
    if row is None:
        raise NotFound(f"there is no study {id!r:.120}: make one with 'samespace study OLD NEW'")
    return row


def _to_study(row: StudyRow) -> Study:
    columns = (row.id, row.benchmark.name, row.label, row.old.ref, row.new.ref, wire.to_json(row.created_at))
    return wire.from_json(Study, {**row.findings, **dict(zip(_COLUMNS, columns, strict=True))})
