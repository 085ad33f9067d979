"""Digest lists: who signed them decides what they are worth, and listed is never signed."""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from conformance.authenticode import catalog, cms
from conformance.authenticode.pki import NOW, pem
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from signward.cli.commands import run
from signward.errors import BadInputError, EvidenceError, LimitError, MalformedError
from signward.findings import Code, Effect
from signward.formats._detached import DetachedFormat
from signward.inventory import digest_list
from signward.inventory.digest_list import read_list
from signward.policy.record import record
from signward.policy.rules.sighted import subject_of
from signward.report.text import line
from signward.state import Outcome, Source, Verdict
from signward.verbs import digest_lists
from signward.verbs.context import Context
from signward.verbs.options import Options
from signward.verbs.verify import assess_path
from signward.wire.source import whole_digest
from tests.builders import openpgp as pgp
from tests.builders.openpgp_clear import clear
from tests.samples.swi import image
from tests.signing import authority, identity, sign_beside, sign_bytes

IOS = "isr4300-universalk9.16.09.04.SPA.bin"
CONTENT = b"\x7fELF\x01\x02\x01" + bytes(60) + b"an image of a router" * 40
KEY = Ed25519PrivateKey.generate()


def gnu(data: bytes = CONTENT, name: str = IOS, algorithm: str = "sha512") -> bytes:
    return f"{hashlib.new(algorithm, data).hexdigest()}  {name}\n".encode()


def minisigned(data: bytes) -> bytes:
    """Return signify's signature, by ``KEY``."""
    return b"untrusted comment: x\n" + b64encode(b"Ed" + bytes(8) + KEY.sign(data)) + b"\n"


