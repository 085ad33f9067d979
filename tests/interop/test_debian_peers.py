"""Clear-signed text and signed Debian packages: gpgv, debsig-verify, debsigs and dpkg agree."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from conformance.authenticode.keys import key

from signward.cli.commands import run
from signward.envelopes.openpgp_clear import read_clear
from signward.findings import Code
from signward.state import Outcome, Verdict
from signward.verbs.context import Context
from signward.verbs.options import Options
from signward.verbs.verify import assess_path
from tests.builders import openpgp as pgp
from tests.builders.openpgp_clear import BEGIN, block, canonical, clear
from tests.interop.test_openpgp_peers import gpg, tool
from tests.samples.deb import deb, member, split

pytestmark = pytest.mark.interop

TEXT = b"Dear all,\n- a list\n-----BEGIN PGP SIGNATURE-----\n\nFrom me  \n\t\nend\n"
LISTS = Path("/var/lib/apt/lists")
ARCHIVE = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


def judged(path: Path, ring: Path, at: datetime | None = None) -> Verdict:
    return assess_path(path, Context(Options(keyrings=(str(ring),), at=at)))


def own_key(folder: Path) -> str:
    """Make a key in GnuPG and a keyring of it; return its fingerprint."""
    gpg(folder, "--quick-gen-key", "Ann <ann@example.org>", "rsa2048", "sign", "1y")
    gpg(folder, "--output", "ring.gpg", "--export")
    listed = gpg(folder, "--with-colons", "--list-keys").splitlines()
    return next(line for line in listed if line.startswith("fpr")).split(":")[9]


def gpgv(folder: Path, name: str) -> subprocess.CompletedProcess[str]:
    return tool("gpgv", "--keyring", folder / "ring.gpg", "--output", "-", name, folder=folder)


# --- clear-signed text ---------------------------------------------------------------


@pytest.mark.confirms("clearsigned", "verify", "gpg")
@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
def test_gpg_signs_a_text(ending: bytes, tmp_path: Path) -> None:
    own_key(tmp_path)
    path = tmp_path / "letter.txt"
    path.write_bytes(TEXT.replace(b"\n", ending))
    gpg(tmp_path, "--output", "letter.asc", "--clear-sign", "letter.txt")
    tool("gpgconf", "--kill", "all", folder=tmp_path)
    signed = tmp_path / "letter.asc"
    verdict = judged(signed, tmp_path / "ring.gpg")
    if ending == b"\r\n":  # gpg writes its own lines with LF between those of the text
        assert verdict.cause is Code.AMBIGUOUS
        signed.write_bytes(signed.read_bytes().replace(b"\r\n", b"\n"))
        assert gpgv(tmp_path, "letter.asc").returncode == 0
        verdict = judged(signed, tmp_path / "ring.gpg")
    assert verdict.outcome is Outcome.ACCEPTED, verdict.findings
    data = signed.read_bytes()
    signed.write_bytes(data.replace(b"Dear", b"dear"))
    assert judged(signed, tmp_path / "ring.gpg").cause is Code.SIGNATURE_MISMATCH


@pytest.mark.parametrize("kind", ["rsa", "p256", "eddsa"])
def test_gpgv_reads_the_text_that_we_read(kind: str, tmp_path: Path) -> None:
    own = pgp.Key(kind)
    (tmp_path / "ring.gpg").write_bytes(pgp.certificate(own))
    for text in (TEXT, b"\n", b"one\n\n\n", b"- \n-\n"):
        data = clear(text, own)
        (tmp_path / "text.asc").write_bytes(data)
        done = gpgv(tmp_path, "text.asc")
        assert done.returncode == 0, done.stderr
        theirs = [line.rstrip(" \t\r") for line in done.stdout.split("\n")]
        assert "\n".join(theirs).encode().rstrip(b"\n") == read_clear(data).text.rstrip(b"\n")
        assert judged(tmp_path / "text.asc", tmp_path / "ring.gpg").outcome is Outcome.ACCEPTED


OWN = pgp.Key("eddsa")
GOOD = clear(b"one\ntwo\n", OWN)
ODD: dict[str, tuple[bytes, bool]] = {
    "text before": (b"pay\n" + GOOD, True),
    "text behind": (GOOD + b"pay\n", True),
    "an empty line before": (b"\n" + GOOD, True),
    "mixed line endings": (GOOD.replace(b"one\n", b"one\r\n"), True),
    "a carriage return": (clear(b"one\rtwo\n", OWN), True),
    "a line unescaped": (block(b"one\n-two\n", pgp.packet(2, OWN.sign(
        canonical(b"one\n-two\n"), kind=1)), b"Hash: SHA256\n").replace(b"\n- -", b"\n-"), True),
    "a lying header": (GOOD.replace(b"SHA256", b"SHA512"), False),
    "another header": (GOOD.replace(BEGIN, BEGIN + b"Pay: Ann\n"), False),
    "NotDashEscaped": (GOOD.replace(BEGIN, BEGIN + b"NotDashEscaped: yes\n"), False),
    "no header": (GOOD.replace(b"Hash: SHA256\n", b""), False),
    "a NUL": (clear(b"one\0two\n", OWN), True),
    "two blocks": (GOOD + GOOD, False),
    "a changed text": (GOOD.replace(b"two", b"owe"), False),
}  # fmt: skip
"""What it is, and whether gpgv takes it."""


@pytest.mark.parametrize("name", ODD)
def test_where_gpgv_and_we_differ(name: str, tmp_path: Path) -> None:
    """We take nothing that gpgv refuses but a text whose digest no header names (RFC 9580 7.1)."""
    data, taken = ODD[name]
    (tmp_path / "ring.gpg").write_bytes(pgp.certificate(OWN))
    (tmp_path / "text.asc").write_bytes(data)
    done = gpgv(tmp_path, "text.asc")
    assert (done.returncode == 0) is taken, done.stderr
    ours = judged(tmp_path / "text.asc", tmp_path / "ring.gpg").outcome is Outcome.ACCEPTED
    assert ours is (name == "no header")


def _lists() -> list[Path]:
    return sorted(LISTS.glob("*InRelease")) if LISTS.is_dir() else []


@pytest.mark.skipif(not _lists() or not ARCHIVE.exists(), reason="no lists of Debian's archive")
def test_the_lists_of_this_machine_are_debians(tmp_path: Path) -> None:
    (tmp_path / "ring.gpg").write_bytes(ARCHIVE.read_bytes())
    for path in _lists():
        theirs = gpgv(tmp_path, str(path)).returncode == 0
        ours = judged(path, ARCHIVE)
        assert (ours.outcome is Outcome.ACCEPTED) is theirs, (path, ours.findings)
        changed = tmp_path / "InRelease"
        changed.write_bytes(path.read_bytes().replace(b"Codename: ", b"Codename: un", 1))
        assert judged(changed, ARCHIVE).cause is Code.SIGNATURE_MISMATCH


def test_relics_list_of_an_archive(vectors: Path) -> None:
    folder = vectors / "relic/functest"
    path, ring = folder / "packages/InRelease", folder / "testkeys/ubuntu2012.pgp"
    assert judged(path, ring).outcome is Outcome.ACCEPTED
    assert assess_path(path, Context(Options())).cause is Code.KEY_MISSING


# --- our signatures, by gpgv, debsig-verify and dpkg ---------------------------------


def made_by_us(folder: Path, *paths: Path, option: str = "", more: tuple[str, ...] = ()) -> None:
    """Sign files from the command line with a key of the tests; write its keyring too."""
    pair = key("rsa2048", "debian-peer")
    own = pgp.Key("rsa", private=pair.private)
    born = pgp.certificate(own)
    (folder / "ring.gpg").write_bytes(born)
    (folder / "key.pem").write_bytes(pair.pem)
    words = ["--option", option] if option else []
    assert run(["sign", *map(str, paths), "--key", f"file:{folder / 'key.pem'}",
                "--cert", str(folder / "ring.gpg"), *words, *more]) == 0  # fmt: skip


@pytest.mark.confirms("clearsigned", "sign", "gpgv")
def test_gpgv_takes_what_we_sign(tmp_path: Path) -> None:
    paths = [tmp_path / "hello.dsc", tmp_path / "InRelease"]
    paths[0].write_bytes(b"Format: 1.0\nSource: hello\nDescription: odd\n - -dash\n .\n")
    paths[1].write_bytes(b"Origin: Test\r\nSuite: stable\r\n")
    for more in ((), ("--replace",), ("--nested",)):
        made_by_us(tmp_path, *paths, more=more)
        for path in paths:
            done = gpgv(tmp_path, path.name)
            assert done.returncode == 0, done.stderr
            assert judged(path, tmp_path / "ring.gpg").outcome is Outcome.ACCEPTED
    assert len(judged(paths[0], tmp_path / "ring.gpg").signatures) == 2


POLICY = """<?xml version="1.0"?>
<!DOCTYPE Policy SYSTEM "https://www.debian.org/debsig/1.0/policy.dtd">
<Policy xmlns="https://www.debian.org/debsig/1.0/">
  <Origin Name="Test" id="{key}" Description="test"/>
  <Selection><Required Type="{role}" File="ring.gpg" id="{key}"/></Selection>
  <Verification MinOptional="0"><Required Type="{role}" File="ring.gpg" id="{key}"/></Verification>
