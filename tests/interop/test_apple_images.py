"""Installer packages and disk images, ours and others': apple-platform-py, openssl.

apple-platform-py is rcodesign as a library.  It says of every package that Apple itself signed,
and so of ours, that the bare RSA value does not fit: it takes the checksum for a message, where
Apple takes it for the digest that it is.  That value is therefore shown to openssl.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conformance.authenticode.pki import pem
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from signward.findings import Code
from signward.formats import ParseOptions
from signward.formats.dmg import FORMAT as DMG
from signward.formats.pkg import FORMAT as PKG
from signward.state import Outcome
from signward.verbs.verify import assess
from signward.wire import superblob as sb
from signward.wire.code_directory import read_code_directory
from signward.wire.source import BytesSource
from signward.wire.xar import read_xar
from tests.samples import dmg, pkg
from tests.signing import authority, context, identity, sign_bytes

pytestmark = pytest.mark.interop


@pytest.fixture
def peer() -> Any:
    return pytest.importorskip("apple_platform", reason="apple-platform-py is not installed")


@pytest.fixture
def openssl() -> str:
    found = shutil.which("openssl")
    if not found:
        pytest.skip("openssl is not installed")
    return found


@pytest.fixture
def signer(peer: Any, tmp_path: Path) -> Any:
    """Return the test identity as apple-platform-py takes it."""
    who, path = identity(), tmp_path / "signer.pem"
    key = who.key.private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(key + pem(who.certificate))
    return peer.Signer(pem=peer.PemKey(files=[path]))


def signed_by(peer: Any, signer: Any, name: str, data: bytes, folder: Path, **asked: Any) -> bytes:
    before, after = folder / f"before-{name}", folder / name
    before.write_bytes(data)
    peer.sign(before, after, signer=signer, timestamp_url="none", **asked)
    return after.read_bytes()


def changed(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def values(found: Any, key: str) -> Iterator[Any]:
    """Yield every value under a key, wherever it stands in what the peer says."""
    if isinstance(found, dict):
        for name, value in found.items():
            if name == key:
                yield value
            yield from values(value, key)
    elif isinstance(found, list):
        for value in found:
            yield from values(value, key)


def said_of(peer: Any, name: str, data: bytes, folder: Path) -> Any:
    path = folder / name
    path.write_bytes(data)
    return peer.read_signature(path)


# --- packages ---------------------------------------------------------------------


@pytest.mark.confirms("pkg", "verify", "apple-platform-py")
@pytest.mark.parametrize("name", ["tool.pkg", "old.pkg"])
def test_its_packages_are_accepted(peer: Any, signer: Any, name: str, tmp_path: Path) -> None:
    """``old.pkg`` keeps its SHA-1: intact, and too weak under anchors that are not Apple's."""
    data = signed_by(peer, signer, name, pkg.SAMPLES[name](), tmp_path)
    judging = context(tmp_path)
    verdict = assess(BytesSource(name, data), judging)
    assert verdict.cause is (Code.WEAK_DIGEST if name == "old.pkg" else None), verdict.findings
    assert verdict.outcome is (Outcome.REJECTED if verdict.cause else Outcome.ACCEPTED)
    assert len(verdict.signatures) == 2
    found = read_xar(BytesSource(name, data))
    for member in found.members:
        broken = changed(data, found.heap + member.start)
        assert assess(BytesSource(name, broken), judging).cause is Code.DIGEST_MISMATCH


@pytest.mark.confirms("pkg", "sign", "apple-platform-py")
def test_it_accepts_our_packages(peer: Any, tmp_path: Path) -> None:
    data = sign_bytes("tool.pkg", pkg.archive())
    said = said_of(peer, "tool.pkg", data, tmp_path)
    assert list(values(said, "checksum_verifies")) == [True]
    assert list(values(said, "cms_signature_verifies")) == [True]
    assert list(values(said, "signature_verifies")) == [True]
    assert list(values(said, "rsa_signature_verifies")) == [False]  # see above
    assert (
        peer.packaging.pkg_extract_member(tmp_path / "tool.pkg", "Distribution")
        == (pkg.FILES["Distribution"])
    )
    found = read_xar(BytesSource("tool.pkg", data))
    broken = changed(data, found.heap)
    said = said_of(peer, "broken.pkg", broken, tmp_path)
    assert list(values(said, "checksum_verifies")) == [False]


def test_it_says_of_apples_own_what_it_says_of_ours(peer: Any, vectors: Path) -> None:
    said = peer.read_signature(vectors / "goxar/testdata/valid.pkg")
    assert list(values(said, "cms_signature_verifies")) == [True]
    assert list(values(said, "rsa_signature_verifies")) == [False]


@pytest.mark.confirms("pkg", "sign", "openssl")
def test_openssl_verifies_both_signatures_of_our_packages(openssl: str, tmp_path: Path) -> None:
    data = sign_bytes("tool.pkg", pkg.archive())
    found = read_xar(BytesSource("tool.pkg", data))
    cms, rsa = PKG.envelopes(BytesSource("tool.pkg", data))
    assert openssl_cms(openssl, cms, found.stored, tmp_path) == 0
    assert openssl_cms(openssl, cms, changed(found.stored, 3), tmp_path) != 0
    assert openssl_rsa(openssl, rsa, found.packed, tmp_path) == 0
    assert openssl_rsa(openssl, rsa, changed(found.packed, 40), tmp_path) != 0


