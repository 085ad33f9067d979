"""Where the service listens: one address, reserved for as long as the service runs."""

from __future__ import annotations

import ipaddress
import socket

from signward.errors import RealmError
from signward.frozen import Frozen
from signward.service.front import Tls
from signward.service.limits import MAX_CONNECTIONS

DEFAULT = "127.0.0.1:8650"

_MAX_PORT = 65535


class Listen(Frozen, frozen=True, kw_only=True):
    """An address, and TLS if it ends here.  ``host`` is an IP address."""

    host: str
    port: int
    tls: Tls | None = None

    @property
    def url(self) -> str:
        """What a client on this machine calls it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"

    def bound(self, *, shared: bool) -> socket.socket:
        """Return a socket bound to the address; ``shared`` with our own other processes."""
        bound = socket.socket(_family(self.host), socket.SOCK_STREAM)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if shared:
                bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            bound.bind((self.host, self.port))
        except BaseException:
            bound.close()
            raise
        return bound

    def listening(self) -> socket.socket:
        """Return a socket that accepts connections."""
        bound = self.bound(shared=True)
        bound.listen(MAX_CONNECTIONS)
        bound.settimeout(0)
        return bound


def read(text: str, tls: Tls | None, *, behind_proxy: bool = False) -> Listen:
    """Return the address that ``HOST:PORT`` names.

    Raises ``RealmError`` for one that others reach without TLS, unless a proxy ends it:
    tokens would cross the network in the clear.
    """
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    host = "127.0.0.1" if host == "localhost" else host
    if not colon or not port.isascii() or not port.isdigit() or int(port) > _MAX_PORT:
        raise RealmError("--listen", repr(text[:80]), "HOST:PORT, such as 127.0.0.1:8650")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise RealmError("--listen", repr(host[:80]), "an IP address, such as 127.0.0.1") from None
    if not (address.is_loopback or tls or behind_proxy):
        raise RealmError(
            "--listen", f"{host}, which others reach, without TLS", "a loopback address",
            hint="--tls-certificate and --tls-key, or --behind-proxy if a proxy ends TLS",
        )  # fmt: skip
    return Listen(host=str(address), port=int(port), tls=tls)


class Reservation:
    """Keeps an address ours: nobody else's process can listen there, each of ours can."""

    def __init__(self, listen: Listen) -> None:
        """Raise ``RealmError`` where somebody listens already."""
        try:
            listen.bound(shared=False).close()
            self._held = listen.bound(shared=True)
        except OSError as error:
            raise RealmError(
                "--listen", f"{listen.url}: {error.strerror}", "an address that is free",
                hint="--listen HOST:PORT names another one",
            ) from None  # fmt: skip
        port = self._held.getsockname()[1]
        self.listen = Listen(host=listen.host, port=port, tls=listen.tls)

    def release(self) -> None:
        """Give the address up."""
        self._held.close()


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
