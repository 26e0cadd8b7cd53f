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

from registry.errors import InvalidInput
from registry.tables import ChangeRow
from registry.types import Change

__all__ = ["acting_as", "actor", "changes", "record"]

_ACTOR: ContextVar[str | None] = ContextVar("samespace_actor", default=None)


@contextmanager
def acting_as(who: str) -> Iterator[None]:
    """Note what is done in this block as done by `who`, such as the name of a token."""
    token = _ACTOR.set(who)
    try:
        yield
    finally:
        _ACTOR.reset(token)


def actor() -> str:
    """Who acts: whoever `acting_as` named, or else the user that this process belongs to."""
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


def changes(session: Session, *, limit: int = 100) -> list[Change]:
    """The newest changes first."""
    if isinstance(limit, bool) or not isinstance(limit, int) or not 0 <= limit < 2**31:
        raise InvalidInput(f"limit must be a whole number of changes, got {limit!r}")
    rows = session.scalars(select(ChangeRow).order_by(ChangeRow.id.desc()).limit(limit))
    return [Change(at=row.at, action=row.action, subject=row.subject, details=row.details, who=row.who) for row in rows]
