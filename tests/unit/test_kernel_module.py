"""Signatures appended to modules and other ELF files: the trailer's rules (THREATS 46)."""

from __future__ import annotations

import gzip
import hashlib
import importlib
import struct
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from conformance.authenticode.pki import NOW, Identity, pem
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from signward.cli.commands import run
from signward.envelopes.cms import DATA, NESTED_SIGNATURE, SIGNED_DATA
from signward.envelopes.cms_draft import CmsDraft, Form, draft
from signward.envelopes.cms_external import open_external
from signward.envelopes.cms_plain import PlainDraft
from signward.errors import LimitError, MalformedError, NotSignableError
from signward.findings import Code
from signward.formats import Existing, kernel_module, peek_at, recognise
from signward.formats import _appended as appended
from signward.policy.record import record, to_json
from signward.state import Outcome, Verdict
from signward.verbs.context import Context
from signward.verbs.evidence import assess_with_evidence
from signward.verbs.options import Options
from signward.verbs.replay import replay
from signward.verbs.show import parsed
from signward.verbs.verify import assess
from signward.wire import der
from signward.wire.algorithms import DIGEST_OIDS
from signward.wire.compressed import compression_of, pack, unpack
from signward.wire.module_trailer import MAGIC, MAX_SIGNATURE, read_trailer, write_trailer
from signward.wire.source import BytesSource
from tests.builders import elf
from tests.builders.keyfiles import encoded
from tests.signing import identity, sign_bytes, signer_of, strip_bytes

MODULE = elf.module()
SIGNED = sign_bytes("a.ko", MODULE)
STRUCTURE = len(SIGNED) - len(MAGIC) - 12


@pytest.fixture(scope="module")
def keyring(tmp_path_factory: pytest.TempPathFactory) -> Context:
    """Return a context whose only key is the signer's certificate: a keyring."""
    path = tmp_path_factory.mktemp("keys") / "signer.pem"
    path.write_bytes(pem(identity().certificate))
    return Context(Options(anchors=(str(path),), at=NOW))


def judged(data: bytes, keyring: Context, name: str = "a.ko") -> Verdict:
    return assess(BytesSource(name, data), keyring)


def cause(data: bytes, keyring: Context, name: str = "a.ko") -> Code | None:
    return judged(data, keyring, name).cause


def changed(data: bytes, offset: int, value: bytes) -> bytes:
    return data[:offset] + value + data[offset + len(value) :]


def over(content: bytes) -> bytes:
    """Return content with a trailer around a message of the signer's over it."""
    plain = PlainDraft(
        content=content, signer=signer_of(identity()), attached=False, certificates=False
    )
    return content + write_trailer(plain.seal(identity().key.sign(content, "sha256")))


def test_a_module_is_judged_by_the_keys_at_hand(keyring: Context) -> None:
    verdict = judged(SIGNED, keyring)
    assert verdict.outcome is Outcome.ACCEPTED
    assert verdict.digests["elf-sha256"] == hashlib.sha256(MODULE).digest()
    assert cause(MODULE, keyring) is Code.UNSIGNED


def test_dates_do_not_count(tmp_path: Path) -> None:
    path = tmp_path / "signer.pem"
    path.write_bytes(pem(identity().certificate))
    late = Context(Options(anchors=(str(path),), at=NOW + timedelta(days=36500)))
    assert judged(SIGNED, late).outcome is Outcome.ACCEPTED


def test_another_key_is_no_key(tmp_path: Path) -> None:
    path = tmp_path / "other.pem"
    path.write_bytes(pem(identity("p256", "Somebody Else").certificate))
    verdict = judged(SIGNED, Context(Options(anchors=(str(path),), at=NOW)))
    assert (verdict.outcome, verdict.cause) == (Outcome.INDETERMINATE, Code.KEY_MISSING)


@pytest.mark.parametrize(
    ("offset", "value", "found"),
    [
        (0, b"\x01", "fields 0100"),
        (1, b"\x04", "fields 0004"),
        (2, b"\x00", r"0 \(OpenPGP\)"),
        (2, b"\x01", r"1 \(X.509"),
        (2, b"\x03", "identifier 3"),
        (3, b"\x05", "fields 0000020500"),
        (4, b"\x05", "fields 0000020005"),
        (5, b"\x01", "fields 000002000001"),
        (7, b"\x01", "fields 0000020000000001"),
        (8, b"\xff\xff\xff\xff", "a signature of 4294967295 octets"),
        (8, struct.pack(">I", STRUCTURE), f"a signature of {STRUCTURE} octets"),
    ],
)
def test_every_field_of_the_structure(
    keyring: Context, offset: int, value: bytes, found: str
) -> None:
    data = changed(SIGNED, STRUCTURE + offset, value)
    with pytest.raises(MalformedError, match=found):
        read_trailer(BytesSource("a.ko", data))
    assert cause(data, keyring) is Code.MALFORMED


