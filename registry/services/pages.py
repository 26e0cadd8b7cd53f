"""Pages: a list read in parts, each from where the last one ended, so that a page costs the same wherever it lies."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Select, and_, literal, tuple_
from sqlalchemy.orm import InstrumentedAttribute, Session

from registry.errors import InvalidInput
from registry.types import Page

__all__ = ["AT_ONCE", "Keys", "begins", "checked_limit", "decoded", "encoded", "read"]

AT_ONCE = 10_000
"""The rows whose related rows one statement reads: up to here, a page takes as many statements whatever its size."""

Item = TypeVar("Item")

Keys = Sequence[InstrumentedAttribute[Any]]
"""The columns that a list is ordered by, which together tell its rows apart."""


def read(
    session: Session,
    query: Select[*tuple[Any, ...]],
    to: Callable[..., Item],
    *,
    of: str,
    keys: Keys,
    after: str | None,
    limit: int | None,
    descending: bool = False,
) -> Page[Item]:
    """The rows of `query` behind the cursor `after`, at most `limit`, each turned into an item by `to`.

    `of` is the list's name: a cursor of another list is refused. What is added or removed meanwhile shifts nothing: a
    row that is there all along comes exactly once.

    Raises:
        InvalidInput: `after` is no cursor of this list, or `limit` no number of rows.
    """
    if after is not None:
        values = decoded(after, of, [key.type.python_type for key in keys])
        query = query.where(_behind(keys, values, descending=descending))
    if limit is not None:
        query = query.limit(checked_limit(limit) + 1)  # one more tells whether there is another page
    query = query.order_by(*(key.desc() if descending else key for key in keys)).add_columns(*keys)
    rows = session.execute(query).all()
    shown = rows[:limit]
    following = encoded(of, shown[-1][-len(keys) :]) if len(rows) > len(shown) else None
    return Page(tuple(to(*row[: -len(keys)]) for row in shown), following)


def checked_limit(limit: object) -> int:
    """The limit, if it is a number of rows."""
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit < 2**31 - 1:
        raise InvalidInput(f"limit must be a whole number of rows from 1, got {limit!r:.80}")
    return limit


def begins(session: Session, column: InstrumentedAttribute[str], text: str) -> ColumnElement[bool]:
    """The rows whose `column` begins with `text`, to the letter."""
    if session.get_bind().dialect.name == "postgresql":
        return column.startswith(text, autoescape=True)
    # SQLite's LIKE looks at no index, and takes capitals for small letters.
    return and_(column >= text, column < f"{text}\U0010ffff")


def _behind(keys: Keys, values: Sequence[Any], *, descending: bool) -> ColumnElement[bool]:
    """The rows that come after `values`. The condition on the first key is for an index of that alone."""
    ends = tuple_(*(literal(value, key.type) for key, value in zip(keys, values, strict=True)))
    if descending:
        return and_(keys[0] <= values[0], tuple_(*keys) < ends)
    return and_(keys[0] >= values[0], tuple_(*keys) > ends)


def encoded(of: str, values: Sequence[Any]) -> str:
    """The cursor of a place in the list `of`."""
    plain = [value.isoformat() if isinstance(value, datetime) else value for value in values]
    text = json.dumps([of, *plain], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decoded(cursor: object, of: str, kinds: Sequence[type]) -> list[Any]:
    """The values, of these kinds, that `encoded` made a cursor of. InvalidInput if it is none of this list."""
    try:
        padded = str(cursor) + "=" * (-len(str(cursor)) % 4)
        name, *values = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        typed = [_typed(value, kind) for kind, value in zip(kinds, values, strict=True)]
    except (ValueError, TypeError, RecursionError) as error:
        raise _no_cursor(cursor, of) from error
    if name != of:
        raise _no_cursor(cursor, of)
    return typed


def _no_cursor(cursor: object, of: str) -> InvalidInput:
    return InvalidInput(f"{cursor!r:.80} is no cursor of {of}: give `next` of a page as it came")


def _typed(value: object, kind: type) -> Any:
    """A cursor's value as its column has it; a value of another type would mean another order to each database."""
    if kind is datetime:
        moment = datetime.fromisoformat(str(value))
        if moment.tzinfo is None:
            raise ValueError(value)
        return moment
    if type(value) is not kind or (isinstance(value, int) and not 0 <= value < 2**63):
        raise ValueError(value)
    return value
