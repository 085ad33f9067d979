"""RPM packages: what a signature covers, and what none does (THREATS 42)."""

from __future__ import annotations

import base64
import struct
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from conformance.authenticode import rpm
from conformance.authenticode.rpm import FILES, File, Value, binary, number, text, texts

from signward.envelopes import Signer
from signward.envelopes.openpgp_cert import keys_of
from signward.errors import BadInputError, LimitError, NotSignableError
from signward.findings import Code
from signward.formats import Existing, ParseOptions, Request, _rpm_files, _rpm_layout, peek_at
from signward.formats import rpm as form
from signward.formats.rpm import FORMAT
from signward.integrity import wanted_slots
from signward.inventory.classify import classify
from signward.keys._local import LocalKey
from signward.policy.record import record
from signward.state import Outcome, Verdict
from signward.verbs.context import Context
from signward.verbs.credential import algorithm_for
from signward.verbs.options import Options
from signward.verbs.verify import assess
from signward.wire import cpio
from signward.wire import rpm as wire
from signward.wire.patch import Patched, pieces
from signward.wire.rpm import read_header, read_package_header
from signward.wire.source import BytesSource
from tests.builders import openpgp as pgp
from tests.builders.openpgp import BORN, Key

NAME = "tool-1.0-1.noarch.rpm"
NOW = datetime(2024, 6, 1, tzinfo=UTC)
LATER = BORN + timedelta(days=100)
RSA, DSA, OPENPGP, PGP, GPG = 268, 267, 278, 1002, 1005


@cache
def key(kind: str = "ed25519", version: int = 4, which: int = 0) -> Key:
    return Key(kind, version)


@cache
def ring(own: Key) -> bytes:
    return pgp.certificate(own, pgp.direct(own), pgp.user_id(own))


def packet(by: Key, content: bytes, **how: Any) -> bytes:
    return pgp.packet(2, by.sign(content, **{"made": LATER, **how}))


def signed(
    data: bytes,
    by: Key | None = None,
    tag: int = DSA,
    *,
    change: Mapping[int, Value | None] | None = None,
    version: int = 4,
    **how: Any,
) -> bytes:
    """Return a package with a signature in the place of ``tag``, and other values changed."""
    values, head, payload = rpm.split(data)
    over = head if tag in (RSA, DSA, OPENPGP) else head + payload
    made = packet(by or key(), over, **how)
    values[tag] = texts(base64.b64encode(made)) if tag == OPENPGP else binary(made)
    values |= {k: v for k, v in (change or {}).items() if v is not None}
    for gone in [k for k, v in (change or {}).items() if v is None]:
        del values[gone]
    return rpm.assembled(values, head, payload, version)


def judged(data: bytes, folder: Path, *keys: Key, **options: Any) -> Verdict:
    path = folder / "ring.gpg"
    path.write_bytes(b"".join(map(ring, keys or (key(),))))
    how = {"keyrings": (str(path),), "at": NOW, **options}
    return assess(BytesSource(NAME, data), Context(Options(**how)))


def causes(data: bytes, folder: Path, *keys: Key, **options: Any) -> Code | None:
    return judged(data, folder, *keys, **options).cause


def told(verdict: Verdict) -> str:
    return "\n".join(map(str, verdict.findings))


@pytest.mark.parametrize("kind", ["gzip", "bzip2", "xz", "lzma", "zstd", ""])
def test_it_is_recognised_and_told(kind: str, tmp_path: Path) -> None:
    data = signed(rpm.package(kind=kind))
    assert classify(peek_at(BytesSource(NAME, data))) == "rpm"
    verdict = judged(data, tmp_path)
    assert verdict.outcome is Outcome.ACCEPTED, told(verdict)
    assert dict(verdict.facts) == {
        "package": "tool", "version": "1.0-1", "architecture": "noarch", "rpm-format": 4,
    }  # fmt: skip
    assert set(verdict.digests) == {"header-sha256", "payload-sha256"}
    assert record(verdict).signatures[0].holder is not None


