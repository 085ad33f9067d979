"""The trust states: what is known at each stage, as types.

Each state has ONE producer (named in its docstring and held by
``tests/architecture``).  Code that needs an intact signature takes an
:class:`IntactSignature`; it cannot be handed a claimed one.

All instants are aware UTC datetimes, all digests raw bytes, all certificates
DER (X.690) as found in the input.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

import msgspec

from signward.findings import Code, Finding
from signward.frozen import Frozen
from signward.logged import ClaimedLogEntry


class Hasher(Protocol):
    """What a ``hashlib`` object offers to a reader that feeds it."""

    def update(self, data: memoryview, /) -> None:
        """Absorb ``data``."""


class Source(Protocol):
    """Bytes of known length and nothing more.  Producer: ``wire``."""

    @property
    def name(self) -> str:
        """The path or member name, for messages only."""

    @property
    def length(self) -> int:
        """Length in bytes, fixed when the source was opened."""

    def read(self, offset: int, size: int) -> bytes:
        """Return exactly ``size`` bytes at ``offset`` or raise ``MalformedError``."""

    def feed(self, ranges: Iterable[tuple[int, int]], hashers: Sequence[Hasher]) -> None:
        """Stream each ``(start, end)`` range through every hasher, in one pass."""


class TreeEntry(Frozen, frozen=True, kw_only=True):
    """One name in a tree: ``path`` is relative with ``/``, ``kind`` what stands there.

    ``kind`` is ``file``, ``directory``, ``link`` (``target``: where it points, as written) or
    ``other``; ``mode`` are the permission bits, ``size`` bytes of a file.
    """

    path: str
    kind: str
    mode: int = 0
    size: int = 0
    target: str = ""


class Tree(Protocol):
    """A folder that is one artifact: a bundle, an image's layout.  Producer: ``wire``."""

    @property
    def name(self) -> str:
        """The path, for messages and to tell the kind by its extension."""

    def entries(self) -> Sequence[TreeEntry]:
        """Return everything below, sorted by path; links are told, never followed."""

    def open(self, path: str) -> Source:
        """Return the regular file at a relative path, reached through no link.

        It stays open as long as the tree.  Raises ``MalformedError`` where there is none.
        """

    def attributes(self, path: str) -> tuple[str, ...]:
        """Return the names of a regular file's extended attributes."""


class Companions(Protocol):
    """The files beside an artifact, by relative name.  Producer: ``wire``."""

    def find(self, name: str) -> Source | None:
        """Return the file of that name (``/`` between folders), or None where there is none.

        A name that leads out of the artifact's own folder is never there.
        """


class Slot(Frozen, frozen=True, kw_only=True):
    """One named part of an artifact and the digest that speaks for it."""

    name: str
    algorithm: str
    digest: bytes

    @property
    def is_page(self) -> bool:
        """Whether it is one page of code; that of one slice has the slice before its name."""
        return self.name.rpartition("/")[2].startswith("page:")


UNNAMED = ""
"""The scheme of a signature that does not say how it was made: the key's kind does."""


class Algorithm(Frozen, frozen=True, kw_only=True):
    """A signature algorithm: ``scheme`` plus what it needs.

    ``scheme`` is ``rsa-pkcs1v15``, ``rsa-pss``, ``ecdsa``, ``dsa``, ``ed25519``,
    ``ed448``, ``ml-dsa-44``, ``ml-dsa-65`` or ``ml-dsa-87``, or ``UNNAMED``; ``digest`` a hashlib
    name, or empty when the scheme hashes for itself.  ``digested`` says that what goes to the
    key is the digest already, not the octets it is of; a scheme that hashes for itself takes that
    digest as its message.  ``bare`` says that an RSA value is written as a number, without the
    zeros in front that would make it as long as the modulus.
    """

    scheme: str
    digest: str = ""
    mgf_digest: str = ""
    salt_length: int = 0
    digested: bool = False
    bare: bool = False

    def __str__(self) -> str:
        return f"{self.scheme}/{self.digest}" if self.digest else self.scheme


