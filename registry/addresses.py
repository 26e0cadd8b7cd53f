"""Addresses that the registry may call: URLs without credentials, of hosts that are public or explicitly allowed.

A webhook's URL is user input, and whoever sets it must not reach what only this machine can. So the host is looked up
here, once, and the caller connects to the very address that was checked: a second look-up could answer otherwise.
"""

from __future__ import annotations

import socket
from collections.abc import Collection
from ipaddress import IPv4Address, IPv6Address, ip_address

import httpx

from registry.errors import InvalidInput, Unavailable

__all__ = ["host_of", "parse", "resolve"]

_LONGEST = 1000


def parse(url: str) -> httpx.URL:
    """The URL if it can be called at all, whatever its host; messages never repeat it, since it may hold a password.

    Raises:
        InvalidInput: no http or https URL, or one with a user or a password in it.
    """
    if not isinstance(url, str) or len(url) > _LONGEST:
        raise InvalidInput(f"a URL is a text of at most {_LONGEST} characters, such as https://example.com/hook")
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        raise InvalidInput("the URL does not parse: write it like https://example.com/hook") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise InvalidInput(f"a URL begins with http:// or https:// and a host, got scheme {parsed.scheme!r:.40}")
    if parsed.userinfo:
        raise InvalidInput(f"the URL of {host_of(parsed)} holds a user or a password: leave it out, the secret signs")
    if parsed.port is not None and not 1 <= parsed.port <= 65535:
        raise InvalidInput(f"a port is 1 to 65535, got {parsed.port} for {host_of(parsed)}")
    return parsed


def host_of(url: httpx.URL) -> str:
    """The host as name servers and certificates know it: lower case, ASCII, without a final dot."""
    return url.raw_host.decode("ascii").lower().rstrip(".")


def resolve(url: httpx.URL, allowed: Collection[str]) -> list[str]:
    """The IP addresses of the URL's host, each checked; `allowed` hosts may have any, and if given are the only ones.

    Raises:
        InvalidInput: a host that is not allowed, or has an address that is not public.
        Unavailable: the host is not known to the name servers.
    """
    host = host_of(url)
    if allowed and host not in allowed:
        raise InvalidInput(f"host {host:.200} is not on the list of allowed hosts: add it to SAMESPACE_WEBHOOK_ALLOW")
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Unavailable(f"host {host:.200} cannot be looked up: check the URL, or try again later") from error
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if not allowed and not all(_is_public(ip_address(address)) for address in addresses):
        raise InvalidInput(
            f"host {host:.200} has an address that is not public: use a public host, or set SAMESPACE_WEBHOOK_ALLOW"
        )
    return addresses


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour  # IPv4 in disguise counts as what it leads to
        if inner is not None:
            return _is_public(inner)
    return address.is_global and not (address.is_multicast or address.is_reserved)
