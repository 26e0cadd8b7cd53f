"""The audit log: every change, in the transaction that makes it."""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import cache
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.errors import InvalidInput
from registry.services import pages
from registry.tables import ChangeRow
from registry.types import ACTIONS, Action, Change, Page

__all__ = ["act_as", "acting_as", "actor", "changes", "record"]

_ACTOR: ContextVar[str | None] = ContextVar("samespace_actor", default=None)


@contextmanager
def acting_as(who: str) -> Iterator[None]:
    """Note what is done in this block as done by `who`, such as the name of a token."""
    token = _ACTOR.set(who)
    try:
        yield
    finally:
        _ACTOR.reset(token)


def act_as(who: str) -> None:
    """Note what is done from now on in this context as done by `who`; for a server, each of whose requests has its own."""
    _ACTOR.set(who)


def actor() -> str:
    """Who acts: whoever `acting_as` or `act_as` named, or else the user that this process belongs to."""
    return _ACTOR.get() or _user()


@cache
def _user() -> str:
    try:
        return f"{getpass.getuser()} (local)"[:120]
    except (OSError, KeyError):  # a container's user may have no name
        return f"user {os.getuid()} (local)"


def record(session: Session, action: Action, subject: str, details: Mapping[str, Any] | None = None) -> None:
    """Note that `action` (such as `version.registered`) happened to `subject`."""
    session.add(ChangeRow(action=action, subject=subject, details=dict(details or {}), who=actor()))


def changes(
    session: Session,
    *,
    action: str | None = None,
    subject: str | None = None,
    who: str | None = None,
    since: datetime | str | None = None,
    until: datetime | str | None = None,
    after: str | None = None,
    limit: int | None = None,
) -> Page[Change]:
    """The newest changes first, of those that all filters let through; see `Registry.changes`.

    Raises:
        InvalidInput: an action that is never noted, or what is no text or no moment.
    """
    query = select(ChangeRow)
    if action is not None:
        if action not in ACTIONS:
            raise InvalidInput(f"action {action!r:.80} is never noted: use one of {', '.join(ACTIONS)}")
        query = query.where(ChangeRow.action == action)
    if subject is not None:
        text = _text("subject", subject)
        query = query.where(
            pages.begins(session, ChangeRow.subject, text[:-1]) if text.endswith("*") else ChangeRow.subject == text
        )
    if who is not None:
        query = query.where(ChangeRow.who == _text("who", who))
    if since is not None:
        query = query.where(ChangeRow.at >= _moment("since", since))
    if until is not None:
        query = query.where(ChangeRow.at < _moment("until", until))
    keys = (ChangeRow.id,)
    return pages.read(session, query, _to_change, of="changes", keys=keys, after=after, limit=limit, descending=True)


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise InvalidInput(f"{name} must be text, got {value!r:.80}")
    return value


def _moment(name: str, value: object) -> datetime:
    """A moment, or its ISO text; without a zone it is in UTC, as all that is shown of the log is."""
    try:
        found = value if isinstance(value, datetime) else datetime.fromisoformat(_text(name, value))
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError) as error:  # OverflowError: the year before the first, in another zone
        raise InvalidInput(f"{name} must be a moment such as 2026-01-31T12:00:00Z, got {value!r:.80}") from error


def _to_change(row: ChangeRow) -> Change:
    return Change(at=row.at, action=row.action, subject=row.subject, details=row.details, who=row.who)
