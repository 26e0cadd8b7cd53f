"""Answers to repeated requests: what was done under an idempotency key is not done again, and answered alike."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from sqlalchemy import delete, text
from sqlalchemy.orm import Session

from registry.descriptions import check_key
from registry.errors import InvalidInput
from registry.services.audit import actor
from registry.tables import OperationRow, now

__all__ = ["Once", "done_once", "note", "once", "result"]

T = TypeVar("T")

_KEPT_FOR = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Once:
    """A key, and the digest of what is asked under it."""

    key: str
    digest: str


def once(key: str | None, *asked: Any) -> Once | None:
    """What `asked` (JSON values) may be done once for; None without a key.

    Raises:
        InvalidInput: the key is no text of 1 to 100 printable ASCII characters.
    """
    if key is None:
        return None
    check_key(key)
    try:
        plain = json.dumps(asked, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"a request with a key holds plain JSON values: {error}") from error
    return Once(key, hashlib.sha256(plain.encode()).hexdigest())


def result(session: Session, asked: Once | None) -> Any:
    """What an earlier request with this key was answered; None if there was none.

    Call it where no other request can decide at the same time: on SQLite in any writing transaction; on PostgreSQL it
    locks the key until the transaction ends.

    Raises:
        InvalidInput: the earlier request asked for something else.
    """
    if asked is None:
        return None
    who = actor()
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))"), {"key": f"{who} {asked.key}"})
    row = session.get(OperationRow, (who, asked.key))
    if row is None:
        return None
    if row.digest != asked.digest:
        raise InvalidInput(f"the idempotency key {asked.key!r} was used for another request: use a new one for each")
    return row.result


def note(session: Session, asked: Once | None, answer: Any) -> None:
    """Keep the answer for a week, in the transaction that makes it true."""
    if asked is None:
        return
    session.execute(delete(OperationRow).where(OperationRow.at < now() - _KEPT_FOR))
    session.add(OperationRow(who=actor(), key=asked.key, digest=asked.digest, result=answer, at=now()))


def done_once(
    session: Session, asked: Once | None, do: Callable[[], T], *, name: Callable[[T], Any], again: Callable[[Any], T]
) -> T:
    """What `do` makes, or what it made under this key before: `name` says how to find it, and `again` finds it."""
    before = result(session, asked)
    if before is not None:
        return again(before)
    made = do()
    note(session, asked, name(made))
    return made
