"""JARs seen by the JDK: jarsigner takes ours, we take jarsigner's, and where the two differ.

jarsigner says "jar verified" and ends with 0 for entries that no signature covers and for signed
ones that are gone; we reject both.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from conformance.authenticode.keys import key
from conformance.authenticode.pki import Identity, instant, issue, pem
from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12

from signward.findings import Code
from signward.formats import Existing
from signward.state import Outcome, TrustedSignature, Verdict
from signward.verbs.context import Context
from signward.verbs.options import Options
from signward.verbs.verify import assess, assess_path
from signward.wire.source import BytesSource
from tests.builders import jars
from tests.builders.jars import archive, changed, members_of
from tests.builders.tsa import answering, stamper
from tests.builders.web import Reply, Server, running
from tests.signing import authority, context, identity, sign_bytes

pytestmark = [pytest.mark.interop, pytest.mark.slow]

SECRET = "changeit"
CLASS = "a/Main.class"


class Jdk:
    """jarsigner with a store that holds signers' keys, and the authority as trusted."""

    def __init__(self, jarsigner: str, keytool: str, folder: Path) -> None:
        self.jarsigner, self.keytool, self.folder = jarsigner, keytool, folder
        self.store = folder / "store.p12"
        root = folder / "root.pem"
        root.write_bytes(pem(authority().certificate))
        self._run(keytool, "-importcert", "-noprompt", "-alias", "root", "-file", str(root))

    def _run(self, *command: str) -> subprocess.CompletedProcess[str]:
        words = [*command[:1], "-J-Duser.language=en", *command[1:]]
        words[2:2] = ["-keystore", str(self.store), "-storepass", SECRET]
        return subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)

    def add(self, alias: str, who: Identity) -> None:
        """Put a signer's key and path into the store."""
        leaf, *rest = (x509.load_der_x509_certificate(one.certificate) for one in who.path)
        data = pkcs12.serialize_key_and_certificates(
            alias.encode(), who.key.private, leaf, rest, BestAvailableEncryption(SECRET.encode())
        )
        own = self.folder / f"{alias}.p12"
        own.write_bytes(data)
        done = self._run(self.keytool, "-importkeystore", "-noprompt", "-srckeystore", str(own),
                         "-srcstorepass", SECRET, "-destkeystore", str(self.store),
                         "-deststorepass", SECRET)  # fmt: skip
        assert self.has(alias), done.stdout + done.stderr

    def has(self, alias: str) -> bool:
        """Say whether the store has an entry of that name."""
        return self._run(self.keytool, "-list", "-alias", alias).returncode == 0

    def sign(self, data: bytes, alias: str, *options: str) -> bytes:
        """Return a JAR signed by jarsigner."""
        path = self.folder / "to-sign.jar"
        path.write_bytes(data)
        done = self._run(self.jarsigner, *options, str(path), alias)
        assert done.returncode == 0, done.stdout
        return path.read_bytes()

    def verify(self, data: bytes, *options: str) -> tuple[int, str]:
        """Return jarsigner's exit code and words."""
        path = self.folder / "to-verify.jar"
        path.write_bytes(data)
        done = self._run(self.jarsigner, "-verify", *options, str(path))
        return done.returncode, done.stdout

    def accepts(self, data: bytes) -> bool:
        """Say whether jarsigner, strict, has nothing grave to say about a JAR."""
        code, words = self.verify(data, "-strict")
        return code == 0 and "jar verified" in words


@pytest.fixture
def jdk(tmp_path: Path) -> Jdk:
    tools = shutil.which("jarsigner"), shutil.which("keytool")
    if tools[0] is None or tools[1] is None:
        pytest.skip("jarsigner is not installed")
    return Jdk(tools[0], tools[1], tmp_path)


@pytest.fixture
def server() -> Iterator[Server]:
    with running() as found:
        yield found


def judged(data: bytes, tmp_path: Path, **options: object) -> Verdict:
    return assess(BytesSource("a.jar", data), context(tmp_path, **options))  # type: ignore[arg-type]


KINDS = (
    ("rsa2048", "sha256"), ("p256", "sha384"), ("p521", "sha512"), ("ed25519", "sha512"),
)  # fmt: skip


@pytest.mark.confirms("jar", "sign", "jarsigner")
@pytest.mark.parametrize(("kind", "digest"), KINDS)
def test_jarsigner_takes_ours_and_not_when_changed(jdk: Jdk, kind: str, digest: str) -> None:
    who = identity(kind, f"JAR Publisher {kind}")
    jdk.add("me", who)
    data = sign_bytes("a.jar", archive(), who=who, digest=digest)
    assert jdk.accepts(data), jdk.verify(data, "-strict")
    code, words = jdk.verify(changed(data, {CLASS: b"other"}), "-strict")
    assert code != 0
    assert "digest error" in words


@pytest.mark.confirms("jar", "sign", "jarsigner")
def test_jarsigner_takes_ours_in_every_shape(jdk: Jdk, tmp_path: Path) -> None:
    jdk.add("me", identity())
    second = identity("p256", "JAR Second")
    jdk.add("two", second)
    for members in (jars.MULTI_RELEASE, {"\u00e9" * 60 + ".txt": b"x", "b": b""}):
        data = sign_bytes("a.jar", archive(members))
        assert jdk.accepts(data), jdk.verify(data, "-strict")
        both = sign_bytes("a.jar", data, who=second, existing=Existing.NESTED)
        assert jdk.accepts(both), jdk.verify(both, "-strict")
        assert "JAR Second" in jdk.verify(both, "-verbose", "-certs")[1]
        assert judged(both, tmp_path).outcome is Outcome.ACCEPTED


