"""Gunicorn's threaded worker, so that no client keeps a thread or the others waiting, and its log in our form."""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import sys
from functools import partial
from typing import Any

from gunicorn.glogging import Logger
from gunicorn.workers.gthread import ThreadWorker

from web.logs import JsonLines

__all__ = ["STALL_S", "Log", "Worker"]

STALL_S = 60
"""A client that takes or sends no byte for so long is dropped."""


class Worker(ThreadWorker):  # type: ignore[misc]  # gunicorn ships no types
    """Threads are given to requests, never to silent connections."""

    def enqueue_req(self, conn: Any) -> None:
        """Give a connection a thread once it has sent something; gunicorn would let a thread wait 5 s for that."""
        if conn.initialized or conn.data_ready:
            super().enqueue_req(conn)
            return
        # The kernel's own timeouts: one of Python's would be for a whole piece, however large, and gunicorn resets it.
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            conn.sock.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", STALL_S, 0))
        conn.set_timeout()
        self.pending_conns.append(conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self.on_pending_socket_readable, conn))

    def handle(self, conn: Any) -> Any:
        """Answer a request, and close in this thread what is to be closed.

        Closing waits up to 2 s for the client, and gunicorn would wait in the thread that accepts everybody.
        """
        kept = super().handle(conn)
        while kept and self.alive and _holds_more(conn):
            kept = super().handle(conn)
        if kept and self.alive:
            return kept
        with contextlib.suppress(OSError):  # already closed
            conn.close(graceful=True)
        conn.close = _nothing
        return False

    def set_accept_enabled(self, enabled: bool) -> None:
        """Take new connections or not; when the server stops, refuse them, where gunicorn would let them wait."""
        super().set_accept_enabled(enabled)
        if not self.alive:
            for listener in self.sockets:
                listener.close()

    def murder_keepalived(self) -> None:
        """Close idle connections that are over their time; when the server stops, all: nothing runs on them."""
        self._expire(self.keepalived_conns)
        super().murder_keepalived()

    def murder_pending(self) -> None:
        """The same for connections that never sent anything."""
        self._expire(self.pending_conns)
        super().murder_pending()

    def _expire(self, idle: Any) -> None:
        if not self.alive:
            for conn in idle:
                conn.timeout = 0.0


class Log(Logger):  # type: ignore[misc]
    """Gunicorn's own lines."""

    def setup(self, cfg: Any) -> None:
        """Log as the application does."""
        super().setup(cfg)
        for handler in self.error_log.handlers:
            handler.setFormatter(JsonLines())

    def exception(self, msg: str, *args: Any, **kwargs: Any) -> None:
        """A stalled client is no failure of ours."""
        if isinstance(sys.exc_info()[1], BlockingIOError):
            self.debug("dropped a client that took or sent nothing for %d s", STALL_S)
        else:
            super().exception(msg, *args, **kwargs)


def _holds_more(conn: Any) -> bool:
    """Whether the next request, or a part of it, was read with the end of the last one.

    It is in no socket any more, so the poller would never tell of it. A client that is refused before its body was
    read may send the next request while the server still reads the rest of that body.
    """
    return len(conn.parser.unreader.buf.getbuffer()) > 0


def _nothing(*, graceful: bool = False) -> None:
    """Stands for `close` of a connection that is closed."""
