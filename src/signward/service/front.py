"""TLS for the service, and who is at the other end of it.

The HTTP server does not tell an application which certificate a client showed.  So TLS ends
here, in the same process: what was encrypted goes on, octet for octet, over a private Unix
socket, and each connection comes from a socket whose name is a number drawn for it alone.  The
application knows a connection by that name.  No head of a request says who calls, so none
can lie about it (docs/decisions).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
import ssl
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from litestar.enums import ScopeType

from signward.errors import RealmError
from signward.frozen import Frozen
from signward.service.limits import MAX_CONNECTIONS
from signward.service.logs import Journal

if TYPE_CHECKING:
    from litestar.types import ASGIApp, Receive, Scope, Send

HANDSHAKE_SECONDS = 10.0
IDLE_SECONDS = 120.0
"""After which a connection on which neither side says anything is cut."""

CHUNK = 64 * 1024

PEER = "signward_peer"
"""Where the state of a request has its `Peer`; nowhere where TLS does not end here."""

_PRIVATE_NAME = "application"

_OWN_FILES = 2
"""The first of `Tls.files` show who we are; the others judge who calls."""


class Tls(Frozen, frozen=True, kw_only=True):
    """Files, all PEM: the service's certificates, leaf first, its key, and whom it asks.

    ``client_ca`` holds the authorities whose client certificates count, ``client_crls`` their
    CRLs, each of which must then be there and current.  Without the former no certificate is
    asked for.
    """

    certificates: Path
    key: Path
    client_ca: Path | None = None
    client_crls: tuple[Path, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file whose change calls for reading all of them anew."""
        asked = (self.client_ca,) if self.client_ca else ()
        return (self.certificates, self.key, *asked, *self.client_crls)


class Peer(NamedTuple):
    """The other end of a connection: its address, and its certificate (DER) if it showed one.

    ``asked`` counts how often the files had changed by which certificates are judged.
    """

    address: tuple[str, int]
    certificate: bytes | None
    asked: int
    is_outdated: bool = False
    """Whether they changed since: a certificate that was good may be revoked."""