def test_a_signature_said_shorter_or_longer(keyring: Context) -> None:
    (size,) = struct.unpack_from(">I", SIGNED, STRUCTURE + 8)
    for other in (0, 1, size - 1, size + 1):
        data = changed(SIGNED, STRUCTURE + 8, struct.pack(">I", other))
        assert cause(data, keyring) is Code.MALFORMED, other


def test_limits(keyring: Context) -> None:
    huge = MODULE + write_trailer(bytes(MAX_SIGNATURE + 1))
    assert cause(huge, keyring) is Code.LIMIT_EXCEEDED
    assert cause(b"\x7fELF" + MAGIC, keyring) is Code.MALFORMED
    assert read_trailer(BytesSource("a", MAGIC[1:])) is None


@pytest.mark.parametrize("behind", [b"\0", b"\n", b"x" * 4000])
def test_what_stands_behind_the_trailer_makes_it_worthless(keyring: Context, behind: bytes) -> None:
    for name, data in (("a.ko", SIGNED), ("program", sign_bytes("program", elf.linked()))):
        verdict = judged(data + behind, keyring, name)
        assert verdict.cause is Code.UNSIGNED
        assert Code.LEFTOVER_SIGNATURE in {finding.code for finding in verdict.findings}
    assert cause(SIGNED + MODULE, keyring) is Code.UNSIGNED


def test_a_changed_magic_is_no_signature(keyring: Context) -> None:
    for at in range(len(SIGNED) - len(MAGIC), len(SIGNED)):
        assert cause(changed(SIGNED, at, b"!"), keyring) is Code.UNSIGNED


def test_a_stripped_module_is_unsigned_and_the_same_as_before() -> None:
    assert strip_bytes("a.ko", SIGNED) == MODULE


def test_a_second_trailer_covers_the_first(keyring: Context) -> None:
    twice = over(SIGNED)
    assert judged(twice, keyring).outcome is Outcome.ACCEPTED
    assert strip_bytes("a.ko", twice) == SIGNED
    inside = changed(twice, STRUCTURE - 20, b"\0\0")
    assert cause(inside, keyring) is Code.SIGNATURE_MISMATCH


def test_a_signature_of_another_module(keyring: Context) -> None:
    other = sign_bytes("b.ko", elf.module({"name": "other"}))
    trailer = read_trailer(BytesSource("b.ko", other))
    assert trailer is not None
    moved = MODULE + other[trailer.start :]
    assert cause(moved, keyring) is Code.SIGNATURE_MISMATCH


def test_a_module_hidden_in_the_message(keyring: Context) -> None:
    """Content inside the CMS is not what the kernel loads."""
    plain = PlainDraft(
        content=MODULE, signer=signer_of(identity()), attached=True, certificates=False
    )
    inside = plain.seal(identity().key.sign(MODULE, "sha256"))
    evil = elf.module({"name": "evil"}) + write_trailer(inside)
    assert cause(evil, keyring) is Code.MALFORMED


def with_attributes(content: bytes, who: Identity, digest: str = "sha256") -> bytes:
    made: CmsDraft = draft(
        DATA, content, signer_of(who, digest), form=Form.DETACHED, certificates=False
    )
    value = who.key.sign(made.to_be_signed, made.algorithm.digest or digest)
    return content + write_trailer(made.seal(value))


def test_signed_attributes_are_refused_in_modules_only(keyring: Context) -> None:
    assert cause(with_attributes(MODULE, identity()), keyring) is Code.ATTRIBUTE_RULE
    program = with_attributes(elf.linked(), identity())
    assert judged(program, keyring, "program").outcome is Outcome.ACCEPTED
    assert cause(changed(program, 200, b"!"), keyring, "program") is Code.DIGEST_MISMATCH


def test_ml_dsa_may_have_attributes(tmp_path: Path) -> None:
    path = tmp_path / "signer.pem"
    path.write_bytes(pem(identity("ml-dsa-65").certificate))
    ring = Context(Options(anchors=(str(path),), at=NOW))
    data = with_attributes(MODULE, identity("ml-dsa-65"), "sha512")
    assert judged(data, ring).outcome is Outcome.ACCEPTED
    bare = sign_bytes("a.ko", MODULE, who=identity("ml-dsa-65"), digest="sha512")
    assert judged(bare, ring).outcome is Outcome.ACCEPTED
    assert cause(changed(bare, 100, b"!"), ring) is Code.SIGNATURE_MISMATCH