class Binding(Frozen, frozen=True, kw_only=True):
    """A digest claimed over bytes that the envelope itself carries."""

    name: str
    algorithm: str
    data: bytes
    digest: bytes
    clause: str


class SignerId(Frozen, frozen=True, kw_only=True):
    """How an envelope names its signer: issuer and serial, or a key identifier.

    ``key_suffix`` are the last octets of a key identifier, where an envelope has no room for all.
    """

    issuer: bytes = b""
    serial: int = 0
    key_id: bytes = b""
    key_suffix: bytes = b""


X509 = "x509"
"""The kind of keys that X.509 certificates hold."""


class HeldKey(Frozen, frozen=True, kw_only=True):
    """A public key in reach, and what holds it; whether that counts is for ``trust`` to say.

    ``kind`` is what holds it: ``X509``, or an envelope's name where that has keys of its own.
    ``key_id`` is what envelopes name the key by (a fingerprint), ``spki`` its
    SubjectPublicKeyInfo (DER), ``holder`` the octets of the certificate or key file it is from.
    """

    kind: str
    key_id: bytes
    spki: bytes
    holder: bytes


class Attribute(Frozen, frozen=True, kw_only=True):
    """One signed or unsigned attribute: dotted OID and raw DER/BER values."""

    oid: str
    values: tuple[bytes, ...]


class ClaimedTimestamp(Frozen, frozen=True, kw_only=True):
    """A countersignature or RFC 3161 token as it claims to be.  Producer: ``envelopes``.

    ``imprint`` is compared with the digest of ``subject_value`` (the signature
    value it must speak for); ``signature`` is the token's own signature, or None
    where the token could not be read (``findings`` says why).
    """

    kind: str
    signature: ClaimedSignature | None
    claimed_time: datetime | None
    imprint: Binding | None
    accuracy_seconds: float = 0.0
    policy: str = ""
    serial: int = 0
    findings: tuple[Finding, ...] = ()


class OwnRequirement(Frozen, frozen=True, kw_only=True):
    """What a signature asks of its own signer, and of the code it speaks of (Apple's code).

    ``requirement`` is the designated requirement's blob, ``cdhashes`` what the code is known by,
    ``info`` and ``entitlements`` property lists as they stand; empty if there is none, and
    ``info`` is None where it is not at hand.
    """

    requirement: bytes
    identifier: str
    cdhashes: tuple[bytes, ...]
    info: bytes | None = None
    entitlements: bytes = b""
    platform: int = 0


class Reading(Frozen, frozen=True, kw_only=True):
    """Octets that a value may be over, and what they would say (``dbx, append``).

    ``algorithm`` is the one that goes with this reading, where it is not the signature's.
    """

    what: str
    data: bytes
    algorithm: Algorithm | None = None


class Rotation(Frozen, frozen=True, kw_only=True):
    """A step of a lineage: the holder of ``certificate`` names who signs after them.

    ``value`` is claimed to be over ``signed``, by ``algorithm`` and that certificate's key;
    ``successor`` is the certificate named, and ``lasting`` says that those who trusted this one
    are to trust its successors.
    """

    certificate: bytes
    successor: bytes
    algorithm: Algorithm
    signed: bytes
    value: bytes
    lasting: bool


