"""Signatures of xar archives: RSA over the checksum of the table, and CMS over the same checksum.

Sources: the xar project's "xarformat" page (``signature``); ``x-signature`` is Apple's, as its
tools write it and goxar reads it: a detached SignedData whose content is the stored checksum.
Both reach files only through the table, which holds their checksums: a signature therefore
claims the table and every file.  Apple looks at the CMS where there is one; here both must be
intact and one signer's.
"""

from __future__ import annotations

from collections.abc import Iterator

from signward.envelopes.cms import DATA, no_slots, open_signatures
from signward.errors import AmbiguousError, LimitError, MalformedError, UncoveredError
from signward.findings import Code, Effect, Finding
from signward.frozen import Frozen, replace
from signward.state import Algorithm, ClaimedSignature, Reading, SignerId, Slot, Source
from signward.wire import der
from signward.wire.certificate import outline
from signward.wire.xar import Member, SignatureNode, Xar
from signward.wire.xar_toc import CLAUSE

MAX_SIGNATURE = 16 * 1024 * 1024
"""Octets kept for one signature; Apple's tools keep some 9 KiB."""

TABLE = "toc"
"""The slot of the compressed table of contents."""

ENVELOPE = "xar"
"""The envelope of a bare RSA value whose signer the table names."""

_RCODESIGN = Algorithm(scheme="rsa-pkcs1v15", digest="sha256")

_WEAK = {"sha1": Effect.WARN, "md5": Effect.REJECT}
"""What a file's checksum by a weak digest does: Apple's own tools still write SHA-1."""


class Signatures(Frozen, frozen=True, kw_only=True):
    """What is claimed over an archive, and what it asks of each signature besides."""

    claimed: tuple[ClaimedSignature, ...]
    conditions: dict[str, tuple[Finding, ...]]


def open_archive(source: Source, archive: Xar) -> Signatures:
    """Return the signatures of an archive: the CMS first.  Raises ``BadInputError``."""
    slots = (
        Slot(name=TABLE, algorithm=archive.checksum, digest=archive.stored),
        *(Slot(name=name, algorithm=member.algorithm, digest=member.digest)
          for name, member in slot_names(archive).items() if member.algorithm),
    )  # fmt: skip
    claimed = []
    if archive.x_signature:
        claimed.append(_open_cms(source, archive, archive.x_signature, slots))
    if archive.signature:
        label = str(len(claimed) + 1)
        claimed.append(_open_rsa(source, archive, archive.signature, slots, label))
    weak = tuple(_weak_checksums(archive))
    conditions = {one.label: weak for one in claimed}
    if archive.x_signature:
        conditions["1"] = (*weak, *_other_signers(archive, claimed[0]))
    return Signatures(claimed=tuple(claimed), conditions=conditions)


def slot_names(archive: Xar) -> dict[str, Member]:
    """Return each member under its slot's name; of several with one name the later are numbered."""
    named: dict[str, Member] = {}
    for number, member in enumerate(archive.members, 1):
        name = f"file:{member.name}"
        named[name if name not in named else f"{name}#{number}"] = member
    return named


def envelope_of(source: Source, archive: Xar, node: SignatureNode) -> bytes:
    """Return a signature's octets, a CMS without the zeros behind it.  Raises ``BadInputError``."""
    if node.length > MAX_SIGNATURE:
        raise LimitError("signature", f"{node.length} octets", f"at most {MAX_SIGNATURE}")
    area = source.read(archive.heap + node.start, node.length)
    if node.style != "CMS":
        return area
    end = der.parse(area, "signature", trailing=True).next
    if area[end:].strip(b"\0"):
        raise UncoveredError(
            "signature", "octets behind the CMS", "zeros to the end of its place", CLAUSE,
            offset=archive.heap + node.start + end,
        )  # fmt: skip
    return area[:end]


def _open_cms(
    source: Source, archive: Xar, node: SignatureNode, slots: tuple[Slot, ...]
) -> ClaimedSignature:
    opened = open_signatures(envelope_of(source, archive, node), no_slots)
    if len(opened) != 1:
        raise AmbiguousError("signature", f"{len(opened)} signatures in one", "one", CLAUSE)
    claimed = opened[0]
    if claimed.content or claimed.content_type != DATA:
        raise MalformedError(
            "signature", f"content of type {claimed.content_type} inside",
            "none: the checksum is the content", "RFC 5652 5.2",
        )  # fmt: skip
    return replace(
        claimed,
        slots=slots,
        bindings=tuple(replace(one, data=archive.stored) for one in claimed.bindings),
        to_be_verified=claimed.to_be_verified or archive.stored,
        claimed_certificates=claimed.claimed_certificates or node.certificates,
    )


def _open_rsa(
    source: Source, archive: Xar, node: SignatureNode, slots: tuple[Slot, ...], label: str
) -> ClaimedSignature:
    """Read the bare value: PKCS#1 v1.5 over the table, of which the checksum is the digest.

    So Apple and goxar.  rcodesign signs the checksum as if it were a message, always with
    SHA-256; macOS does not see that, as it looks at the CMS.
    """
    value = envelope_of(source, archive, node)
    leaf = outline(node.certificates[0]) if node.certificates else None
    return ClaimedSignature(
        label=label,
        envelope=ENVELOPE,
        slots=slots,
        bindings=(),
        algorithm=Algorithm(scheme="rsa-pkcs1v15", digest=archive.checksum),
        to_be_verified=archive.packed,
        readings=(
            Reading(what="the table", data=archive.packed),
            Reading(what="its checksum", data=archive.stored, algorithm=_RCODESIGN),
        ),
        value=value,
        claimed_signer=SignerId(issuer=leaf.issuer, serial=leaf.serial) if leaf else SignerId(),
        claimed_certificates=node.certificates,
        raw=value,
    )


def _other_signers(archive: Xar, cms: ClaimedSignature) -> Iterator[Finding]:
    """Report certificates in the table that name another signer than the CMS has.

    Tools show the table's certificates; one that is not the signer's is a lie in all of them.
    """
    signer = cms.claimed_signer
    for node in (archive.signature, archive.x_signature):
        if node is None or not node.certificates:
            continue
        first = node.certificates[0]
        leaf = outline(first)
        by_name = (leaf.issuer, leaf.serial) == (signer.issuer, signer.serial)
        named = by_name or (signer.key_id and signer.key_id == leaf.key_id)
        if not named or first not in cms.claimed_certificates:
            yield Finding(
                code=Code.AMBIGUOUS,
                effect=Effect.REJECT,
                subject="signature 1",
                found=f"another signer in the table's {node.style} signature",
                required="one signer for both signatures and the table",
                clause=CLAUSE,
            )


def _weak_checksums(archive: Xar) -> Iterator[Finding]:
    for algorithm, effect in _WEAK.items():
        count = sum(member.algorithm == algorithm for member in archive.members)
        if count:
            yield Finding(
                code=Code.WEAK_DIGEST,
                effect=effect,
                subject="xar heap",
                found=f"{count} checksums by {algorithm}",
                required="SHA-2",
                clause="NIST SP 800-131A",
            )
