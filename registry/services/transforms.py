"""Transforms: the edges between spaces."""

from __future__ import annotations

import json

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from registry.errors import AlreadyExists, DimensionMismatch, InvalidInput, NotFound
from registry.fingerprints import fingerprint_digest
from registry.paths import NEEDS_SIDE, Edge, Graph
from registry.refs import check_name, is_relative, prefix_of
from registry.services import anchors, models, pages
from registry.services.audit import record
from registry.tables import TransformRow, now
from registry.transforms import Relative, SpaceTag, Transform
from registry.types import Page, TransformInfo
from registry.vectors import Metric

__all__ = [
    "add",
    "graph",
    "resolve_space",
    "space_facts",
    "transform",
    "transforms",
]


def resolve_space(session: Session, space: str) -> str:
    """The one name of a space: aliases become numbers; NotFound or BadName if there is no such space."""
    if not isinstance(space, str):
        raise InvalidInput(f"a space is named by a string like 'products/2', got {space!r:.120}")
    if is_relative(space):
        return anchors.of_space(session, space).space
    cut = prefix_of(space)
    if cut is None:
        return models.fixed(session, space).ref
    row = models.fixed(session, cut[0])
    if cut[1] > row.dim:
        raise DimensionMismatch(f"{space} asks for {cut[1]} dimensions, {row.ref} has {row.dim}: ask for fewer")
    return row.ref if cut[1] == row.dim else f"{row.ref}[:{cut[1]}]"


def space_facts(session: Session, space: str) -> tuple[int, Metric, SpaceTag]:
    """Width, metric and identity of a resolved space."""
    if is_relative(space):
        found = anchors.of_space(session, space)
        return found.dim, "cosine", SpaceTag(space, fingerprint_digest(anchors.identity(found)))
    cut = prefix_of(space)
    row = models.fixed(session, cut[0] if cut else space)
    return cut[1] if cut else row.dim, row.metric, SpaceTag(space, row.fingerprint)  # type: ignore[return-value]


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
    _check_side(transform, target)
    _check_directions(transform, (source, source_metric), (target, target_metric))
    _check_similarity(session, transform, target)
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


def _check_side(transform: Transform, target: str) -> None:
    """The only side that the registry knows is a slerp's: the same query as the target version embedded it."""
    if not transform.side_dim:
        return
    if transform.kind not in NEEDS_SIDE:
        raise InvalidInput(
            f"this {transform.kind} transform needs {transform.side_dim} values of side information beside each vector, "
            "which galleries do not store: fit it without"
        )
    if is_relative(target) or prefix_of(target):
        raise InvalidInput(
            f"a {transform.kind} transform leads to a version's own space, got {target}: name the version"
        )


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


def _check_similarity(session: Session, transform: Transform, target: str) -> None:
    """Versions meet in a relative space only if all of them measure similarity in the set's one way."""
    if not (isinstance(transform, Relative) and is_relative(target)):
        return
    found = anchors.of_space(session, target)
    wanted, got = (found.similarity, found.quantum), (transform.similarity, transform.quantum)
    if got != wanted:
        raise InvalidInput(
            f"{target} holds {wanted[0]} similarities in steps of {wanted[1]:g}, this transform gives {got[0]} in steps of "
            f"{got[1]:g}: build it with the set's own"
        )


def transforms(
    session: Session,
    *,
    model: str | None = None,
    target: str | None = None,
    after: str | None = None,
    limit: int | None = None,
) -> Page[TransformInfo]:
    """Transforms, oldest first; of one model, those that begin or end at a version of it, or at a prefix of one.

    With a `target` only those into this space.
    """
    query = select(TransformRow)
    if target is not None:
        query = query.where(TransformRow.target == target)
    if model is not None:
        start = f"{check_name(model, 'model')}/"
        ends = (TransformRow.source, TransformRow.target)
        query = query.where(or_(*(pages.begins(session, end, start) for end in ends)))
    keys = (TransformRow.created_at, TransformRow.id)
    found = pages.read(session, query, to_info, of="transforms", keys=keys, after=after, limit=limit)
    if model is not None and after is None and not found.items:
        models.check_known(session, model)
    return found


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


def to_info(row: TransformRow) -> TransformInfo:
    """The frozen value of a row."""
    return TransformInfo(
        id=row.id, kind=row.kind, source=row.source, target=row.target, source_dim=row.source_dim,
        target_dim=row.target_dim, report=row.report, created_at=row.created_at, run_id=row.run_id,
        digest=row.digest,
    )  # fmt: skip
