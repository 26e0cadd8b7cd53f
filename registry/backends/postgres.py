"""Connections to PostgreSQL servers of others: few, read-only, with time-outs, and tried again once when one was lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from threading import BoundedSemaphore, Lock
from typing import Any, TypeVar

import psycopg
from psycopg import pq

from registry.errors import CorruptFile, SamespaceError, Unavailable

__all__ = ["TIMEOUT_MS", "Pool", "said"]

TIMEOUT_MS = 60_000
_CONNECTIONS, _KEPT = 8, 4
_CONNECT_S, _WAIT_S, _AGAIN_S = 10, 30, 1.0
_GOING = ("57P01", "57P02", "57P03")  # the server shuts down, crashed, or is starting up

_SETTINGS = "SELECT set_config(name, value, true) FROM unnest(%s::text[], %s::text[]) AS s(name, value)"

T = TypeVar("T")
Connection = psycopg.Connection[Any]


class Pool:
    """Connections to one address, at most eight at a time; four stay open."""

    def __init__(self, where: str) -> None:
        self.where = where
        self._idle: list[Connection] = []
        self._lock = Lock()
        self._room = BoundedSemaphore(_CONNECTIONS)

    def ask(
        self, do: Callable[[Connection], T], of: str, *, timeout_ms: int = TIMEOUT_MS,
        settings: Mapping[str, str] | None = None,
    ) -> T:  # fmt: skip
        """What `do` gives of a read-only transaction with `settings`; errors name what it is `of`, and no address.

        It is done once more if the connection was lost or the server restarts.

        Raises:
            Unavailable: the server cannot be reached, refuses the credentials, or takes too long.
            CorruptFile: a table or a column is gone.
        """
        try:
            with self.transaction(of, timeout_ms, settings) as connection:
                return do(connection)
        except Unavailable as error:
            if not _lost(error.__cause__):
                raise
            self.close()
            time.sleep(_AGAIN_S)  # a server that restarts is back after a moment
        with self.transaction(of, timeout_ms, settings) as connection:
            return do(connection)

    @contextmanager
    def transaction(
        self, of: str, timeout_ms: int = TIMEOUT_MS, settings: Mapping[str, str] | None = None
    ) -> Iterator[Connection]:
        """One read-only transaction, all of one state of the database; its errors in our words."""
        if not self._room.acquire(timeout=_WAIT_S):
            raise Unavailable(f"all {_CONNECTIONS} connections to the server of {of} are in use: try again later")
        connection = None
        try:
            connection = self._taken()
            with connection.transaction():
                wanted = {"statement_timeout": str(timeout_ms), **(settings or {})}
                connection.execute(_SETTINGS, [list(wanted), list(wanted.values())])
                yield connection
        except psycopg.Error as error:
            raise said(error, of, timeout_ms) from error
        finally:
            if connection is not None:
                self._put_back(connection)
            self._room.release()

    def _taken(self) -> Connection:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        # What the address says of a time-out counts; prepared statements would confuse a pooler in between.
        settings = {} if "connect_timeout" in self.where else {"connect_timeout": _CONNECT_S}
        made = psycopg.connect(self.where, prepare_threshold=None, **settings)  # type: ignore[arg-type]
        made.read_only = True
        made.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        return made

    def _put_back(self, connection: Connection) -> None:
        sound = not connection.closed and connection.info.transaction_status == pq.TransactionStatus.IDLE
        with self._lock:
            if sound and len(self._idle) < _KEPT:
                self._idle.append(connection)
                return
        connection.close()

    def close(self) -> None:
        """Close those that are not in use."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()


def _refused(error: psycopg.Error) -> bool:
    """Whether the server wants other credentials."""
    state, text = error.sqlstate or "", str(error)
    return state.startswith("28") or "authentication failed" in text or "no password supplied" in text


def _lost(error: BaseException | None) -> bool:
    """Whether the connection broke or could not be made: all that was asked is safe to ask again."""
    if not isinstance(error, psycopg.OperationalError) or _refused(error):
        return False
    state = error.sqlstate or ""
    return not state or state.startswith("08") or state in _GOING


def said(error: psycopg.Error, of: str, timeout_ms: int = TIMEOUT_MS) -> SamespaceError:
    """What PostgreSQL said, as an error of ours; neither the password, which libpq never tells, nor the address."""
    lines = [line.rpartition(" failed: ")[2] for line in str(error).splitlines() if " failed: " in line]
    first = (error.diag.message_primary or (lines or ["no such host, or no answer"])[0])[:200]
    state = error.sqlstate or ""
    if state == "57014":
        return Unavailable(f"{of} did not answer within {timeout_ms / 1000:.0f} s: give the table a vector index")
    if state == "42501":
        return Unavailable(f"{of} may not be read: {first}; GRANT SELECT on the table to this user")
    if state in ("42P01", "42703", "42883", "42704", "3F000"):
        return CorruptFile(f"{of} lost what was attached: {first}; put it back, or detach it")
    if _refused(error):
        return Unavailable(
            f"{of} refused the credentials: {first}; put the password into PGPASSWORD, ~/.pgpass or a service"
        )
    if _lost(error):
        return Unavailable(f"{of} cannot be reached: {first}; check that it runs, then try again")
    return Unavailable(f"{of} did not answer as it should: {first}")
