"""Xar archives: what a table may say, what covers the heap, and whether two signatures agree.

(THREATS 40)
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from conformance.authenticode import tsa
from conformance.authenticode.keys import key
from conformance.authenticode.pki import EKU_TIME_STAMPING, NOW, issue, pem

from signward.envelopes.cms_detached import draft_detached
from signward.errors import BadInputError, NotSignableError
from signward.findings import Code, Effect
from signward.formats import Existing, ParseOptions
from signward.formats._pkg_signature import slot_names
from signward.formats._pkg_ticket import write_trailer
from signward.formats.pkg import FORMAT
from signward.frozen import replace
from signward.policy.record import record
from signward.policy.rules.sighted import subject_of
from signward.state import IntactSignature, Outcome, TrustedSignature, Verdict
from signward.verbs.context import Context
from signward.verbs.options import Options
from signward.verbs.verify import assess, assess_path
from signward.wire.certificate import outline
from signward.wire.patch import Patched, pieces
from signward.wire.source import BytesSource
from signward.wire.xar import HEADER, Xar, read_xar
from tests.builders.ticket import notary, ticket
from tests.builders.xar import resigned
from tests.samples.pkg import archive, checksum_node, file_node, packed
from tests.signing import authority, context, identity, sign_bytes, signer_of, strip_bytes

APPLE_ROOT = "b0b1730ecbc7ff4505142c49f1295e6eda6bcaed7e2c68c5be91b5a11001f024"
"""SHA-256 of "Apple Root CA", as www.apple.com/certificateauthority publishes it."""


@pytest.fixture
def judging(tmp_path: Path) -> Context:
    return context(tmp_path)


def judged(data: bytes, judging: Context) -> Verdict:
    return assess(BytesSource("a.pkg", data), judging)


def layout(data: bytes) -> Xar:
    return read_xar(BytesSource("a.pkg", data))


# --- what the vectors say ---------------------------------------------------------


def apple_root(vectors: Path, folder: Path) -> str:
    """Return a PEM file of Apple's root, which the real package carries along."""
    data = (vectors / "goxar/testdata/valid.pkg").read_bytes()
    found = layout(data).signature
    assert found is not None
    root = found.certificates[-1]
    assert hashlib.sha256(root).hexdigest() == APPLE_ROOT
    path = folder / "apple-root.pem"
    path.write_bytes(pem(root))
    return str(path)


def test_a_real_package_is_accepted_under_apples_root(vectors: Path, tmp_path: Path) -> None:
    assert apple_root(vectors, tmp_path)
    verdict = assess_path(vectors / "goxar/testdata/valid.pkg", Context(Options(at=NOW)))
    assert verdict.outcome is Outcome.ACCEPTED, [str(f) for f in verdict.findings]
    assert verdict.publisher is not None
    assert "Mac Admins Open Source" in verdict.publisher.name
    assert [type(s) for s in verdict.signatures] == [TrustedSignature, TrustedSignature]
    assert {s.team_id for s in subject_of(record(verdict)).signers} == {"T4SK8ZXCXG"}
    weak = [f for f in verdict.findings if f.code is Code.WEAK_DIGEST]
    assert weak
    assert {f.effect for f in weak} <= {Effect.WARN, Effect.NOTE}


def test_an_rsa_value_that_does_not_fit_rejects_beside_a_good_cms(
    vectors: Path, tmp_path: Path
) -> None:
    judging = Context(Options(anchors=(apple_root(vectors, tmp_path),), at=NOW))
    verdict = assess_path(vectors / "goxar/testdata/bad_signature.pkg", judging)
    assert verdict.cause is Code.SIGNATURE_MISMATCH


def test_an_unsigned_package_is_unsigned(vectors: Path, judging: Context) -> None:
    verdict = assess_path(vectors / "relic/functest/packages/dummy.pkg", judging)
    assert verdict.cause is Code.UNSIGNED


@pytest.mark.slow
def test_no_changed_byte_of_a_real_package_is_accepted(vectors: Path, tmp_path: Path) -> None:
    """Two bits at every seventh octet: some 4,800 packages."""
    judging = Context(Options(anchors=(apple_root(vectors, tmp_path),), at=NOW))
    data = (vectors / "goxar/testdata/valid.pkg").read_bytes()
    accepted = []
    for offset in range(0, len(data), 7):
        for bit in (offset % 8, (offset + 3) % 8):
            changed = bytearray(data)
            changed[offset] ^= 1 << bit
            if judged(bytes(changed), judging).outcome is Outcome.ACCEPTED:
                accepted.append(offset)
    assert set(accepted) <= unsigned_parts(data)