def context_of(tls: Tls) -> ssl.SSLContext:
    """Return what connections are made with.  Raises ``RealmError``.

    No session is resumed: whoever comes again is looked at again.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
    context.num_tickets = 0
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(tls.certificates, tls.key, password=_no_password)
        if tls.client_ca:
            context.load_verify_locations(tls.client_ca)
            context.verify_mode = ssl.CERT_OPTIONAL
        for crl in tls.client_crls:
            context.load_verify_locations(crl)
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    except (OSError, ValueError) as error:
        why = str(getattr(error, "strerror", None) or error)[:200]
        named = ", ".join(map(str, tls.files))
        raise RealmError(named, why, "certificates and key for TLS, PEM") from None
    return context


def _no_password() -> str:
    raise ValueError("an encrypted key, which nobody could unlock when the service starts")


class Front:
    """Ends TLS on one address and passes on what it holds.  One for each process."""

    def __init__(self, tls: Tls, folder: Path, journal: Journal) -> None:
        self._tls, self._folder, self._journal = tls, folder, journal
        self._peers: dict[str, Peer] = {}
        self._relays: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._listening: socket.socket | None = None
        self._stamp: tuple[int, ...] = ()
        self._asked = 0

    @property
    def private(self) -> Path:
        """Where the application listens: in a folder that is ours alone."""
        return self._folder / _PRIVATE_NAME

    async def start(self, listening: socket.socket) -> None:
        """Accept connections.  Raises ``RealmError``."""
        self._listening = listening
        self._stamp = self._stamps()
        await self._serve(context_of(self._tls))

    async def _serve(self, context: ssl.SSLContext) -> None:
        assert self._listening is not None  # noqa: S101 - see start
        self._server = await asyncio.start_server(
            partial(self._accept, self._asked),
            sock=self._listening.dup(),
            ssl=context,
            ssl_handshake_timeout=HANDSHAKE_SECONDS,
            ssl_shutdown_timeout=HANDSHAKE_SECONDS,
        )

    async def renew(self) -> None:
        """Take up certificates, keys, authorities and CRLs that have changed.

        Where the last two did, certificates shown before count no more (see `Peer`).
        """
        if (stamp := self._stamps()) == self._stamp or self._server is None:
            return
        old, context = self._server, context_of(self._tls)
        self._asked += stamp[_OWN_FILES:] != self._stamp[_OWN_FILES:]
        await self._serve(context)
        old.close()
        self._stamp = stamp
        self._journal.write("tls-renewed")

    def _stamps(self) -> tuple[int, ...]:
        try:
            return tuple(path.stat().st_mtime_ns for path in self._tls.files)
        except OSError:  # between two files of a renewal
            return self._stamp

    def stop(self) -> None:
        """Accept nothing further; connections go on until the application ends them."""
        if self._server:
            self._server.close()
        if self._listening:
            self._listening.close()

    async def drain(self) -> None:
        """Wait until the last connection is closed."""
        if self._relays:
            await asyncio.wait(self._relays)

    def cut(self) -> None:
        """Close every connection."""
        for relay in self._relays:
            relay.cancel()

    async def _accept(
        self, asked: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        relay = asyncio.current_task()
        if relay is None or len(self._relays) >= MAX_CONNECTIONS:
            writer.transport.abort()
            return
        self._relays.add(relay)
        try:
            await self._pass_on(_peer_of(writer, asked), reader, writer)
        except (OSError, TimeoutError, asyncio.CancelledError):
            pass  # one of the two went away, or was silent too long
        finally:
            self._relays.discard(relay)
            writer.transport.abort()

    async def _pass_on(
        self, peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        name = str(self._folder / secrets.token_hex(16))
        inner = await _connected(name, self.private)
        self._peers[name] = peer
        try:
            inward, outward = await asyncio.open_unix_connection(sock=inner)
            try:
                await _relay(reader, outward, inward, writer)
            finally:
                outward.close()
        finally:
            del self._peers[name]

    def application(self, application: ASGIApp) -> ASGIApp:
        """Return ``application`` knowing its callers by their connection."""

        async def known(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == ScopeType.HTTP:
                peer = self._peers.get(str((scope.get("client") or ("",))[0]))
                if peer is None:
                    raise ConnectionRefusedError("a connection that did not come through TLS")
                scope["client"], scope["scheme"] = peer.address, "https"
                outdated = peer.asked != self._asked
                scope.setdefault("state", {})[PEER] = peer._replace(is_outdated=outdated)
            await application(scope, receive, send)

        return known


async def _connected(name: str, private: Path) -> socket.socket:
    """Return a connection to the application from a socket of that name."""
    inner = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        inner.settimeout(0)
        inner.bind(name)
        try:
            await asyncio.get_running_loop().sock_connect(inner, str(private))
        finally:
            os.unlink(name)  # noqa: PTH108 - the name stays the socket's, the file need not
    except BaseException:
        inner.close()
        raise
    return inner


def _peer_of(writer: asyncio.StreamWriter, asked: int) -> Peer:
    address = writer.get_extra_info("peername") or ("", 0)
    tls: Any = writer.get_extra_info("ssl_object")
    return Peer((str(address[0]), int(address[1])), tls.getpeercert(binary_form=True), asked)


async def _relay(
    reader: asyncio.StreamReader,
    outward: asyncio.StreamWriter,
    inward: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> None:
    """Pass octets on both ways until the application has said its last."""
    asking = asyncio.create_task(_copy(reader, outward))
    try:
        await _copy(inward, writer)
        writer.close()
        await asyncio.wait_for(writer.wait_closed(), HANDSHAKE_SECONDS)
    finally:
        asking.cancel()
        with contextlib.suppress(OSError, TimeoutError, asyncio.CancelledError):
            await asking


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while True:
        async with asyncio.timeout(IDLE_SECONDS):
            data = await source.read(CHUNK)
            if not data:
                break
            target.write(data)
            await target.drain()
    if target.can_write_eof():
        target.write_eof()