class Files:
    """An image, a list and what they are judged with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.anchor = self.write("root.pem", pem(authority().certificate))
        raw = b"Ed" + bytes(8) + KEY.public_key().public_bytes_raw()
        self.key = self.write("key.pub", b"untrusted comment: k\n" + b64encode(raw) + b"\n")
        self.image = self.write(IOS, CONTENT)

    def write(self, name: str, data: bytes) -> str:
        (self.folder / name).write_bytes(data)
        return str(self.folder / name)

    def judged(self, *lists: tuple[str, str], path: str = "", **options: object) -> Verdict:
        asked = {"anchors": (self.anchor,), "keyrings": (self.key,), "at": NOW, **options}
        context = Context(Options(digest_lists=lists, **asked))  # type: ignore[arg-type]
        return assess_path(path or self.image, context)

    def signed_list(self, data: bytes, **how: object) -> tuple[str, str]:
        blob = sign_beside(DetachedFormat(), data, **how)  # type: ignore[arg-type]
        return self.write("list.txt", data), self.write("list.txt.p7s", blob)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def test_without_a_list_nobody_can_tell(files: Files) -> None:
    verdict = files.judged()
    assert (verdict.outcome, verdict.cause) == (Outcome.INDETERMINATE, Code.UNSUPPORTED_KIND)


def test_a_list_that_nobody_signed_is_a_claim(files: Files) -> None:
    verdict = files.judged((files.write("list.txt", gnu()), ""))
    assert (verdict.outcome, verdict.cause) == (Outcome.INDETERMINATE, Code.UNSUPPORTED_KIND)
    (told,) = [f for f in verdict.findings if f.code is Code.LISTED]
    assert told.effect is Effect.NOTE
    assert "nobody trusted signed the list" in told.found


def test_what_a_signed_list_names_is_listed_and_not_signed(files: Files) -> None:
    verdict = files.judged(files.signed_list(gnu()))
    assert verdict.outcome is Outcome.ACCEPTED, [str(f) for f in verdict.findings]
    assert verdict.rule == "by-catalog"
    assert str(verdict.facts["listed-by"]).endswith("list.txt")
    assert {Code.LISTED, Code.BY_CATALOG} <= {f.code for f in verdict.findings}
    told = record(verdict)
    assert line(told).endswith("listed by Conformance  [not signed]")
    assert subject_of(told).signers == ()
    assert subject_of(told).catalogs == (f"sha256:{hashlib.sha256(gnu()).hexdigest()}",)


def test_a_list_signed_with_a_bare_key(files: Files) -> None:
    path = files.write("list.txt", gnu())
    one = path, files.write("list.txt.sig", minisigned(gnu()))
    assert files.judged(one).outcome is Outcome.ACCEPTED
    assert files.judged(one, keyrings=()).outcome is not Outcome.ACCEPTED
    other = path, files.write("list.txt.sig", minisigned(b"another list"))
    assert files.judged(other).cause is Code.SIGNATURE_MISMATCH


def test_a_changed_list_vouches_for_nothing(files: Files) -> None:
    _, beside = files.signed_list(gnu(b"before"))
    path = files.write("list.txt", gnu())
    verdict = files.judged((path, beside))
    assert (verdict.outcome, verdict.cause) == (Outcome.REJECTED, Code.DIGEST_MISMATCH)


def test_a_signer_whom_nobody_trusts_is_none(files: Files) -> None:
    from conformance.authenticode.keys import key
    from conformance.authenticode.pki import issue

    root = issue("Own root", subject_key=key("p256", "own"), ca=True, ekus=None,
                 usage=("keyCertSign",))  # fmt: skip
    forger = issue("Forger", issuer=root, subject_key=key("p256", "forger"))
    verdict = files.judged(files.signed_list(gnu(), who=forger))
    assert verdict.outcome is Outcome.REJECTED
    assert verdict.cause in (Code.NO_PATH, Code.UNTRUSTED_ROOT)


def test_an_image_that_a_trusted_list_knows_otherwise_is_rejected(files: Files) -> None:
    verdict = files.judged(files.signed_list(gnu(b"the vendor's own image")))
    assert (verdict.outcome, verdict.cause) == (Outcome.REJECTED, Code.DIGEST_MISMATCH)
    claimed = files.judged((files.write("list.txt", gnu(b"the vendor's own image")), ""))
    assert (claimed.outcome, claimed.cause) == (Outcome.INDETERMINATE, Code.UNSUPPORTED_KIND)
    assert [f.effect for f in claimed.findings if f.code is Code.DIGEST_MISMATCH] == [Effect.WARN]


def test_a_signed_file_is_judged_by_its_own_signature(files: Files) -> None:
    data = sign_bytes("EOS.swi", image())
    path = files.write("EOS.swi", data)
    one = files.signed_list(gnu(data, "EOS.swi"))
    verdict = files.judged(one, path=path)
    assert verdict.outcome is Outcome.ACCEPTED
    assert "listed-by" not in verdict.facts
    other = files.signed_list(gnu(b"another", "EOS.swi"))
    assert files.judged(other, path=path).cause is Code.DIGEST_MISMATCH


@pytest.mark.parametrize(("algorithm", "cause"), [
    ("md5", Code.UNSUPPORTED_KIND), ("sha1", Code.WEAK_DIGEST), ("sha256", None), ("sha384", None),
])  # fmt: skip
def test_weak_digests_vouch_for_nothing(files: Files, algorithm: str, cause: Code | None) -> None:
    verdict = files.judged(files.signed_list(gnu(algorithm=algorithm)))
    assert verdict.cause is cause
    if algorithm == "md5":
        assert any("MD5 vouches for nothing" in f.found for f in verdict.findings)


def test_a_manifest_that_lists_the_list_signs_it(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(files.folder / "state"))
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    folder = files.folder / "lists"
    folder.mkdir()
    (folder / "list.txt").write_bytes(gnu())
    who = identity()
    raw = who.key.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    files.write("key.pem", raw + pem(who.certificate))
    made = str(files.folder / "lists.manifest")
    assert run(["manifest", "make", str(folder), "--key", f"file:{files.folder / 'key.pem'}",
                "-o", made]) == 0  # fmt: skip
    verdict = files.judged((str(folder / "list.txt"), ""), catalogs=(made,))
    assert verdict.outcome is Outcome.ACCEPTED, [str(f) for f in verdict.findings]
    assert str(verdict.facts["listed-by"]).endswith("list.txt")


def test_a_list_makes_no_signed_list_of_another(files: Files) -> None:
    """Whoever signed a list of files signed none of the lists among these files."""
    second = files.write("second.txt", gnu())
    first = files.signed_list(gnu(gnu(), "second.txt"))
    for lists in ((first, (second, "")), ((second, ""), first)):
        verdict = files.judged(*lists)
        assert (verdict.outcome, verdict.cause) == (Outcome.INDETERMINATE, Code.UNSUPPORTED_KIND)


@pytest.mark.parametrize(("digest", "behind", "why"), [
    ("sha1", b"", "only a SHA-1 digest"), ("sha256", b"appended", "no signature covers"),
])  # fmt: skip
def test_a_list_in_a_spoilt_catalog_is_not_signed(
    files: Files, digest: str, behind: bytes, why: str
) -> None:
    who = identity()
    data = catalog.signed([catalog.member(gnu(), digest)], cms.Signer(identity=who),
                          certificates=[one.certificate for one in who.path]) + behind  # fmt: skip
    one, kept = files.write("list.txt", gnu()), files.write("lists.cat", data)
    with pytest.raises(EvidenceError, match=why):
        files.judged((one, ""), catalogs=(kept,))


def test_a_file_is_digested_once_however_often_its_name_is_listed(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def counting(source: Source, algorithm: str) -> bytes:
        asked.append(algorithm)
        return whole_digest(source, algorithm)

    monkeypatch.setattr(digest_lists, "whole_digest", counting)
    many = b"".join(gnu(b"%d" % number) for number in range(100))
    files.judged((files.write("list.txt", many), ""))
    assert asked == ["sha512"]


def test_the_command(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    path, _ = files.signed_list(gnu())
    words = ["verify", "--digest-list", path, "--anchor", files.anchor, "--at", NOW.isoformat()]
    assert run([*words, files.image]) == 0
    assert "[not signed]" in capsys.readouterr().out
    (files.folder / "list.txt.p7s").unlink()
    assert run([*words, files.image]) == 3
    assert run([*words, "--evidence", str(files.folder / "kept"), files.image]) == 2


def test_a_list_that_is_none_is_the_callers_fault(files: Files) -> None:
    with pytest.raises(EvidenceError, match="line 1"):
        files.judged((files.write("list.txt", b"hello\n"), ""))
    with pytest.raises(EvidenceError):
        files.judged((files.write("list.txt", gnu()), files.write("list.txt.p7s", b"\x30\x80")))


def test_lines() -> None:
    sha, md5 = "ab" * 32, "cd" * 16
    text = f"# a list\n\n{sha}  a b.bin\r\nSHA256 (d/c.bin) = {sha.upper()}\n{md5} *C:\\x\\e.bin"
    found = read_list("list", text.encode())
    assert [(e.base, e.algorithm) for e in found] == [
        ("a b.bin", "sha256"), ("c.bin", "sha256"), ("e.bin", "md5"),
    ]  # fmt: skip
    assert {e.digest for e in found} == {bytes.fromhex(sha), bytes.fromhex(md5)}


@pytest.mark.parametrize("text", [
    "", "\n# nothing\n", "abc  file", "ab" * 33 + "  file", "SHA256 (a) = " + "ab" * 20,
    "ab" * 32, "ab" * 32 + " file", "-----BEGIN PGP SIGNED MESSAGE-----",
])  # fmt: skip
def test_what_is_no_list(text: str) -> None:
    with pytest.raises(MalformedError):
        read_list("list", text.encode())


def test_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digest_list, "MAX_ENTRIES", 2)
    with pytest.raises(LimitError):
        read_list("list", gnu() * 3)
    monkeypatch.setattr(digest_list, "MAX_OCTETS", 100)
    with pytest.raises(LimitError):
        read_list("list", gnu())


@given(st.binary(max_size=400))
def test_no_octets_are_anything_but_a_list_or_none(data: bytes) -> None:
    with suppress(BadInputError):
        assert read_list("list", data)


def test_a_scan_judges_files_of_every_kind_by_a_list(
    files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = files.folder / "tree"
    tree.mkdir()
    for name in ("nxos.bin", "other.bin"):
        (tree / name).write_bytes(name.encode() + bytes(range(256)))
    data = (tree / "nxos.bin").read_bytes()
    path, _ = files.signed_list(gnu(data, "nxos.bin"))
    words = ["scan", str(tree), "--digest-list", path, "--anchor", files.anchor,
             "--at", NOW.isoformat(), "--no-cache", "--jobs", "1", "--format", "json"]  # fmt: skip
    run(words)
    records = json.loads(capsys.readouterr().out)["records"]
    found = {one["subject"].rpartition("/")[2]: one["outcome"] for one in records}
    assert found == {"nxos.bin": "accepted", "other.bin": "rejected"}


def test_a_list_signed_by_openpgp(files: Files) -> None:
    by, other = pgp.Key("ed25519"), pgp.Key("ed25519")
    ring = files.write("ring.gpg", pgp.certificate(by))
    made = pgp.BORN + timedelta(days=100)
    path = files.write("list.txt", gnu())
    good = path, files.write("list.txt.asc", pgp.packet(2, by.sign(gnu(), made=made)))
    assert files.judged(good, keyrings=(ring,)).outcome is Outcome.ACCEPTED
    assert files.judged(good, keyrings=()).outcome is not Outcome.ACCEPTED
    forged = path, files.write("list.txt.asc", pgp.packet(2, other.sign(gnu(), made=made)))
    assert files.judged(forged, keyrings=(ring,)).outcome is not Outcome.ACCEPTED


def test_a_clear_signed_list(files: Files) -> None:
    by = pgp.Key("ed25519")
    ring = files.write("ring.gpg", pgp.certificate(by))
    text = clear(gnu(), by, made=pgp.BORN + timedelta(days=100))
    good = files.judged((files.write("list.txt", text), ""), keyrings=(ring,))
    assert good.outcome is Outcome.ACCEPTED, [str(f) for f in good.findings]
    assert files.judged((files.write("list.txt", text), ""), keyrings=()).cause is Code.KEY_MISSING
    changed = text.replace(gnu()[:8], b"00000000")
    assert files.judged((files.write("list.txt", changed), ""), keyrings=(ring,)).outcome in (
        Outcome.REJECTED, Outcome.INDETERMINATE,
    )  # fmt: skip
    with pytest.raises(EvidenceError, match="digest list"):
        files.judged((files.write("list.txt", gnu() + text), ""), keyrings=(ring,))
    with pytest.raises(EvidenceError, match="digest list"):
        files.judged((files.write("list.txt", text + gnu()), ""), keyrings=(ring,))