def test_versions_go_with_how_the_signer_is_named(keyring: Context) -> None:
    """The kernel refuses others; signward names the signer either way."""
    by_key = sign_bytes("a.ko", MODULE, options={"key-id": "yes"})
    assert judged(by_key, keyring).outcome is Outcome.ACCEPTED
    assert by_key != SIGNED
    for data, right, wrong in ((SIGNED, b"\1", b"\3"), (by_key, b"\3", b"\1")):
        trailer = read_trailer(BytesSource("a.ko", data))
        assert trailer is not None
        at = data.index(b"\x02\x01" + right, trailer.start)
        assert cause(changed(data, at + 2, wrong), keyring) is Code.MALFORMED


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"who": identity("ed25519"), "digest": "sha512"}, "ed25519"),
        ({"options": {"key-id": "perhaps"}}, "yes or no"),
    ],
)
def test_what_cannot_be_signed_is_said(asked: dict[str, object], words: str) -> None:
    with pytest.raises(NotSignableError, match=words):
        sign_bytes("a.ko", MODULE, **asked)


def test_there_is_one_signature() -> None:
    for existing, words in ((Existing.REFUSE, "--replace"), (Existing.NESTED, "the trailer holds")):
        with pytest.raises(NotSignableError, match=words):
            sign_bytes("a.ko", SIGNED, existing=existing)


def test_too_large_to_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(appended, "MAX_HELD", 100)
    with pytest.raises(LimitError, match="at most 100"):
        sign_bytes("a.ko", MODULE)


PACKED = {kind: pack(kind, SIGNED, "a") for kind in ("gzip", "xz", "zstd")}
NAMES = {"gzip": "a.ko.gz", "xz": "a.ko.xz", "zstd": "a.ko.zst"}


@pytest.mark.parametrize("kind", PACKED)
def test_packed_modules(kind: str, keyring: Context) -> None:
    verdict = judged(PACKED[kind], keyring, NAMES[kind])
    assert verdict.outcome is Outcome.ACCEPTED
    assert verdict.facts["compression"] == kind
    assert compression_of(PACKED[kind]) == kind


@pytest.mark.parametrize("kind", PACKED)
def test_what_stands_behind_the_stream_is_uncovered(kind: str, keyring: Context) -> None:
    evil = pack(kind, elf.module({"name": "evil"}), "evil")
    for behind in (evil, PACKED[kind], b"\0", b"\0\0\0\0", SIGNED[STRUCTURE:]):
        data = PACKED[kind] + behind
        assert cause(data, keyring, NAMES[kind]) is Code.UNCOVERED_CONTENT
        assert cause(evil + behind, keyring, NAMES[kind]) is Code.UNCOVERED_CONTENT


@pytest.mark.parametrize("kind", PACKED)
def test_broken_streams(kind: str, keyring: Context) -> None:
    for data in (PACKED[kind][:-1], PACKED[kind][:40], PACKED[kind][:7]):
        assert cause(data, keyring, NAMES[kind]) is Code.MALFORMED
    text = pack(kind, b"#!/bin/sh\n" + SIGNED, "a")
    assert cause(text, keyring, NAMES[kind]) is Code.MALFORMED


@pytest.mark.parametrize("kind", PACKED)
def test_bombs(kind: str, keyring: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_module, "MAX_MODULE", 1000)
    bomb = pack(kind, b"\x7fELF" + bytes(1 << 20), "a")
    assert cause(bomb, keyring, NAMES[kind]) is Code.LIMIT_EXCEEDED


def test_gzip_headers_that_the_kernel_does_not_know(keyring: Context) -> None:
    named = bytearray(gzip.compress(SIGNED, mtime=0))
    named[3] |= 8
    data = bytes(named[:10]) + b"a.ko\0" + bytes(named[10:])
    assert judged(data, keyring, "a.ko.gz").outcome is Outcome.ACCEPTED
    commented = bytearray(data)
    commented[3] |= 16
    assert cause(bytes(commented), keyring, "a.ko.gz") is Code.MALFORMED


def test_replacing_keeps_the_compression(keyring: Context) -> None:
    for kind, data in PACKED.items():
        again = sign_bytes(NAMES[kind], data, existing=Existing.REPLACE)
        assert again == data
        assert unpack(strip_bytes(NAMES[kind], data), 1 << 20, "a")[0] == MODULE