@pytest.mark.parametrize("by", [key("ed25519", 6), key("rsa", 6), key("ed25519", 4)])
def test_version_6(by: Key, tmp_path: Path) -> None:
    data = signed(rpm.package(kind="", version=6), by, OPENPGP, version=6)
    verdict = judged(data, tmp_path, by)
    assert verdict.outcome is Outcome.ACCEPTED, told(verdict)
    assert verdict.facts["rpm-format"] == 6


def test_what_is_not_signed_is_unsigned(tmp_path: Path) -> None:
    for version in (4, 6):
        verdict = judged(rpm.package(version=version), tmp_path)
        assert (verdict.outcome, verdict.cause) == (Outcome.REJECTED, Code.UNSIGNED)


def test_no_keyring_and_another_keyring(tmp_path: Path) -> None:
    data = signed(rpm.package())
    assert causes(data, tmp_path, key(which=1)) is Code.KEY_MISSING
    assert causes(data, tmp_path, keyrings=()) is Code.KEY_MISSING


def test_a_changed_payload_is_told_by_its_digest(tmp_path: Path) -> None:
    """Whatever becomes of unpacking it: a header signature alone says nothing of the payload."""
    for kind in ("gzip", "", "xz"):
        data = signed(rpm.package(kind=kind))
        _, head, payload = rpm.split(data)
        start = data.index(head) + len(head)
        for at in (start, start + len(payload) // 2, len(data) - 1):
            changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
            verdict = judged(changed, tmp_path)
            assert verdict.cause is Code.DIGEST_MISMATCH
            assert "payload" in told(verdict)


def test_a_changed_payload_with_the_digests_that_anybody_can_write(tmp_path: Path) -> None:
    """Digests in the signature header are nobody's word."""
    values, head, payload = rpm.split(signed(rpm.package(kind="")))
    other = payload.replace(b"echo tool", b"echo evil")
    renewed = {**values, **rpm.signature_values(head, other, 4, 0)}
    verdict = judged(rpm.assembled(renewed, head, other), tmp_path)
    assert verdict.cause is Code.DIGEST_MISMATCH
    assert "payload: found sha256" in told(verdict)
    assert "file:/usr/bin/tool: found sha256" in told(verdict)


@pytest.mark.parametrize("tag", [269, 273, 1004, 1000])
def test_a_digest_or_size_that_does_not_match(tag: int, tmp_path: Path) -> None:
    wrong = {269: text("00" * 20), 273: text("00" * 32), 1004: binary(bytes(16)),
             1000: number(4, 77)}[tag]  # fmt: skip
    assert causes(signed(rpm.package(), change={tag: wrong}), tmp_path) is Code.DIGEST_MISMATCH
    assert causes(signed(rpm.package(), change={tag: None}), tmp_path) is None


def test_old_signatures_are_never_trusted_alone(tmp_path: Path) -> None:
    for tag in (PGP, GPG):
        data = signed(rpm.package(), tag=tag)
        verdict = judged(data, tmp_path)
        assert (verdict.outcome, verdict.cause) == (Outcome.REJECTED, Code.ATTRIBUTE_RULE)
        assert "one over the header" in told(verdict)
        assert causes(signed(data), tmp_path) is None


def test_old_signatures_must_count_beside_others(tmp_path: Path) -> None:
    other = key("rsa")
    both = signed(signed(rpm.package(), other, PGP))
    assert causes(both, tmp_path, key(), other) is None
    assert causes(both, tmp_path) is Code.KEY_MISSING
    weak = signed(signed(rpm.package(), other, PGP, digest="sha1"))
    assert causes(weak, tmp_path, key(), other) is Code.WEAK_DIGEST
    moved = signed(signed(rpm.package(), tag=DSA), tag=PGP, change={PGP: binary(
        packet(key(), rpm.split(rpm.package())[1]))})  # fmt: skip
    assert causes(moved, tmp_path) is Code.SIGNATURE_MISMATCH


def test_a_payload_without_digest_is_covered_by_an_old_signature_alone(tmp_path: Path) -> None:
    for change in ({5092: None, 5093: None}, {5093: number(4, 1), 5092: texts("00" * 16)}):
        bare = rpm.package(change=change)
        verdict = judged(signed(bare), tmp_path)
        assert verdict.outcome is Outcome.REJECTED
        assert Code.UNCOVERED_CONTENT in {f.code for f in verdict.findings}
    bare = rpm.package(change={5092: None, 5093: None})
    assert causes(signed(bare), tmp_path) is Code.UNCOVERED_CONTENT
    assert causes(bare, tmp_path) is Code.UNSIGNED
    assert causes(signed(signed(bare, tag=PGP)), tmp_path) is None


def test_several_signatures(tmp_path: Path) -> None:
    two = signed(signed(rpm.package(), key("rsa"), RSA), key(), DSA)
    verdict = judged(two, tmp_path, key(), key("rsa"))
    assert verdict.outcome is Outcome.ACCEPTED
    assert len(verdict.signatures) == 2
    assert causes(two, tmp_path) is None, "who is not asked for says nothing"
    assert causes(two, tmp_path, key(which=3)) is Code.KEY_MISSING
    bad = packet(key(), b"something else")
    broken = signed(two, key("rsa"), RSA, change={DSA: binary(bad)})
    assert causes(broken, tmp_path, key(), key("rsa")) is Code.SIGNATURE_MISMATCH


def test_one_signature_in_two_places_is_one(tmp_path: Path) -> None:
    _, head, _ = rpm.split(rpm.package())
    made = base64.b64encode(packet(key(), head))
    data = signed(rpm.package(), change={OPENPGP: texts(made, made)})
    verdict = judged(data, tmp_path)
    assert verdict.outcome is Outcome.ACCEPTED
    assert len(verdict.signatures) == 1


def _standing(case: str) -> tuple[bytes, bytes]:
    """Return a package by a subkey, and a keyring in which that is ended or revoked."""
    own, sub = key("rsa"), key("ed25519", 4, 3)
    ended = (pgp.flags(0x02), pgp.seconds(9, 3600))
    parts = {
        "good": (pgp.user_id(own), pgp.subkey(own, sub)),
        "expired": (pgp.user_id(own), pgp.subkey(own, sub, more=ended)),
        "revoked": (pgp.user_id(own), pgp.subkey(own, sub),
                    pgp.revocation(own, own.hashed + sub.hashed, kind=0x28, reason=2,
                                   made=LATER)),
        "without-agreement": (pgp.user_id(own), pgp.subkey(own, sub, back=b"")),
    }[case]  # fmt: skip
    return signed(rpm.package(), sub), pgp.certificate(own, *parts)


@pytest.mark.parametrize(
    ("case", "cause"),
    [
        ("good", None),
        ("expired", Code.EXPIRED),
        ("revoked", Code.REVOKED),
        ("without-agreement", Code.CERTIFICATE_SIGNATURE),
    ],
)
def test_subkeys(case: str, cause: Code | None, tmp_path: Path) -> None:
    """CVE-2021-3521 is the last: anybody could bind somebody else's signing key."""
    data, certificate = _standing(case)
    path = tmp_path / "ring"
    path.write_bytes(certificate)
    context = Context(Options(keyrings=(str(path),), at=NOW))
    assert assess(BytesSource(NAME, data), context).cause is cause


def test_a_key_id_is_no_identity(tmp_path: Path) -> None:
    own, other = key(), key(which=1)
    lie = signed(rpm.package(), other, issuer=pgp.subpacket(16, own.fingerprint[-8:]))
    assert causes(lie, tmp_path) is Code.SIGNATURE_MISMATCH


def _behind(data: bytes, more: list[tuple[int, Value]], region: int = 62) -> bytes:
    """Return a package whose signature header has entries behind its region."""
    values, head, payload = rpm.split(data)
    whole = rpm.header(region, values)
    count, _ = struct.unpack_from(">II", whole, 8)
    index, store = whole[16 : 16 + 16 * count], whole[16 + 16 * count :]
    for tag, (kind, many, octets) in more:
        store += bytes(-len(store) % 8)
        index += struct.pack(">iIiI", tag, kind, len(store), many)
        store += octets
    grown = whole[:8] + struct.pack(">II", count + len(more), len(store)) + index + store
    lead = data[:96]
    return lead + grown + bytes(-len(grown) % 8) + head + payload


def test_entries_behind_a_region_are_refused(tmp_path: Path) -> None:
    """Of such entries CVE-2021-20271 was made: rpm took them into the header it installs by."""
    data = _behind(signed(rpm.package()), [(1022, text("evil"))])
    verdict = judged(data, tmp_path)
    assert verdict.cause is Code.MALFORMED
    assert "behind its region" in told(verdict)


def test_tags_that_nobody_knows_are_content_that_nobody_signed(tmp_path: Path) -> None:
    for tag, value in ((1022, text("evil")), (300, binary(b"x")), (266, binary(b"a key"))):
        data = signed(rpm.package(), change={tag: value})
        assert causes(data, tmp_path) is Code.UNCOVERED_CONTENT
    full = signed(rpm.package(), change={1008: binary(b"\0" * 9 + b"hidden")})
    assert causes(full, tmp_path) is Code.UNCOVERED_CONTENT


def test_a_tag_twice_is_ambiguous(tmp_path: Path) -> None:
    values, head, payload = rpm.split(signed(rpm.package()))
    twice = rpm.assembled(values, head, payload, more=[(DSA, values[DSA])])
    assert causes(twice, tmp_path) is Code.AMBIGUOUS
    double = signed(rpm.package(more=[(1000, text("other"))]))
    assert causes(double, tmp_path) is Code.AMBIGUOUS


def test_wrong_types_are_refused(tmp_path: Path) -> None:
    for tag, value in ((DSA, text("a")), (269, binary(b"a")), (1000, number(3, 1))):
        assert causes(signed(rpm.package(), change={tag: value}), tmp_path) is Code.MALFORMED


def test_bytes_between_the_sections_are_refused(tmp_path: Path) -> None:
    data = signed(rpm.package(reserved=644))
    _, head, _ = rpm.split(data)
    start = data.index(head)
    assert data[start - 4 : start] == bytes(4)
    assert causes(data[: start - 1] + b"x" + data[start:], tmp_path) is Code.MALFORMED
    for more in (b"\0" * 8, b"x" * 8):
        assert causes(data[:start] + more + data[start:], tmp_path) is Code.MALFORMED


def test_a_gap_between_values_is_content(tmp_path: Path) -> None:
    data = bytearray(signed(rpm.package()))
    count, _ = struct.unpack_from(">II", data, 104)
    for at in range(112, 112 + 16 * count, 16):
        tag, kind, start, many = struct.unpack_from(">iIiI", data, at)
        if tag == 1008:
            struct.pack_into(">iIiI", data, at, tag, kind, start + 8, many - 8)
    assert causes(bytes(data), tmp_path) is Code.UNCOVERED_CONTENT


def _renewed(files: tuple[File, ...], stripped: bool = False, **how: Any) -> bytes:
    """Return a signed package whose payload is not what its list of files says, on purpose."""
    return signed(rpm.package(files, version=6 if stripped else 4, **how),
                  version=6 if stripped else 4)  # fmt: skip


def _with(number_of: int, **how: Any) -> tuple[File, ...]:
    from dataclasses import replace

    return tuple(replace(f, **how) if i == number_of else f for i, f in enumerate(FILES))


@pytest.mark.parametrize(
    ("files", "cause"),
    [
        (_with(2, inside=bytes(200)), Code.DIGEST_MISMATCH),
        (_with(2, inside=b"shorter"), Code.MALFORMED),
        (_with(2, inside=None), Code.MALFORMED),
        (_with(2, name=b"./usr/bin/evil"), Code.UNCOVERED_CONTENT),
        (_with(2, name=b"./usr/bin/tool"), Code.AMBIGUOUS),
        (_with(4, inside=b"evil"), Code.MALFORMED),
        (_with(4, inside=b"lo"), Code.MALFORMED),
        (_with(5, inside=b""), None),
        (_with(2, name=b"usr/share/tool/data"), None),
        (_with(2, name=b"/usr/share/tool/data"), None),
        (_with(2, path="/usr/bin/tool"), Code.AMBIGUOUS),
    ],
)
def test_payloads_that_are_not_the_list(
    files: tuple[File, ...], cause: Code | None, tmp_path: Path
) -> None:
    """Its digest fits, for its maker signed it so; what is installed is not what is listed."""
    assert causes(_renewed(files), tmp_path) is cause


def test_a_stripped_payload_that_is_not_the_list(tmp_path: Path) -> None:
    assert causes(_renewed(FILES, stripped=True), tmp_path) is None
    for files in (_with(2, inside=bytes(200)), _with(2, inside=None)):
        assert causes(_renewed(files, stripped=True), tmp_path) in {
            Code.DIGEST_MISMATCH, Code.MALFORMED,
        }  # fmt: skip
    unpacked = rpm.archive(FILES, stripped=True)
    for found in (b"07070X00000000", b"07070X000000ff"):
        other = rpm.packed("", unpacked.replace(b"07070X00000002", found))
        data = rpm.package(kind="", version=6)
        values = rpm.split(data)[0]
        head = rpm.main_header(FILES, other, other, kind="", version=6)
        values |= rpm.signature_values(head, other, 6, 0)
        made = signed(rpm.assembled(values, head, other, 6), version=6)
        assert causes(made, tmp_path) in {Code.AMBIGUOUS, Code.UNCOVERED_CONTENT, Code.MALFORMED}


def test_hard_links_have_their_content_once(tmp_path: Path) -> None:
    one = File(path="/a", content=b"shared", inode=9, inside=b"")
    two = File(path="/b", content=b"shared", inode=9)
    verdict = judged(_renewed((one, two)), tmp_path)
    assert verdict.outcome is Outcome.ACCEPTED, told(verdict)
    evil = File(path="/b", content=b"shared", inode=9, inside=b"shaken")
    verdict = judged(_renewed((one, evil)), tmp_path)
    assert verdict.cause is Code.DIGEST_MISMATCH
    assert "file:/a" in told(verdict)
    assert "file:/b" in told(verdict)


@pytest.mark.parametrize("kind", ["gzip", "bzip2", "xz", "zstd", ""])
def test_nothing_may_stand_behind_a_payload(kind: str, tmp_path: Path) -> None:
    unpacked = rpm.archive(FILES)
    for packed in (
        rpm.packed(kind, unpacked) + b"evil",
        rpm.packed(kind, unpacked + b"evil"),
        rpm.packed(kind, unpacked)[:-6],
        rpm.packed(kind, unpacked) + rpm.packed(kind, unpacked),
    ):
        assert causes(signed(rpm.package(kind=kind, payload=packed)), tmp_path) is Code.MALFORMED \
            or kind == ""  # fmt: skip
        assert causes(signed(rpm.package(kind=kind, payload=packed)), tmp_path) is not None


def test_other_payloads_cannot_be_judged(tmp_path: Path) -> None:
    for change in ({1124: text("drpm")}, {1125: text("lzip")}):
        data = signed(rpm.package(change=change))
        verdict = judged(data, tmp_path)
        assert (verdict.outcome, verdict.cause) == (Outcome.INDETERMINATE, Code.UNSUPPORTED_KIND)
    assert causes(rpm.delta(), tmp_path) is Code.UNSUPPORTED_KIND


def test_old_packages_list_files_by_md5(tmp_path: Path) -> None:
    data = signed(rpm.package(algorithm="md5", change={5011: None}))
    assert causes(data, tmp_path) is None
    unknown = signed(rpm.package(change={5011: number(4, 99)}))
    assert causes(unknown, tmp_path) is Code.UNSUPPORTED_ALGORITHM


def test_ima_signatures_are_counted(tmp_path: Path) -> None:
    more: dict[int, Value | None] = {274: texts("0302", "", "0302"), 275: number(4, 8)}
    verdict = judged(signed(rpm.package(), change=more), tmp_path)
    assert verdict.outcome is Outcome.ACCEPTED
    assert verdict.facts["ima-signatures"] == 2


def test_signatures_that_are_none(tmp_path: Path) -> None:
    made = packet(key(), rpm.split(rpm.package())[1])
    for value in (b"", b"\0" * 9, made + made, made[:-1], made + b"x"):
        if value:
            data = signed(rpm.package(), change={DSA: binary(value)})
            assert causes(data, tmp_path) is Code.MALFORMED
    for listed in (b"!", base64.b64encode(made).rstrip(b"=")[:-1], b"QUJ="):
        data = signed(rpm.package(), change={OPENPGP: texts(listed)})
        assert causes(data, tmp_path) is Code.MALFORMED
    over = signed(rpm.package(), kind=0x10)
    assert causes(over, tmp_path) is Code.ATTRIBUTE_RULE
    assert causes(signed(rpm.package(), kind=1), tmp_path) is Code.ATTRIBUTE_RULE


def test_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = signed(rpm.package())
    for module, name, most, cause in (
        (wire, "MAX_ENTRIES", 3, Code.LIMIT_EXCEEDED),
        (wire, "MAX_STORE", 99, Code.LIMIT_EXCEEDED),
        (wire, "MAX_ITEMS", 3, Code.LIMIT_EXCEEDED),
        (_rpm_files, "MAX_FILES", 2, Code.LIMIT_EXCEEDED),
        (_rpm_layout, "MAX_SIGNATURES", 0, Code.LIMIT_EXCEEDED),
        (form, "MAX_UNPACKED", 99, Code.LIMIT_EXCEEDED),
        (cpio, "MAX_NAME", 9, Code.LIMIT_EXCEEDED),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(module, name, most)
            assert causes(data, tmp_path) is cause, name
    padded = rpm.package(kind="", payload=rpm.archive(FILES) + bytes(cpio.MAX_END + 4))
    assert causes(signed(padded), tmp_path) is Code.LIMIT_EXCEEDED


def _headers(data: bytes) -> Iterator[bytes]:
    """Yield variations of a header (without magic), each with one number of the index changed."""
    count = int.from_bytes(data[:4], "big")
    for at in range(0, 8 + 16 * count, 4):
        for value in (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF):
            yield data[:at] + value.to_bytes(4, "big") + data[at + 4 :]


def test_no_number_of_a_header_leads_astray() -> None:
    _, head, _ = rpm.split(rpm.package())
    for data in _headers(head[8:]):
        try:
            header = read_header(data, 63, "header")
        except BadInputError:
            continue
        assert len(header.signed) <= len(head)


def test_many_items_take_no_time() -> None:
    """Of nothing but ends of strings a header may hold millions."""
    many = 1_000_000
    head = rpm.header(63, {tag: (9, many, bytes(many)) for tag in range(2000, 2030)})
    started = time.process_time()
    assert len(read_header(head[8:], 63, "header").strings(2029)) == many
    assert time.process_time() - started < 5
    with pytest.raises(LimitError):
        read_header(rpm.header(63, {2000: (9, many + 1, bytes(many + 1))})[8:], 63, "header")


def test_a_database_s_header_is_signed_up_to_its_region() -> None:
    """Entries that an installation added stand behind, and are no part of what is signed."""
    _, head, _ = rpm.split(rpm.package())
    count, _ = struct.unpack_from(">II", head, 8)
    index, store = head[16 : 16 + 16 * count], head[16 + 16 * count :]
    added = struct.pack(">iIiI", 1008, 4, len(store) + -len(store) % 4, 1)
    grown = store + bytes(-len(store) % 4) + b"\0\0\0\7"
    data = struct.pack(">II", count + 1, len(grown)) + index + added + grown
    header = read_header(data, 63, "header")
    assert header.signed == head
    assert set(header.behind) == {1008}
    assert header.text(1000) == "tool"


def test_values_are_read_by_their_type() -> None:
    _, head, _ = rpm.split(rpm.package())
    header, _ = read_package_header(BytesSource("h", head), 0, 63, "header")
    assert header.numbers(1030)[0] == 0o100755
    assert header.strings(1117)[0] == b"tool"
    assert header.octets(9999) is None
    for ask in (header.octets, header.numbers):
        with pytest.raises(BadInputError, match="of type 6"):
            ask(1000)
    with pytest.raises(LimitError):
        read_header(b"\xff" * 8, 63, "header")


def test_two_passes_give_the_same(tmp_path: Path) -> None:
    source = BytesSource(NAME, signed(rpm.package()))
    artifact = FORMAT.parse(source, ParseOptions())
    wanted = wanted_slots(artifact)
    assert FORMAT.digests(artifact, wanted) == FORMAT.digests(artifact, wanted)
    assert {name for name, _ in wanted} >= {"file:/usr/bin/tool", "header", "payload"}


def sign(data: bytes, by: Key, existing: Existing = Existing.REFUSE) -> bytes:
    """Return a package signed as the format signs it."""
    local, source = LocalKey("test", by.private), BytesSource(NAME, data)
    algorithm, digest = algorithm_for(local.public_key, "")
    who = Signer(certificates=(), algorithm=algorithm, digest=digest, holder=keys_of(ring(by))[0])
    rounds = FORMAT.sign(source, Request(signer=who, at=LATER, existing=existing))
    draft = next(rounds)
    with pytest.raises(StopIteration) as ended:
        rounds.send(draft.seal(local.sign(draft.to_be_signed, draft.algorithm)))
    return b"".join(pieces(Patched(source, ended.value.value)))


def strip(data: bytes) -> bytes:
    source = BytesSource(NAME, data)
    return b"".join(pieces(Patched(source, FORMAT.embed(source, ()))))


@pytest.mark.parametrize("kind", ["rsa", "p256", "eddsa"])
def test_signing_takes_reserved_space_and_gives_it_back(kind: str, tmp_path: Path) -> None:
    bare = rpm.package()
    made = sign(bare, key(kind))
    assert len(made) == len(bare)
    values = rpm.split(made)[0]
    assert (RSA if kind == "rsa" else DSA) in values
    assert values[1008][1] < rpm.split(bare)[0][1008][1]
    assert judged(made, tmp_path, key(kind)).outcome is Outcome.ACCEPTED
    assert strip(made) == bare


def test_signing_grows_where_there_is_no_room(tmp_path: Path) -> None:
    for reserved in (0, 8):
        bare = rpm.package(reserved=reserved)
        made = sign(bare, key("rsa"))
        assert len(made) > len(bare)
        assert rpm.split(made)[1:] == rpm.split(bare)[1:]
        assert judged(made, tmp_path, key("rsa")).outcome is Outcome.ACCEPTED
        assert causes(strip(made), tmp_path) is Code.UNSIGNED
    assert strip(sign(rpm.package(reserved=0), key("rsa"))) == rpm.package(reserved=0)


def test_a_second_signature_is_of_another_kind(tmp_path: Path) -> None:
    one = sign(rpm.package(), key("rsa"))
    two = sign(one, key(), Existing.NESTED)
    verdict = judged(two, tmp_path, key(), key("rsa"))
    assert verdict.outcome is Outcome.ACCEPTED
    assert len(verdict.signatures) == 2
    with pytest.raises(NotSignableError, match="keys of one kind"):
        sign(one, key("rsa", 4, 1), Existing.NESTED)
    with pytest.raises(NotSignableError, match="a signature"):
        sign(one, key())
    assert len(judged(sign(two, key(), Existing.REPLACE), tmp_path).signatures) == 1


def test_version_6_has_room_for_many(tmp_path: Path) -> None:
    data, keys = rpm.package(version=6, reserved=2048), [key("ed25519", 6), key("rsa", 6), key()]
    for one in keys:
        data = sign(data, one, Existing.NESTED)
    verdict = judged(data, tmp_path, *keys)
    assert verdict.outcome is Outcome.ACCEPTED, told(verdict)
    assert len(verdict.signatures) == 3
    assert strip(data) == rpm.package(version=6, reserved=2048)
    with pytest.raises(NotSignableError, match="this very signature"):
        sign(data, keys[2], Existing.NESTED)


def test_what_cannot_be_signed() -> None:
    with pytest.raises(NotSignableError, match="digest of the payload"):
        sign(rpm.package(change={5092: None}), key())
    with pytest.raises(NotSignableError, match="version 6"):
        sign(rpm.package(), key("ed25519", 6))
    old = signed(rpm.package(), tag=PGP)
    with pytest.raises(NotSignableError, match="over header and payload"):
        sign(old, key(), Existing.NESTED)
    assert PGP not in rpm.split(sign(old, key(), Existing.REPLACE))[0]
    assert strip(old)
