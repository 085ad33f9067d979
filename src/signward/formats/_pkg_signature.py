"""Signatures of xar archives: RSA over the checksum of the table, and CMS over the same checksum.

Sources: the xar project's "xarformat" page (``signature``); ``x-signature`` is Apple's, as its
tools write it and goxar reads it: a detached SignedData whose content is the stored checksum.
Both reach files only through the table, which holds their checksums: a signature therefore
claims the table and every file.  Apple looks at the CMS where there is one; here both must be
intact and one signer's.
"""

from __future__ import annotations

from collections.abc import Iterator

from signward.envelopes.xar import Checksum, open_cms, open_value
from signward.errors import LimitError, UncoveredError
from signward.findings import Code, Effect, Finding
from signward.frozen import Frozen
from signward.state import ClaimedSignature, Slot, Source
from signward.wire import der
from signward.wire.certificate import outline
from signward.wire.xar import Member, SignatureNode, Xar
from signward.wire.xar_toc import CLAUSE

MAX_SIGNATURE = 16 * 1024 * 1024
"""Octets kept for one signature; Apple's tools keep some 9 KiB."""

TABLE = "toc"
"""The slot of the compressed table of contents."""

_BROKEN = "md5"
"""What no file's checksum may be by.  Apple's own tools still write SHA-1: ``trust.profiles``."""


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
    over = Checksum(algorithm=archive.checksum, table=archive.packed, stored=archive.stored)
    claimed = []
    if archive.x_signature:
        blob = envelope_of(source, archive, archive.x_signature)
        claimed.append(open_cms(blob, over, slots))
    if archive.signature:
        node, label = archive.signature, str(len(claimed) + 1)
        value = envelope_of(source, archive, node)
        claimed.append(open_value(value, over, slots, node.certificates, label))
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
        while name in named:  # a file may be called what another one's numbered slot is
            name += f"#{number}"
        named[name] = member
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
    count = sum(member.algorithm == _BROKEN for member in archive.members)
    if count:
        yield Finding(
            code=Code.WEAK_DIGEST,
            effect=Effect.REJECT,
            subject="xar heap",
            found=f"{count} checksums by {_BROKEN}",
            required="SHA-2",
            clause="NIST SP 800-131A",
        )