class ClaimedSignature(Frozen, frozen=True, kw_only=True):
    """A signature that parses; everything in it is a claim.  Producer: ``envelopes``.

    ``slots`` are the claimed digests of the artifact's parts, ``bindings`` those
    over bytes inside the envelope; ``to_be_verified`` and ``value`` go to the key.
    ``over`` names the slot whose digest, by ``algorithm.digest``, is itself what the value is
    made over, where nothing in between claims it (CMS without signed attributes, IMA); only for
    schemes that hash for themselves is the slot's content in ``to_be_verified``.
    ``claimed_certificate_digests`` are the signing-certificate attributes (RFC 5035),
    ``countersigns`` is the label of the signature whose value this one is over (a second
    party's word about the first; it has no slots of its own), ``raw`` the whole envelope,
    ``rests_on`` the digest algorithms of every link between value and slots, where slots are
    reached through lists (JAR) and some are by several algorithms,
    ``own_requirement`` what it asks of its own signer, where it asks anything, and
    ``claimed_team`` the team that it says its signer is of (Apple's code).
    ``readings`` are what the value may be over where the file does not say it (a UEFI variable's
    name): the first that fits takes the place of ``to_be_verified``, and ``read_as`` tells it.
    ``digest_start`` is what it says that the digest which the value is over begins with.
    ``lineage`` are the steps, oldest first, by which others handed signing on to this signer,
    ``log_entries`` what transparency logs say of this signature.
    ``claimed_keys`` are keys that no X.509 certificate holds and the envelope itself brings.
    """

    label: str
    envelope: str
    slots: tuple[Slot, ...]
    bindings: tuple[Binding, ...]
    algorithm: Algorithm
    to_be_verified: bytes
    value: bytes
    claimed_signer: SignerId
    claimed_certificates: tuple[bytes, ...]
    claimed_crls: tuple[bytes, ...] = ()
    claimed_ocsp: tuple[bytes, ...] = ()
    claimed_time: datetime | None = None
    content_type: str = ""
    content: bytes = b""
    over: str = ""
    claimed_certificate_digests: tuple[tuple[str, bytes], ...] = ()
    signed_attributes: tuple[Attribute, ...] = ()
    unsigned_attributes: tuple[Attribute, ...] = ()
    timestamps: tuple[ClaimedTimestamp, ...] = ()
    countersigns: str = ""
    findings: tuple[Finding, ...] = ()
    raw: bytes = b""
    rests_on: frozenset[str] = frozenset()
    own_requirement: OwnRequirement | None = None
    claimed_team: str = ""
    readings: tuple[Reading, ...] = ()
    read_as: str = ""
    digest_start: bytes = b""
    lineage: tuple[Rotation, ...] = ()
    claimed_keys: tuple[HeldKey, ...] = ()
    log_entries: tuple[ClaimedLogEntry, ...] = ()


class Region(Frozen, frozen=True, kw_only=True):
    """Bytes no slot reaches.  ``exempt`` cites the clause that exempts them, or is empty."""

    start: int
    end: int
    what: str
    exempt: str = ""


class Endorsement(Frozen, frozen=True, kw_only=True):
    """A signed list's word about another file's digest."""

    algorithm: str
    digest: bytes
    kind: str


class SignedArtifact(Frozen, frozen=True, kw_only=True):
    """Where content lies and which signatures are claimed over it.  Producer: ``formats``.

    ``required`` names, per signature label, the slots that signature must carry;
    ``conditions`` what else its content asks of a signature, found wanting: they count
    once every digest and the value are right.  ``nested`` are artifacts inside this one, by
    name, whose own signatures must be intact too.  ``profile`` names the rules the format's
    signatures are judged by (``trust.profiles``).  ``vouched`` are those nested artifacts whose
    digest this one's own list gives: they need no signer of their own; ``demands`` is what it
    asks of the signers of others.  ``seals`` are digests of parts that the artifact holds and
    nobody signed (an ad hoc code directory); ``listed`` those in a list that a slot of every
    signature, or a seal, covers (a bundle's CodeResources).  ``every`` says that each signature
    is over code of its own, so that all of them must count.  ``ticket`` is the platform's word
    that it examined this code, stapled to it.  ``layout`` belongs to the format.
    """

    format: str
    source: Source
    signatures: tuple[ClaimedSignature, ...]
    required: Mapping[str, frozenset[str]] = msgspec.field(default_factory=dict)
    conditions: Mapping[str, tuple[Finding, ...]] = msgspec.field(default_factory=dict)
    nested: Mapping[str, SignedArtifact] = msgspec.field(default_factory=dict)
    vouched: frozenset[str] = frozenset()
    demands: Mapping[str, OwnRequirement] = msgspec.field(default_factory=dict)
    regions: tuple[Region, ...] = ()
    endorsements: tuple[Endorsement, ...] = ()
    profile: str = "authenticode"
    facts: Mapping[str, str | int] = msgspec.field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    seals: tuple[Slot, ...] = ()
    listed: tuple[Slot, ...] = ()
    every: bool = False
    ticket: ClaimedSignature | None = None
    layout: Any = None


