"""Lineages: the versions of a model from the newest back, with what each stored and whether its encoder is still the one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.services import checks, models, pages
from registry.tables import CanariesRow, GalleryRow, SegmentRow
from registry.types import Check, Version

__all__ = ["Release", "Stored", "releases"]


@dataclass(frozen=True, slots=True)
class Stored:
    """How many vectors a version has in a gallery."""

    gallery: str
    rows: int


@dataclass(frozen=True, slots=True)
class Release:
    """A version by its row id and its parent's, and what is known of it besides.

    `canaries` are how many inputs are kept to check its encoder, 0 for none; `check` is the newest check by them.
    """

    id: int
    parent_id: int | None
    version: Version
    stored: tuple[Stored, ...]
    canaries: int
    check: Check | None


def releases(
    session: Session, model: str, *, below: int | None = None, limit: int, galleries: Collection[str] | None = None
) -> list[Release]:
    """The versions of a model, newest first, at most `limit`, in six statements; of those numbered `below` a number.

    With `galleries` no others are named.

    Raises:
        NotFound: the model is not registered.
        InvalidInput: `limit` is no number of rows.
    """
    rows = models.newest(session, model, below=below, limit=pages.checked_limit(limit))
    ids = [row.id for row in rows]
    stored, canaries = _stored(session, ids, galleries), _canaries(session, ids)
    checked = {check.version: check for check in checks.newest(session, ids)}
    return [
        Release(
            row.id, row.parent_id, models.to_version(row), tuple(stored.get(row.id, ())), canaries.get(row.id, 0),
            checked.get(row.ref),
        )
        for row in rows
    ]  # fmt: skip


def _stored(session: Session, ids: Sequence[int], galleries: Collection[str] | None) -> Mapping[int, Sequence[Stored]]:
    """By version, the galleries that hold vectors of it, by name."""
    query = (
        select(SegmentRow.version_id, GalleryRow.name, SegmentRow.rows)
        .join(GalleryRow, GalleryRow.id == SegmentRow.gallery_id)
        .where(SegmentRow.version_id.in_(ids), SegmentRow.rows > 0)
        .order_by(GalleryRow.name)
    )
    found: dict[int, list[Stored]] = defaultdict(list)
    for version, gallery, rows in session.execute(query):
        if galleries is None or gallery in galleries:
            found[version].append(Stored(gallery, rows))
    return found


def _canaries(session: Session, ids: Sequence[int]) -> Mapping[int, int]:
    rows = session.scalars(select(CanariesRow).where(CanariesRow.version_id.in_(ids)))
    return {row.version_id: row.count for row in rows}
