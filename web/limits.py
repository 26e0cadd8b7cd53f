"""How much a request may hold, and how many there may be."""

from __future__ import annotations

import hashlib
import math
import time
from typing import IO, Any, NoReturn

from flask import Flask, request
from flask.json.provider import DefaultJSONProvider
from flask_limiter import Limiter, RequestLimit
from limits import parse_many

from registry.errors import InvalidInput, TooLarge, TooMany
from web.current import current_settings, settings_of

__all__ = ["JSON_BYTES", "check_rate", "install", "vectors"]

JSON_BYTES = 1 << 20
"""Largest body of a request that does not bring vectors."""

_UNLIMITED = ("health", "static")


def install(app: Flask) -> None:
    """Hold the requests of `app` to what its settings allow."""
    app.config["MAX_CONTENT_LENGTH"] = JSON_BYTES  # a longer Content-Length is refused before anything is read
    app.json = _Json(app)
    rate = settings_of(app).rate_limit
    if not rate:
        return
    check_rate(rate)
    limiter = Limiter(
        _key,
        app=app,
        application_limits=[rate],
        storage_uri="memory://",  # of this process: several processes allow as many times more
        on_breach=_refuse,
    )
    limiter.request_filter(lambda: (request.endpoint or "").split(".")[0] in _UNLIMITED)


class _Json(DefaultJSONProvider):
    """JSON that is nested too deep is no JSON, like any other that cannot be read."""

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        try:
            return super().loads(s, **kwargs)
        except RecursionError as error:
            raise ValueError("the JSON is nested too deep") from error


def check_rate(rate_limit: str) -> None:
    """Refuse a rate that does not parse.

    Raises:
        InvalidInput: it is none.
    """
    try:
        parse_many(rate_limit)
    except ValueError:
        raise InvalidInput(f"rate_limit must be like '600 per minute', got {rate_limit!r:.80}") from None


def vectors() -> IO[bytes]:
    """The body of a request that brings vectors, to be read in pieces: at most `settings.body_mb`.

    Raises:
        TooLarge: it says that it is larger; nothing of it has been read.
    """
    most = current_settings().body_mb
    if (request.content_length or 0) > most << 20:
        raise TooLarge(f"the body is larger than the {most} MiB that this server takes at once: send it in parts")
    request.max_content_length = most << 20  # a body without Content-Length is cut there
    return request.stream


def _key() -> str:
    """Whose requests are counted together: those with one token, without any those from one address."""
    token = request.headers.get("Authorization")
    return hashlib.sha256(token.encode()).hexdigest() if token else request.remote_addr or "unknown"


def _refuse(limit: RequestLimit) -> NoReturn:
    wait = max(1, math.ceil(limit.reset_at - time.time()))
    raise TooMany(f"this server allows {limit.limit} of one caller: try again in {wait} s", retry_after=wait)
