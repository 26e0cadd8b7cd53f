"""The audit log: every change, in the transaction that makes it."""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.services import pages
from registry.tables import ChangeRow
from registry.types import Change, Page

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


def record(session: Session, action: str, subject: str, details: Mapping[str, Any] | None = None) -> None:
    """Note that `action` (such as `version.registered`) happened to `subject`."""
    session.add(ChangeRow(action=action, subject=subject, details=dict(details or {}), who=actor()))


def changes(session: Session, *, after: str | None = None, limit: int | None = None) -> Page[Change]:
    """The newest changes first."""
    keys = (ChangeRow.id,)
    return pages.read(
        session, select(ChangeRow), _to_change, of="changes", keys=keys, after=after, limit=limit, descending=True
    )


def _to_change(row: ChangeRow) -> Change:
    return Change(at=row.at, action=row.action, subject=row.subject, details=row.details, who=row.who)
