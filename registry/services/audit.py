"""The audit log: every change, in the transaction that makes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.errors import InvalidInput
from registry.tables import ChangeRow
from registry.types import Change

__all__ = ["changes", "record"]


def record(session: Session, action: str, subject: str, details: Mapping[str, Any] | None = None) -> None:
    """Note that `action` (such as `version.registered`) happened to `subject`."""
    session.add(ChangeRow(action=action, subject=subject, details=dict(details or {})))


def changes(session: Session, *, limit: int = 100) -> list[Change]:
    """The newest changes first."""
    if isinstance(limit, bool) or not isinstance(limit, int) or not 0 <= limit < 2**31:
        raise InvalidInput(f"limit must be a whole number of changes, got {limit!r}")
    rows = session.scalars(select(ChangeRow).order_by(ChangeRow.id.desc()).limit(limit))
    return [Change(at=row.at, action=row.action, subject=row.subject, details=row.details) for row in rows]