ATTRIBUTE = 48
"""Octets of an attribute's head, its OID among them."""


def unsigned_parts(data: bytes) -> set[int]:
    """Return octets of the CMS that nothing covers, of no consequence if they are others.

    A broken token proves no time; issuers' certificates are found in the table as well.
    """
    cms, _ = FORMAT.parse(BytesSource("a.pkg", data), ParseOptions()).signatures
    [token] = [v for a in cms.unsigned_attributes for v in a.values]
    place = layout(data).x_signature
    assert place is not None
    found: set[int] = set()
    signer = cms.claimed_signer
    issuers = [c for c in cms.claimed_certificates if outline(c).serial != signer.serial]
    for part in (token, *issuers):
        start = data.index(part, layout(data).heap + place.start)
        found |= set(range(start - ATTRIBUTE, start + len(part)))
    return found


# --- tampering --------------------------------------------------------------------


def test_a_changed_file_rejects(judging: Context) -> None:
    data = bytearray(sign_bytes("a.pkg", archive()))
    data[-3] ^= 1
    assert judged(bytes(data), judging).cause is Code.DIGEST_MISMATCH


@pytest.mark.parametrize("tail", [b"\0", b"x" * 40, archive()])
def test_appended_octets_reject(tail: bytes, judging: Context) -> None:
    data = sign_bytes("a.pkg", archive())
    assert judged(data + tail, judging).cause is Code.UNCOVERED_CONTENT


def test_an_intact_package_under_a_changed_header_rejects(judging: Context) -> None:
    data = sign_bytes("a.pkg", archive())
    sha1 = data[:24] + struct.pack(">I", 1) + data[28:]
    assert judged(sha1, judging).cause is Code.AMBIGUOUS
    none = data[:24] + struct.pack(">I", 0) + data[28:]
    assert judged(none, judging).cause is Code.AMBIGUOUS


def test_another_table_under_old_signatures_rejects(judging: Context) -> None:
    data = sign_bytes("a.pkg", archive())
    old = layout(data)
    toc = zlib.compress(old.table.replace(b"Distribution", b"Distributiom"), 9)
    header = HEADER.pack(b"xar!", 28, 1, len(toc), len(old.table), 3)
    assert judged(header + toc + data[old.heap :], judging).cause is Code.DIGEST_MISMATCH
    own = hashlib.sha256(toc).digest()
    forged = header + toc + own + data[old.heap + 32 :]
    assert judged(forged, judging).cause in (Code.DIGEST_MISMATCH, Code.SIGNATURE_MISMATCH)


def test_what_a_signer_leaves_uncovered_rejects(judging: Context) -> None:
    data = sign_bytes("a.pkg", archive())
    assert judged(resigned(data, bytes), judging).outcome is Outcome.ACCEPTED

    def without_checksum(table: bytes) -> bytes:
        start = table.index(b"<archived-checksum")
        return table[:start] + table[table.index(b"</data>", start) :]

    verdict = judged(resigned(data, without_checksum), judging)
    assert verdict.cause is Code.UNCOVERED_CONTENT

    def without_file(table: bytes) -> bytes:
        start, end = table.index(b"<file"), table.index(b"</file>") + 7
        return table[:start] + table[end:]

    assert judged(resigned(data, without_file), judging).cause is Code.UNCOVERED_CONTENT


@pytest.mark.parametrize("name", ["md5", "sha1"])
def test_a_weak_checksum_rejects_under_anchors_of_ones_own(judging: Context, name: str) -> None:
    data = sign_bytes("a.pkg", archive())

    def weakened(table: bytes) -> bytes:
        start = table.index(b'<archived-checksum style="sha256">')
        end = table.index(b"</archived-checksum>", start)
        digest = hashlib.new(name, file_of(data, 0), usedforsecurity=False).hexdigest()
        written = f'<archived-checksum style="{name}">{digest}'.encode()
        return table[:start] + written + table[end:]

    assert judged(resigned(data, weakened), judging).cause is Code.WEAK_DIGEST


def file_of(data: bytes, number: int) -> bytes:
    found = layout(data)
    member = found.members[number]
    return data[found.heap + member.start : found.heap + member.end]