Wanted = frozenset[tuple[str, str]]
"""``(slot name, digest algorithm)`` pairs asked of a format."""

Manifest = Mapping[tuple[str, str], bytes]
"""Digests a format computed, by ``(slot name, digest algorithm)``."""


class IntactTimestamp(Frozen, frozen=True, kw_only=True):
    """A token whose imprint matches and whose value fits its key.  Producer: ``integrity``."""

    claimed: ClaimedTimestamp
    signature: IntactSignature
    time: datetime


class IntactSignature(Frozen, frozen=True, kw_only=True):
    """Every slot recomputed, the value fits the key.  Producer: ``integrity``.

    Who holds the key is not known yet: ``key`` is the one that the value fits.
    """

    claimed: ClaimedSignature
    key: HeldKey
    timestamps: tuple[IntactTimestamp, ...]
    findings: tuple[Finding, ...]


class BrokenSignature(Frozen, frozen=True, kw_only=True):
    """A signature that is not intact, or cannot be checked, and why.  Producer: ``integrity``."""

    claimed: ClaimedSignature
    findings: tuple[Finding, ...]


class X509Path(Frozen, frozen=True, kw_only=True):
    """A certification path, leaf first, ending in a named anchor.  Producer: ``trust``."""

    certificates: tuple[bytes, ...]
    anchor: str
    store: str


class OpenPgpCert(Frozen, frozen=True, kw_only=True):
    """An OpenPGP certificate out of a keyring.  Producer: ``trust``.

    ``fingerprint`` is its primary key's, ``key`` that of the key that signed (both lower-case
    hex), ``user_ids`` those its holder bound to it and did not withdraw, the primary one first.
    """

    fingerprint: str
    key: str
    user_ids: tuple[str, ...]
    keyring: str


class PinnedKey(Frozen, frozen=True, kw_only=True):
    """A bare key that the caller named.  Producer: ``trust``.

    ``kind`` is whose key file it is (``minisign``, ``signify``), ``key`` how its tools write
    its name, ``keyring`` the file it was in.
    """

    kind: str
    key: str
    keyring: str


class KeylessIdentity(Frozen, frozen=True, kw_only=True):
    """Whom an authority of short-lived certificates saw signed in (Sigstore).  Producer: ``trust``.

    ``identity`` is the certificate's one subject alternative name (an address, or a workflow's
    URI), ``issuer`` the OpenID provider that vouched for it (a URL), ``logs`` are the transparency
    logs that know the signature.
    """

    identity: str
    issuer: str
    path: X509Path
    logs: tuple[str, ...]


class SshPrincipal(Frozen, frozen=True, kw_only=True):
    """An SSH key that a list of allowed signers names.  Producer: ``trust``.

    ``principals`` are the patterns of whom it may sign for, one a line of the list, as they
    stand (none where the caller gave the bare key); ``key`` is its fingerprint as SSH writes it
    (``SHA256:...``), ``keyring`` the list.  Where the list names an ``authority`` (its key's
    fingerprint), they are whom that certified the key for.
    """

    principals: tuple[str, ...]
    key: str
    keyring: str
    authority: str = ""


Basis = X509Path | OpenPgpCert | PinnedKey | SshPrincipal | KeylessIdentity
"""What makes a signature trusted."""


def path_of(basis: Basis | None) -> X509Path | None:
    """Return the certification path that a basis is or has; None for any other."""
    if isinstance(basis, KeylessIdentity):
        return basis.path
    return basis if isinstance(basis, X509Path) else None


