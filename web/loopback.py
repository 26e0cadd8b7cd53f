"""Who may talk to a server without tokens: this machine alone."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from flask import request

from registry.errors import InvalidInput

__all__ = ["is_loopback", "refuse_foreign_host"]


def is_loopback(host: str) -> bool:
    """Whether `host` (`127.0.0.1`, `::1`, `localhost`) can only mean this machine."""
    try:
        return host.lower() == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def refuse_foreign_host() -> None:
    """Refuse a request for another host name before anything is read.

    Raises:
        InvalidInput: the Host header names no loopback host.
    """
    try:
        host = urlsplit(f"//{request.host}").hostname or ""
    except ValueError:
        host = ""
    if not is_loopback(host):
        raise InvalidInput(f"this server answers to localhost only, the request asks for {request.host!r:.120}")
