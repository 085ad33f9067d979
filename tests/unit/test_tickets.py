"""Notarization tickets: read within bounds, and believed for what their signer is marked for."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from conformance.authenticode.keys import key
from conformance.authenticode.pki import NOW, Identity, issue

from signward.envelopes.ticket import listed_hashes, open_ticket
from signward.errors import BadInputError
from signward.findings import Code, Effect, Finding
from signward.state import SignedArtifact
from signward.verbs.tickets import ticket_findings
from signward.wire.source import BytesSource
from tests.builders.ticket import notary, ticket
from tests.signing import context

HASHES = (b"1" * 20, b"2" * 20, b"3" * 20)


def _findings(data: bytes, folder: Path, *anchors: Identity) -> list[Finding]:
    source = BytesSource("App.app", b"")
    artifact = SignedArtifact(
        format="bundle", source=source, signatures=(), ticket=open_ticket(data)
    )
    return list(ticket_findings(artifact, context(folder, *anchors)))


def test_what_a_ticket_says_is_read() -> None:
    claimed = open_ticket(ticket(HASHES, notary()))
    assert listed_hashes(claimed.content) == frozenset(HASHES)
    assert claimed.claimed_time == NOW
    assert len(claimed.claimed_certificates) == 3


def test_marks_make_a_ticket_apples(tmp_path: Path) -> None:
    assert _findings(ticket(HASHES, notary()), tmp_path) == []


@pytest.mark.parametrize(("leaf", "between"), [(False, True), (True, False), (False, False)])
def test_without_them_it_is_somebodys(tmp_path: Path, leaf: bool, between: bool) -> None:
    (finding,) = _findings(ticket(HASHES, notary(leaf=leaf, between=between)), tmp_path)
    assert (finding.code, finding.effect) == (Code.TICKET, Effect.REJECT)
    assert "for other things" in finding.found


def test_a_strangers_ticket_rejects_whomever_the_caller_trusts(tmp_path: Path) -> None:
    other = issue("Other Root", subject_key=key("p256", "other"), ca=True, ekus=None,
                  usage=("keyCertSign",))  # fmt: skip
    (finding,) = _findings(ticket(HASHES, notary()), tmp_path, other)
    assert (finding.code, finding.effect) == (Code.TICKET, Effect.REJECT)


def test_no_flipped_byte_passes(tmp_path: Path) -> None:
    data = ticket(HASHES, notary())
    for offset in range(0, len(data), 3):
        changed = bytearray(data)
        changed[offset] ^= 1 << (offset % 8)
        try:
            found = _findings(bytes(changed), tmp_path)
            listed_hashes(open_ticket(bytes(changed)).content)
        except BadInputError:
            continue
        assert any(finding.effect is Effect.REJECT for finding in found), offset


@pytest.mark.parametrize("size", range(0, 400, 7))
def test_a_cut_ticket_is_none(size: int) -> None:
    with pytest.raises(BadInputError):
        open_ticket(ticket(HASHES, notary())[:size])


def _header(*, version: int = 1, certificates: int | None = None, body: int | None = None) -> bytes:
    data = ticket(HASHES, notary())
    _, _, first, second = struct.unpack_from("<4sIII", data)
    sizes = first if certificates is None else certificates, second if body is None else body
    return struct.pack("<4sIII", b"s8ch", version, *sizes) + data[16:]


@pytest.mark.parametrize(
    "data",
    [
        b"", b"s8ch", _header(version=2), _header(certificates=0), _header(body=0),
        _header(certificates=0xFFFFFFFF), _header(body=0xFFFFFFFF),
        ticket(HASHES, notary()) + bytes(4), ticket(HASHES, notary()) + b"more",
        ticket(HASHES, notary()).replace(b"g8tk\2", b"g8tk\3"),
        ticket(HASHES, notary()).replace(b"g8tk\2\0\x14", b"g8tk\2\0\x15"),
        ticket(HASHES, notary()).replace(b"g8tk\2\0\x14\0\3", b"g8tk\2\0\x14\0\4"),
    ],
)  # fmt: skip
def test_structures_at_fault_are_refused(data: bytes) -> None:
    with pytest.raises(BadInputError):
        listed_hashes(open_ticket(data).content)
