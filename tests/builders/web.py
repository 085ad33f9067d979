"""A loopback HTTP server that serves evidence, well or badly, from a thread of this process."""

from __future__ import annotations

import base64
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote


@dataclass
class Request:
    """One request as it arrived."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Reply:
    """What to answer; ``write`` replaces the body by writing to the connection itself."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    write: Callable[[Callable[[bytes], object], threading.Event], object] | None = None


Handler = Callable[[Request], Reply]


class Server:
    """What the tests see: where it listens, what it answers, what it was asked."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.routes: dict[str, Handler] = {}
        self.requests: list[Request] = []
        self.stopping = threading.Event()

    def url(self, path: str) -> str:
        """Return the URL of ``path`` on this server (http, whatever it speaks)."""
        return f"http://127.0.0.1:{self.port}{path}"

    def serve(self, path: str, body: bytes = b"", **fields: object) -> str:
        """Answer every request for ``path`` (and below it) with one reply; return its URL."""
        reply = Reply(body, **fields)  # type: ignore[arg-type]
        self.routes[path] = lambda request: reply
        return self.url(path)

    def asked(self, path: str) -> list[Request]:
        """Return the requests for ``path`` and below it."""
        return [r for r in self.requests if r.path == path or r.path.startswith(path + "/")]

    def answer(self, request: Request) -> Reply:
        """Return the reply to a request; 404 where nobody serves its path."""
        self.requests.append(request)
        for path, handler in self.routes.items():
            if request.path == path or request.path.startswith(path + "/"):
                return handler(request)
        return Reply(status=404)


def ocsp_question(request: Request) -> bytes:
    """Return the DER OCSPRequest of a POST, or of a GET (RFC 6960 A.1)."""
    if request.method == "POST":
        return request.body
    return base64.b64decode(unquote(request.path.rpartition("/")[2]))


@contextmanager
def running(tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    """Run a server on a free loopback port until the block ends, over TLS if so asked."""
    server: Server

    class _Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._do()

        do_POST = do_GET  # noqa: N815 - http.server's name

        def _do(self) -> None:
            length = int(self.headers.get("content-length", 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(self.command, self.path, headers, self.rfile.read(length))
            reply = server.answer(request)
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            if reply.write is None and "Content-Length" not in reply.headers:
                self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            try:
                if reply.write:
                    reply.write(self.wfile.write, server.stopping)
                else:
                    self.wfile.write(reply.body)
            except OSError:
                self.close_connection = True  # the client has had enough

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    listener = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    listener.daemon_threads = True
    if tls:
        listener.socket = tls.wrap_socket(listener.socket, server_side=True)
    server = Server(listener.server_port)
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.stopping.set()
        listener.shutdown()
        thread.join()
        listener.server_close()
