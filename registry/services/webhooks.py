"""Webhooks: who is told of which events, and the events, each noted in the transaction of the change itself."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from registry import addresses
from registry.errors import AlreadyExists, InvalidInput, NotFound
from registry.refs import check_name
from registry.services.audit import record
from registry.tables import DeliveryRow, WebhookRow, now
from registry.types import EVENTS, Event, Webhook

__all__ = ["add", "emit", "remove", "webhooks"]


def add(session: Session, name: str, url: str, events: Sequence[str], secret: str | None = None) -> tuple[Webhook, str]:
    """Add a webhook; gives it and its secret, which is made unless given and never shown again.

    The host is not looked up here, in a transaction: see `registry.addresses.resolve`.

    Raises:
        InvalidInput: a URL that cannot be called, an unknown event, a secret that is too short.
        AlreadyExists: the name is taken.
    """
    check_name(name, "webhook")
    host = addresses.host_of(addresses.parse(url))
    wanted = _checked_events(events)
    secret = _checked_secret(secret) if secret is not None else secrets.token_urlsafe(32)
    if session.scalar(select(WebhookRow.id).where(WebhookRow.name == name)) is not None:
        raise AlreadyExists(f"there is a webhook {name}: choose another name, or remove it first")
    row = WebhookRow(name=name, url=url, secret=secret, events=wanted, created_at=now())
    session.add(row)
    record(
        session, "webhook.added", name, {"host": host, "events": wanted}
    )  # the URL's path may be a secret of its own
    session.flush()
    return _to_webhook(row), secret


def webhooks(session: Session) -> list[Webhook]:
    """All webhooks by name."""
    return [_to_webhook(row) for row in session.scalars(select(WebhookRow).order_by(WebhookRow.name))]


def remove(session: Session, name: str) -> None:
    """Remove a webhook with all its deliveries, those under way included. NotFound if there is none."""
    row = session.scalar(select(WebhookRow).where(WebhookRow.name == name))
    if row is None:
        raise NotFound(f"there is no webhook {name!r:.120}: 'samespace webhook list' shows them")
    session.delete(row)
    record(session, "webhook.removed", name)


def emit(session: Session, event: Event, subject: str, details: Mapping[str, Any]) -> None:
    """Note for each webhook that wants `event` that it happened to `subject`; told once the transaction commits."""
    # The lock, for PostgreSQL: a webhook that is removed meanwhile must not make the change itself fail.
    listeners = session.execute(select(WebhookRow.id, WebhookRow.events).with_for_update(read=True, key_share=True))
    wanted = [number for number, events in listeners.all() if event in events]
    if wanted:
        session.execute(insert(DeliveryRow), [_delivery(number, event, subject, details) for number in wanted])


def _delivery(webhook: int, event: str, subject: str, details: Mapping[str, Any]) -> dict[str, Any]:
    # The id that receivers know is one of its own: a row's number can come again after its webhook is removed.
    payload = {"id": uuid4().hex, "subject": subject, "details": dict(details)}
    at = now()
    return {"webhook_id": webhook, "event": event, "payload": payload, "created_at": at, "due_at": at}


def _checked_events(events: Sequence[str]) -> list[str]:
    listed = [] if isinstance(events, str) else list(events)
    if not listed or not all(event in EVENTS for event in listed):
        raise InvalidInput(f"events must be a list of some of {', '.join(EVENTS)}, got {events!r:.120}")
    return [event for event in EVENTS if event in listed]


def _checked_secret(secret: str) -> str:
    if not isinstance(secret, str) or not (16 <= len(secret) <= 100 and secret.isascii() and secret.isprintable()):
        raise InvalidInput("a secret is 16 to 100 printable ASCII characters: leave it out to have one made")
    return secret


def _to_webhook(row: WebhookRow) -> Webhook:
    return Webhook(name=row.name, url=row.url, events=tuple(row.events), created_at=row.created_at)
