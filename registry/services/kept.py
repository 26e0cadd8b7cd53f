"""What was found in the facts, kept from call to call while they do not change."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from registry.tables import ChangeRow, EncoderCheckRow

__all__ = ["KEPT_S", "Kept"]

KEPT_S = 5.0
"""The longest that anything is kept. Of two changes that are made at the same time PostgreSQL may show the later one first, and
whoever asked in between would otherwise not see the other."""

_MOST = 64

T = TypeVar("T")


class Kept:
    """Answers to questions that read much of the facts. Safe to share between threads.

    Whatever changes the facts leaves a line in the audit log, or is the check of an encoder: while the newest of both are
    what they were, an answer still holds.
    """

    def __init__(self) -> None:
        self._found: OrderedDict[Hashable, tuple[float, object, Any]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, session: Session, question: Hashable, find: Callable[[], T]) -> T:
        """The answer to `question`, found anew by `find` unless it is known for the facts that `session` sees."""
        seen = tuple(session.execute(select(_newest(ChangeRow), _newest(EncoderCheckRow))).one())
        with self._lock:
            at, before, answer = self._found.get(question, (0.0, None, None))
        if before == seen and time.monotonic() - at < KEPT_S:
            kept: T = answer
            return kept
        found = find()
        with self._lock:
            self._found[question] = (time.monotonic(), seen, found)
            self._found.move_to_end(question)
            while len(self._found) > _MOST:
                self._found.popitem(last=False)
        return found


def _newest(rows: type[ChangeRow | EncoderCheckRow]) -> Any:
    return select(func.max(rows.id)).scalar_subquery()
