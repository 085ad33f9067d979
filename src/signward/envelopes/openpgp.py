"""OpenPGP signatures as packets (RFC 9580 10.4), and detached ones: armoured or not, beside a file.

``envelopes.openpgp_clear`` reads those that stand behind the text they are over.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from signward.envelopes.openpgp_cert import KIND
from signward.envelopes.openpgp_packets import SIGNATURE, dearmour, is_armoured, packets
from signward.envelopes.openpgp_signature import BINARY, TEXT, Signature, read_signature
from signward.errors import LimitError, MalformedError
from signward.findings import Code, Effect, Finding
from signward.frozen import Frozen
from signward.state import ClaimedSignature, SignerId

MAX_OCTETS = 1024 * 1024
"""Octets of a file of signatures; one has some 500."""

MAX_SIGNATURES = 32
"""Signatures in one file; a distribution's release has two to four."""

_WHAT = "detached OpenPGP signature"


class Opened(Frozen, frozen=True, kw_only=True):
    """A claimed signature, and what is hashed before and behind the content it is over.

    ``text`` says that the content is hashed as text, its lines ended by CR LF.
    """

    claimed: ClaimedSignature
    before: bytes
    behind: bytes
    text: bool = False


def is_openpgp(data: bytes) -> bool:
    """Say whether octets begin as signature packets do, or are armoured."""
    first = data[0] if data else 0
    return first & 0xFC == 0x88 or first == 0xC2 or is_armoured(data)  # type 2, either header


def open_detached(
    data: bytes, slot: str, first: int = 1, kinds: Collection[int] = (BINARY,)
) -> tuple[Opened, ...]:
    """Return the signatures; each is over a slot of its own, ``slot`` and its label.

    Labels are numbers from ``first`` on, ``kinds`` the types of signature that count: whoever
    takes `TEXT` too has to hash it as text.  Raises ``MalformedError``, for anything but
    signatures too, and ``LimitError``.
    """
    if len(data) > MAX_OCTETS:
        raise LimitError(_WHAT, f"{len(data)} octets", f"at most {MAX_OCTETS}")
    octets = dearmour(data, "SIGNATURE", alone=True) if is_armoured(data) else data
    return open_packets(octets, slot, kinds, first)


def open_packets(
    octets: bytes, slot: str, kinds: Collection[int], first: int = 1
) -> tuple[Opened, ...]:
    """Return the signatures in packets, which are to be of some ``kinds``: `BINARY`, `TEXT`.

    Each is over a slot of its own, ``slot`` and its label, a number from ``first`` on.  Raises
    ``MalformedError`` and ``LimitError``.
    """
    opened = list[Opened]()
    for packet in packets(octets):
        if packet.tag != SIGNATURE:
            raise MalformedError(_WHAT, f"packet {packet.tag}", "signatures only",
                                 "RFC 9580 10.4", offset=packet.offset)  # fmt: skip
        if len(opened) == MAX_SIGNATURES:
            raise LimitError(_WHAT, f"more than {MAX_SIGNATURES} signatures", "fewer")
        label = str(len(opened) + first)
        signature = read_signature(packet.body)
        findings = tuple(_objections(signature, f"signature {label}", kinds))
        claimed = _claimed(signature, label, f"{slot}:{label}", packet.body, findings)
        opened.append(Opened(claimed=claimed, before=signature.salt, behind=signature.trailer,
                             text=signature.kind == TEXT))  # fmt: skip
    if not opened:
        raise MalformedError(_WHAT, "no signature", "one", "RFC 9580 10.4")
    return tuple(opened)


def _claimed(
    signature: Signature, label: str, over: str, raw: bytes, findings: tuple[Finding, ...]
) -> ClaimedSignature:
    fingerprint, key_id = signature.issuer
    return ClaimedSignature(
        label=label,
        envelope=KIND,
        slots=(),
        bindings=(),
        algorithm=signature.algorithm,
        to_be_verified=b"",
        value=signature.value,
        claimed_signer=SignerId(key_id=fingerprint, key_suffix=key_id),
        claimed_certificates=(),
        claimed_time=signature.created,
        over=over,
        findings=findings,
        raw=raw,
        digest_start=signature.start,
    )


def line_ends(opened: Opened) -> Finding:
    """Return why a signature over text does not count for a file with other line endings."""
    return Finding(
        code=Code.UNSUPPORTED_ALGORITHM, effect=Effect.UNKNOWN,
        subject=f"signature {opened.claimed.label}",
        found="a signature over text, whose line endings are not signed, and lines that end "
        "otherwise than by CR LF", required="one over the file's octets (type 0x00)",
        clause="RFC 9580 5.2.1.2",
        hint="a CR that somebody puts before a line's end changes what a script does",
    )  # fmt: skip


def _objections(signature: Signature, what: str, kinds: Collection[int]) -> Iterator[Finding]:
    """Yield why a signature cannot be one of some kinds over a document."""
    if signature.kind not in kinds:
        asked = ", or ".join(f"{kind:#04x}" for kind in sorted(kinds))
        yield Finding(
            code=Code.ATTRIBUTE_RULE, effect=Effect.REJECT, subject=what,
            found=f"a signature of type {signature.kind:#04x}",
            required=f"one over a document (type {asked})", clause="RFC 9580 5.2.1",
        )  # fmt: skip
    if signature.unknown_critical is not None:
        yield Finding(
            code=Code.ATTRIBUTE_RULE, effect=Effect.REJECT, subject=what,
            found=f"critical subpacket {signature.unknown_critical}, which is not understood",
            required="none", clause="RFC 9580 5.2.3.7",
        )  # fmt: skip