@pytest.mark.confirms("jar", "verify", "jarsigner")
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("rsa2048", ()),
        ("rsa2048", ("-sigalg", "RSASSA-PSS")),
        ("rsa3072", ("-digestalg", "SHA-512", "-sigalg", "SHA512withRSA")),
        ("rsa2048", ("-sectionsonly",)),
        ("rsa2048", ("-sigfile", "OTHER_1")),
        ("dsa2048", ()),
        ("p256", ()),
        ("p384", ("-digestalg", "SHA-384")),
        ("ed25519", ()),
    ],
)
def test_we_take_jarsigners_and_not_when_changed(
    jdk: Jdk, kind: str, options: tuple[str, ...], tmp_path: Path
) -> None:
    jdk.add("me", identity(kind, f"JAR Publisher {kind}"))
    data = jdk.sign(archive(), "me", *options)
    now = datetime.now(UTC)
    verdict = judged(data, tmp_path, at=now)
    assert verdict.outcome is Outcome.ACCEPTED, [str(f) for f in verdict.findings]
    assert judged(changed(data, {CLASS: b"x"}), tmp_path, at=now).cause is Code.DIGEST_MISMATCH
    assert judged(changed(data, {"x.class": b"x"}), tmp_path, at=now).cause is Code.SLOT_MISSING


@pytest.mark.confirms("jar", "verify", "jarsigner")
def test_we_take_two_signers_of_jarsigners(jdk: Jdk, tmp_path: Path) -> None:
    jdk.add("one", identity())
    jdk.add("two", identity("p256", "JAR Second"))
    both = jdk.sign(jdk.sign(archive(), "one"), "two")
    verdict = judged(both, tmp_path, at=datetime.now(UTC))
    assert verdict.outcome is Outcome.ACCEPTED, [str(f) for f in verdict.findings]
    assert len(verdict.signatures) == 2


def test_a_first_signature_that_covers_less_is_where_we_differ(jdk: Jdk, tmp_path: Path) -> None:
    jdk.add("one", identity())
    jdk.add("two", identity("p256", "JAR Second"))
    grown = changed(jdk.sign(archive(), "one"), {"added.class": b"x"})
    both = jdk.sign(grown, "two")
    assert jdk.accepts(both)
    assert judged(both, tmp_path, at=datetime.now(UTC)).cause is Code.SLOT_MISSING


@pytest.mark.confirms("jar", "verify", "jarsigner")
def test_we_take_jarsigners_timestamp(jdk: Jdk, server: Server, tmp_path: Path) -> None:
    short = issue("JAR Short", issuer=authority(), subject_key=key("p256", "jar-short-peer"),
                  not_before=instant(2024), not_after=instant(2034))  # fmt: skip
    jdk.add("me", short)
    answer = answering(stamper())
    kind = {"Content-Type": "application/timestamp-reply"}
    server.routes["/tsa"] = lambda request: Reply(answer(request).body, headers=kind)
    data = jdk.sign(archive(), "me", "-tsa", server.url("/tsa"))
    verdict = judged(data, tmp_path, at=instant(2036))
    assert verdict.outcome is Outcome.ACCEPTED, [str(f) for f in verdict.findings]
    first = verdict.signatures[0]
    assert isinstance(first, TrustedSignature)
    assert first.proven_time is not None


@pytest.mark.parametrize("case", ["added", "removed", "script in front"])
def test_what_jarsigner_passes_over_is_rejected(jdk: Jdk, tmp_path: Path, case: str) -> None:
    jdk.add("me", identity())
    data = sign_bytes("a.jar", archive())
    bad, cause = {
        "added": (changed(data, {"evil.class": b"x"}), Code.SLOT_MISSING),
        "removed": (changed(data, {CLASS: None}), Code.DIGEST_MISMATCH),
        "script in front": (b"#!/bin/sh\nexit\n" + data, Code.AMBIGUOUS),
    }[case]
    code, words = jdk.verify(bad)
    assert code == 0
    assert "jar verified" in words
    assert judged(bad, tmp_path).cause is cause


@pytest.mark.confirms("jar", "verify", "jarsigner")
def test_a_driver_that_microsoft_signed(corpus: Callable[[str], Path], tmp_path: Path) -> None:
    path = corpus("node-liquibase") / "package/dist/drivers/mssql-jdbc-7.4.1.jre8.jar"
    judging = Context(Options(at=instant(2026, 11)))
    verdict = assess_path(path, judging)
    assert verdict.outcome is Outcome.ACCEPTED, [str(f) for f in verdict.findings]
    assert verdict.publisher is not None
    assert verdict.publisher.name == "Microsoft Corporation"
    first = verdict.signatures[0]
    assert isinstance(first, TrustedSignature)
    assert first.proven_time is not None
    data = path.read_bytes()
    members = members_of(data)
    name = "com/microsoft/sqlserver/jdbc/SQLServerDriver.class"
    assert name in members
    other = changed(data, {name: members[name][:-1] + b"\0"})
    assert assess(BytesSource("a.jar", other), judging).cause is Code.DIGEST_MISMATCH
    added = changed(data, {"evil.class": b"x"})
    assert assess(BytesSource("a.jar", added), judging).cause is Code.SLOT_MISSING
