r"""The words of a policy: what a TOML file may say, and what files merged say together.

A **rule** is an action and conditions; it matches where every condition does.  What is left out
asks nothing, and a rule without any condition is refused.  Digests are written
``OF:ALGORITHM:HEX``, ``OF`` being ``file`` (the whole file), ``authenticode`` (what an Authenticode
signature covers), ``cdhash`` (a code directory, 20 octets) or ``oci`` (a manifest).  Names in
certificates and those that files give themselves are compared without regard to case, everything
else exactly.  In patterns ``*`` stands for any characters but the separator, ``**`` for any at all;
regular expressions match as a whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

import msgspec

from signward.frozen import Frozen
from signward.trust.settings import RevocationMode

SCHEMA_VERSION: Literal[1] = 1

MAX_RULES = 100_000
MAX_VALUES = 10_000
"""Most digests, paths or names in one condition."""
MAX_NUMBER = 0xFFFF
"""Largest of a version's four numbers: Windows' version resource has 16 bits for each."""
MAX_TEXT = 1024
"""Characters of one value."""

MAX_VERSION = 65535
"""Largest of a version's four numbers: 16 bits each (VS_FIXEDFILEINFO)."""
HEX_DIGITS = {"sha1": 40, "sha256": 64, "sha384": 96, "sha512": 128}
CDHASH_DIGITS = 40
"""A CDHash has 20 octets whatever its algorithm."""

Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}\Z")]
"""What rules, keys and policies are called: lower case, so that every target can take it."""
Text = Annotated[str, msgspec.Meta(max_length=MAX_TEXT)]
DigestText = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^(file|authenticode|cdhash|oci):(sha1|sha256|sha384|sha512):[0-9a-f]{40,128}\Z"
    ),
]
CertificateDigest = Annotated[str, msgspec.Meta(pattern=r"^(sha256:[0-9a-f]{64})?\Z")]
TbsDigest = Annotated[
    str, msgspec.Meta(pattern=r"^((sha1|sha256|sha384|sha512):[0-9a-f]{40,128})?\Z")
]
OidText = Annotated[str, msgspec.Meta(pattern=r"^([0-2](\.(0|[1-9][0-9]{0,38})){1,30})?\Z")]
VersionText = Annotated[str, msgspec.Meta(pattern=r"^([0-9]{1,5}(\.[0-9]{1,5}){0,3})?\Z")]
Guid = Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})?\Z")]


