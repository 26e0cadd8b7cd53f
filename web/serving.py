"""`serve`: the application under gunicorn, in this process and its workers."""

from __future__ import annotations

import os
import socket
import sys
from typing import TYPE_CHECKING, Any

from gunicorn.app.base import BaseApplication
from gunicorn.errors import AppImportError

from registry.errors import InvalidInput, SamespaceError, Unavailable
from web.current import registry_of
from web.loopback import is_loopback

if TYPE_CHECKING:
    from flask import Flask

__all__ = ["serve"]

_THREADS = 8  # of one worker: most requests wait for the database
_TIMEOUT_S = 120
_GRACE_S = 30


def serve(
    home: str | os.PathLike[str],
    host: str = "127.0.0.1",
    port: int = 8321,
    workers: int = 2,
    database: str | None = None,
) -> None:
    """Serve the registry in `home` until SIGTERM or SIGINT, then finish what was begun and return by SystemExit.

    Raises:
        InvalidInput: a host that is not loopback: without tokens, whoever reaches the port reads everything.
        Unavailable: the port is taken.
    """
    if not is_loopback(host):
        raise InvalidInput(
            f"host {host!r:.120} would open the registry to the network, and this release has no tokens: "
            "use 127.0.0.1, and an SSH tunnel from elsewhere"
        )
    if not 1 <= port <= 65535 or not 1 <= workers <= 64:
        raise InvalidInput(f"port must be 1 to 65535 and workers 1 to 64, got {port} and {workers}")
    host = "127.0.0.1" if host.lower() == "localhost" else host
    _check_free(host, port)
    _Server(os.fspath(home), f"[{host}]:{port}" if ":" in host else f"{host}:{port}", workers, database).run()


def _check_free(host: str, port: int) -> None:
    """Say at once that the port is taken, where gunicorn would try for seconds and then only log it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise Unavailable(f"cannot listen on {host}:{port}: {error.strerror}; choose another port") from error


class _Server(BaseApplication):  # type: ignore[misc]  # gunicorn ships no types
    """Gunicorn, configured by arguments alone: no file, no environment, no control socket in the user's home."""

    def __init__(self, home: str, bind: str, workers: int, database: str | None) -> None:
        self._home, self._database = home, database
        self._options: dict[str, Any] = {
            "bind": bind,
            "workers": workers,
            "worker_class": "gthread",
            "threads": _THREADS,
            "timeout": _TIMEOUT_S,
            "graceful_timeout": _GRACE_S,
            "control_socket_disable": True,
            "proc_name": "samespace",
            "loglevel": "warning",
            "when_ready": _announce,
            "worker_exit": _close,
        }
        super().__init__()

    def load_config(self) -> None:
        """Take the options over; gunicorn checks each."""
        for name, value in self._options.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        """The application, made in each worker: database connections and Lance's threads do not survive a fork."""
        from web import create_app

        try:
            return create_app(self._home, database=self._database)
        except SamespaceError as error:
            # Gunicorn prints this one error as a line, without a traceback, and stops instead of forking again.
            raise AppImportError(f"samespace: {error}") from error


def _announce(server: Any) -> None:
    """Say where the page is, once it can be opened."""
    print(f"samespace is at {server.LISTENERS[0]}  (Ctrl-C stops it)", file=sys.stderr, flush=True)


def _close(_arbiter: Any, worker: Any) -> None:
    """Let a worker that ends give its database connections back."""
    if worker.app.callable is not None:
        registry_of(worker.app.callable).close()
