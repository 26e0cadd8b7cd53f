"""`serve`: the application under gunicorn, in this process and its workers."""

from __future__ import annotations

import gc
import os
import shutil
import socket
import tempfile
from typing import TYPE_CHECKING, Any

from gunicorn.app.base import BaseApplication
from gunicorn.errors import AppImportError

from registry.encoding import encoders
from registry.errors import InvalidInput, SamespaceError, Unavailable
from registry.settings import Settings
from web import limits, logs
from web.current import registry_of
from web.loopback import check_exposed
from web.workers import Log, Worker

if TYPE_CHECKING:
    from flask import Flask

__all__ = ["GRACE_S", "serve", "settle"]

GRACE_S = 30
"""What runs when the server is told to stop has so long to end."""

_TIMEOUT_S = 120  # of a worker that does not even run its loop
_KEEP_S = 75  # an idle connection: longer than the pools of clients and proxies keep theirs, so that they end it
_LINE_BYTES, _HEADERS, _HEADER_BYTES = 8190, 64, 8190
_RANGES = {"port": (1, 65535), "workers": (1, 64), "threads": (2, 512), "body_mb": (1, 1 << 24)}
_COLLECTED_AFTER = (20_000, 20, 50)
_STOP_SENDING = "samespace-stop-sending"
_METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"


def serve(
    home: str | os.PathLike[str],
    settings: Settings | None = None,
    *,
    database: str | None = None,
    galleries: str | None = None,
) -> None:
    """Serve the registry in `home` until SIGTERM or SIGINT, then finish what was begun and return by SystemExit.

    Args:
        home: the registry's folder.
        settings: how to run; by default as the environment says.
        database: the address of the facts if they are not in the folder.
        galleries: the address of vectors, items and previews if they are not in the folder; see `registry.connect`.

    Raises:
        InvalidInput: a setting that cannot be, or a host that is not loopback while there are no tokens.
        Unavailable: the port is taken.
    """
    settings = Settings.read() if settings is None else settings
    _check(settings)
    check_exposed(settings.host, home, database)
    host = "127.0.0.1" if settings.host.lower() == "localhost" else settings.host
    _check_free(host, settings.port)
    logs.configure(settings.log_level)
    _Server(os.fspath(home), f"[{host}]" if ":" in host else host, settings, database, galleries).run()


def _check(settings: Settings) -> None:
    for name, (least, most) in _RANGES.items():
        value = getattr(settings, name)
        if not least <= value <= most:
            raise InvalidInput(f"{name} must be {least} to {most}, got {value}")
    if not 1 <= settings.transfers < settings.threads:
        raise InvalidInput(
            f"transfers must be 1 to {settings.threads - 1}, fewer than the {settings.threads} threads, "
            f"got {settings.transfers}: the others answer what is quick"
        )
    if settings.log_level not in logs.LEVELS:
        raise InvalidInput(f"log_level must be one of {', '.join(logs.LEVELS)}, got {settings.log_level!r:.80}")
    if settings.rate_limit:
        limits.check_rate(settings.rate_limit)
    encoders(settings.encoders)


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

    def __init__(self, home: str, host: str, settings: Settings, database: str | None, galleries: str | None) -> None:
        self._home, self._settings, self._database, self._galleries = home, settings, database, galleries
        self._options: dict[str, Any] = {
            "bind": f"{host}:{settings.port}",
            "workers": settings.workers,
            "worker_class": Worker,
            "threads": settings.threads,
            "timeout": _TIMEOUT_S,
            "graceful_timeout": GRACE_S,
            "keepalive": _KEEP_S,
            "limit_request_line": _LINE_BYTES,
            "limit_request_fields": _HEADERS,
            "limit_request_field_size": _HEADER_BYTES,
            "control_socket_disable": True,
            "proc_name": "samespace",
            "logger_class": Log,
            "loglevel": settings.log_level if settings.log_level in ("debug", "error") else "warning",
            "when_ready": _announce,
            "worker_exit": _close,
            "child_exit": _forget_worker,
            "on_exit": _forget_metrics,
        }
        super().__init__()

    def load_config(self) -> None:
        """Take the options over; gunicorn checks each."""
        for name, value in self._options.items():
            self.cfg.set(name, value)

    def run(self) -> None:
        """Serve; the workers' metrics meet in a folder, which must be named before prometheus_client is imported."""
        os.environ[_METRICS_FOLDER] = tempfile.mkdtemp(prefix="samespace-metrics-")
        super().run()

    def load(self) -> Flask:
        """The application, made in each worker: database connections and Lance's threads do not survive a fork."""
        from web import create_app

        try:
            app = create_app(self._home, database=self._database, settings=self._settings, galleries=self._galleries)
            app.extensions[_STOP_SENDING] = registry_of(app).send_in_background(self._settings)
            settle()
            return app
        except SamespaceError as error:
            # Gunicorn prints this one error as a line, without a traceback, and stops instead of forking again.
            raise AppImportError(f"samespace: {error}") from error


def settle() -> None:
    """Let the garbage collector pass over what was made so far, and look rarely at what grows old.

    The libraries are some 200,000 objects that stay; a full collection that visits them holds every request up for 0.1 s.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECTED_AFTER)


def _announce(server: Any) -> None:
    """Say where the page is, once it can be opened: to people, on standard output; the log has standard error."""
    print(f"samespace is at {server.LISTENERS[0]}  (Ctrl-C stops it)", flush=True)


def _close(_arbiter: Any, worker: Any) -> None:
    """Let a worker that ends stop sending to webhooks, and give its database connections back."""
    if worker.app.callable is not None:
        worker.app.callable.extensions[_STOP_SENDING]()
        registry_of(worker.app.callable).close()


def _forget_worker(_arbiter: Any, worker: Any) -> None:
    """Take what a worker was doing when it ended out of the metrics; what it had done stays."""
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]


def _forget_metrics(_arbiter: Any) -> None:
    shutil.rmtree(os.environ[_METRICS_FOLDER], ignore_errors=True)
