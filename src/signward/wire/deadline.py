"""HTTP connections that end at one deadline, whatever the server does.

The one place that makes sockets for ``fetch`` and ``keys``, which read answers by rules of
their own.  Nobody else may import it (``tests/architecture``).  Looking the name up, connecting,
the TLS handshake and every read share the deadline, so that a server that sends an octet now
and then holds nobody up.
"""

from __future__ import annotations

import http.client
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

MAX_CONNECT_SECONDS = 5.0
"""For one address; a server that answers at all accepts in well under one."""

MAX_ADDRESSES = 4
"""Addresses of one name that are tried."""

Address = tuple[int, tuple[Any, ...]]
"""A family and what ``socket.connect`` takes for it; the text form stands first in that."""

Choose = Callable[[Sequence[Address]], Sequence[Address]]
"""Returns those of a name's addresses that may be connected to, or raises."""


class Connection(http.client.HTTPConnection):
    """A connection to the first address that ``choose`` lets through and that answers.

    ``deadline`` is an instant of ``time.monotonic``; ``tls`` replaces the system's trust
    anchors.  ``OSError`` is raised for whatever fails: ``socket.gaierror`` for a name without
    addresses, ``TimeoutError`` for want of time.
    """

    def __init__(
        self,
        scheme: str,
        host: str,
        port: int,
        deadline: float,
        *,
        tls: ssl.SSLContext | None = None,
        choose: Choose = list,
    ) -> None:
        super().__init__(host, port)
        self.default_port = {"http": 80, "https": 443}[scheme]
        self._encrypts, self._tls = scheme == "https", tls
        self._deadline, self._choose = deadline, choose

    def connect(self) -> None:
        """Connect under the deadline."""
        last: OSError = TimeoutError()
        addresses = self._choose(_look_up(self.host, self.port, self._deadline))
        for family, address in addresses[:MAX_ADDRESSES]:
            try:
                self.sock = self._open(family, address)
            except OSError as error:
                last = error
            else:
                return
        raise last

    def _open(self, family: int, address: tuple[Any, ...]) -> socket.socket:
        plain = _Socket(family, socket.SOCK_STREAM)
        plain.deadline = self._deadline
        try:
            plain.settimeout(min(_left(self._deadline), MAX_CONNECT_SECONDS))
            plain.connect(address)
            plain.settimeout(_left(self._deadline))
            return self._encrypted(plain) if self._encrypts else plain
        except BaseException:
            plain.close()
            raise

    def _encrypted(self, plain: socket.socket) -> socket.socket:
        context = self._tls or ssl.create_default_context()
        context.sslsocket_class = _TlsSocket
        encrypted = context.wrap_socket(plain, server_hostname=self.host)
        assert isinstance(encrypted, _TlsSocket)  # noqa: S101 - the class named above
        encrypted.deadline = self._deadline
        return encrypted


class _Socket(socket.socket):
    """A socket whose every read ends at one deadline, however slowly octets trickle in."""

    deadline = 0.0

    def recv_into(self, *arguments: Any, **options: Any) -> int:
        """Read as ``socket.recv_into`` does, within what is left of the time."""
        self.settimeout(_left(self.deadline))
        return super().recv_into(*arguments, **options)


class _TlsSocket(ssl.SSLSocket):
    """The same over TLS."""

    deadline = 0.0

    def recv_into(self, *arguments: Any, **options: Any) -> int:
        """Read as ``SSLSocket.recv_into`` does, within what is left of the time."""
        self.settimeout(_left(self.deadline))
        return super().recv_into(*arguments, **options)


def _left(deadline: float) -> float:
    """Return the seconds that are left.  Raises ``TimeoutError`` when none are."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _look_up(host: str, port: int, deadline: float) -> list[Address]:
    """Resolve a name.  In a thread of its own: the resolver knows no deadline."""
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def resolve() -> None:
        try:
            answers.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            answers.put(error)

    threading.Thread(target=resolve, daemon=True).start()
    try:
        found = answers.get(timeout=_left(deadline))
    except queue.Empty:
        raise TimeoutError from None
    if isinstance(found, Exception):
        raise socket.gaierror(socket.EAI_NONAME, str(found))
    return list(dict.fromkeys((entry[0], entry[4]) for entry in found))