def openssl_cms(openssl: str, cms: bytes, content: bytes, folder: Path) -> int:
    (folder / "cms.der").write_bytes(cms)
    (folder / "content").write_bytes(content)
    (folder / "root.pem").write_bytes(pem(authority().certificate))
    done = subprocess.run(
        [openssl, "cms", "-verify", "-binary", "-inform", "DER", "-in", folder / "cms.der",
         "-content", folder / "content", "-CAfile", folder / "root.pem", "-purpose", "any",
         "-attime", "1767225600", "-out", "/dev/null"],
        capture_output=True, check=False,
    )  # fmt: skip
    return done.returncode


def openssl_rsa(openssl: str, value: bytes, table: bytes, folder: Path) -> int:
    leaf = x509.load_der_x509_certificate(identity().certificate).public_key()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    (folder / "key.pem").write_bytes(leaf.public_bytes(serialization.Encoding.PEM, form))
    (folder / "value").write_bytes(value)
    (folder / "table").write_bytes(table)
    done = subprocess.run(
        [openssl, "dgst", "-sha256", "-verify", folder / "key.pem", "-signature",
         folder / "value", folder / "table"],
        capture_output=True, check=False,
    )  # fmt: skip
    return done.returncode


# --- disk images ------------------------------------------------------------------


def made_by(peer: Any, folder: Path) -> bytes:
    """Return an image that apple-platform-py makes of a folder."""
    content = folder / "content"
    content.mkdir()
    (content / "read-me.txt").write_text("Hello\n" * 200)
    peer.packaging.dmg_create(content, folder / "made.dmg", volume_label="Test")
    return (folder / "made.dmg").read_bytes()


@pytest.mark.confirms("dmg", "verify", "apple-platform-py")
@pytest.mark.parametrize("digests", [("sha256",), ("sha1",)])
def test_its_images_are_accepted(
    peer: Any, signer: Any, digests: tuple[str, ...], tmp_path: Path
) -> None:
    data = signed_by(
        peer, signer, "a.dmg", made_by(peer, tmp_path), tmp_path,
        binary_identifier="org.example.image", digests=digests,
    )  # fmt: skip
    judging = context(tmp_path)
    verdict = assess(BytesSource("a.dmg", data), judging)
    if digests == ("sha1",):
        assert verdict.cause is Code.WEAK_DIGEST
        return
    assert verdict.outcome is Outcome.ACCEPTED, [str(f) for f in verdict.findings]
    assert verdict.facts["identifier"] == "org.example.image"
    for at in (0, 600, len(data) - 20, len(data) - 400):
        broken = changed(data, at)
        assert assess(BytesSource("a.dmg", broken), judging).outcome is Outcome.REJECTED


def test_its_ad_hoc_images_are_nobodys(peer: Any, tmp_path: Path) -> None:
    made, out = tmp_path / "made.dmg", tmp_path / "adhoc.dmg"
    made_by(peer, tmp_path)
    peer.sign(made, out, binary_identifier="org.example.image")
    verdict = assess(BytesSource("a.dmg", out.read_bytes()), context(tmp_path))
    assert verdict.cause is Code.AD_HOC
    ours = sign_bytes("a.dmg", out.read_bytes())
    assert assess(BytesSource("a.dmg", ours), context(tmp_path)).outcome is Outcome.ACCEPTED


@pytest.mark.confirms("dmg", "sign", "apple-platform-py")
def test_our_images_have_the_digests_that_it_computes(
    peer: Any, signer: Any, tmp_path: Path
) -> None:
    """It checks the CMS's value, and signing anew computes the digests of our image anew."""
    made, name = made_by(peer, tmp_path), "org.example.image"
    ours = sign_bytes("a.dmg", made, options={"identifier": name})
    said = said_of(peer, "ours.dmg", ours, tmp_path)
    assert list(values(said, "signature_verifies")) == [True]
    theirs = signed_by(peer, signer, "theirs.dmg", ours, tmp_path, binary_identifier=name)
    assert digests_in(ours) == digests_in(theirs)
    other = signed_by(
        peer, signer, "other.dmg", changed(made, 40), tmp_path, binary_identifier=name
    )
    assert digests_in(ours) != digests_in(other)
    [claimed] = DMG.parse(BytesSource("a.dmg", ours), ParseOptions()).signatures
    at = ours.index(claimed.value)
    broken = said_of(peer, "broken.dmg", changed(ours, at + 40), tmp_path)
    assert True not in list(values(broken, "signature_verifies"))


def directory_of(data: bytes) -> bytes:
    [blob] = DMG.envelopes(BytesSource("a.dmg", data))
    return sb.read_superblob(blob, "superblob")[sb.DIRECTORY_SLOT]


def digests_in(data: bytes) -> tuple[tuple[bytes, ...], bytes]:
    """Return an image's digest of its content, and that of its trailer."""
    directory = read_code_directory(directory_of(data))
    return directory.code, directory.special[sb.REP_SPECIFIC_SLOT]


@pytest.mark.confirms("dmg", "sign", "openssl")
def test_openssl_verifies_the_cms_of_our_images(openssl: str, tmp_path: Path) -> None:
    data = sign_bytes("tool.dmg", dmg.image())
    [blob] = DMG.envelopes(BytesSource("tool.dmg", data))
    blobs = sb.read_superblob(blob, "superblob")
    cms, directory = blobs[sb.CMS_SLOT][sb.HEADER :], blobs[sb.DIRECTORY_SLOT]
    assert openssl_cms(openssl, cms, directory, tmp_path) == 0
    assert openssl_cms(openssl, cms, changed(directory, 60), tmp_path) != 0
