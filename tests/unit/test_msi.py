"""Installer packages: what their signatures cover and what they leave open (THREATS 8, 23, 24)."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conformance.authenticode.compound import END, FREE, Built, Tree, compound
from conformance.authenticode.pki import NOW

from signward.errors import NotSignableError
from signward.findings import Code, Effect
from signward.formats import Existing, Match, peek_at
from signward.formats.msi import FORMAT, METADATA_STREAM, SIGNATURE_STREAM
from signward.formats.script import FORMAT as SCRIPT
from signward.frozen import replace
from signward.inventory.containers import Member, open_members
from signward.inventory.walk import Glance, glance
from signward.state import Outcome, Verdict
from signward.wire import der
from signward.wire.cfb import Entry, open_compound
from signward.wire.cfb_write import rewrite
from signward.wire.patch import Patched, pieces
from signward.wire.source import BytesSource
from tests.signing import assess_bytes, identity, patch_of, sign_bytes, strip_bytes

TREE: Tree = {
    "\5SummaryInformation": b"\xfe\xff" + b"summary" * 30,
    "Binary": b"b" * 700,
    "cab": b"MSCF" + bytes(range(256)) * 20,
    "\u4840\u3b3f": b"",
}
PATCH: Tree = {**TREE, "T1": {"x": b"1" * 90, "y": {"z": b"2"}}, "#T1": {"x": b"3"}}
PLAIN = {"ex": "no"}


def signed(tree: Tree = TREE, name: str = "a.msi", size: int = 512, **asked: Any) -> bytes:
    return sign_bytes(name, bytes(compound(tree, size=size)), **asked)


def changed(data: bytes, change: Callable[[dict[str, Entry]], object]) -> bytes:
    """Return a package with other root members, its signature streams as they are."""
    source = BytesSource("a.msi", data)
    file = open_compound(source)
    members = {entry.text: entry for entry in file.root.children}
    change(members)
    root = replace(file.root, children=tuple(members.values()))
    return b"".join(pieces(Patched(source, rewrite(file, root))))


def put(name: str, data: bytes) -> Entry:
    return Entry(name=name.encode("utf-16-le"), size=len(data), data=data)


@pytest.fixture
def judge(tmp_path: Path) -> Callable[..., Verdict]:
    def judge(data: bytes, name: str = "a.msi", **options: Any) -> Verdict:
        return assess_bytes(name, data, tmp_path, **options)

    return judge


def told(verdict: Verdict, effect: Effect) -> set[Code]:
    return {finding.code for finding in verdict.findings if finding.effect is effect}


Judge = Callable[..., Verdict]


@pytest.mark.parametrize("size", [512, 4096])
@pytest.mark.parametrize("tree", [TREE, PATCH], ids=["package", "patch"])
def test_a_signed_package_is_accepted_without_a_word(size: int, tree: Tree, judge: Judge) -> None:
    verdict = judge(signed(tree, size=size))
    assert verdict.outcome is Outcome.ACCEPTED
    assert told(verdict, Effect.WARN) <= {Code.NO_PROVEN_TIME}
    assert verdict.format == "msi"
    assert {"content-sha256", "metadata-sha256"} <= set(verdict.digests)


def test_the_digests_are_those_of_the_rules() -> None:
    """Computed here by hand, from the tree as it went in."""
    data = signed({"b": b"2" * 200, "a": b"1" * 50, "s": {"x": b"3"}})
    root, storage = bytes.fromhex("84100c0000000000c000000000000046"), bytes(range(16))

    def stream(name: str, size: int) -> bytes:
        return name.encode("utf-16-le") + size.to_bytes(4, "little") + bytes(4 + 16)

    metadata = hashlib.sha256(
        root + bytes(4) + stream("a", 50) + stream("b", 200)
        + "s".encode("utf-16-le") + storage + bytes(4) + bytes(range(1, 17)) + stream("x", 1)
    ).digest()  # fmt: skip
    content = hashlib.sha256(
        metadata + b"1" * 50 + b"2" * 200 + b"3" + storage + root
    ).digest()  # fmt: skip
    file = open_compound(BytesSource("a.msi", data))
    entry = file.root.child(METADATA_STREAM)
    assert entry is not None
    assert file.read(entry, 64) == metadata
    (envelope,) = FORMAT.envelopes(BytesSource("a.msi", data))
    assert content in envelope


def test_names_are_ordered_by_their_bytes_not_by_the_directory() -> None:
    """UTF-16LE bytes: U+0201 (01 02) comes before U+0102 (02 01)."""
    data = signed({"\u0201": b"first" * 20, "\u0102": b"second" * 20}, options=PLAIN)
    root = bytes.fromhex("84100c0000000000c000000000000046")
    digest = hashlib.sha256(b"first" * 20 + b"second" * 20 + root).digest()
    assert digest in FORMAT.envelopes(BytesSource("a.msi", data))[0]


def test_indirect_data_names_the_installers_package_version_1() -> None:
    (envelope,) = FORMAT.envelopes(BytesSource("a.msi", signed()))
    sip = der.sequence(
        der.oid("1.3.6.1.4.1.311.2.1.30"),
        der.sequence(
            der.integer(1), der.octet_string(bytes.fromhex("f1100c0000000000c000000000000046")),
            *[der.integer(0)] * 5,
        ),
    )  # fmt: skip
    assert sip in envelope


def test_without_the_metadata_digest_it_is_accepted_with_a_warning(judge: Judge) -> None:
    verdict = judge(signed(options=PLAIN))
    assert verdict.outcome is Outcome.ACCEPTED
    assert Code.UNAUTHENTICATED_DATA in told(verdict, Effect.WARN)


@pytest.mark.parametrize("options", [{}, PLAIN], ids=["ex", "plain"])
def test_changed_content_of_a_stream(options: dict[str, str], judge: Judge) -> None:
    data = changed(signed(options=options), lambda m: m.update(Binary=put("Binary", b"B" * 700)))
    assert judge(data).cause is Code.DIGEST_MISMATCH


def rename(old: str, new: str) -> Callable[[dict[str, Entry]], None]:
    def change(members: dict[str, Entry]) -> None:
        members[new] = replace(members.pop(old), name=new.encode("utf-16-le"))

    return change


def test_a_renamed_stream_is_seen_by_the_metadata_digest_alone(judge: Judge) -> None:
    """The content's order stays: only the name changes."""
    assert judge(changed(signed(), rename("Binary", "Binarz"))).cause is Code.DIGEST_MISMATCH
    plain = judge(changed(signed(options=PLAIN), rename("Binary", "Binarz")))
    assert plain.outcome is Outcome.ACCEPTED
    assert Code.UNAUTHENTICATED_DATA in told(plain, Effect.WARN)


