"""An authority as ``ca init`` founds it: its certificates answer and stamp, and others agree."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from conformance.authenticode import pe
from conformance.authenticode.keys import key
from conformance.authenticode.pki import pem

from signward.service.roles import load_role
from signward.store import certificates
from signward.trust.x509 import Certificate
from signward.verbs.authority.init import ISSUING, ROOT_KEY, Founding, found
from signward.verbs.authority.issue import issue, order
from signward.verbs.authority.publish_crl import current
from signward.verbs.authority.realm import Realm
from signward.verbs.authority.revoke import revoke
from tests.builders.service import Running, serving

pytestmark = pytest.mark.interop


class World(NamedTuple):
    service: Running
    realm: Realm
    folder: Path
    leaf: Certificate


def said(*command: object, folder: Path) -> tuple[int, str]:
    words = [str(word) for word in command]
    if not shutil.which(words[0]):
        pytest.skip(f"{words[0]} is not installed")
    done = subprocess.run(words, capture_output=True, text=True, errors="replace", timeout=120,
                          cwd=folder)  # fmt: skip
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    founded = found(tmp_path / "authority", Founding(name="Example Ltd"), lambda _: None)
    realm = Realm.open(tmp_path / "authority")
    private = key("rsa3072", "founded-leaf")
    wanted = order(realm, ISSUING, "code-signing", private.spki, subject="Release")
    issued = issue(realm, ISSUING, wanted, "a test")
    leaf, middle = issued.path[:2]
    (tmp_path / "leaf.key").write_bytes(private.pem)
    (tmp_path / "leaf.pem").write_bytes(pem(leaf.der))
    (tmp_path / "issuing.pem").write_bytes(pem(middle.der))
    root = founded.certificates[ROOT_KEY].der
    (tmp_path / "root.pem").write_bytes(pem(root))
    (tmp_path / "chain.pem").write_bytes(pem(middle.der) + pem(root))
    with serving(realm, [load_role("ocsp"), load_role("tsa")]) as service:
        yield World(service, realm, tmp_path, leaf)
    realm.close()


def _ocsp(world: World) -> str:
    code, text = said(
        "openssl", "ocsp", "-issuer", "issuing.pem", "-cert", "leaf.pem", "-CAfile", "chain.pem",
        "-url", f"{world.service.url}/ocsp/{ISSUING}", folder=world.folder,
    )  # fmt: skip
    assert code == 0, text
    assert "Response verify OK" in text
    return text


def _revoke(world: World) -> None:
    with world.realm.store.read() as connection:
        listed = certificates.find(connection, ISSUING, f"{world.leaf.serial:x}")
    assert listed is not None
    revoke(world.realm, listed, "keyCompromise", "a test")


def test_openssl_hears_of_a_revocation_by_its_verb(world: World) -> None:
    assert "leaf.pem: good" in _ocsp(world)
    _revoke(world)
    told = _ocsp(world)
    assert "leaf.pem: revoked" in told
    assert "keyCompromise" in told


def test_osslsigncode_stamps_and_asks_the_crl(world: World) -> None:
    folder = world.folder
    (folder / "a.exe").write_bytes(pe.image())
    code, text = said(
        "osslsigncode", "sign", "-h", "sha256", "-certs", "leaf.pem", "-key", "leaf.key", "-ac",
        "issuing.pem", "-ts", f"{world.service.url}/tsa", "-in", "a.exe", "-out", "s.exe",
        folder=folder,
    )  # fmt: skip
    assert code == 0, text
    assert _verified(world)[0]
    _revoke(world)
    accepted, text = _verified(world)
    assert not accepted
    assert "certificate revoked" in text.lower()


def _verified(world: World) -> tuple[bool, str]:
    """Ask osslsigncode, with the CRL that is current."""
    crls = b"".join(
        pem(published.der, "X509 CRL")
        for name in (ISSUING, "root") if (published := current(world.realm, name))
    )  # fmt: skip
    (world.folder / "crl.pem").write_bytes(crls)
    code, text = said(
        "osslsigncode", "verify", "-CAfile", "chain.pem", "-CRLfile", "crl.pem", "-TSA-CAfile",
        "root.pem", "-TSA-CRLfile", "crl.pem", "-in", "s.exe", folder=world.folder,
    )  # fmt: skip
    return code == 0 and "Succeeded" in text, text