def test_each_member_has_a_slot_of_its_own_whatever_the_files_are_called() -> None:
    found = layout(sign_bytes("a.pkg", archive()))
    first = found.members[0]
    members = tuple(replace(first, name=name, start=n) for n, name in enumerate(("x#3", "x", "x")))
    named = slot_names(replace(found, members=members))
    assert sorted(named.values(), key=lambda m: m.start) == list(members)


# --- two signatures ---------------------------------------------------------------


def test_both_signatures_are_one_signers(judging: Context) -> None:
    data = sign_bytes("a.pkg", archive())
    other = base64.b64encode(identity("rsa2048", "Another Publisher").certificate)
    mine = base64.b64encode(identity().certificate)
    verdict = judged(
        resigned(data, lambda table: table.replace(mine, other, 1), other_rsa=True), judging
    )
    assert verdict.cause is Code.AMBIGUOUS
    shown = judged(resigned(data, lambda table: other.join(table.rsplit(mine, 1))), judging)
    assert shown.cause is Code.AMBIGUOUS


def test_octets_behind_the_cms_reject(judging: Context) -> None:
    data = bytearray(sign_bytes("a.pkg", archive()))
    found = layout(bytes(data))
    assert found.x_signature is not None
    data[found.heap + found.x_signature.start + found.x_signature.length - 1] = 1
    assert judged(bytes(data), judging).cause is Code.UNCOVERED_CONTENT


def test_cms_alone_and_rsa_alone_do(judging: Context) -> None:
    data = sign_bytes("a.pkg", archive())

    def without(name: str) -> Callable[[bytes], bytes]:
        start, end = f"<{name} ".encode(), f"</{name}>".encode()
        return lambda table: table[: table.index(start)] + table[table.index(end) + len(end) :]

    # The place of the one that is gone would be a gap: it is closed by hand below.
    lonely = _moved_up(data, without("signature"))
    verdict = judged(lonely, judging)
    assert verdict.outcome is Outcome.ACCEPTED, [str(f) for f in verdict.findings]
    assert len(verdict.signatures) == 1
    gap = judged(resigned(data, without("signature")), judging)
    assert gap.cause is Code.UNCOVERED_CONTENT


def _moved_up(data: bytes, edit: Callable[[bytes], bytes]) -> bytes:
    """Return a package whose RSA signature is gone, its place too, signed again."""
    old, who = layout(data), identity()
    assert old.signature is not None
    assert old.x_signature is not None
    table = edit(old.table)
    for start in (old.x_signature.start, *(m.start for m in old.members)):
        before, after = f"<offset>{start}<", f"<offset>{start - old.signature.length}<"
        table = table.replace(before.encode(), after.encode())
    toc = zlib.compress(table)
    stored = hashlib.sha256(toc).digest()
    draft = draft_detached(hashlib.sha256(stored).digest(), signer_of(who), NOW)
    cms = draft.seal(who.key.sign(draft.to_be_signed, "sha256"))
    header = HEADER.pack(b"xar!", 28, 1, len(toc), len(table), 3)
    rest = data[old.heap + old.x_signature.start + old.x_signature.length :]
    return header + toc + stored + cms.ljust(old.x_signature.length, b"\0") + rest


# --- tables -----------------------------------------------------------------------

BODY = b"content of a file"


def _toc(*parts: str) -> str:
    return checksum_node("sha256") + "".join(parts)


RSA_NODE = '<signature style="RSA"><offset>32</offset><size>256</size></signature>'
FILE = file_node(1, "f", 32, BODY, "sha256")

