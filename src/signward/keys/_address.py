"""URIs of keys in services: ``NAME?option=value&...``, and the endpoints they may name."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from signward.errors import KeyProviderError


class Endpoint(NamedTuple):
    """Where a service listens; ``path`` begins with a slash or is empty, and ends without one."""

    scheme: str
    host: str
    port: int
    path: str

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        standard = self.port == (443 if self.scheme == "https" else 80)
        return f"{self.scheme}://{host}{'' if standard else f':{self.port}'}{self.path}"


def parse(
    scheme: str, rest: str, form: str, known: tuple[str, ...] = ()
) -> tuple[str, Mapping[str, str]]:
    """Return what a URI names and its options; ``form`` shows what is required of the name.

    Options are ``endpoint`` and those ``known``.  Raises ``KeyProviderError``: no secret can
    be an option.
    """
    name, _, query = rest.partition("?")
    options: dict[str, str] = {}
    for part in filter(None, query.split("&")):
        option, _, value = part.partition("=")
        if option not in (*known, "endpoint") or option in options or not value:
            allowed = ", ".join(sorted((*known, "endpoint")))
            found = f"option {option[:40]!r}" + (" twice" if option in options else "")
            raise KeyProviderError(f"{scheme}: URI", found, f"options of {allowed}, each once")
        options[option] = unquote(value)
    plain = unquote(name)
    if not plain or not plain.isprintable():
        raise KeyProviderError(f"{scheme}: URI", "no name that can be sent", f"{scheme}:{form}")
    return plain, options


def endpoint(scheme: str, url: str) -> Endpoint:
    """Return a checked endpoint: HTTPS, or HTTP to this machine.  Raises ``KeyProviderError``."""
    try:
        parts = urlsplit(url)
        port, host = parts.port, (parts.hostname or "").encode("ascii").decode()
    except (ValueError, UnicodeError):
        parts, port, host = urlsplit(""), None, ""
    plain = parts.scheme == "http"
    clean = not (parts.query or parts.fragment or parts.username or parts.password)
    if not host or not clean or parts.scheme not in ("http", "https"):
        raise KeyProviderError(f"{scheme}: endpoint", "no URL of a service", "https://HOST")
    if plain and not _is_loopback(host):
        found, hint = "http to another machine", "secrets and digests would travel in the clear"
        raise KeyProviderError(f"{scheme}: endpoint", found, "https", hint)
    return Endpoint(parts.scheme, host, port or (80 if plain else 443), parts.path.rstrip("/"))


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