class Strict(Frozen, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of a policy: a word it does not know is refused, a misspelt rule is no rule."""


class Action(StrEnum):
    """What a rule does with what it matches; *audit* lets it run and says so."""

    ALLOW = "allow"
    AUDIT = "audit"
    DENY = "deny"


class Mode(StrEnum):
    """How far a policy reaches.

    *monitor* stops nothing and reports everything; *enforce* stops what is not accepted;
    *lockdown* does too, and no exception, audit rule or rule by path, origin or kind lets in.
    """

    MONITOR = "monitor"
    ENFORCE = "enforce"
    LOCKDOWN = "lockdown"


class PublisherMatch(Strict, frozen=True, kw_only=True):
    """A trusted signer.  At least one field is given; all that are must fit the same signer.

    ``common_name`` to ``serial_number`` are the leaf's subject; ``identity`` is the lasting one
    that ``verify`` tells; ``certificate`` the SHA-256 of the leaf (DER); ``tbs`` the digest of the
    TBSCertificate of any certificate of the path, by that certificate's own signature digest;
    ``key`` a name of ``[keys]``: a certificate of the path, or the signer's public key; ``eku`` one
    that the leaf has (a subscriber's own outlives its certificates).
    """

    common_name: Text = ""
    organization: Text = ""
    unit: Text = ""
    locality: Text = ""
    state: Text = ""
    country: Text = ""
    serial_number: Text = ""
    identity: Text = ""
    team_id: Annotated[str, msgspec.Meta(pattern=r"^([A-Z0-9]{10})?\Z")] = ""
    certificate: CertificateDigest = ""
    tbs: TbsDigest = ""
    key: Text = ""
    eku: OidText = ""

    def __post_init__(self) -> None:
        """Refuse one that every signer matches."""
        if not any(getattr(self, field) for field in self.__struct_fields__):
            raise ValueError("a publisher without a field matches everybody")


class SignersMatch(Strict, frozen=True, kw_only=True):
    """Several signers: at least ``least`` of those in ``of`` have signed."""

    least: Annotated[int, msgspec.Meta(ge=1, le=32)]
    of: Annotated[tuple[PublisherMatch, ...], msgspec.Meta(min_length=1, max_length=32)]

    def __post_init__(self) -> None:
        """Refuse what nobody can meet."""
        if self.least > len(self.of):
            raise ValueError("least must not exceed how many there are")


class IdentityMatch(Strict, frozen=True, kw_only=True):
    """A keyless signing identity: whole-string regular expressions (RE2 syntax) of both."""

    identity: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_TEXT)]
    issuer: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_TEXT)]


class ProductMatch(Strict, frozen=True, kw_only=True):
    """What a file says of itself; believed only of a file whose signer is matched too.

    ``minimum_version`` is the floor, ``maximum_version`` the ceiling, both included: four
    numbers of 16 bits, missing ones zero.  Names but ``bundle_id`` are compared without regard to
    case, as Windows does.
    """

    product: Text = ""
    original_name: Text = ""
    internal_name: Text = ""
    bundle_id: Text = ""
    minimum_version: VersionText = ""
    maximum_version: VersionText = ""

    def __post_init__(self) -> None:
        """Refuse one that every file matches."""
        if not any(getattr(self, field) for field in self.__struct_fields__):
            raise ValueError("a product without a field matches everything")
        for version in (self.minimum_version, self.maximum_version):
            if any(int(number) > MAX_NUMBER for number in version.split(".") if number):
                raise ValueError(f"version {version}: a number above {MAX_NUMBER}")


class OriginMatch(Strict, frozen=True, kw_only=True):
    """Where a file came from: the package that brought it, or the image's name.

    ``name`` and ``repository`` are patterns (``registry.example/team/*``).
    """

    kind: Literal["deb", "rpm", "pypi", "npm", "nuget", "maven", "oci", "vib", "git"]
    name: Text = ""
    repository: Text = ""


class Requirements(Strict, frozen=True, kw_only=True):
    """What is asked besides a match before a rule lets in; ``max_age_days`` 0 asks nothing.

    The age is that of the proven time, else of the signer's certificate's beginning.  It is the
    signers by whom a rule matched that must meet them; a rule that names none (a digest, a path)
    is asked for them only by its own ``requires``, which some trusted signer must then meet.
    """

    timestamp: bool = False
    revocation: RevocationMode = RevocationMode.PREFER
    minimum_digest: Literal["sha1", "sha256", "sha384", "sha512"] = "sha256"
    minimum_rsa: Annotated[int, msgspec.Meta(ge=1024, le=16384)] = 2048
    minimum_ec: Annotated[int, msgspec.Meta(ge=192, le=521)] = 256
    log: bool = False
    max_age_days: Annotated[int, msgspec.Meta(ge=0, le=36500)] = 0


class Conditions(Strict, frozen=True, kw_only=True):
    """What a file must be, under a name.  Of several values in one field any will do.

    ``catalog`` are SHA-256 digests of catalog files that list it and whose signer is trusted,
    ``kind`` classes (``kinds.CLASSES``) or kinds of files, ``hosts`` names or tags of machines.
    """

    id: Name
    publisher: PublisherMatch | None = None
    signers: SignersMatch | None = None
    identity: IdentityMatch | None = None
    product: ProductMatch | None = None
    digest: Annotated[tuple[DigestText, ...], msgspec.Meta(max_length=MAX_VALUES)] = ()
    path: Annotated[tuple[Text, ...], msgspec.Meta(max_length=MAX_VALUES)] = ()
    origin: OriginMatch | None = None
    catalog: Annotated[tuple[CertificateDigest, ...], msgspec.Meta(max_length=MAX_VALUES)] = ()
    kind: Annotated[tuple[Name, ...], msgspec.Meta(max_length=64)] = ()
    hosts: Annotated[tuple[Name, ...], msgspec.Meta(max_length=MAX_VALUES)] = ()

    def __post_init__(self) -> None:
        """Refuse what would match everything."""
        if not any(getattr(self, field) for field in CONDITIONS):
            raise ValueError("a rule without a condition matches everything")


CONDITIONS = tuple(field for field in Conditions.__struct_fields__ if field != "id")
"""What a rule may ask of a file, by the names the TOML uses."""


class Rule(Conditions, frozen=True, kw_only=True):
    """``[[rule]]``.  ``requires`` replaces the policy's requirements for what it lets in."""

    action: Action
    note: Text = ""
    requires: Requirements | None = None


class Waiver(Conditions, frozen=True, kw_only=True):
    """``[[exception]]``: until ``expires`` its files are spared by the deny rules it names.

    Without ``spares`` it is an allow rule that ends.
    """

    owner: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_TEXT)]
    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_TEXT)]
    expires: datetime
    spares: Annotated[tuple[Name, ...], msgspec.Meta(max_length=MAX_VALUES)] = ()


class KeySource(Strict, frozen=True, kw_only=True):
    """``[keys.NAME]``: a certificate or public key that rules and targets speak of.

    ``file`` is relative to the policy's folder: a PEM or DER certificate, a PEM public key, an
    SSH, OpenPGP or minisign public key.
    """

    file: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_TEXT)]


class Document(Strict, frozen=True, kw_only=True):
    """One TOML file: a base, or with ``supplements`` (the base's name) an addition to one.

    ``version`` grows with every change: a signed one below the last accepted is refused.
    ``targets`` are settings of compilers, each checked by its own.
    """

    schema: Literal[1]
    name: Name
    version: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
    id: Guid = ""
    note: Text = ""
    mode: Mode | None = None
    supplements: Name | Literal[""] = ""
    requirements: Requirements | None = None
    keys: dict[Name, KeySource] = msgspec.field(default_factory=dict)
    rule: Annotated[tuple[Rule, ...], msgspec.Meta(max_length=MAX_RULES)] = ()
    exception: Annotated[tuple[Waiver, ...], msgspec.Meta(max_length=MAX_RULES)] = ()
    targets: dict[Name, dict[str, Any]] = msgspec.field(default_factory=dict)


class KeyKind(StrEnum):
    """What ``[keys.NAME]`` turned out to be."""

    CERTIFICATE = "certificate"
    PUBLIC_KEY = "public-key"
    SSH = "ssh"
    OPENPGP = "openpgp"
    MINISIGN = "minisign"


class Material(Frozen, frozen=True, kw_only=True):
    """A certificate or key as read: ``data`` as the file had it, ``der`` its one DER value.

    ``der`` is a Certificate (RFC 5280) or SubjectPublicKeyInfo, and empty for other kinds;
    ``key`` is the SHA-256 (hex) of the SubjectPublicKeyInfo, empty for OpenPGP.
    """

    name: str
    kind: KeyKind
    data: bytes
    der: bytes = b""
    key: str = ""


class Layer(Frozen, frozen=True, kw_only=True):
    """A document by its name, version and GUID; ``rules`` are the identifiers it brought."""

    name: str
    version: int
    id: str
    rules: frozenset[str]


class RuleSet(Frozen, frozen=True, kw_only=True):
    """Documents merged: the base first in ``layers``.  Producer: ``policy.rules.reading``.

    ``rules`` are in the documents' order.  ``Rule.id`` and ``Waiver.id`` are unique together.
    ``spared`` is filled by ``policy.rules.force``: deny rule to the conditions it does not reach.
    """

    name: str
    version: int
    id: str
    mode: Mode
    requirements: Requirements
    rules: tuple[Rule, ...]
    waivers: tuple[Waiver, ...]
    keys: Mapping[str, Material]
    targets: Mapping[str, Mapping[str, Any]]
    layers: tuple[Layer, ...]
    note: str = ""
    spared: Mapping[str, tuple[Conditions, ...]] = msgspec.field(default_factory=dict)