BROKEN = {
    "two checksums": (_toc(checksum_node("sha256")), Code.AMBIGUOUS),
    "two signatures": (_toc(RSA_NODE, RSA_NODE), Code.AMBIGUOUS),
    "signature of another style": (_toc(RSA_NODE.replace("RSA", "CMS")), Code.MALFORMED),
    "checksum elsewhere": (_toc().replace("<offset>0", "<offset>32"), Code.MALFORMED),
    "checksum at 2^64": (
        _toc().replace("<offset>0", "<offset>18446744073709551616"), Code.MALFORMED,
    ),
    "checksum at -0": (_toc().replace("<offset>0", "<offset>-0"), Code.MALFORMED),
    "checksum at 00": (_toc().replace("<offset>0", "<offset>00"), Code.MALFORMED),
    "checksum too short": (_toc().replace("<size>32", "<size>20"), Code.MALFORMED),
    "two data": (_toc(FILE.replace("</data>", "</data><data/>")), Code.AMBIGUOUS),
    "two offsets": (
        _toc(FILE.replace("<offset>", "<offset>32</offset><offset>")), Code.AMBIGUOUS,
    ),
    "file over the checksum": (_toc(file_node(1, "f", 30, BODY, "sha256")), Code.MALFORMED),
    "files half over each other": (
        _toc(FILE, file_node(2, "g", 40, BODY[8:], "sha256")), Code.MALFORMED,
    ),
    "file beyond the end": (_toc(file_node(1, "f", 33, BODY, "sha256")), Code.MALFORMED),
    "digest too short": (_toc(FILE.replace("</archived", "0</archived")), Code.MALFORMED),
    "unknown digest": (_toc(FILE.replace('archived-checksum style="sha256', 'archived-checksum style="crc')), Code.MALFORMED),  # noqa: E501
    "certificate not base64": (
        _toc(RSA_NODE.replace("</size>", "</size><X509Certificate>!</X509Certificate>")),
        Code.MALFORMED,
    ),
    "signature under another prefix": (
        _toc(RSA_NODE, RSA_NODE.replace("signature ", 'x:signature xmlns:x="urn:x" ')
             .replace("</signature", "</x:signature")), Code.AMBIGUOUS,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_broken_tables_are_refused(name: str, judging: Context) -> None:
    toc, cause = BROKEN[name]
    verdict = judged(packed(toc, BODY.ljust(256, b"\0")[: 256 if "ignature" in name else 17]),
                     judging)  # fmt: skip
    assert verdict.cause is cause, [str(f) for f in verdict.findings]


def test_files_in_the_very_same_octets_are_one(judging: Context) -> None:
    data = packed(_toc(FILE, file_node(2, "g", 32, BODY, "sha256")), BODY)
    verdict = judged(sign_bytes("a.pkg", data), judging)
    assert verdict.outcome is Outcome.ACCEPTED


@pytest.mark.parametrize(
    "change",
    [
        lambda d: b"xar?" + d[4:],
        lambda d: d[:4] + b"\0\x1b" + d[6:],
        lambda d: d[:6] + b"\0\2" + d[8:],
        lambda d: d[:8] + struct.pack(">Q", 1 << 40) + d[16:],
        lambda d: d[:16] + struct.pack(">Q", 1 << 40) + d[24:],
        lambda d: d[:24] + struct.pack(">I", 9) + d[28:],
        lambda d: d[:20],
    ],
)
def test_broken_headers_are_refused(change: Callable[[bytes], bytes]) -> None:
    with pytest.raises(BadInputError):
        layout(change(archive()))


def test_a_header_may_name_its_checksum(judging: Context) -> None:
    """The xar project's own way for checksums without a number: 64 octets, a name in 36."""
    data = archive()
    named = b"xar!" + struct.pack(">H", 64) + data[6:28] + b"sha256".ljust(36, b"\0") + data[28:]
    assert layout(named).checksum == "sha256"
    assert judged(sign_bytes("a.pkg", named), judging).outcome is Outcome.ACCEPTED
    with pytest.raises(BadInputError):
        layout(named[:63] + b"x" + named[64:])


@pytest.mark.parametrize(
    "table",
    [
        b"<xar/>",
        b"<toc/>",
        b"<xar><toc>",
        b'<!DOCTYPE x [<!ENTITY a "b">]><xar><toc>&a;</toc></xar>',
        b"<xar><toc/></xar>\0",
        b"<xar><toc>" + b"<file>" * 200 + b"</file>" * 200 + b"</toc></xar>",
        b"",
    ],
)
def test_broken_xml_is_refused(table: bytes) -> None:
    toc = zlib.compress(table)
    header = struct.pack(">4sHHQQI", b"xar!", 28, 1, len(toc), len(table), 0)
    with pytest.raises(BadInputError):
        layout(header + toc)


def test_a_table_that_unpacks_to_more_than_it_says_is_refused() -> None:
    toc = zlib.compress(bytes(32 * 1024 * 1024))
    header = struct.pack(">4sHHQQI", b"xar!", 28, 1, len(toc), 4096, 0)
    with pytest.raises(BadInputError, match="no more"):
        layout(header + toc)
    table = b"<xar><toc/></xar>"
    toc = zlib.compress(table) + b"more"
    header = struct.pack(">4sHHQQI", b"xar!", 28, 1, len(toc), len(table), 0)
    with pytest.raises(BadInputError, match="no more"):
        layout(header + toc)


def _timed(table: bytes) -> float:
    toc = zlib.compress(table)
    header = struct.pack(">4sHHQQI", b"xar!", 28, 1, len(toc), len(table), 0)
    started = time.process_time()
    with contextlib.suppress(BadInputError):
        layout(header + toc)
    return time.process_time() - started


def test_tables_made_to_cost_time_cost_little() -> None:
    lines = b"<a>" + b"\n" * 65_000 + b"</a>"
    deep = b"<file><name>" + b"n" * 60_000 + b"</name>"
    bombs = (
        b"<xar><toc>" + lines * 200 + b"</toc></xar>",
        b"<xar><toc>" + deep * 60 + b"<file/>" * 60_000 + b"</file>" * 60 + b"</toc></xar>",
        b"<xar><toc>" + b"<a/>" * 400_000 + b"</toc></xar>",
        b"<xar><toc>" + b"<data/>" * 200_000 + b"</toc></xar>",
    )
    assert max(map(_timed, bombs)) < 5


def test_many_files_in_the_same_octets_are_read_once(judging: Context) -> None:
    body = bytes(4 * 1024 * 1024)
    files = "".join(file_node(n, f"f{n}", 32, body[:1], "sha256") for n in range(1, 1500))
    toc = _toc(files.replace("<length>1<", f"<length>{len(body)}<"))
    right = hashlib.sha256(body).hexdigest()
    toc = toc.replace(hashlib.sha256(body[:1]).hexdigest(), right)
    data = sign_bytes("a.pkg", packed(toc, body))
    started = time.process_time()
    assert judged(data, judging).outcome is Outcome.ACCEPTED
    assert time.process_time() - started < 3


# --- tickets ----------------------------------------------------------------------


def test_a_ticket_must_name_the_checksum(judging: Context) -> None:
    data = sign_bytes("a.pkg", archive())
    apple, stranger = notary(), identity("p256", "T")
    good = ticket([layout(data).stored], apple)
    verdict = judged(data + write_trailer(good), judging)
    assert verdict.outcome is Outcome.ACCEPTED, [str(f) for f in verdict.findings]
    assert Code.TICKET not in {f.code for f in verdict.findings}
    for other in (ticket([bytes(20)], apple), ticket([layout(data).stored], stranger)):
        assert judged(data + write_trailer(other), judging).cause is Code.TICKET
    for broken in (good[:-9], b"s8ch" + bytes(40), good[:-8] + bytes([good[-8] ^ 1]) + good[-7:]):
        assert judged(data + write_trailer(broken), judging).cause is Code.TICKET


def test_a_ticket_goes_with_the_signature_it_speaks_of(judging: Context) -> None:
    data = sign_bytes("a.pkg", archive())
    stapled = data + write_trailer(ticket([layout(data).stored], identity("p256", "T")))
    assert strip_bytes("a.pkg", stapled) == strip_bytes("a.pkg", data)
    assert sign_bytes("a.pkg", stapled, existing=Existing.REPLACE) == data


def test_what_looks_like_a_ticket_and_is_none_rejects(judging: Context) -> None:
    data = sign_bytes("a.pkg", archive())
    assert judged(data + write_trailer(b"")[:-1], judging).cause is Code.UNCOVERED_CONTENT
    broken = write_trailer(b"ticket").replace(b"t8lr\1\0\1", b"t8lr\1\0\3")
    assert judged(data + broken, judging).cause is Code.UNCOVERED_CONTENT


# --- signing ----------------------------------------------------------------------


def test_signing_replaces_weak_checksums_of_files(judging: Context) -> None:
    data = sign_bytes("a.pkg", archive(checksum="sha1"))
    found = layout(data)
    assert (found.checksum, {m.algorithm for m in found.members}) == ("sha256", {"sha256"})
    verdict = judged(data, judging)
    assert verdict.outcome is Outcome.ACCEPTED
    assert not [f for f in verdict.findings if f.code is Code.WEAK_DIGEST]


def test_stripping_keeps_files_and_takes_both_signatures(judging: Context) -> None:
    before = archive()
    after = strip_bytes("a.pkg", sign_bytes("a.pkg", before))
    assert judged(after, judging).cause is Code.UNSIGNED
    old, new = layout(before), layout(after)
    assert before[old.heap + 32 :] == after[new.heap + 32 :]
    assert [m.digest for m in old.members] == [m.digest for m in new.members]


def test_a_timestamp_has_its_place_in_the_cms_only(judging: Context) -> None:
    data = sign_bytes("a.pkg", archive())
    source = BytesSource("a.pkg", data)
    cms, rsa = FORMAT.parse(source, ParseOptions()).signatures
    assert FORMAT.stamped(rsa) is None
    stamper = issue(
        "Package Test TSA", issuer=authority(), subject_key=key("rsa2048", "pkg-tsa"),
        ekus=(EKU_TIME_STAMPING,), eku_critical=True,
    )  # fmt: skip
    token = tsa.token_der(FORMAT.stamped(cms) or b"", stamper, at=NOW)
    envelopes = FORMAT.envelopes(source)
    stamped = FORMAT.with_token(envelopes[0], cms, token)
    patch = FORMAT.embed(source, (stamped, envelopes[1]))
    verdict = judged(b"".join(pieces(Patched(source, patch))), judging)
    assert verdict.outcome is Outcome.ACCEPTED
    first = verdict.signatures[0]
    assert isinstance(first, TrustedSignature)
    assert first.proven_time is not None


def test_what_does_not_fit_is_refused() -> None:
    source = BytesSource("a.pkg", sign_bytes("a.pkg", archive()))
    cms, rsa = FORMAT.envelopes(source)
    with pytest.raises(NotSignableError, match="as the table says"):
        FORMAT.embed(source, (cms + bytes(20_000), rsa))
    with pytest.raises(NotSignableError, match="places for 2"):
        FORMAT.embed(source, (cms,))


def test_signatures_among_files_are_not_moved() -> None:
    moved = _moved_behind(sign_bytes("a.pkg", packed(_toc(FILE), BODY)))
    with pytest.raises(NotSignableError, match="in front of"):
        strip_bytes("a.pkg", moved)


def _moved_behind(data: bytes) -> bytes:
    """Return a package whose file stands in front of its signatures, none of which fits."""
    old = layout(data)
    assert old.signature is not None
    assert old.x_signature is not None
    table = old.table
    rsa, cms, file = old.signature.start, old.x_signature.start, old.members[0].start
    size = len(BODY)
    for before, after in ((rsa, rsa + size), (cms, cms + size), (file, 32)):
        table = table.replace(f"<offset>{before}<".encode(), f"<offset>@{after}<".encode())
    table = table.replace(b"@", b"")
    toc = zlib.compress(table)
    heap = data[old.heap + 32 : old.heap + old.members[0].start]
    header = HEADER.pack(b"xar!", 28, 1, len(toc), len(table), 3)
    return header + toc + hashlib.sha256(toc).digest() + BODY + heap


def test_a_table_that_is_silent_about_octets_is_not_signed() -> None:
    data = packed(_toc(file_node(1, "f", 32, BODY[:9], "sha256")), BODY)
    with pytest.raises(NotSignableError, match="does not speak of"):
        sign_bytes("a.pkg", data)


def test_the_installer_usage_does_as_code_signing_does(tmp_path: Path) -> None:
    who = issue(
        "An Installer", issuer=authority(), subject_key=key("rsa2048", "installer"),
        ekus=("1.2.840.113635.100.4.13",),
    )  # fmt: skip
    verdict = judged(sign_bytes("a.pkg", archive(), who=who), context(tmp_path))
    assert verdict.outcome is Outcome.ACCEPTED, [str(f) for f in verdict.findings]
    other = issue(
        "A Server", issuer=authority(), subject_key=key("rsa2048", "server"),
        ekus=("1.3.6.1.5.5.7.3.1",),
    )  # fmt: skip
    verdict = judged(sign_bytes("a.pkg", archive(), who=other), context(tmp_path))
    assert verdict.cause is Code.WRONG_USAGE


def test_rcodesigns_reading_of_the_rsa_value_is_taken(judging: Context) -> None:
    """It signs the checksum as a message, where Apple signs the table of which it is a digest."""
    data = sign_bytes("a.pkg", archive())
    found, who = layout(data), identity()
    assert found.signature is not None
    value = who.key.sign(found.stored, "sha256")
    start = found.heap + found.signature.start
    verdict = judged(data[:start] + value + data[start + 256 :], judging)
    assert verdict.outcome is Outcome.ACCEPTED
    assert isinstance(verdict.signatures[1], IntactSignature | TrustedSignature)
