"""Bundles both ways: apple-platform-py (rcodesign's library), and an application as Apple ships it.

rcodesign signs bundles and checks their programs one by one; it has no check of a whole bundle.
So beside its word about every program of ours, its list of resources is held against ours.
"""

from __future__ import annotations

import plistlib
import shutil
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from conformance.authenticode.pki import pem

from signward.findings import Code
from signward.state import Outcome, TrustedSignature, Verdict
from signward.verbs.context import Context
from signward.verbs.options import Options
from signward.verbs.sign import Signatory, SignOptions
from signward.verbs.verify import assess_path
from signward.wire.requirement import write_requirement
from signward.wire.requirement_text import parse_requirement
from tests.builders.bundle import application, lay_out
from tests.desk import write_key
from tests.signing import authority, context, identity

pytestmark = pytest.mark.interop

APP = "Mitmproxy Redirector.app"
CODE = ("Contents/MacOS/App", "Contents/MacOS/helper",
        "Contents/PlugIns/Plug.bundle/Contents/MacOS/Plug",
        "Contents/Frameworks/Kit.framework/Versions/A/Kit")  # fmt: skip
LISTS = ("Contents", "Contents/PlugIns/Plug.bundle/Contents",
         "Contents/Frameworks/Kit.framework/Versions/A")  # fmt: skip
ASKED = parse_requirement('anchor[subject.CN] = "Signing Test Root"')
NOT_SEALED = "Contents/MacOS/notes.txt"
"""The peer leaves out texts where code lies: its own lists then do not cover them."""


@pytest.fixture
def peer() -> ModuleType:
    module: ModuleType = pytest.importorskip(
        "apple_platform", reason="apple-platform-py is not installed"
    )
    return module


def _application() -> dict[str, bytes | str]:
    """Return the application without what the peer signs or seals otherwise than codesign."""
    agent = "Contents/Library/LaunchServices/agent"
    return {p: data for p, data in application().items() if p not in (NOT_SEALED, agent)}


def _by_peer(peer: ModuleType, folder: Path) -> Path:
    """Return the application as the peer signs it, with a requirement that its signer meets."""
    key, asks = folder / "peer.pem", folder / "asks"
    key.write_bytes(identity().key.pem + b"".join(pem(one.certificate) for one in identity().path))
    asks.write_bytes(write_requirement(ASKED))
    settings = peer.PathSettings(code_requirements_file=asks)
    places = ("@main", "Contents/MacOS/helper", "Contents/PlugIns/Plug.bundle",
              "Contents/Frameworks/Kit.framework")  # fmt: skip
    plain, signed = (
        lay_out(folder / "plain" / "App.app", _application()),
        folder / "peers" / "App.app",
    )
    peer.sign(plain, signed, signer=peer.Signer(pem=peer.PemKey(files=[key])),
              timestamp_url="none", paths=dict.fromkeys(places, settings))  # fmt: skip
    return signed


def _by_us(folder: Path, **asked: Any) -> Path:
    path = lay_out(folder / "ours" / "App.app", _application())
    options = SignOptions(key=write_key(folder / "key.pem", identity()), **asked)
    with Signatory(options) as signatory:
        (result,) = signatory.run([str(path)])
    assert not result.failed, result
    return path


def _verdict(path: Path, folder: Path) -> Verdict:
    return assess_path(path, context(folder, authority(), at=datetime.now(UTC)))


@pytest.mark.confirms("bundle", "sign", "apple-platform-py")
def test_the_peer_finds_nothing_wrong_with_our_programs(peer: ModuleType, tmp_path: Path) -> None:
    path = _by_us(tmp_path)
    assert peer.path_type(path) == "bundle"
    for program in CODE:
        assert peer.verify_macho(path / program) == []
        changed = bytearray((path / program).read_bytes())
        changed[0x700] ^= 1
        (path / program).write_bytes(changed)
        assert peer.verify_macho(path / program) != []


@pytest.mark.confirms("bundle", "sign", "apple-platform-py")
@pytest.mark.parametrize("place", LISTS)
def test_our_lists_are_the_peers(peer: ModuleType, tmp_path: Path, place: str) -> None:
    ours, theirs = (
        plistlib.loads((path / place / "_CodeSignature/CodeResources").read_bytes())
        for path in (_by_us(tmp_path), _by_peer(peer, tmp_path))
    )
    assert ours["rules"] == theirs["rules"]
    assert ours["rules2"] == theirs["rules2"]
    assert set(ours["files2"]) == set(theirs["files2"])
    for name, seal in ours["files2"].items():
        assert set(seal) == set(theirs["files2"][name])
        if "requirement" not in seal:  # signatures differ, and the hashes of directories with them
            assert seal == theirs["files2"][name]


