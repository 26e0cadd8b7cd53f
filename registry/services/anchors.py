"""Anchor sets: the frozen items that span relative spaces."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Select, select
from sqlalchemy.orm import Session, defaultload

from registry.errors import AlreadyExists, InvalidInput, NotFound
from registry.refs import RELATIVE, check_name
from registry.services import galleries, pages
from registry.services.audit import record
from registry.tables import AnchorSetRow, GalleryRow, now
from registry.transforms.relative import checked_quantum
from registry.transforms.similarities import WIDTHS
from registry.types import AnchorSet, Page

__all__ = ["Span", "add", "anchor_sets", "identity", "of_space", "spans"]

Number = TypeVar("Number", int, float)


def add(
    session: Session,
    name: str,
    *,
    gallery: str,
    ids: Sequence[str | int],
    anchor: Sequence[int] | None,
    weights: Sequence[float] | None,
    similarity: str,
    quantum: float | None,
) -> AnchorSet:
    """Freeze a list of items as the anchors of the relative space `relative/<name>`; see `Registry.add_anchors`."""
    check_name(name, "anchor set")
    members = _members(ids, anchor, weights)
    if not isinstance(similarity, str) or similarity not in WIDTHS:
        raise InvalidInput(f"similarity must be one of {', '.join(WIDTHS)}, got {similarity!r:.80}")
    if session.scalar(select(AnchorSetRow).where(AnchorSetRow.name == name)) is not None:
        raise AlreadyExists(f"anchor set {name} exists and is frozen: choose another name")
    size = 1 + max(members["anchor"])
    row = AnchorSetRow(
        name=name, gallery=galleries.gallery(session, gallery), similarity=similarity, quantum=checked_quantum(quantum),
        size=size, dim=size * WIDTHS[similarity], members=members, created_at=now(),
    )  # fmt: skip
    session.add(row)
    record(session, "anchors.added", f"{RELATIVE}/{name}", {"gallery": gallery, "anchors": size})
    session.flush()
    return _to_anchor_set(row)


def _members(
    ids: Sequence[str | int], anchor: Sequence[int] | None, weights: Sequence[float] | None
) -> dict[str, list[Any]]:
    """Which items with which weights make which anchor, checked."""
    ids = [i.item() if hasattr(i, "item") else i for i in ids]
    anchor = list(range(len(ids))) if anchor is None else _numbers(anchor, int, "anchor numbers", "whole numbers")
    weights = [1.0] * len(ids) if weights is None else _numbers(weights, float, "anchor weights", "numbers")
    if not ids or not len(ids) == len(anchor) == len(weights):
        raise InvalidInput(
            f"anchors need as many ids as anchor numbers and weights, got {len(ids)}, {len(anchor)}, {len(weights)}"
        )
    if not all(math.isfinite(w) for w in weights):
        raise InvalidInput("anchor weights must be finite numbers: check them for NaN")
    if set(anchor) != set(range(max(anchor) + 1)):
        raise InvalidInput("anchor numbers must count 0, 1, 2, … without a gap: each anchor needs at least one item")
    empty = set(anchor) - {a for a, w in zip(anchor, weights, strict=True) if w}
    if empty:
        raise InvalidInput(f"anchor {min(empty)} has only weights of 0: give one of its items a weight")
    return {"ids": ids, "anchor": anchor, "weights": weights}


def _numbers(given: Sequence[Any], kind: type[Number], what: str, wanted: str) -> list[Number]:
    """Plain numbers of plain or NumPy ones, never rounded."""
    try:
        listed = [kind(value) for value in given]
        exact = all(number == value for number, value in zip(listed, given, strict=True) if value == value)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"{what} must be {wanted}: {error}") from error
    if not exact:
        raise InvalidInput(f"{what} must be {wanted}, got {given!r:.80}")
    return listed


def of_space(session: Session, space: str) -> AnchorSet:
    """The anchor set of a relative space."""
    name = space.removeprefix(f"{RELATIVE}/")
    row = session.scalar(_select().where(AnchorSetRow.name == name))
    if row is None:
        raise NotFound(f"there is no anchor set {name!r:.120}: add one with add_anchors")
    return _to_anchor_set(row)


def anchor_sets(
    session: Session, *, among: Collection[str] | None = None, after: str | None = None, limit: int | None = None
) -> Page[AnchorSet]:
    """Anchor sets by name, of the galleries `among` alone, if they are given."""
    keys, query = (AnchorSetRow.name,), _select()
    if among is not None:
        query = query.where(AnchorSetRow.gallery_id.in_(select(GalleryRow.id).where(GalleryRow.name.in_(among))))
    return pages.read(session, query, _to_anchor_set, of="anchor sets", keys=keys, after=after, limit=limit)


def _select() -> Select[AnchorSetRow]:
    """Anchor sets with the names of their galleries, of which nothing else is needed."""
    return select(AnchorSetRow).options(
        defaultload(AnchorSetRow.gallery).load_only(GalleryRow.name).lazyload(GalleryRow.segments)
    )


@dataclass(frozen=True, slots=True)
class Span:
    """An anchor set without its items, of which there may be many thousands."""

    name: str
    gallery: str
    similarity: str
    size: int
    dim: int
    created_at: datetime


def spans(session: Session, *, galleries: Collection[str] | None = None, limit: int) -> list[Span]:
    """Anchor sets by name, at most `limit`, without their items; only those of `galleries` that are named, if any are."""
    row = AnchorSetRow
    query = (
        select(row.name, GalleryRow.name, row.similarity, row.size, row.dim, row.created_at)
        .join(GalleryRow, GalleryRow.id == row.gallery_id)
        .order_by(row.name)
        .limit(pages.checked_limit(limit))
    )
    if galleries is not None:
        query = query.where(GalleryRow.name.in_(galleries))
    return [
        Span(name, gallery, similarity, size, dim, at)
        for name, gallery, similarity, size, dim, at in session.execute(query)
    ]


def identity(anchors: AnchorSet) -> dict[str, object]:
    """What decides a relative space, apart from the version: equal ones are one space in any registry."""
    members = (anchors.ids, anchors.anchor, anchors.weights)
    measured = {"similarity": anchors.similarity, "quantum": anchors.quantum}
    return {"gallery": anchors.gallery, "members": members, **measured}


def _to_anchor_set(row: AnchorSetRow) -> AnchorSet:
    members = row.members
    return AnchorSet(
        name=row.name, gallery=row.gallery.name, similarity=row.similarity, ids=tuple(members["ids"]),
        anchor=tuple(members["anchor"]), weights=tuple(members["weights"]), dim=row.dim, created_at=row.created_at,
        quantum=row.quantum,
    )  # fmt: skip
