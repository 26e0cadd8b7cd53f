"""Deliveries: events on their way to webhooks, taken by one sender at a time."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from registry.services.pages import checked_limit
from registry.tables import DeliveryRow
from registry.types import Delivery

__all__ = ["Parcel", "any_due", "claim", "deliveries", "settle"]


@dataclass(frozen=True, slots=True)
class Parcel:
    """A claimed delivery: what to send where. `attempt` counts from 1, and tells this claim from later ones."""

    number: int
    attempt: int
    id: str
    webhook: str
    event: str
    body: bytes
    url: str = field(repr=False)
    secret: str = field(repr=False)


def deliveries(session: Session, *, limit: int = 100) -> list[Delivery]:
    """The newest deliveries first."""
    newest = select(DeliveryRow).order_by(DeliveryRow.id.desc()).limit(checked_limit(limit))
    return [
        Delivery(
            id=row.payload["id"], webhook=row.webhook.name, event=row.event, attempts=row.attempts, due_at=row.due_at,
            delivered_at=row.delivered_at, error=row.error, created_at=row.created_at,
        )
        for row in session.scalars(newest)
    ]  # fmt: skip


def any_due(session: Session, at: datetime) -> bool:
    """Whether a delivery is due; asked before `claim`, which needs the write lock."""
    return session.scalar(select(DeliveryRow.id).where(DeliveryRow.due_at <= at).limit(1)) is not None


def claim(session: Session, at: datetime, *, until: datetime, limit: int) -> list[Parcel]:
    """Take up to `limit` due deliveries, which are due again at `until` unless `settle` says what became of them."""
    due = select(DeliveryRow).where(DeliveryRow.due_at <= at)
    # New ones first, so that a webhook that is down does not delay what others are told.
    due = due.order_by(DeliveryRow.attempts, DeliveryRow.due_at).limit(limit)
    rows = session.scalars(due.with_for_update(of=DeliveryRow, skip_locked=True)).all()
    for row in rows:
        row.due_at = until
        row.attempts += 1
    return [_to_parcel(row) for row in rows]


def settle(session: Session, parcel: Parcel, at: datetime, *, error: str | None, again: datetime | None) -> None:
    """Note that a parcel was delivered, or the `error` and when it is sent `again`, if ever."""
    sent = update(DeliveryRow).where(DeliveryRow.id == parcel.number, DeliveryRow.delivered_at.is_(None))
    if error is None:
        session.execute(sent.values(delivered_at=at, due_at=None, error=None))
    else:  # a sender that slept past its lease must not disturb the one that took over
        sent = sent.where(DeliveryRow.attempts == parcel.attempt)
        session.execute(sent.values(due_at=again, error=error.replace("\0", "")[:300]))


def _to_parcel(row: DeliveryRow) -> Parcel:
    payload = row.payload
    told = {
        "id": payload["id"],
        "event": row.event,
        "subject": payload["subject"],
        "details": payload["details"],
        "at": row.created_at.isoformat(),
    }
    return Parcel(
        number=row.id, attempt=row.attempts, id=payload["id"], webhook=row.webhook.name, event=row.event,
        body=json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode(), url=row.webhook.url,
        secret=row.webhook.secret,
    )  # fmt: skip