@pytest.mark.confirms("bundle", "verify", "apple-platform-py")
def test_what_the_peer_signs_is_accepted(peer: ModuleType, tmp_path: Path) -> None:
    path = _by_peer(peer, tmp_path)
    verdict = _verdict(path, tmp_path)
    assert verdict.outcome is Outcome.ACCEPTED, [str(f) for f in verdict.findings]
    (path / "Contents/Resources/a.txt").write_bytes(b"changed")
    assert _verdict(path, tmp_path).cause is Code.DIGEST_MISMATCH


@pytest.mark.confirms("bundle", "verify", "apple-platform-py")
def test_what_the_peer_leaves_out_is_not_covered(peer: ModuleType, tmp_path: Path) -> None:
    path = _by_peer(peer, tmp_path)
    (path / NOT_SEALED).write_bytes(b"a text where code lies")
    assert _verdict(path, tmp_path).cause is Code.UNCOVERED_CONTENT


@pytest.mark.confirms("bundle", "verify", "Apple's codesign and notary")
def test_an_application_as_it_ships_is_accepted(corpus: Any) -> None:
    verdict = assess_path(corpus("mitmproxy-app") / APP, Context(Options()))
    assert verdict.outcome is Outcome.ACCEPTED, [str(f) for f in verdict.findings]
    first = verdict.signatures[0]
    assert isinstance(first, TrustedSignature)
    assert first.proven_time is not None
    assert verdict.facts["team-id"] == "S8XHQB96PW"
    assert not [f for f in verdict.findings if f.code is Code.TICKET]


@pytest.mark.confirms("bundle", "verify", "Apple's codesign and notary")
def test_no_file_of_it_may_be_changed_or_taken_out(corpus: Any, tmp_path: Path) -> None:
    app = Path(shutil.copytree(corpus("mitmproxy-app") / APP, tmp_path / APP, symlinks=True))
    judging = Context(Options())
    for path in sorted(p for p in app.rglob("*") if p.is_file()):
        data = path.read_bytes()
        offset = len(data) // 2
        for changed in (data[:-1], data + b"\0", _flipped(data, offset), None):
            path.unlink()
            if changed is not None:
                path.write_bytes(changed)
            verdict = assess_path(app, judging)
            path.write_bytes(data)
            may = path.name == "PkgInfo" or (path.name == "CodeResources" and changed is None)
            may = may and "_CodeSignature" not in path.parts
            assert may or verdict.outcome is not Outcome.ACCEPTED, (path, changed is None)
    assert assess_path(app, judging).outcome is Outcome.ACCEPTED


def _flipped(data: bytes, offset: int) -> bytes:
    return data[:offset] + bytes([data[offset] ^ 0x10]) + data[offset + 1 :]


@pytest.mark.parametrize("step", [3])
def test_no_flipped_byte_of_the_ticket_is_accepted(corpus: Any, tmp_path: Path, step: int) -> None:
    app = Path(shutil.copytree(corpus("mitmproxy-app") / APP, tmp_path / APP, symlinks=True))
    path, judging = app / "Contents/CodeResources", Context(Options())
    data = path.read_bytes()
    for offset in range(0, len(data), len(data) // 100 * step):
        path.write_bytes(_flipped(data, offset))
        assert assess_path(app, judging).cause is Code.TICKET, offset


def test_a_ticket_for_other_code_is_told(corpus: Any, tmp_path: Path) -> None:
    path = _by_us(tmp_path)
    shutil.copy(corpus("mitmproxy-app") / APP / "Contents/CodeResources", path / "Contents")
    verdict = _verdict(path, tmp_path)
    assert verdict.cause is Code.TICKET
    assert "code directory" in str(verdict.findings[0])


def test_a_ticket_is_apples_under_other_anchors_too(corpus: Any, tmp_path: Path) -> None:
    verdict = _verdict(corpus("mitmproxy-app") / APP, tmp_path)
    assert not [f for f in verdict.findings if f.code is Code.TICKET]
    assert verdict.outcome is Outcome.REJECTED