</Policy>
"""


def debsig_verify(folder: Path, package: Path, fingerprint: str, role: str = "origin") -> bool:
    """Say what debsig-verify says of a package whose key's keyring is ``ring.gpg``."""
    name = fingerprint[-16:].upper()
    for kind in ("policies", "keyrings"):
        (folder / kind / name).mkdir(parents=True, exist_ok=True)
    policy = POLICY.format(key=name, role=role)
    (folder / "policies" / name / "test.pol").write_text(policy)
    (folder / "keyrings" / name / "ring.gpg").write_bytes((folder / "ring.gpg").read_bytes())
    done = tool("debsig-verify", "--policies-dir", folder / "policies", "--keyrings-dir",
                folder / "keyrings", package, folder=folder)  # fmt: skip
    return done.returncode == 0


def packaged(folder: Path, packed: str) -> Path:
    """Return a package that dpkg-deb built."""
    tree = folder / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN/control").write_text(
        "Package: hello\nVersion: 1.0-1\nArchitecture: all\nMaintainer: Ann <ann@example.org>\n"
        "Description: says hello\n"
    )
    (tree / "usr/bin").mkdir(parents=True)
    (tree / "usr/bin/hello").write_text("#!/bin/sh\necho hello\n")
    done = tool("dpkg-deb", f"-Z{packed}", "--root-owner-group", "--build", tree,
                folder / "hello.deb", folder=folder)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder / "hello.deb"


