"""Clear-signed text, written: the text wrapped in a block, and taken out of it again."""

from __future__ import annotations

from collections.abc import Sequence

from signward.envelopes.openpgp_clear import read_clear, unescaped, write_clear
from signward.envelopes.openpgp_draft import OpenPgpDraft, draft_openpgp
from signward.envelopes.openpgp_packets import SIGNATURE, packets, write_packet
from signward.envelopes.openpgp_signature import TEXT, read_signature
from signward.errors import NotSignableError
from signward.formats import Existing, Request, may_sign
from signward.formats._clear_text import read_text
from signward.frozen import Frozen
from signward.state import Hasher, Source
from signward.wire.clear_text import BEGIN
from signward.wire.patch import Edit, PatchSet

_WITHOUT_CHECKSUM = 6
"""The first version of signatures whose armour has none (RFC 9580 6.1)."""

_WHAT = "clear-signed text"


class Plan(Frozen, frozen=True, kw_only=True):
    """The bare text (its line endings and spaces as they stand), and the packets that stay."""

    text: bytes
    kept: tuple[bytes, ...]


def planned(source: Source, request: Request) -> Plan:
    """Return what is to be signed in a file.  Raises ``NotSignableError`` and ``BadInputError``."""
    there = packets_in(source)
    may_sign(bool(there), request, _WHAT)
    text = _bare(read_text(source))
    if text and not text.endswith(b"\n"):
        raise NotSignableError(_WHAT, "a last line without its ending", "a line feed",
                               hint="a block ends every line")  # fmt: skip
    return Plan(text=text, kept=there if request.existing is Existing.NESTED else ())


def drafted(plan: Plan, request: Request) -> OpenPgpDraft:
    """Return the draft over the text as signatures hash it."""
    hashed = read_clear(write_clear(plan.text, [request.signer.digest], b"")).hashed

    def feed(hashers: Sequence[Hasher]) -> None:
        for hasher in hashers:
            hasher.update(memoryview(hashed))

    return draft_openpgp(request.signer, request.at, feed, TEXT)


def signed(source: Source, plan: Plan, sealed: bytes) -> PatchSet:
    """Return the patch that wraps the text in a block with its signatures."""
    return _whole(source, _block(plan.text, (*plan.kept, sealed)))


def packets_in(source: Source) -> tuple[bytes, ...]:
    """Return the signature packets of a file; none of a bare text."""
    data = read_text(source)
    if BEGIN not in data:
        return ()
    found = packets(read_clear(data).signature)
    return tuple(write_packet(SIGNATURE, packet.body) for packet in found)


def embedded(source: Source, envelopes: tuple[bytes, ...]) -> PatchSet:
    """Return the patch that makes these the signatures; none leaves the bare text."""
    text = _bare(read_text(source))
    return _whole(source, _block(text, envelopes) if envelopes else text)


def _bare(data: bytes) -> bytes:
    return unescaped(data, read_clear(data)) if BEGIN in data else data


def _block(text: bytes, envelopes: tuple[bytes, ...]) -> bytes:
    bodies = [packet.body for one in envelopes for packet in packets(one)]
    found = [read_signature(body) for body in bodies]
    digests = [one.algorithm.digest for one in found]
    old = any(one.version < _WITHOUT_CHECKSUM for one in found)
    return write_clear(text, digests, b"".join(envelopes), checksum=old)


def _whole(source: Source, data: bytes) -> PatchSet:
    return PatchSet(edits=(Edit(start=0, end=source.length, data=data),))
