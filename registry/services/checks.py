"""Checks of encoders that were kept: how far what one gave of a version's canaries lay from what was registered."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session, aliased

from registry.canaries import kept_deviation
from registry.services import canaries, models, pages
from registry.services.audit import actor, record
from registry.tables import EncoderCheckRow, ModelRow, VersionRow, now
from registry.types import Check, Page

__all__ = ["add", "checks", "drifting", "newest"]

_LONGEST = 300


def add(session: Session, ref: str, *, deviation: float, tolerance: float, worst: str) -> Check:
    """Keep what a check found; see `Registry.verify_encoder`. The audit log hears of it when the verdict is another.

    Raises:
        InvalidInput: a deviation below 0, or a tolerance that is no share.
        NotFound: the version has no canaries, so nothing can have been checked.
    """
    far = kept_deviation(deviation, tolerance)
    version, _ = canaries.digest(session, ref)
    id = models.fixed(session, version.ref).id
    earlier = select(EncoderCheckRow).where(EncoderCheckRow.version_id == id).order_by(EncoderCheckRow.id.desc())
    before = session.scalars(earlier.limit(1)).first()
    row = EncoderCheckRow(
        version_id=id, at=now(), deviation=far, tolerance=float(tolerance), worst=worst[:_LONGEST], who=actor()
    )  # fmt: skip
    session.add(row)
    session.flush()
    found = _to_check(row, version.model, version.number)
    if before is None or found.ok != (before.deviation <= before.tolerance):
        said = {"ok": found.ok, "deviation": found.deviation, "tolerance": found.tolerance}
        record(session, "encoder.checked", version.ref, said)
    return found


def checks(
    session: Session,
    ref: str | None = None,
    *,
    among: Collection[str] | None = None,
    after: str | None = None,
    limit: int | None = None,
) -> Page[Check]:
    """The newest check of each version, by name; of the version that is named every check, the newest first.

    With `among` it is of these models alone.
    """
    query = _select()
    if among is not None:
        query = query.where(ModelRow.name.in_(among))
    if ref is None:
        keys = (ModelRow.name, VersionRow.number)
        ids = select(func.max(EncoderCheckRow.id)).group_by(EncoderCheckRow.version_id)
        query = query.where(EncoderCheckRow.id.in_(ids))
        return pages.read(session, query, _to_check, of="encoder checks", keys=keys, after=after, limit=limit)
    query = query.where(EncoderCheckRow.version_id == models.fixed(session, ref).id)
    return pages.read(
        session, query, _to_check, of="checks of an encoder", keys=(EncoderCheckRow.id,), after=after, limit=limit,
        descending=True,
    )  # fmt: skip


def newest(session: Session, versions: Collection[int]) -> list[Check]:
    """The newest check of each of these versions (row ids) that has one."""
    ids = select(func.max(EncoderCheckRow.id)).where(EncoderCheckRow.version_id.in_(versions))
    query = _select().where(EncoderCheckRow.id.in_(ids.group_by(EncoderCheckRow.version_id)))
    return [_to_check(*row) for row in session.execute(query)]


def drifting(session: Session) -> list[Check]:
    """The newest check of each version that it speaks against, the largest deviation first."""
    later = aliased(EncoderCheckRow)  # looked up for those alone that speak against their versions
    last = select(func.max(later.id)).where(later.version_id == EncoderCheckRow.version_id).scalar_subquery()
    query = _select().where(EncoderCheckRow.deviation > EncoderCheckRow.tolerance, EncoderCheckRow.id == last)
    ordered = query.order_by(EncoderCheckRow.deviation.desc(), EncoderCheckRow.id)
    return [_to_check(*row) for row in session.execute(ordered)]


def _select() -> Select[EncoderCheckRow, str, int]:
    """Checks with the names of their versions."""
    return (
        select(EncoderCheckRow, ModelRow.name, VersionRow.number)
        .join(VersionRow, VersionRow.id == EncoderCheckRow.version_id)
        .join(ModelRow, ModelRow.id == VersionRow.model_id)
    )


def _to_check(row: EncoderCheckRow, model: str, number: int) -> Check:
    return Check(
        version=f"{model}/{number}", deviation=row.deviation, tolerance=row.tolerance, worst=row.worst, at=row.at,
        who=row.who,
    )  # fmt: skip
