"""Where a fetch may go.

A certificate names the URL, so whoever made the certificate chooses it: an address that
only this machine or its network can reach must not become reachable through us (server
side request forgery).  What is checked is the address connected to, not the name.
"""

from __future__ import annotations

import ipaddress
from typing import NamedTuple
from urllib.parse import urlsplit

from signward.errors import FetchError

MAX_URL_CHARACTERS = 2048
"""Longest URL followed; the longest real one seen has 290 (an LDAP-style CRL path)."""

PORTS = {"http": 80, "https": 443}
FIRST_FREE_PORT = 1024
"""Ports below it belong to other protocols (mail, shells), 80 and 443 excepted."""

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
"""IPv4 addresses seen from IPv6-only networks (RFC 6052)."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Target(NamedTuple):
    """One URL taken apart: ``path`` with its query, ready for a request line."""

    url: str
    scheme: str
    host: str
    port: int
    path: str


def read_target(url: str, *, private: bool) -> Target:
    """Return the parts of an http or https URL.  Raises ``FetchError`` for any other.

    ``private`` permits ports of other protocols too.
    """
    if len(url) > MAX_URL_CHARACTERS or not url.isascii() or not url.isprintable() or " " in url:
        raise FetchError(f"{url[:80]!r}: no URL that is followed")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise FetchError(f"{url}: {error}") from None
    if parts.scheme not in PORTS or not host or parts.username is not None:
        raise FetchError(f"{url}: found scheme {parts.scheme or 'none'}, required http or https")
    chosen = PORTS[parts.scheme] if port is None else port
    if chosen < FIRST_FREE_PORT and chosen not in PORTS.values() and not private:
        raise FetchError(f"{url}: port {chosen} belongs to another protocol")
    query = f"?{parts.query}" if parts.query else ""
    return Target(url, parts.scheme, host, chosen, (parts.path or "/") + query)


def may_reach(text: str, *, private: bool) -> bool:
    """Say whether an address (text form) may be connected to.

    By default only what the Internet routes; with ``private`` also private and loopback
    networks.  Link-local (where clouds keep their metadata), multicast and unspecified
    addresses never; an IPv4 address inside an IPv6 one is judged too.
    """
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return all(_reachable(one, private=private) for one in (address, *_inner(address)))


def _reachable(address: Address, *, private: bool) -> bool:
    if address.is_link_local or address.is_multicast or address.is_unspecified:
        return False
    if private and (address.is_private or address.is_loopback):
        return True
    return address.is_global or _is_carrier(address)


def _inner(address: Address) -> tuple[ipaddress.IPv4Address, ...]:
    """Return the IPv4 addresses an IPv6 address stands for (RFC 4291, 3056, 4380, 6052)."""
    if isinstance(address, ipaddress.IPv4Address):
        return ()
    found = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in _NAT64:
        found.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return tuple(one for one in found if one is not None)


def _is_carrier(address: Address) -> bool:
    """Say whether only the IPv4 address inside decides."""
    return isinstance(address, ipaddress.IPv6Address) and (
        address.ipv4_mapped is not None or address in _NAT64
    )