class ProvenTime(Frozen, frozen=True, kw_only=True):
    """The signature existed by ``instant``, says ``authority``.  Producer: ``trust``."""

    instant: datetime
    kind: str
    authority: str
    path: X509Path


class Status(StrEnum):
    """Three-valued revocation status; *unknown* is never *good*."""

    GOOD = "good"
    REVOKED = "revoked"
    UNKNOWN = "unknown"


class RevocationStatus(Frozen, frozen=True, kw_only=True):
    """What the evidence at hand says about one certificate.  Producer: ``trust``."""

    status: Status
    revoked_at: datetime | None = None
    invalid_from: datetime | None = None
    reason: str = ""
    source: str = ""
    why: str = ""


class TrustedSignature(Frozen, frozen=True, kw_only=True):
    """An intact signature with a basis, a usage and a time.  Producer: ``trust``.

    Whether we want it is not known yet.  ``revocation`` runs along a ``basis`` that is a path,
    leaf first, without the anchor.
    """

    intact: IntactSignature
    basis: Basis
    judged_at: datetime
    proven_time: ProvenTime | None
    revocation: tuple[RevocationStatus, ...]
    findings: tuple[Finding, ...]


class UntrustedSignature(Frozen, frozen=True, kw_only=True):
    """An intact signature that trust refused or could not settle.  Producer: ``trust``.

    ``basis`` is the best one found, if any: who the signer *claims* to be.
    """

    intact: IntactSignature
    basis: Basis | None
    judged_at: datetime
    proven_time: ProvenTime | None
    revocation: tuple[RevocationStatus, ...]
    findings: tuple[Finding, ...]


JudgedSignature = TrustedSignature | UntrustedSignature | BrokenSignature | IntactSignature


class Outcome(StrEnum):
    """The three outcomes; "cannot judge" is never "good" and never "bad"."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    INDETERMINATE = "indeterminate"


class Stage(StrEnum):
    """How far a judgement went: the three adjectives, one per stage."""

    INTACT = "intact"
    TRUSTED = "trusted"
    ACCEPTED = "accepted"


class Unruled(Frozen, frozen=True, kw_only=True):
    """What a file's signatures alone were worth, before rules decided.  Producer: ``policy``."""

    outcome: Outcome
    cause: Code | None


class Verdict(Frozen, frozen=True, kw_only=True):
    """The whole answer about one artifact.  Producer: ``policy``.

    ``cause`` is None exactly when the outcome is ACCEPTED (the asked ``stage``
    was reached).  ``judged`` indexes the signature that decided, if one did.  ``unruled``
    is there where rules decided.
    """

    subject: str
    format: str
    stage: Stage
    outcome: Outcome
    cause: Code | None
    rule: str
    at: datetime
    signatures: tuple[JudgedSignature, ...]
    judged: int | None
    publisher: Publisher | None
    findings: tuple[Finding, ...]
    digests: Mapping[str, bytes] = msgspec.field(default_factory=dict)
    facts: Mapping[str, str | int] = msgspec.field(default_factory=dict)
    unruled: Unruled | None = None

    def __bool__(self) -> bool:
        raise TypeError("a Verdict has three outcomes: compare verdict.outcome")


class Publisher(Frozen, frozen=True, kw_only=True):
    """The lasting identity of a *trusted* signer.  Producer: ``policy``.

    ``identity`` is what two files of one publisher share whatever leaf signed
    them: the subscriber EKU where the issuer names one, else the subject name.
    ``names`` are those in ``name`` each by itself, where a signer has several.
    """

    name: str
    identity: str
    subject: str
    subscriber_eku: str = ""
    names: tuple[str, ...] = ()


class Accepted(Frozen, frozen=True, kw_only=True):
    """A verdict whose outcome is ACCEPTED: all that enforcing code takes.  Producer: ``verbs``."""

    verdict: Verdict
