"""Where fetching may go, and that every exchange ends."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conformance.authenticode.pki import END, authority, default_pki, issue
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from signward.errors import FetchError
from signward.fetch.http import Bounds, exchange
from signward.fetch.targets import may_reach, read_target
from signward.wire import der
from tests.builders.web import Reply, Server, running

OPEN = Bounds(10_000, 5.0, private=True)


@pytest.fixture
def server() -> Iterator[Server]:
    with running() as server:
        yield server


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.9.9.9", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254",
        "0.0.0.0", "224.0.0.1", "255.255.255.255", "100.64.0.1", "::1", "::", "fe80::1",
        "fe80::1%eth0", "fc00::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
        "64:ff9b::7f00:1", "2002:7f00:1::", "2001:0:7f00:1::", "198.51.100.7", "not an address",
    ],
)  # fmt: skip
def test_special_addresses_are_refused(address: str) -> None:
    assert not may_reach(address, private=False)


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:4700::1", "::ffff:93.184.216.34"])
def test_public_addresses_are_reached(address: str) -> None:
    assert may_reach(address, private=False)
    assert may_reach(address, private=True)


def test_the_switch_permits_private_networks_but_never_link_local() -> None:
    permitted = {"127.0.0.1", "10.1.2.3", "192.168.1.1", "::1", "fc00::1"}
    refused = {"169.254.169.254", "fe80::1", "0.0.0.0", "224.0.0.1", "::ffff:169.254.169.254"}
    assert {a for a in permitted | refused if may_reach(a, private=True)} == permitted


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd", "ldap://ca.example/cn=x", "ftp://ca.example/x", "http:///x", "//x/y",
        "http://user@ca.example/", "http://ca.example:25/", "http://ca.example:99999/",
        "http://ca.example/\r\nHost: x", "http://ca.example/a b", "http://exämple/", "",
        "http://ca.example/" + "x" * 3000, "http://[::1/",
    ],
)  # fmt: skip
def test_odd_urls_are_refused(url: str) -> None:
    with pytest.raises(FetchError):
        read_target(url, private=False)


def test_a_url_is_taken_apart() -> None:
    target = read_target("http://ca.example:8080/a.crl?x=1#y", private=False)
    assert target[1:] == ("http", "ca.example", 8080, "/a.crl?x=1")


def test_loopback_is_refused_before_anything_is_sent(server: Server) -> None:
    url = server.serve("/a", b"x")
    with pytest.raises(FetchError, match="--online-private"):
        exchange(url, Bounds(100))
    assert server.requests == []


def test_a_body_arrives(server: Server) -> None:
    answer = exchange(server.serve("/a", b"x" * 9_000), OPEN)
    assert (answer.status, answer.body) == (200, b"x" * 9_000)
    (request,) = server.requests
    assert (request.method, request.headers["accept-encoding"]) == ("GET", "identity")


def test_a_question_is_posted(server: Server) -> None:
    server.routes["/q"] = lambda request: Reply(request.body[::-1])
    assert exchange(server.url("/q"), OPEN, body=b"abc").body == b"cba"


def test_an_announced_size_is_enough_to_refuse(server: Server) -> None:
    def never(write: Callable[[bytes], object], stopping: threading.Event) -> None:
        stopping.wait(30)

    url = server.serve("/a", headers={"Content-Length": "10001"}, write=never)
    with pytest.raises(FetchError, match="10001 bytes, at most 10000"):
        exchange(url, OPEN)


def test_an_endless_answer_is_cut(server: Server) -> None:
    def endless(write: Callable[[bytes], object], stopping: threading.Event) -> None:
        while not stopping.is_set():
            write(b"x" * 4096)

    with pytest.raises(FetchError, match="more than 10000 bytes"):
        exchange(server.serve("/a", write=endless), OPEN)


def test_a_trickle_ends_at_the_deadline(server: Server) -> None:
    """Each byte comes in time, so only a deadline over all of them helps."""

    def trickle(write: Callable[[bytes], object], stopping: threading.Event) -> None:
        while not stopping.wait(0.05):
            write(b"x")

    with pytest.raises(FetchError, match="too slow"):
        exchange(server.serve("/a", write=trickle), Bounds(10_000, 0.5, private=True))


def test_a_silent_server_ends_at_the_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        with pytest.raises(FetchError, match="too slow"):
            exchange(url, Bounds(100, 0.3, private=True))


def test_a_short_body_is_noticed(server: Server) -> None:
    url = server.serve("/a", headers={"Content-Length": "50"}, write=lambda write, _: write(b"x"))
    with pytest.raises(FetchError, match=r"early|IncompleteRead"):
        exchange(url, OPEN)


def test_a_compressed_answer_is_refused(server: Server) -> None:
    with pytest.raises(FetchError, match="encoding"):
        exchange(server.serve("/a", b"x", headers={"Content-Encoding": "gzip"}), OPEN)


def test_three_redirects_are_followed(server: Server) -> None:
    for number in range(3):
        server.serve(f"/{number}", status=302, headers={"Location": f"/{number + 1}"})
    server.serve("/3", b"there")
    assert exchange(server.url("/0"), OPEN).body == b"there"


def test_a_redirect_loop_ends(server: Server) -> None:
    server.serve("/a", status=301, headers={"Location": "/a"})
    with pytest.raises(FetchError, match="more than 3 redirects"):
        exchange(server.url("/a"), OPEN)
    assert len(server.requests) == 4


@pytest.mark.parametrize(
    "location",
    ["file:///etc/passwd", "http://169.254.169.254/latest/meta-data/", "ldap://x/", "http://[fe80::1]/"],
)  # fmt: skip
def test_a_redirect_goes_nowhere_else(server: Server, location: str) -> None:
    server.serve("/a", status=302, headers={"Location": location})
    with pytest.raises(FetchError):
        exchange(server.url("/a"), OPEN)
    assert len(server.requests) == 1


def test_a_post_is_not_turned_into_a_get(server: Server) -> None:
    server.serve("/a", status=303, headers={"Location": "/b"})
    server.serve("/c", status=307, headers={"Location": "/b"})
    server.routes["/b"] = lambda request: Reply(request.body)
    with pytest.raises(FetchError, match="lose the request"):
        exchange(server.url("/a"), OPEN, body=b"q")
    assert exchange(server.url("/c"), OPEN, body=b"q").body == b"q"


@pytest.mark.parametrize("status", [204, 206, 404, 500])
def test_other_statuses_are_failures(server: Server, status: int) -> None:
    with pytest.raises(FetchError, match=f"status {status}"):
        exchange(server.serve("/a", status=status), OPEN)


def test_what_is_no_http_is_a_failure() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def speak() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"220 mail.example ESMTP\r\n")

        thread = threading.Thread(target=speak)
        thread.start()
        with pytest.raises(FetchError):
            exchange(f"http://127.0.0.1:{listener.getsockname()[1]}/", OPEN)
        thread.join()


def test_a_closed_port_and_an_unknown_host_are_failures() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(FetchError, match="refused"):
        exchange(f"http://127.0.0.1:{port}/", OPEN)
    with pytest.raises(FetchError):
        exchange("http://nobody.invalid/", OPEN)


def test_tls_is_checked(server: Server) -> None:
    """A server without TLS (let alone a certificate) is not spoken to over https."""
    with pytest.raises(FetchError):
        exchange(server.serve("/a", b"x").replace("http:", "https:"), OPEN)


@pytest.fixture
def secure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A TLS server whose certificate's root this process trusts."""
    root = authority("Web Root")
    address = der.sequence(der.context(7, bytes((127, 0, 0, 1)), constructed=False))
    leaf = issue(
        "web", issuer=root, ekus=("1.3.6.1.5.5.7.3.1",), not_after=END,
        extensions=(("2.5.29.17", False, address),),
    )  # fmt: skip
    encoded = leaf.key.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "web.pem").write_bytes(leaf.pem + encoded)
    (tmp_path / "root.pem").write_bytes(root.pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "web.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "root.pem"))
    with running(context) as server:
        yield server


def test_https_is_spoken(secure: Server) -> None:
    url = secure.serve("/a", b"x" * 9_000).replace("http:", "https:")
    assert exchange(url, OPEN).body == b"x" * 9_000


def test_https_from_a_root_nobody_trusts_is_refused(
    secure: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "other.pem").write_bytes(default_pki().root.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "other.pem"))
    url = secure.serve("/a", b"x").replace("http:", "https:")
    with pytest.raises(FetchError, match="CERTIFICATE_VERIFY_FAILED"):
        exchange(url, OPEN)
    assert secure.requests == []


def test_a_trickle_over_tls_ends_at_the_deadline(secure: Server) -> None:
    def trickle(write: Callable[[bytes], object], stopping: threading.Event) -> None:
        while not stopping.wait(0.05):
            write(b"x")

    url = secure.serve("/a", write=trickle).replace("http:", "https:")
    with pytest.raises(FetchError, match="too slow"):
        exchange(url, Bounds(10_000, 0.5, private=True))
