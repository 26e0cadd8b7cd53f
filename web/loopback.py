"""This machine, and the names under which a server is asked for."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Collection
from pathlib import Path
from urllib.parse import urlsplit

from flask import request

from registry.database import Database, address_in
from registry.errors import InvalidInput, NotAllowed
from registry.layout import Layout
from registry.services.tokens import tokens

__all__ = ["check_exposed", "is_loopback", "refuse_other_hosts", "refuse_strangers"]

_OF_PROXIES = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP")
_READING = ("GET", "HEAD", "OPTIONS")


def is_loopback(host: str) -> bool:
    """Whether `host` (`127.0.0.1`, `::1`, `localhost`) can only mean this machine."""
    try:
        return host.lower() == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_exposed(host: str, home: str | os.PathLike[str], database: str | None = None) -> None:
    """Go on only if a server at `host` is this machine's alone, or somebody has a token for it.

    Raises:
        InvalidInput: whoever reaches the port could do everything.
    """
    if not is_loopback(host) and not _anybody_has_a_token(home, database):
        raise InvalidInput(
            f"host {host!r:.120} would open the registry to the network, and it has no tokens that are good: "
            "make one with 'samespace token create NAME --role admin', or use 127.0.0.1"
        )


def _anybody_has_a_token(home: str | os.PathLike[str], database: str | None) -> bool:
    """Read from the database alone: a whole registry must not be opened before the workers are forked."""
    file = Layout(Path(home).expanduser().resolve()).database
    if database is None and not file.is_file():
        return False
    facts = Database(database or address_in(file))
    try:
        facts.ensure()
        with facts.reading() as session:
            return any(token.state == "active" for token in tokens(session))
    finally:
        facts.close()


def refuse_strangers() -> None:
    """Refuse, before anything is read, whoever may not use a server without tokens: all but this machine's user.

    A page from elsewhere, opened in the user's browser, is a stranger too: it may have bound its own name to 127.0.0.1,
    or send its forms here.

    Raises:
        InvalidInput: the Host header names no loopback host.
        NotAllowed: the request comes from another machine, through a proxy, or from a page of another site.
    """
    if not is_loopback(_host_name(request.host)):
        raise InvalidInput(
            f"this server has no tokens and answers to localhost only, the request asks for {request.host!r:.120}"
        )
    address = request.remote_addr  # None where the call came through no network at all
    if address is not None and not is_loopback(address):
        raise NotAllowed(f"this server has no tokens and answers to this machine only, not to {address!r:.120}")
    if any(name in request.headers for name in _OF_PROXIES):  # through which anybody would look like this machine
        raise NotAllowed("this server has no tokens and answers to no proxy: make a token first")
    if request.method not in _READING and not _from_own_page():
        raise NotAllowed("a page of another site may change nothing here: use this server's own pages")


def _from_own_page() -> bool:
    """Whether no browser sent this, or one that shows a page of this server. Browsers say so, and pages cannot lie."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = request.headers.get("Origin")
    return origin is None or origin.partition("://")[2] == request.host


def refuse_other_hosts(allowed: Collection[str]) -> None:
    """Refuse a request for a name that is neither loopback nor `allowed`; `*` is any.

    Raises:
        InvalidInput: the Host header names another host.
    """
    name = _host_name(request.host)
    if not (is_loopback(name) or "*" in allowed or name in allowed):
        raise InvalidInput(
            f"this server does not answer to {request.host!r:.120}: if that is its name, say so in SAMESPACE_HOSTS"
        )


def _host_name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