@pytest.mark.parametrize(
    "field", [{"state": b"\1\0\0\0"}, {"created": b"\1" * 8}, {"modified": b"\1" * 8}],
)  # fmt: skip
def test_changed_metadata_of_a_stream(field: dict[str, bytes], judge: Judge) -> None:
    def change(members: dict[str, Entry]) -> None:
        members["Binary"] = replace(members["Binary"], **field)

    assert judge(changed(signed(), change)).cause is Code.DIGEST_MISMATCH


@pytest.mark.parametrize("options", [{}, PLAIN], ids=["ex", "plain"])
def test_a_storage_of_another_class(options: dict[str, str], judge: Judge) -> None:
    def change(members: dict[str, Entry]) -> None:
        members["T1"] = replace(members["T1"], clsid=bytes(16))

    data = signed(PATCH, name="a.msp", options=options)
    assert judge(changed(data, change)).cause is Code.DIGEST_MISMATCH


@pytest.mark.parametrize("options", [{}, PLAIN], ids=["ex", "plain"])
def test_an_added_and_a_removed_stream(options: dict[str, str], judge: Judge) -> None:
    data = signed(options=options)
    added = changed(data, lambda m: m.update(new=put("new", b"new")))
    removed = changed(data, lambda m: m.pop("cab"))
    assert judge(added).cause is Code.DIGEST_MISMATCH
    assert judge(removed).cause is Code.DIGEST_MISMATCH


def test_signature_streams_below_the_root_are_content(judge: Judge) -> None:
    """Only the root's are left out of the digest."""
    name = "\5DigitalSignature"
    data = signed({**TREE, "T1": {name: b"1" * 90}})
    assert judge(data).outcome is Outcome.ACCEPTED

    def change(members: dict[str, Entry]) -> None:
        members["T1"] = replace(members["T1"], children=(put(name, b"2" * 90),))

    assert judge(changed(data, change)).cause is Code.DIGEST_MISMATCH


