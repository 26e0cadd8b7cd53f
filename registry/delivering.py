"""The sender: posts due deliveries to their webhooks, in any number of processes at once, each at least once."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import random
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from ssl import SSLContext
from threading import Event, Thread

import httpx

from registry import addresses
from registry.database import Database
from registry.errors import SamespaceError
from registry.services import deliveries
from registry.services.deliveries import Parcel
from registry.settings import Settings
from registry.tables import now

__all__ = ["MOST_ATTEMPTS", "Sender", "Sent", "run_in_background", "signature"]

MOST_ATTEMPTS = 8
"""After so many a delivery is given up, some 15 hours after the first."""

_AT_ONCE = 20
_FIRST_PAUSE = timedelta(seconds=10)
_LEASE = timedelta(seconds=120)  # well above what one round of time-outs takes
_POLL_S = 2.0
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Sent:
    """What a sender did: deliveries that arrived, and attempts that failed."""

    delivered: int = 0
    failed: int = 0

    def __add__(self, other: Sent) -> Sent:
        return Sent(self.delivered + other.delivered, self.failed + other.failed)


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """The value of X-Samespace-Signature: HMAC-SHA256 over `<timestamp>.<body>`."""
    return "sha256=" + hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


@dataclass(frozen=True)
class Sender:
    """Sends what is due in `database` to hosts that are public, or to those `allowed` alone if there are any."""

    database: Database
    allowed: Collection[str] = ()
    timeout_s: float = 10.0
    clock: Callable[[], datetime] = now

    def send_due(self) -> Sent:
        """Send all that is due; what fails is due again later."""
        total = Sent()
        while (sent := self.send_some()) != Sent():
            total += sent
        return total

    def send_some(self) -> Sent:
        """Send a few deliveries, side by side; nothing if none is due. No transaction is open meanwhile."""
        parcels = self._claim()
        if not parcels:
            return Sent()
        with ThreadPoolExecutor(1) as thread:  # a notebook runs an event loop in the caller's
            errors = thread.submit(asyncio.run, self._post_all(parcels)).result()
        with self.database.writing() as session:
            for parcel, error in zip(parcels, errors, strict=True):
                at = self.clock()
                deliveries.settle(session, parcel, at, error=error, again=_again(parcel, at))
        for parcel, error in zip(parcels, errors, strict=True):
            if error is not None and parcel.attempt >= MOST_ATTEMPTS:
                _LOG.warning("webhook %s is not told of %s %s: %s", parcel.webhook, parcel.event, parcel.id, error)
        return Sent(errors.count(None), len(errors) - errors.count(None))

    def _claim(self) -> list[Parcel]:
        at = self.clock()
        with self.database.reading() as session:
            if not deliveries.any_due(session, at):
                return []
        with self.database.writing() as session:
            return deliveries.claim(session, at, until=at + _LEASE, limit=_AT_ONCE)

    async def _post_all(self, parcels: list[Parcel]) -> list[str | None]:
        context = httpx.create_ssl_context()
        return await asyncio.gather(*(self._post(parcel, context) for parcel in parcels))

    async def _post(self, parcel: Parcel, context: SSLContext) -> str | None:
        """Send one parcel; None if it arrived, else what went wrong."""
        try:
            async with asyncio.timeout(self.timeout_s):  # for everything: httpx alone would limit each step
                url = addresses.parse(parcel.url)
                found = await asyncio.to_thread(addresses.resolve, url, self.allowed)
                status = await self._first_answer(parcel, url, found, context)
        except TimeoutError:
            return f"no answer within {self.timeout_s:g} s"
        except SamespaceError as error:
            return str(error)
        except Exception as error:  # whatever it is, it must not keep the other parcels of this round
            return f"{type(error).__name__}: {error}"
        if 200 <= status < 300:
            return None
        return f"the answer was HTTP {status}" + (", and redirects are not followed" if 300 <= status < 400 else "")

    async def _first_answer(self, parcel: Parcel, url: httpx.URL, found: list[str], context: SSLContext) -> int:
        """The status that the first address to take a connection answers."""
        for address in found[:-1]:
            try:
                return await self._answer(parcel, url, address, context)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                continue
        return await self._answer(parcel, url, found[-1], context)

    async def _answer(self, parcel: Parcel, url: httpx.URL, address: str, context: SSLContext) -> int:
        """Post to `address`, which was checked, under the name of the URL's host; the answer's body is never read.

        A bare transport knows no redirects, proxies, cookies or log of URLs. Each call has its own: a kept connection
        would be found by its address, and so be taken for another host whose certificate nobody checked.
        """
        timestamp = str(int(self.clock().timestamp()))
        request = httpx.Request(
            "POST",
            url.copy_with(host=address),
            content=parcel.body,
            headers={
                "Host": url.netloc.decode("ascii"),
                "User-Agent": "samespace",
                "Content-Type": "application/json",
                "X-Samespace-Event": parcel.event,
                "X-Samespace-Delivery": parcel.id,
                "X-Samespace-Timestamp": timestamp,
                "X-Samespace-Signature": signature(parcel.secret, timestamp, parcel.body),
            },
            extensions={"sni_hostname": addresses.host_of(url), "timeout": {"connect": self.timeout_s / 3}},
        )
        async with httpx.AsyncHTTPTransport(verify=context, trust_env=False) as transport:
            response = await transport.handle_async_request(request)
            await response.aclose()
            return response.status_code


def _again(parcel: Parcel, at: datetime) -> datetime | None:
    """When a parcel that failed is sent again: after 10 s, 40 s, 160 s, …, spread by a fifth; None to give it up."""
    if parcel.attempt >= MOST_ATTEMPTS:
        return None
    return at + _FIRST_PAUSE * 4.0 ** (parcel.attempt - 1) * random.uniform(0.8, 1.2)  # noqa: S311 - no secret


def run_in_background(database: Database, settings: Settings) -> Callable[[], None]:
    """Send what becomes due in a thread of its own, until the returned function is called, which waits for its end."""
    sender = Sender(database, settings.webhook_hosts)
    stopping = Event()

    def run() -> None:
        pause = 0.0
        while not stopping.wait(pause):
            try:
                pause = 0.0 if sender.send_some() != Sent() else _POLL_S
            except Exception:  # the next round may find the database again
                _LOG.exception("webhooks could not be sent; trying again")
                pause = _POLL_S * 5

    thread = Thread(target=run, name="samespace-webhooks", daemon=True)
    thread.start()

    def stop() -> None:
        stopping.set()
        thread.join(2 * sender.timeout_s)

    return stop
