"""Signatures appended to ELF files in the trailer of Linux kernel modules (`wire.module_trailer`).

The signature is a detached CMS message (RFC 5652) over every octet before it.  The kernel's own
tool (``scripts/sign-file``) writes no signed attributes and no certificate, and names the signer by
issuer and serial number, or by its key identifier; the kernel has the key.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from signward.envelopes.cms_external import open_external
from signward.errors import LimitError, NotSignableError
from signward.findings import Code, Effect, Finding
from signward.formats import Existing, Request, may_sign
from signward.state import ClaimedSignature, Manifest, Source, Wanted
from signward.wire.certificate import outline
from signward.wire.module_trailer import MAGIC, Trailer, read_trailer, write_trailer
from signward.wire.patch import Edit, PatchSet
from signward.wire.source import slot_digests

if TYPE_CHECKING:
    from signward.envelopes.cms_plain import PlainDraft

SLOT = "elf"
"""The slot of every octet before the trailer."""

MAX_HELD = 256 * 1024 * 1024
"""Octets of content held in memory: while it is signed, or checked by a scheme that hashes for
itself.  The largest of Debian's modules has 8 MiB."""

OPTIONS: Mapping[str, str] = MappingProxyType(
    {"key-id": "yes: name the signer by its key identifier, not by issuer and serial number"}
)

_SCHEMES = frozenset({"rsa-pkcs1v15", "ecdsa", "ml-dsa-44", "ml-dsa-65", "ml-dsa-87"})
"""What the kernel checks with: RSA, since 5.13 ECDSA, since 7.0 ML-DSA."""

_CLAUSE = "Documentation/admin-guide/module-signing.rst"
_STRAY = 4096
"""Octets at a file's end searched for a trailer that is not at its end."""


def signatures_of(content: Source, trailer: Trailer) -> tuple[ClaimedSignature, ...]:
    """Return the signatures in a file's trailer.  Raises ``BadInputError``."""
    blob = content.read(trailer.start, trailer.end - trailer.start)
    return open_external(blob, SLOT, lambda: _content(content, trailer.start))


def _content(content: Source, end: int) -> bytes:
    if end > MAX_HELD:
        raise LimitError("content", f"{end} octets", f"at most {MAX_HELD}")
    return content.read(0, end)


def digests(content: Source, end: int, wanted: Wanted) -> Manifest:
    """Compute the digests of the octets before ``end``, in one pass."""
    return slot_digests(content, [(0, end)], (slot for slot in wanted if slot[0] == SLOT))


def content_end(content: Source) -> int:
    """Return where the content ends: at the trailer's signature, or with the file."""
    trailer = read_trailer(content)
    return trailer.start if trailer else content.length


def envelopes_of(content: Source) -> tuple[bytes, ...]:
    """Return the message in the trailer, if there is one."""
    trailer = read_trailer(content)
    return (content.read(trailer.start, trailer.end - trailer.start),) if trailer else ()


def embedded(content: Source, envelopes: tuple[bytes, ...]) -> PatchSet:
    """Return the patch that makes the first envelope the file's signature, or none."""
    end = content_end(content)
    appended = write_trailer(envelopes[0]) if envelopes else b""
    return PatchSet(edits=(Edit(start=end, end=content.length, data=appended),))


def drafted(content: Source, request: Request) -> PlainDraft:
    """Return the draft of a file's signature.  Raises ``NotSignableError``."""
    from signward.envelopes.cms_plain import PlainDraft

    trailer = read_trailer(content)
    may_sign(trailer is not None, request, content.name)
    if trailer is not None and request.existing is Existing.NESTED:
        raise NotSignableError(content.name, "a signature", "none: the trailer holds one",
                               hint="--replace puts the new one in its place")  # fmt: skip
    _check_algorithm(request)
    signed = _content(content, content_end(content))
    return PlainDraft(
        content=signed,
        signer=request.signer,
        attached=False,
        certificates=False,
        by_key=_by_key(request),
        nulls=False,
    )


def _check_algorithm(request: Request) -> None:
    scheme = request.signer.algorithm.scheme
    if scheme not in _SCHEMES:
        raise NotSignableError(
            "the signature", f"a key for {scheme}", "RSA (PKCS#1 v1.5), ECDSA or ML-DSA",
            hint="the kernel checks with no other",
        )  # fmt: skip


def _by_key(request: Request) -> bool:
    answer = request.options.get("key-id", "no")
    if answer not in ("yes", "no"):
        raise NotSignableError("option key-id", answer, "yes or no")
    if answer == "yes" and not outline(request.signer.certificates[0]).key_id:
        raise NotSignableError("option key-id", "a certificate without a key identifier", "one")
    return answer == "yes"


def kernel_conditions(claimed: ClaimedSignature) -> tuple[Finding, ...]:
    """Return what the kernel refuses in a module's signature though its value fits.

    That is attributes, but under ML-DSA, and schemes that it does not know (RSA-PSS, say).
    """
    return tuple(_refused(claimed))


def _refused(claimed: ClaimedSignature) -> Iterator[Finding]:
    scheme, subject = claimed.algorithm.scheme, f"signature {claimed.label}"
    if scheme not in _SCHEMES:
        yield Finding(
            code=Code.UNSUPPORTED_ALGORITHM,
            effect=Effect.UNKNOWN,
            subject=subject,
            found=f"signature algorithm {claimed.algorithm}",
            required="RSA (PKCS#1 v1.5), ECDSA or ML-DSA: the kernel checks with no other",
            clause="crypto/asymmetric_keys/pkcs7_parser.c",
        )
    if claimed.signed_attributes and not scheme.startswith("ml-dsa"):
        yield Finding(
            code=Code.ATTRIBUTE_RULE,
            effect=Effect.REJECT,
            subject=subject,
            found=f"{len(claimed.signed_attributes)} signed attributes",
            required="none: the kernel takes a module's signature only over the module itself",
            clause="crypto/asymmetric_keys/pkcs7_verify.c",
        )


def strays(content: Source) -> Iterator[Finding]:
    """Report a trailer that does not end the file: what stands behind it made it worthless."""
    tail = content.read(max(0, content.length - _STRAY), min(_STRAY, content.length))
    at = tail.rfind(MAGIC)
    if at < 0 or at + len(MAGIC) == len(tail):
        return
    yield Finding(
        code=Code.LEFTOVER_SIGNATURE,
        effect=Effect.WARN,
        subject=content.name,
        found=f"a signature's trailer {len(tail) - at - len(MAGIC)} octets before the end",
        required="nothing behind it",
        clause=_CLAUSE,
        hint="the file was added to after it was signed; readers see no signature",
    )