def test_zstd_without_its_library(keyring: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(_name: str) -> object:
        raise ImportError

    monkeypatch.setattr(importlib, "import_module", none)
    verdict = judged(PACKED["zstd"], keyring, "a.ko.zst")
    assert (verdict.outcome, verdict.cause) == (Outcome.INDETERMINATE, Code.UNSUPPORTED_KIND)
    assert "signward[zstd]" in str(verdict.findings[0])


@pytest.mark.parametrize(
    ("name", "data", "form"),
    [
        ("a.ko", MODULE, "kernel-module"),
        ("renamed", SIGNED, "kernel-module"),
        ("a.o", MODULE, "elf"),
        ("program", elf.linked(elf.EXECUTABLE), "elf"),
        ("program", sign_bytes("program", elf.linked(elf.EXECUTABLE)), "elf"),
        ("a.ko.xz", PACKED["xz"], "kernel-module"),
        ("a.xz", PACKED["xz"], None),
    ],
)
def test_recognition(name: str, data: bytes, form: str | None) -> None:
    found = recognise(peek_at(BytesSource(name, data)))
    assert (found.name if found else None) == form


def test_show_tells_of_the_module() -> None:
    for name, data in (("a.ko", SIGNED), ("a.ko.xz", PACKED["xz"])):
        artifact = parsed(BytesSource(name, data))
        assert artifact is not None
        told = {"license": "GPL", "name": "sample", "vermagic": "6.1.0 SMP "}
        assert told.items() <= artifact.facts.items()


def test_evidence_replays_whatever_the_keyring_said(tmp_path: Path) -> None:
    """The keys are in no envelope: a bundle keeps those that were at hand."""
    anchor = tmp_path / "signer.pem"
    anchor.write_bytes(pem(identity().certificate))
    options = Options(anchors=(str(anchor),), at=NOW)
    files = {
        "good": (SIGNED, None),
        "changed": (changed(SIGNED, 100, b"!"), Code.SIGNATURE_MISMATCH),
        "strangers": (sign_bytes("a.ko", MODULE, who=identity("p256")), Code.KEY_MISSING),
        "unsigned": (MODULE, Code.UNSIGNED),
    }
    for name, (data, expected) in files.items():
        path = tmp_path / f"{name}.ko"
        path.write_bytes(data)
        (verdict,), _ = assess_with_evidence([str(path)], options, str(tmp_path / f"of-{name}"))
        assert verdict.cause is expected
        again = replay(str(tmp_path / f"of-{name}"), str(path))
        assert to_json(record(again)) == to_json(record(verdict))


def test_signing_and_verifying_on_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    key.write_bytes(encoded(identity().key))
    certificate.write_bytes(pem(identity().certificate))
    module, packed = tmp_path / "a.ko", tmp_path / "b.ko.xz"
    module.write_bytes(MODULE)
    packed.write_bytes(pack("xz", MODULE, "b"))
    at, files = ["--at", NOW.isoformat()], [str(module), str(packed)]
    assert run(["sign", "--key", f"file:{key}", "--cert", str(certificate), *at, *files]) == 0
    assert module.read_bytes() == SIGNED
    assert run(["verify", "--anchor", str(certificate), *at, *files]) == 0
    assert run(["strip", str(module)]) == 0
    assert module.read_bytes() == MODULE
    assert run(["verify", "--anchor", str(certificate), *at, str(module)]) == 4  # unsigned
    capsys.readouterr()


@pytest.mark.parametrize("digest", ["md5", "sha1"])
def test_weak_digests(keyring: Context, digest: str) -> None:
    signer = signer_of(identity(), digest)
    plain = PlainDraft(content=MODULE, signer=signer, attached=False, certificates=False)
    message = plain.seal(identity().key.sign(MODULE, digest))
    assert cause(MODULE + write_trailer(message), keyring) is Code.WEAK_DIGEST


def test_embedded_certificates_are_no_keys_of_their_own(tmp_path: Path, keyring: Context) -> None:
    """A path to a key at hand is one, whoever brought it; a stranger's is none."""
    stranger = identity("p256", "Somebody Else")
    for who, expected in ((identity(), None), (stranger, Code.NO_PATH)):
        plain = PlainDraft(content=MODULE, signer=signer_of(who), attached=False, certificates=True)
        message = plain.seal(who.key.sign(MODULE, "sha256"))
        assert cause(MODULE + write_trailer(message), keyring) is expected


def remade(change: Callable[[list[bytes]], list[bytes]]) -> bytes:
    """Return the signed module with other fields in its one SignerInfo."""
    trailer = read_trailer(BytesSource("a.ko", SIGNED))
    assert trailer is not None
    blob = SIGNED[trailer.start : trailer.end]
    whole = der.parse(blob, "cms").children()[1].children()[0].children()
    info = [field.raw for field in whole[-1].children()[0].children()]
    parts = [f.raw for f in whole[:-1]] + [der.set_of(der.sequence(*change(info)))]
    message = der.sequence(der.oid(SIGNED_DATA), der.context(0, der.sequence(*parts)))
    return MODULE + write_trailer(message)


def pss(digest: str, mgf: bytes, salt: int) -> bytes:
    """Return RSASSA-PSS with these parameters (RFC 4055 3.1)."""
    mask = der.sequence(der.oid("1.2.840.113549.1.1.8"), mgf)
    fields = (der.context(0, der.sequence(der.oid(DIGEST_OIDS[digest]))), der.context(1, mask),
              der.context(2, der.integer(salt)))  # fmt: skip
    return der.sequence(der.oid("1.2.840.113549.1.1.10"), der.sequence(*fields))


SHA256 = der.sequence(der.oid(DIGEST_OIDS["sha256"]))


@pytest.mark.parametrize(
    ("scheme", "why"),
    [
        (pss("sha256", der.sequence(der.oid("1.2.3.4")), 32), Code.UNSUPPORTED_ALGORITHM),
        (pss("sha256", SHA256, 2**70), Code.SIGNATURE_MISMATCH),
        (pss("sha256", SHA256, 32), Code.SIGNATURE_MISMATCH),
    ],
)
def test_parameters_of_pss_never_surprise(scheme: bytes, why: Code, keyring: Context) -> None:
    """An unknown digest of the mask raised KeyError, a huge salt OverflowError."""
    assert cause(remade(lambda i: [*i[:3], scheme, i[4]]), keyring) is why


def test_a_scheme_that_the_kernel_does_not_check(keyring: Context) -> None:
    """Its value fits, and no kernel loads the module."""
    value = identity().key.private.sign(
        MODULE, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256()
    )
    data = remade(lambda i: [*i[:3], pss("sha256", SHA256, 32), der.octet_string(value)])
    assert cause(data, keyring) is Code.UNSUPPORTED_ALGORITHM


def test_a_signature_inside_unsigned_attributes_is_not_the_kernel_s(tmp_path: Path) -> None:
    """Nobody known signed the message itself: the one nested in it counts for nothing."""
    trailer = read_trailer(BytesSource("a.ko", SIGNED))
    assert trailer is not None
    nested = der.sequence(
        der.oid(NESTED_SIGNATURE), der.set_of(SIGNED[trailer.start : trailer.end])
    )
    stranger = sign_bytes("a.ko", MODULE, who=identity("rsa2048", "A Stranger"))
    at = read_trailer(BytesSource("a.ko", stranger))
    assert at is not None
    whole = der.parse(stranger[at.start : at.end], "cms").children()[1].children()[0].children()
    info = [field.raw for field in whole[-1].children()[0].children()]
    signers = der.set_of(der.sequence(*info, der.context(1, nested)))
    parts = der.sequence(*[f.raw for f in whole[:-1]], signers)
    data = MODULE + write_trailer(der.sequence(der.oid(SIGNED_DATA), der.context(0, parts)))
    path = tmp_path / "signer.pem"
    path.write_bytes(pem(identity().certificate))
    assert cause(data, Context(Options(anchors=(str(path),), at=NOW))) is Code.KEY_MISSING


def test_many_signers_hold_the_content_once() -> None:
    """Each that hashes for itself asked for a copy: sixteen of what unpacks to 256 MiB."""
    data = sign_bytes("a.ko", MODULE, who=identity("ml-dsa-65"), digest="sha512")
    trailer = read_trailer(BytesSource("a.ko", data))
    assert trailer is not None
    whole = der.parse(data[trailer.start : trailer.end], "cms").children()[1].children()[0]
    *before, infos = whole.children()
    many = der.set_of(infos.children()[0].raw * 16)
    parts = der.sequence(*[f.raw for f in before], many)
    message = der.sequence(der.oid(SIGNED_DATA), der.context(0, parts))
    opened = open_external(message, "elf", lambda: bytes(bytearray(MODULE)))
    assert len(opened) == 16
    assert len({id(one.to_be_verified) for one in opened}) == 1


@pytest.mark.parametrize("kind", PACKED)
def test_signing_loses_nothing_behind_the_stream(kind: str) -> None:
    unsigned = pack(kind, MODULE, "a") + b"more"
    with pytest.raises(NotSignableError, match="4 octets behind"):
        sign_bytes(NAMES[kind], unsigned)
