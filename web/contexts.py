"""A context of its own for each request, so that what it sets, such as who acts, ends with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextvars import Context, copy_context
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

__all__ = ["EachInItsOwn"]


class EachInItsOwn:
    """An application, each request of which runs in a copy of the caller's context, the parts of a streamed answer too."""

    def __init__(self, app: WSGIApplication) -> None:
        self._app = app

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        context = copy_context()
        return _Body(context, context.run(self._app, environ, start_response))


class _Body:
    """The parts of an answer, each made in the context of its request."""

    def __init__(self, context: Context, parts: Iterable[bytes]) -> None:
        self._context, self._whole = context, parts
        self._parts = context.run(iter, parts)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return self._context.run(next, self._parts)

    def close(self) -> None:
        """Let the answer close what it holds; servers call this at the end, however it came."""
        close = getattr(self._whole, "close", None)
        if close is not None:
            self._context.run(close)
