"""Transforms and anchor sets: the edges between spaces, and the items that span relative ones."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, TypeVar

from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.errors import AlreadyExists, DimensionMismatch, InvalidInput, NotFound
from registry.paths import Edge, Graph
from registry.refs import RELATIVE, check_name, is_relative, prefix_of
from registry.services import galleries, models
from registry.services.audit import record
from registry.tables import AnchorSetRow, TransformRow, now
from registry.transforms import SpaceTag, Transform
from registry.types import AnchorSet, TransformInfo
from registry.vectors import Metric

__all__ = [
    "add",
    "add_anchors",
    "anchor_set",
    "anchor_sets",
    "graph",
    "resolve_space",
    "space_facts",
    "transform",
    "transforms",
]

Number = TypeVar("Number", int, float)


def resolve_space(session: Session, space: str) -> str:
    """The one name of a space: aliases become numbers; NotFound or BadName if there is no such space."""
    if not isinstance(space, str):
        raise InvalidInput(f"a space is named by a string like 'products/2', got {space!r:.120}")
    if is_relative(space):
        return anchor_set(session, space.removeprefix(f"{RELATIVE}/")).space
    cut = prefix_of(space)
    if cut is None:
        return models.find(session, space).ref
    row = models.find(session, cut[0])
    if cut[1] > row.dim:
        raise DimensionMismatch(f"{space} asks for {cut[1]} dimensions, {row.ref} has {row.dim}: ask for fewer")
    return row.ref if cut[1] == row.dim else f"{row.ref}[:{cut[1]}]"


def space_facts(session: Session, space: str) -> tuple[int, Metric, SpaceTag]:
    """Width, metric and identity of a resolved space."""
    if is_relative(space):
        anchors = anchor_set(session, space.removeprefix(f"{RELATIVE}/"))
        return (
            anchors.size,
            "cosine",
            SpaceTag(space, models.fingerprint_digest(_identity(anchors))),
        )
    cut = prefix_of(space)
    row = models.find(session, cut[0] if cut else space)
    return cut[1] if cut else row.dim, row.metric, SpaceTag(space, row.fingerprint)  # type: ignore[return-value]


def _identity(anchors: AnchorSet) -> dict[str, object]:
    """What decides a relative space, apart from the version: equal ones are one space in any registry."""
    members = (anchors.ids, anchors.anchor, anchors.weights)
    return {"gallery": anchors.gallery, "members": members, "similarity": anchors.similarity}


def add(
    session: Session, transform: Transform, *, source: str, target: str, run_id: str | None
) -> tuple[TransformInfo, Transform]:
    """Register a map from `source` to `target`; return its facts and the tagged transform, whose file is to be stored.

    Raises:
        InvalidInput: source and target are one space.
        DimensionMismatch: the map's widths are not those of the spaces; turned round, it is refused, never flipped.
        AlreadyExists: this very transform is registered.
    """
    source, target = resolve_space(session, source), resolve_space(session, target)
    if source == target:
        raise InvalidInput(f"a transform leads from one space to another, got {source} twice")
    (source_dim, source_metric, source_tag), (target_dim, target_metric, target_tag) = (
        space_facts(session, source),
        space_facts(session, target),
    )
    if (transform.source_dim, transform.target_dim) != (source_dim, target_dim):
        raise DimensionMismatch(
            f"this {transform.kind} transform maps {transform.source_dim} -> {transform.target_dim} dimensions, "
            f"{source} -> {target} needs {source_dim} -> {target_dim}: check the direction"
        )
    for tag, now_tag in ((transform.source, source_tag), (transform.target, target_tag)):
        if tag is not None and tag != now_tag:
            raise InvalidInput(
                f"this transform was made for {tag.space} with another fingerprint than {now_tag.space} has: fit it anew"
            )
    _check_directions(transform, (source, source_metric), (target, target_metric))
    _check_report(transform)
    tagged = transform.between(source_tag, target_tag)
    digest = tagged.digest()
    if session.scalar(select(TransformRow).where(TransformRow.digest == digest)) is not None:
        raise AlreadyExists(f"this very transform from {source} to {target} is registered: nothing to do")
    row = TransformRow(
        id=f"{transform.kind}-{digest[:12]}", digest=digest, kind=transform.kind, source=source, target=target,
        source_dim=source_dim, target_dim=target_dim, report=dict(transform.report), run_id=run_id, created_at=now(),
    )  # fmt: skip
    session.add(row)
    record(session, "transform.added", row.id, {"source": source, "target": target})
    session.flush()
    return to_info(row), tagged


def _check_report(transform: Transform) -> None:
    """PostgreSQL refuses NaN in JSON, and no database takes NumPy's numbers."""
    try:
        json.dumps(dict(transform.report), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InvalidInput(
            f"the report of a transform holds plain, finite JSON values, got {error}: use float()"
        ) from error


def _check_directions(transform: Transform, *ends: tuple[str, str]) -> None:
    """A map of directions forgets lengths: where lengths count, it would compare what is not comparable."""
    if not transform.normalize or transform.kind == "relative":
        return
    for space, metric in ends:
        if metric != "cosine":
            raise InvalidInput(
                f"this {transform.kind} transform is of directions (normalize=True), {space} has metric {metric}: "
                "fit it with normalize=False"
            )


def transforms(session: Session) -> list[TransformInfo]:
    """All transforms, oldest first."""
    return [
        to_info(row) for row in session.scalars(select(TransformRow).order_by(TransformRow.created_at, TransformRow.id))
    ]


def transform(session: Session, id: str) -> TransformRow:
    """The row of one transform."""
    row = session.get(TransformRow, id) if isinstance(id, str) else None
    if row is None:
        raise NotFound(f"there is no transform {id!r:.120}: 'samespace model graph' lists them")
    return row


def graph(session: Session) -> Graph:
    """All spaces as the registered transforms connect them, the newest first: of equals, it is looked at first."""
    columns = (TransformRow.id, TransformRow.kind, TransformRow.source, TransformRow.target)
    edges = session.execute(select(*columns).order_by(TransformRow.created_at.desc(), TransformRow.id))
    return Graph(Edge(*edge) for edge in edges)


def add_anchors(
    session: Session,
    name: str,
    *,
    gallery: str,
    ids: Sequence[str | int],
    anchor: Sequence[int] | None,
    weights: Sequence[float] | None,
    similarity: str,
) -> AnchorSet:
    """Freeze a list of items as the anchors of the relative space `relative/<name>`."""
    check_name(name, "anchor set")
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
    if similarity not in ("cosine", "whitened"):
        raise InvalidInput(f"similarity must be 'cosine' or 'whitened', got {similarity!r}")
    if session.scalar(select(AnchorSetRow).where(AnchorSetRow.name == name)) is not None:
        raise AlreadyExists(f"anchor set {name} exists and is frozen: choose another name")
    row = AnchorSetRow(
        name=name, gallery=galleries.gallery(session, gallery), similarity=similarity, size=1 + max(anchor), created_at=now(),
        members={"ids": ids, "anchor": anchor, "weights": weights},
    )  # fmt: skip
    session.add(row)
    record(session, "anchors.added", f"{RELATIVE}/{name}", {"gallery": gallery, "anchors": row.size})
    session.flush()
    return _to_anchor_set(row)


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


def anchor_set(session: Session, name: str) -> AnchorSet:
    """One anchor set by name."""
    row = session.scalar(select(AnchorSetRow).where(AnchorSetRow.name == name))
    if row is None:
        raise NotFound(f"there is no anchor set {name!r:.120}: add one with add_anchors")
    return _to_anchor_set(row)


def anchor_sets(session: Session) -> list[AnchorSet]:
    """All anchor sets by name."""
    return [_to_anchor_set(row) for row in session.scalars(select(AnchorSetRow).order_by(AnchorSetRow.name))]


def to_info(row: TransformRow) -> TransformInfo:
    """The frozen value of a row."""
    return TransformInfo(
        id=row.id, kind=row.kind, source=row.source, target=row.target, source_dim=row.source_dim,
        target_dim=row.target_dim, report=row.report, created_at=row.created_at, run_id=row.run_id,
    )  # fmt: skip


def _to_anchor_set(row: AnchorSetRow) -> AnchorSet:
    members = row.members
    return AnchorSet(
        name=row.name, gallery=row.gallery.name, similarity=row.similarity, ids=tuple(members["ids"]),
        anchor=tuple(members["anchor"]), weights=tuple(members["weights"]), created_at=row.created_at,
    )  # fmt: skip