@pytest.mark.confirms("deb", "sign", "debsig-verify")
@pytest.mark.parametrize("role", ["origin", "maint", "archive"])
@pytest.mark.parametrize("packed", ["xz", "gzip", "none"])
def test_debsig_verify_takes_what_we_sign(packed: str, role: str, tmp_path: Path) -> None:
    path = packaged(tmp_path, packed)
    made_by_us(tmp_path, path, option="role=origin")  # debsig-verify always asks for this one
    if role != "origin":
        made_by_us(tmp_path, path, option=f"role={role}", more=("--nested",))
    own = pgp.Key("rsa", private=key("rsa2048", "debian-peer").private)
    assert debsig_verify(tmp_path, path, own.fingerprint.hex(), role)
    verdict = judged(path, tmp_path / "ring.gpg")
    assert verdict.outcome is Outcome.ACCEPTED
    assert verdict.facts["package"] == "hello"
    told = tool("dpkg-deb", "--contents", path, folder=tmp_path)
    assert "usr/bin/hello" in told.stdout
    data = path.read_bytes()
    path.write_bytes(data.replace(b"data.tar", b"data_tar"))
    assert not debsig_verify(tmp_path, path, own.fingerprint.hex(), role)
    assert judged(path, tmp_path / "ring.gpg").outcome is not Outcome.ACCEPTED


@pytest.mark.confirms("deb", "verify", "debsigs")
def test_debsigs_signs(tmp_path: Path) -> None:
    path, fingerprint = packaged(tmp_path, "gzip"), own_key(tmp_path)
    # debsigs asks GnuPG for strict OpenPGP, which is SHA-1 unless one says otherwise
    (tmp_path / "home/gpg.conf").write_text("digest-algo SHA256\n")
    for role in ("origin", "maint"):
        done = tool("debsigs", f"--sign={role}", "-k", fingerprint, path, folder=tmp_path)
        assert done.returncode == 0, done.stderr
    tool("gpgconf", "--kill", "all", folder=tmp_path)
    verdict = judged(path, tmp_path / "ring.gpg")
    assert verdict.outcome is Outcome.ACCEPTED, verdict.findings
    assert len(verdict.signatures) == 2
    assert debsig_verify(tmp_path, path, fingerprint)
    later = judged(path, tmp_path / "ring.gpg", datetime.now(UTC) + timedelta(days=900))
    assert later.outcome is Outcome.ACCEPTED
    # debsig-verify passes over members that it does not know, and dpkg over those of any name
    (tmp_path / "more.deb").write_bytes(path.read_bytes() + member("pay.sh", b"pay"))
    assert judged(tmp_path / "more.deb", tmp_path / "ring.gpg").cause is Code.UNCOVERED_CONTENT


def test_who_is_right_about_a_moved_border(tmp_path: Path) -> None:
    """debsig-verify hashes contents one behind the other: where one ends, nobody signed."""
    own = pgp.Key("rsa", private=key("rsa2048", "debian-peer").private)
    (tmp_path / "ring.gpg").write_bytes(pgp.certificate(own))
    version, control, data = split(deb())
    blob = pgp.packet(2, own.sign(version[1] + control[1] + data[1]))
    both = control[1] + data[1]
    for by, ours in ((0, True), (10, False), (-10, False)):
        at = len(control[1]) + by
        path = tmp_path / "moved.deb"
        path.write_bytes(b"!<arch>\n" + b"".join(
            member(name, body) for name, body in (
                version, (control[0], both[:at]), (data[0], both[at:]), ("_gpgorigin", blob),
            )
        ))  # fmt: skip
        assert debsig_verify(tmp_path, path, own.fingerprint.hex())
        assert (judged(path, tmp_path / "ring.gpg").outcome is Outcome.ACCEPTED) is ours
