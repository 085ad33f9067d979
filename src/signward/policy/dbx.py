"""dbx: what firmware refuses whoever signed it (UEFI 2.10 32.5.3.3), and what it says of an image.

Read are signature lists, authenticated writes of them (dbxupdate.bin), files of efivarfs, and the
JSON that Microsoft publishes beside its updates (dbx_info).  An image is refused if its
Authenticode digest is listed, or if a certificate that any of its signatures leads to is: as it
stands, or by the digest of its TBSCertificate, from a time on.  A signature is older than that time
only if a timestamp proves it whose authority stands in dbt.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import NamedTuple

import msgspec

from signward.errors import BadInputError, EvidenceError, LimitError
from signward.findings import Code, Effect, Finding
from signward.frozen import Frozen
from signward.trust.names import same_name
from signward.trust.x509 import Certificate, is_signed_by, load_certificate
from signward.wire import siglist

MAX_ANCESTORS = 64
"""Certificates looked at above one signer; real paths have three."""

_IMAGES = {"sha1": "sha1", "sha224": "sha224", "sha256": "sha256", "sha384": "sha384",
           "sha512": "sha512"}  # fmt: skip
_TBS = {"x509-sha256": "sha256", "x509-sha384": "sha384", "x509-sha512": "sha512"}
_SHA1 = 20
"""Octets of a thumbprint."""
_CLAUSE = "UEFI 2.10 32.5.3.3"


class Denied(NamedTuple):
    """A listed digest: its algorithm and octets."""

    algorithm: str
    digest: bytes


class Dbx(Frozen, frozen=True, kw_only=True):
    """A list of what must not start.

    ``images`` are Authenticode digests with what is known of each, ``certificates`` DER as
    listed, ``tbs`` TBSCertificate digests with the time since when (None: ever), ``thumbprints``
    SHA-1 of whole certificates (dbx_info names them so).  ``entries`` counts all, ``unknown``
    those of types that nothing here looks at; ``at`` is the time of an authenticated write.
    """

    name: str
    entries: int
    images: Mapping[Denied, str]
    certificates: tuple[Certificate, ...] = ()
    tbs: Mapping[Denied, datetime | None] = msgspec.field(default_factory=dict)
    thumbprints: Mapping[bytes, str] = msgspec.field(default_factory=dict)
    svns: tuple[siglist.Svn, ...] = ()
    unknown: int = 0
    at: datetime | None = None

    @property
    def algorithms(self) -> frozenset[str]:
        """The digest algorithms that images are listed by."""
        return frozenset(denied.algorithm for denied in self.images)


def read_dbx(name: str, data: bytes) -> Dbx:
    """Return the list in a file, of whichever shape.  Raises ``EvidenceError``."""
    if not data:
        raise EvidenceError(f"{name}: found nothing in it, required a list")
    try:
        if data.lstrip()[:1] == b"{":
            return _from_info(name, data)
        held = siglist.stored(data)
        at = held.update.at if held.update else None
        return dbx_of(name, siglist.read_lists(held.content), at)
    except BadInputError as error:
        raise EvidenceError(f"{name}: {error}") from None


def dbx_of(name: str, entries: Iterable[siglist.Entry], at: datetime | None = None) -> Dbx:
    """Return the list of a variable's entries.  Raises ``BadInputError``."""
    images: dict[Denied, str] = {}
    tbs: dict[Denied, datetime | None] = {}
    certificates: list[Certificate] = []
    svns: list[siglist.Svn] = []
    count = unknown = 0
    for entry in entries:
        count += 1
        kind = siglist.FORMS[entry.kind].name if entry.kind in siglist.FORMS else ""
        version = siglist.svn(entry)
        if version:
            svns.append(version)
        elif kind in _IMAGES:
            images[Denied(_IMAGES[kind], entry.data)] = ""
        elif kind == "x509":
            certificates.append(load_certificate(entry.data))
        elif kind in _TBS:
            denied = Denied(_TBS[kind], entry.data[:-16])
            tbs[denied] = _earliest(tbs, denied, siglist.revocation_time(entry))
        else:
            unknown += 1
    return Dbx(name=name, entries=count, images=images, certificates=tuple(certificates), tbs=tbs,
               svns=tuple(svns), unknown=unknown, at=at)  # fmt: skip


def _earliest(
    known: Mapping[Denied, datetime | None], denied: Denied, since: datetime | None
) -> datetime | None:
    """Return since when a digest is revoked that may be listed several times."""
    times = [since, known[denied]] if denied in known else [since]
    return None if None in times else min(time for time in times if time)


# --- Microsoft's dbx_info --------------------------------------------------------------------


class _Image(msgspec.Struct, rename="camel"):
    authenticode_hash: str = ""
    hash_type: str = "SHA256"
    filename: str = ""
    company_name: str = ""


class _Certificate(msgspec.Struct, rename="camel"):
    thumbprint: str
    subject_name: str = ""


class _Svn(msgspec.Struct):
    value: str


class _Info(msgspec.Struct):
    images: dict[str, list[_Image]]
    certificates: list[_Certificate] = []
    svns: list[_Svn] = []


