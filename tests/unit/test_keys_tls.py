"""Services over TLS: certificates are verified, and clients prove themselves by theirs."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from conformance.authenticode.pki import END, Identity, issue, pem
from conformance.authenticode.pki import authority as root

from signward.errors import KeyProviderError
from signward.keys._address import endpoint
from signward.keys._rest import Rest
from signward.keys.digicert import client_context
from signward.wire import der
from tests.builders.keyfiles import p12
from tests.builders.web import Server, running

SERVER_EKU, CLIENT_EKU = "1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"


@pytest.fixture(scope="module")
def ca() -> Identity:
    return root("TLS Test Root")


def tls_server(ca: Identity, folder: Path, host: str, *, clients: bool = False) -> ssl.SSLContext:
    """Return the context of a server whose certificate names ``host``."""
    name = ("2.5.29.17", False, der.sequence(der.context(2, host.encode(), constructed=False)))
    leaf = issue(host, issuer=ca, ekus=(SERVER_EKU,), extensions=(name,), not_after=END)
    (folder / "server.pem").write_bytes(leaf.key.pem + leaf.pem)
    (folder / "ca.pem").write_bytes(ca.pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    if clients:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(folder / "ca.pem")
    return context


@pytest.fixture
def server(ca: Identity, tmp_path: Path) -> Iterator[Server]:
    with running(tls_server(ca, tmp_path, "localhost")) as server:
        server.serve("/a", b'{"x": 1}')
        yield server


def rest(server: Server, host: str = "localhost", tls: ssl.SSLContext | None = None) -> Rest:
    return Rest("test:key", endpoint("test", f"https://{host}:{server.port}"), tls=tls)


def test_a_server_whose_root_is_known_is_believed(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    assert rest(server).get(dict[str, int], "/a") == {"x": 1}


def test_a_server_of_an_unknown_root_is_not(server: Server) -> None:
    with pytest.raises(KeyProviderError, match=r"no answer from localhost \(.*CERTIFICATE_VERIFY"):
        rest(server).get(dict[str, int], "/a")
    assert server.requests == []


def test_a_server_of_another_name_is_not(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    with pytest.raises(KeyProviderError, match=r"CERTIFICATE_VERIFY"):
        rest(server, "127.0.0.1").get(dict[str, int], "/a")


def test_a_client_proves_itself_by_its_pkcs12(
    ca: Identity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    client = issue("client", issuer=ca, ekus=(CLIENT_EKU,), not_after=END)
    (tmp_path / "client.p12").write_bytes(p12(client, "client secret"))
    before = set(tmp_path.iterdir())
    with running(tls_server(ca, tmp_path, "localhost", clients=True)) as server:
        server.serve("/a", b'{"x": 1}')
        context = client_context(str(tmp_path / "client.p12"), "client secret")
        assert rest(server, tls=context).get(dict[str, int], "/a") == {"x": 1}
        with pytest.raises(KeyProviderError, match="no answer"):
            rest(server).get(dict[str, int], "/a")
    assert {p.name for p in set(tmp_path.iterdir()) - before} <= {"server.pem", "ca.pem"}


def test_a_client_certificate_that_does_not_open_is_refused(ca: Identity, tmp_path: Path) -> None:
    client = issue("client", issuer=ca, ekus=(CLIENT_EKU,))
    (tmp_path / "client.p12").write_bytes(p12(client, "client secret"))
    for path, password in ((tmp_path / "client.p12", "wrong"), (tmp_path / "absent", "")):
        with pytest.raises(KeyProviderError):
            client_context(str(path), password)
    (tmp_path / "pem").write_bytes(pem(client.certificate))
    with pytest.raises(KeyProviderError, match="no client certificate"):
        client_context(str(tmp_path / "pem"), "")
