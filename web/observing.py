"""What is known of the request that is being answered: for its log line, for the metrics, and its id in every answer."""

from __future__ import annotations

import io
import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any

from flask import Flask, Response, g, request
from gunicorn.http.errors import ParseException

from registry.errors import SamespaceError

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

__all__ = ["CUT_OFF", "UNMATCHED", "Observation", "count_rows", "install", "note_error", "request_id"]

UNMATCHED = "unmatched"
"""The route of a request for an address that there is not."""

CUT_OFF = "cut_off"
"""The error code of an answer that was not sent to its end: its reader went away or stood still."""

_GIVEN_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


@dataclass(slots=True)
class Observation:
    """One request, filled while it is answered."""

    request_id: str
    method: str
    route: str = UNMATCHED
    """The template, such as `/api/v1/galleries/<name>`: a path holds names, and there is no end of paths."""
    status: int = 0
    caller: str | None = None
    error: str | None = None
    """The code of what failed."""
    received: int = 0
    sent: int = 0
    appended: int = 0
    fetched: int = 0
    started: float = field(default_factory=time.perf_counter)

    @property
    def seconds(self) -> float:
        """How long it has taken so far."""
        return time.perf_counter() - self.started


Reports = tuple[Callable[[Observation], None], ...]

_CURRENT: ContextVar[Observation | None] = ContextVar("samespace_observation", default=None)


def request_id() -> str | None:
    """The id of the request that this thread answers; None outside of one."""
    seen = _CURRENT.get()
    return seen.request_id if seen else None


def note_error(code: str) -> None:
    """Note the code of what failed."""
    if seen := _CURRENT.get():
        seen.error = code


def count_rows(*, appended: int = 0, fetched: int = 0) -> None:
    """Count vectors that were written or given out; a stream may call it for each of its pieces."""
    if seen := _CURRENT.get():
        seen.appended += appended
        seen.fetched += fetched


def install(app: Flask, *reports: Callable[[Observation], None]) -> None:
    """Observe every request of `app`, from outside of all that is installed before, and report each at its end."""
    app.after_request(_note_route)
    app.wsgi_app = _Observing(app.wsgi_app, reports)  # type: ignore[method-assign]  # as Flask's guide does it


def _note_route(response: Response) -> Response:
    if seen := _CURRENT.get():
        seen.route = request.url_rule.rule if request.url_rule else UNMATCHED
        seen.caller = getattr(g.get("caller"), "name", None)
    return response


class _Observing:
    """Around the whole application: what Flask's own hooks see ends before a streamed answer does."""

    def __init__(self, app: WSGIApplication, reports: Reports) -> None:
        self._app, self._reports = app, reports

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        given, method = environ.get("HTTP_X_REQUEST_ID", ""), environ["REQUEST_METHOD"]
        seen = Observation(
            given if _GIVEN_ID.fullmatch(given) else secrets.token_hex(8), method if method in _METHODS else "other"
        )
        environ["wsgi.input"] = _Input(environ["wsgi.input"], seen, _length(environ))
        _CURRENT.set(seen)

        def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Callable[[bytes], object]:
            seen.status = int(status[:3])
            return start_response(status, [*headers, ("X-Request-ID", seen.request_id)], *rest)

        return _Output(self._app(environ, start), seen, self._reports)


def _length(environ: WSGIEnvironment) -> int:
    """The body's length as far as it is told."""
    text = environ.get("CONTENT_LENGTH") or "0"
    return int(text) if text.isdecimal() and "HTTP_TRANSFER_ENCODING" not in environ else 0


class _Input(io.RawIOBase):
    """A request's body, counted as it is read. One that ends too early is an error: what came may look complete."""

    def __init__(self, body: IO[bytes], seen: Observation, length: int) -> None:
        self._body, self._seen, self._length = body, seen, length

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            piece = self._body.read(len(buffer))
        except ParseException as error:  # a chunk that is none; werkzeug answers an OSError with 400
            raise OSError("the body is not well formed") from error
        buffer[: len(piece)] = piece
        self._seen.received += len(piece)
        if not piece and len(buffer) and self._seen.received < self._length:
            raise OSError("the client went away")
        return len(piece)


class _Output:
    """An answer's body, counted as it is sent; its end is the request's end."""

    def __init__(self, body: Iterable[bytes], seen: Observation, reports: Reports) -> None:
        self._body, self._seen, self._reports = body, seen, reports
        self._pieces, self._ended, self._closed = iter(body), False, False

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            piece = next(self._pieces)
        except StopIteration:
            self._ended = True
            raise
        except Exception as error:
            self._seen.error = error.code if isinstance(error, SamespaceError) else "internal_error"
            raise
        self._seen.sent += len(piece)
        return piece

    def close(self) -> None:
        """Called by the server whatever happened."""
        if self._closed:
            return
        self._closed = True
        try:
            getattr(self._body, "close", lambda: None)()
        finally:
            if not self._ended and self._seen.error is None:
                self._seen.error = CUT_OFF
            for report in self._reports:
                report(self._seen)
            _CURRENT.set(None)
