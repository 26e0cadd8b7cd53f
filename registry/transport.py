"""Requests to a server: time-outs, repetition of what is safe to repeat, and errors turned back into their classes."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from ssl import SSLContext
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx
import pyarrow as pa

from registry import wire
from registry.errors import InvalidInput, SamespaceError, TooMany, Unavailable

__all__ = ["Content", "Transport"]

T = TypeVar("T")

Content = Callable[[], Iterable[bytes]]
"""Makes the body of a request anew each time that it is sent."""

_REPEATS = 4
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.2, 10.0
_CONNECT_S = 5.0
_LONGEST_SILENCE_S = 3600.0  # between two lines: measuring one pair of versions of a large benchmark takes a while
_TRIED_AGAIN = (429, 502, 503, 504)


@cache
def _certificates() -> SSLContext:
    """Whom https is trusted by; reading them takes longer than a request, so once is enough."""
    return httpx.create_ssl_context()


class Transport:
    """One server, and the token that it is asked with."""

    def __init__(
        self, url: str, token: str | None, *, timeout: float, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        if not _is_address(url):
            raise InvalidInput("a server's address is like http://host:8321, without name, password or query")
        if token is not None and not (token.isascii() and token.isprintable()):
            raise InvalidInput("the token holds characters that no token has: copy it again")
        self.url = url.rstrip("/")
        self._sleep = sleep
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        # An API has no redirects, and following one could carry the token elsewhere.
        self._http = httpx.Client(
            base_url=f"{self.url}/api/v1", headers=headers, timeout=httpx.Timeout(timeout, connect=_CONNECT_S),
            follow_redirects=False, verify=_certificates(),
        )  # fmt: skip

    def close(self) -> None:
        """Let go of connections."""
        self._http.close()

    def json(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        key: str | None = None,
    ) -> Any:
        """A request of JSON and its answer. A POST is repeated only if it has an idempotency key."""
        repeatable = method != "POST" or key is not None
        answer = self._repeated(lambda: self._whole(method, path, query, key, json=body), repeatable)
        return wire.json_object(answer.content or b"{}")

    def send(
        self, method: str, path: str, content: Content, *, kind: str, query: Mapping[str, Any] | None = None,
        key: str | None = None, repeatable: bool = True,
    ) -> httpx.Response:  # fmt: skip
        """A request with a body of bytes, and its whole answer."""

        def once() -> httpx.Response:
            return self._whole(method, path, query, key, content=content(), headers={"Content-Type": kind})

        return self._repeated(once, repeatable)

    def fetch(self, path: str, *, query: Mapping[str, Any] | None = None) -> bytes:
        """The bytes of an answer."""
        return self._repeated(lambda: self._whole("GET", path, query, None), True).content

    def batches(
        self, method: str, path: str, *, query: Mapping[str, Any] | None = None, content: Content | None = None
    ) -> Iterator[tuple[pa.RecordBatch, dict[str, Any]]]:
        """The batches of an answer as they come. Asked for again until it begins, not once it has begun."""
        headers = {"Accept-Encoding": "identity", **({"Content-Type": wire.ARROW} if content else {})}  # it is read raw

        def begin() -> httpx.Response:
            with self._translated():
                request = self._http.build_request(
                    method, path, params=_plain(query), content=content() if content else None, headers=headers
                )
                answer = self._http.send(request, stream=True)
                if answer.status_code >= 400:
                    answer.read()
            return _checked(answer)

        answer = self._repeated(begin, True)
        try:
            yield from self._received(answer)
        finally:
            answer.close()

    def lines(self, path: str, body: Any) -> Iterator[str]:
        """The lines of an answer to a POST of JSON as they come."""
        patience = httpx.Timeout(_LONGEST_SILENCE_S, connect=_CONNECT_S)
        with self._translated(), self._http.stream("POST", path, json=body, timeout=patience) as answer:
            if answer.status_code >= 400:
                answer.read()
            yield from _checked(answer).iter_lines()

    def _received(self, answer: httpx.Response) -> Iterator[tuple[pa.RecordBatch, dict[str, Any]]]:
        found = wire.read(_Incoming(answer))
        while True:
            with self._translated():
                try:
                    item = next(found, None)
                except InvalidInput as error:
                    if type(error) is not InvalidInput:
                        raise
                    raise Unavailable(f"the answer of {self.url} broke off ({error}): ask again") from error
            if item is None:
                return
            yield item

    def _whole(
        self, method: str, path: str, query: Mapping[str, Any] | None, key: str | None, **more: Any
    ) -> httpx.Response:
        headers = {**(more.pop("headers", None) or {}), **({"Idempotency-Key": key} if key else {})}
        with self._translated():
            return _checked(self._http.request(method, path, params=_plain(query), headers=headers, **more))

    def _repeated(self, once: Callable[[], T], repeatable: bool) -> T:
        """The result of `once`, tried again with growing pauses while the server cannot be reached or is busy."""
        wait = _FIRST_WAIT_S
        for left in range(_REPEATS, -1, -1):
            try:
                return once()
            except (Unavailable, TooMany) as error:
                if not repeatable or not left or getattr(error, "final", False):
                    raise
                pause = getattr(error, "retry_after", None) or wait * random.uniform(0.5, 1.5)  # noqa: S311 - jitter
                self._sleep(min(pause, _LONGEST_WAIT_S))
                wait *= 2
        raise AssertionError  # the loop returns or raises

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except UnicodeEncodeError as error:
            raise InvalidInput(f"{error.object!r:.80} is no valid text: {error.reason}") from error
        except httpx.TimeoutException as error:
            raise Unavailable(
                f"{self.url} did not answer in time: try again, or connect with a longer timeout="
            ) from error
        except httpx.HTTPError as error:
            raise Unavailable(
                f"cannot reach {self.url}: {str(error) or type(error).__name__}; is the server up?"
            ) from error


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        port = parts.port  # raises if it is no port
    except ValueError:
        return False
    more = parts.username or parts.query or parts.fragment
    return parts.scheme in ("http", "https") and bool(parts.hostname) and port != 0 and not more


def _checked(answer: httpx.Response) -> httpx.Response:
    """The answer, or the error that it tells of."""
    if answer.status_code < 400:
        if answer.status_code >= 300:
            raise Unavailable(
                f"{answer.request.url.host} answers with a redirect: is this the address of a samespace server?"
            )
        return answer
    try:
        told = answer.json()["error"]
        error: SamespaceError = wire.error_of(told)
    except (ValueError, KeyError, TypeError, RecursionError):
        error = Unavailable(
            f"{answer.request.url.host} answers {answer.status_code}: is this the address of a samespace server?"
        )
    wait = answer.headers.get("Retry-After", "")
    if answer.status_code in _TRIED_AGAIN and wait.isdecimal() and len(wait) < 10:
        error.retry_after = int(wait)  # type: ignore[attr-defined]
    raise error


def _plain(query: Mapping[str, Any] | None) -> dict[str, Any]:
    """Query parameters without those that are None."""
    return {name: value for name, value in (query or {}).items() if value is not None}


class _Incoming:
    """The body of an answer, to be read in pieces."""

    def __init__(self, answer: httpx.Response) -> None:
        self._pieces = answer.iter_raw()
        self._left = memoryview(b"")

    def read(self, n: int) -> memoryview:
        """At most n bytes; none at the end."""
        if not self._left:
            self._left = memoryview(next(self._pieces, b""))
        found, self._left = self._left[:n], self._left[n:]
        return found