def test_metadata_digest_taken_away_or_put_there(judge: Judge) -> None:
    """THREATS 23: the content digest begins with that stream, there or not."""
    name = METADATA_STREAM.decode("utf-16-le")
    without = changed(signed(), lambda m: m.pop(name))
    assert judge(without).cause is Code.DIGEST_MISMATCH
    file = open_compound(BytesSource("a.msi", signed()))
    digest = next(file.read(e, 64) for e in file.root.children if e.name == METADATA_STREAM)
    added = changed(signed(options=PLAIN), lambda m: m.update({name: put(name, digest)}))
    assert judge(added).cause is Code.DIGEST_MISMATCH


@pytest.mark.parametrize("parts", [(32,), (16, 16), (1, 31)])
def test_a_metadata_digest_renamed_to_pass_for_content(
    parts: tuple[int, ...], judge: Judge
) -> None:
    """Names are not in the content digest: in front of everything else it would still match."""
    file = open_compound(BytesSource("a.msi", signed()))
    digest = next(file.read(e, 64) for e in file.root.children if e.name == METADATA_STREAM)

    def change(members: dict[str, Entry]) -> None:
        members.pop(METADATA_STREAM.decode("utf-16-le"))
        members["Binary"] = replace(members["Binary"], name="Binarz".encode("utf-16-le"))
        position = 0
        for number, size in enumerate(parts):
            members[str(number)] = put(f"\1{number}", digest[position : position + size])
            position += size

    assert judge(changed(signed(), change)).cause is Code.AMBIGUOUS


def test_no_ambiguous_signature_is_made() -> None:
    with pytest.raises(NotSignableError, match="ambiguous"):
        signed({"\1a": b"a" * 32, "b": b"b"}, options=PLAIN)
    assert signed({"\1a": b"a" * 32, "b": b"b"})


def test_a_metadata_digest_of_another_algorithm(judge: Judge) -> None:
    """THREATS 8: one algorithm throughout."""
    name = METADATA_STREAM.decode("utf-16-le")
    data = changed(signed(), lambda m: m.update({name: put(name, bytes(20))}))
    assert judge(data).cause is Code.ALGORITHM_INCONSISTENT