def _from_info(name: str, data: bytes) -> Dbx:
    """Read dbx_info: the images of every architecture, certificates by SHA-1, versions."""
    try:
        info = msgspec.json.decode(data, type=_Info)
        listed = [image for group in info.images.values() for image in group]
        images = {
            _denied(image): f"{image.filename} of {image.company_name}"
            for image in listed if image.authenticode_hash
        }  # fmt: skip
        thumbprints = {bytes.fromhex(c.thumbprint): c.subject_name for c in info.certificates}
        versions = [bytes.fromhex(svn.value) for svn in info.svns]
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise EvidenceError(f"{name}: no dbx_info: {error}") from None
    if any(len(sha1) != _SHA1 for sha1 in thumbprints):
        raise EvidenceError(f"{name}: no dbx_info: a thumbprint of other than {_SHA1} octets")
    if any(len(raw) != siglist.FORMS[siglist.SHA256].size for raw in versions):
        raise EvidenceError(f"{name}: no dbx_info: a version of other than 32 octets")
    entries = [
        siglist.Entry(kind=siglist.SHA256, owner=siglist.SVN_OWNER, data=raw) for raw in versions
    ]
    return Dbx(
        name=name,
        entries=len(listed) + len(thumbprints) + len(entries),
        images=images,
        thumbprints=thumbprints,
        svns=tuple(found for entry in entries if (found := siglist.svn(entry))),
    )


def _denied(image: _Image) -> Denied:
    """Return an image's digest; raises ``ValueError`` for what is none."""
    algorithm, digest = image.hash_type.lower(), bytes.fromhex(image.authenticode_hash)
    if algorithm not in _IMAGES or len(digest) != hashlib.new(algorithm).digest_size:
        raise ValueError(f"{image.hash_type[:20]} of {len(digest)} octets")
    return Denied(algorithm, digest)


# --- what a list says of an image ------------------------------------------------------------


def type_findings(dbx: Dbx) -> Iterator[Finding]:
    """Yield a note if a list has entries that nothing looks at, here or in EDK II."""
    if dbx.unknown:
        yield Finding(
            code=Code.UNSUPPORTED_KIND,
            effect=Effect.NOTE,
            subject=f"dbx {dbx.name}",
            found=f"{dbx.unknown} of {dbx.entries} entries of types that are not looked at",
            required="digests of images, certificates, or their TBSCertificates' digests",
            clause="UEFI 2.10 32.4.1",
        )


def image_findings(dbx: Dbx, digests: Iterable[tuple[str, bytes]]) -> Iterator[Finding]:
    """Yield a finding if one of an image's Authenticode digests (algorithm, octets) is listed."""
    for algorithm, digest in digests:
        note = dbx.images.get(Denied(algorithm, digest))
        if note is not None:
            known = f", {note}" if note else ""
            found = f"the image digest {algorithm} {digest.hex()}{known}"
            yield _finding(dbx, Code.DIGEST_REVOKED, found, "an image that is not listed")
            return


def signer_findings(
    dbx: Dbx, leaf: Certificate, pool: Iterable[Certificate], proven: datetime | None
) -> Iterator[Finding]:
    """Yield a finding if a signature's certificate, or one it leads to, is listed.

    ``pool`` are the certificates in reach.  ``proven`` is when the signature existed as an
    authority in dbt says, None where none does.
    """
    try:
        above = ancestry(leaf, (*dbx.certificates, *pool))
    except LimitError as error:
        yield _finding(dbx, Code.LIMIT_EXCEEDED, error.finding.found, error.finding.required)
        return
    for certificate in above:
        reason = _listed(dbx, certificate, proven)
        if reason:
            found = f"{certificate.label}, listed {reason}"
            yield _finding(dbx, Code.REVOKED, found, "no signature that leads to a listed one")
            return


def ancestry(leaf: Certificate, pool: Iterable[Certificate]) -> tuple[Certificate, ...]:
    """Return a certificate and all among ``pool`` that signed it or a signer of it.

    Firmware asks of dates, usages and constraints nothing; so does this.  Raises ``LimitError``
    beyond `MAX_ANCESTORS`: whoever has a CA's key could hide its listed certificate behind others.
    """
    found, candidates = [leaf], tuple(dict.fromkeys(pool))
    for child in found:  # it grows meanwhile
        named = [c for c in candidates if c not in found and same_name(child.issuer, c.subject)]
        found += (c for c in named if is_signed_by(child, c))
        if len(found) > MAX_ANCESTORS:
            what, required = f"the signer {leaf.label}", f"at most {MAX_ANCESTORS}"
            raise LimitError(what, f"{len(found)} certificates above {leaf.label}", required)
    return tuple(found)


def _listed(dbx: Dbx, certificate: Certificate, proven: datetime | None) -> str:
    """Return how a certificate is listed; empty if it is not, or only for later signatures."""
    if certificate in dbx.certificates:
        return "itself"
    if dbx.thumbprints:
        sha1 = hashlib.sha1(certificate.der, usedforsecurity=False).digest()
        if sha1 in dbx.thumbprints:
            return f"by its SHA-1 {sha1.hex()}"
    for algorithm in {denied.algorithm for denied in dbx.tbs}:
        denied = Denied(algorithm, hashlib.new(algorithm, certificate.tbs).digest())
        since = dbx.tbs.get(denied)
        if denied in dbx.tbs and (since is None or proven is None or proven >= since):
            return f"by its TBSCertificate's {algorithm}, {since or 'whatever the time'}"
    return ""


def _finding(dbx: Dbx, code: Code, found: str, required: str) -> Finding:
    return Finding(
        code=code,
        effect=Effect.REJECT,
        subject=f"dbx {dbx.name}",
        found=found,
        required=required,
        clause=_CLAUSE,
    )