def test_streams_in_pieces_have_the_same_digest(judge: Judge) -> None:
    """Where sectors lie is the file system's business: their order in the chain counts."""
    built = prepared()
    first, count = built.get(built.entry("cab") + 116), -(-len(TREE["cab"]) // 512)
    order = [first + n for n in (0, *range(count - 1, 0, -1))]
    old = bytes(built.data)
    for number, sector in enumerate(order):
        part = old[built.sector(first + number) : built.sector(first + number) + 512]
        built.data[built.sector(sector) : built.sector(sector) + 512] = part
        built.put(built.fat_entry(sector), order[number + 1] if number + 1 < count else END)
    assert bytes(built.data) != old
    assert judge(bytes(built)).outcome is Outcome.ACCEPTED


# Bytes that no signature covers


def jar() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("META-INF/MANIFEST.MF", "Main-Class: Evil\n")
    return out.getvalue()


@pytest.mark.parametrize("tail", [b"x", b"\0", bytes(8), b"\r\n", jar(), bytes(512) + b"x"])
@pytest.mark.parametrize("size", [512, 4096])
def test_bytes_behind_the_package(tail: bytes, size: int, judge: Judge) -> None:
    """THREATS 23: a JAR behind a signed package ran as the publisher's (2019)."""
    assert judge(signed(size=size) + tail).cause is Code.UNCOVERED_CONTENT


def test_a_jar_in_whole_sectors_that_the_fat_calls_free(judge: Judge) -> None:
    padded = bytes(-len(jar()) % 512) + jar()
    assert judge(signed() + padded).cause is Code.UNCOVERED_CONTENT


def test_free_sectors_of_zeros_behind_the_package_hold_nothing(judge: Judge) -> None:
    assert judge(signed() + bytes(1024)).outcome is Outcome.ACCEPTED


def bare(built: Built) -> bytes:
    name = "\5DigitalSignature"
    return changed(bytes(built), lambda m: m.pop(name))


def prepared(spare: int = 2) -> Built:
    """A package with ``spare`` free sectors, signed in place and without a metadata digest."""
    probe = len(FORMAT.envelopes(BytesSource("a.msi", signed(options=PLAIN)))[0])
    assert probe < 4096
    tree = {**TREE, "\5DigitalSignature": b"x" * 4096}
    built = compound(tree, spare=spare)
    envelope = FORMAT.envelopes(
        BytesSource("a.msi", sign_bytes("a.msi", bare(built), options=PLAIN))
    )[0]
    at = built.entry("\5DigitalSignature")
    start = built.get(at + 116)
    assert len(envelope) > 512 * 2
    room = -(-len(envelope) // 512)
    blob = padded_to_cutoff(envelope)
    built.data[built.sector(start) : built.sector(start) + len(blob)] = blob
    assert room <= 8
    return built


def padded_to_cutoff(envelope: bytes) -> bytes:
    """Grow an envelope to 4096 bytes by an unsigned attribute, so that it keeps its sectors."""
    from signward.envelopes.cms_draft import attribute, with_unsigned

    for filler in range(4096 - len(envelope), 0, -1):
        grown = with_unsigned(envelope, 0, attribute("1.2.3.4", der.octet_string(bytes(filler))))
        if len(grown) == 4096:
            return grown
    raise AssertionError("no filler fits")


def test_free_sectors_with_remains_are_a_warning(judge: Judge) -> None:
    built = prepared()
    assert judge(bytes(built)).outcome is Outcome.ACCEPTED
    spare = built.sector(built.get(built.entry("cab") + 116) - 1)
    built.data[spare : spare + 7] = b"remains"
    verdict = judge(bytes(built))
    assert verdict.outcome is Outcome.ACCEPTED
    assert "free sectors" in {f.subject for f in verdict.findings if f.effect is Effect.WARN}


def test_a_zip_in_free_sectors(judge: Judge) -> None:
    built = prepared()
    spare = built.sector(built.get(built.entry("cab") + 116) - 1)
    built.data[spare : spare + len(jar())] = jar()
    assert judge(bytes(built)).cause is Code.UNCOVERED_CONTENT


def test_slack_with_remains_is_a_note(judge: Judge) -> None:
    built = prepared()
    cab = built.sector(built.get(built.entry("cab") + 116))
    end = cab + len(TREE["cab"])
    built.data[end : end + 7] = b"remains"
    verdict = judge(bytes(built))
    assert verdict.outcome is Outcome.ACCEPTED
    assert any("rest of a sector" in f.subject for f in verdict.findings)


def test_a_zip_in_slack(judge: Judge) -> None:
    built = prepared()
    end = built.sector(built.get(built.entry("cab") + 116)) + len(TREE["cab"])
    built.data[end : end + len(jar())] = jar()
    assert judge(bytes(built)).cause is Code.UNCOVERED_CONTENT


def test_sectors_that_nothing_leads_to(judge: Judge) -> None:
    built = prepared()
    spare = built.get(built.entry("cab") + 116) - 1
    built.data[built.sector(spare) : built.sector(spare) + 6] = b"hidden"
    assert judge(bytes(built.put(built.fat_entry(spare), END))).cause is Code.UNCOVERED_CONTENT


def test_an_entry_that_nothing_leads_to(judge: Judge) -> None:
    built = prepared()
    last = built.rows[-1].name
    before = next(row for row in built.rows if row.right == built.number(last))
    built.put(built.entry(before.name) + 72, FREE)
    assert judge(bytes(built)).cause is Code.UNCOVERED_CONTENT


def test_bytes_behind_the_pkcs7_in_its_stream(judge: Judge) -> None:
    name = SIGNATURE_STREAM.decode("utf-16-le")
    data = signed()
    (envelope,) = FORMAT.envelopes(BytesSource("a.msi", data))
    longer = changed(data, lambda m: m.update({name: put(name, envelope + b"evil")}))
    assert judge(longer).cause is Code.UNCOVERED_CONTENT


def test_a_chain_of_the_signature_that_loops(judge: Judge) -> None:
    """THREATS 24."""
    built = prepared()
    start = built.get(built.entry("\5DigitalSignature") + 116)
    assert judge(bytes(built.put(built.fat_entry(start), start))).cause is Code.MALFORMED


@pytest.mark.parametrize("number", [0, 1], ids=["signature", "metadata"])
def test_a_signature_stream_that_is_none(number: int, judge: Judge) -> None:
    name = (SIGNATURE_STREAM, METADATA_STREAM)[number].decode("utf-16-le")
    assert judge(changed(signed(), lambda m: m.update({name: put(name, b"")}))).cause in (
        Code.MALFORMED, Code.AMBIGUOUS,
    )  # fmt: skip


@pytest.mark.parametrize("blob", [b"junk", b"\x30\x80" + bytes(40), b"\x30\x84\xff\xff\xff\xff"])
def test_a_signature_stream_that_holds_no_pkcs7(blob: bytes, judge: Judge) -> None:
    """THREATS 54: not mistaken for unsigned."""
    name = SIGNATURE_STREAM.decode("utf-16-le")
    assert judge(changed(signed(), lambda m: m.update({name: put(name, blob)}))).cause in (
        Code.MALFORMED, Code.LIMIT_EXCEEDED,
    )  # fmt: skip


def test_unsigned_and_stripped(judge: Judge) -> None:
    assert judge(bytes(compound(TREE))).cause is Code.UNSIGNED
    assert judge(strip_bytes("a.msi", signed())).cause is Code.UNSIGNED
    name = SIGNATURE_STREAM.decode("utf-16-le")
    half = judge(changed(signed(), lambda m: m.pop(name)))
    assert half.cause is Code.UNSIGNED
    assert Code.LEFTOVER_SIGNATURE in told(half, Effect.WARN)


def test_the_signature_of_another_package(judge: Judge) -> None:
    name = SIGNATURE_STREAM.decode("utf-16-le")
    (other,) = FORMAT.envelopes(BytesSource("a.msi", signed({"other": b"other"})))
    data = changed(signed(), lambda m: m.update({name: put(name, other)}))
    assert judge(data).cause is Code.DIGEST_MISMATCH


# Recognition


@pytest.mark.parametrize("clsid", [0x84, 0x86, 0x82])
@pytest.mark.parametrize("name", ["a.msi", "no-extension", "a.exe"])
def test_recognised_by_class_whatever_the_name(clsid: int, name: str) -> None:
    built = compound(TREE, clsid=bytes([clsid]) + bytes.fromhex("100c0000000000c000000000000046"))
    assert FORMAT.recognise(peek_at(BytesSource(name, bytes(built)))) is Match.SPECIFIC


def test_recognised_by_extension_where_the_class_is_another() -> None:
    built = bytes(compound(TREE, clsid=bytes(16)))
    for name in ("a.msi", "A.MSP", "a.mst", "a.msm"):
        assert FORMAT.recognise(peek_at(BytesSource(name, built))) is Match.MAGIC
    assert FORMAT.recognise(peek_at(BytesSource("a.doc", built))) is Match.NO
    assert FORMAT.recognise(peek_at(BytesSource("a.msi", b"text"))) is Match.NO


def test_a_root_beyond_the_head_is_looked_for_where_the_name_says_nothing() -> None:
    built = bytes(compound(TREE, fat=130))  # the FAT stands in front of the directory
    assert FORMAT.recognise(peek_at(BytesSource("package", built))) is Match.EXTENSION
    assert FORMAT.recognise(peek_at(BytesSource("a.doc", built))) is Match.NO


def test_a_scan_finds_a_package_under_another_name(tmp_path: Path) -> None:
    """Windows puts the root entry 8 KiB into the file, behind what a scan reads at first."""
    data = bytes(compound(TREE, size=4096))
    (tmp_path / "setup.dat").write_bytes(data)
    glanced = glance(str(tmp_path / "setup.dat"))
    assert isinstance(glanced, Glance)
    assert glanced.kind == "msi"
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("setup.dat", data)
    source = BytesSource("a.zip", packed.getvalue())
    (member,) = open_members(source, "zip", wanted=lambda kind: kind == "msi")
    assert isinstance(member, Member)
    assert member.kind == "msi"
    assert member.source is not None


# Signing


def test_nested_signatures_share_the_metadata_digest(judge: Judge) -> None:
    twice = sign_bytes("a.msi", signed(), existing=Existing.NESTED, who=identity(name="Second"))
    verdict = judge(twice)
    assert verdict.outcome is Outcome.ACCEPTED
    assert len(verdict.signatures) == 2
    with pytest.raises(NotSignableError, match="digest algorithm of the first"):
        sign_bytes("a.msi", signed(), existing=Existing.NESTED, digest="sha384")
    plain = sign_bytes("a.msi", signed(options=PLAIN), existing=Existing.NESTED, digest="sha384")
    assert judge(plain).outcome is Outcome.ACCEPTED
    for data, asked in ((signed(), "no"), (signed(options=PLAIN), "yes")):
        with pytest.raises(NotSignableError, match="as the first signature has it"):
            sign_bytes("a.msi", data, existing=Existing.NESTED, options={"ex": asked})


def test_an_envelope_can_be_put_back(judge: Judge) -> None:
    """Taken off and put on again, with the metadata digest it needs or without."""
    for options in ({}, PLAIN):
        data = signed(options=options)
        envelopes = FORMAT.envelopes(BytesSource("a.msi", data))
        bare = BytesSource("a.msi", strip_bytes("a.msi", data))
        again = b"".join(pieces(Patched(bare, FORMAT.embed(bare, envelopes))))
        assert again == data
        other = BytesSource("a.msi", bytes(compound({"x": b"x"})))
        with pytest.raises(NotSignableError, match="other content"):
            FORMAT.embed(other, envelopes)
        with pytest.raises(NotSignableError, match="nested"):
            FORMAT.embed(bare, envelopes * 2)


def test_hidden_bytes_are_not_lost_in_silence() -> None:
    with pytest.raises(NotSignableError, match="behind"):
        sign_bytes("a.msi", bytes(compound(TREE)) + jar())
    with pytest.raises(NotSignableError, match="behind"):
        strip_bytes("a.msi", signed() + b"x")


def test_an_option_that_says_neither() -> None:
    with pytest.raises(NotSignableError, match="yes or no"):
        signed(options={"ex": "maybe"})


def test_remains_in_free_sectors_are_gone_after_signing(judge: Judge) -> None:
    built = compound(TREE, spare=2)
    spare = built.sector(built.get(built.entry("cab") + 116) - 1)
    built.data[spare : spare + 7] = b"remains"
    data = sign_bytes("a.msi", bytes(built))
    assert b"remains" not in data
    assert judge(data).outcome is Outcome.ACCEPTED


MEASURE = """
import resource, sys
from signward.formats.msi import FORMAT
from signward.formats import ParseOptions
from signward.integrity import wanted_slots
from signward.wire.patch import pieces, Patched
from signward.wire.source import open_source
from tests.signing import patch_of

def peak():
    for line in open("/proc/self/status"):
        if line.startswith("VmHWM"):
            return int(line.split()[1])

with open_source(sys.argv[1]) as warm:
    patch_of(warm)
before = peak()
with open_source(sys.argv[2]) as source, open(sys.argv[3], "wb") as out:
    for piece in pieces(Patched(source, patch_of(source))):
        out.write(piece)
with open_source(sys.argv[3]) as source:
    artifact = FORMAT.parse(source, ParseOptions())
    computed = FORMAT.digests(artifact, wanted_slots(artifact))
    assert [s.digest for s in artifact.signatures[0].slots] == [
        computed[s.name, s.algorithm] for s in artifact.signatures[0].slots]
print(peak() - before)
"""

MAX_GROWTH_KIB = 16 * 1024
"""What signing and verifying 40 MB may add: tables (1/128), pieces of a MiB, thread buffers."""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc to measure with")
def test_forty_megabytes_in_bounded_memory(tmp_path: Path) -> None:
    small, large = tmp_path / "small.msi", tmp_path / "large.msi"
    small.write_bytes(bytes(compound(TREE)))
    large.write_bytes(bytes(compound({**TREE, "big": os.urandom(1 << 20) * 40})))
    run = [sys.executable, "-c", MEASURE, str(small), str(large), str(tmp_path / "out.msi")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(
        run, env=environment, check=True, capture_output=True, text=True, timeout=120
    )
    assert int(done.stdout) < MAX_GROWTH_KIB


def test_a_patch_reads_through_and_copies_nothing() -> None:
    source = BytesSource("a.msi", bytes(compound({"big": bytes(1 << 20)})))
    patch = patch_of(source, at=NOW)
    held = sum(len(edit.data) for edit in patch.edits if isinstance(edit.data, bytes))
    assert held == 0


def test_signature_of_a_script_over_the_same_bytes_is_not_the_packages(
    tmp_path: Path, judge: Judge
) -> None:
    """A script's digest is over its text: a stream and a class identifier may be that text."""
    text = "Write-Output 'signed once as a script, now cut into streams'\r\n"
    script = sign_bytes("a.ps1", text.encode("utf-8"))
    assert assess_bytes("a.ps1", script, tmp_path).outcome is Outcome.ACCEPTED
    (blob,) = SCRIPT.envelopes(BytesSource("a.ps1", script))
    octets = text.encode("utf-16-le")
    tree: Tree = {SIGNATURE_STREAM.decode("utf-16-le"): blob, "\u4840\u3f3f": octets[:-16]}
    verdict = judge(bytes(compound(tree, clsid=octets[-16:])))
    assert verdict.cause is Code.MALFORMED
    assert any("another format" in finding.hint for finding in verdict.findings)
