"""SiPolicy: App Control policies and driver block lists as plain values, and their XML.

Source: the schema of urn:schemas-microsoft-com:sipolicy (``cipolicy.xsd`` of Windows).  Identifiers
have a prefix and upper case letters; GUIDs stand in braces; a signer's children have a fixed order;
an EKU is its OID in DER with 01 for the tag 06; the hash of a TBSCertificate is by the
certificate's own signature digest.  A Deny always says both ends of its versions: what a lone
``MinimumFileVersion`` means there is another thing than in an Allow.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from enum import IntEnum

from signward.compilers._xml import Tag, document, tag
from signward.frozen import Frozen
from signward.wire import der

NAMESPACE = "urn:schemas-microsoft-com:sipolicy"
PLATFORM_ID = "2e07f7e4-194c-4d20-b7c9-6f44a6c5a234"
"""What every policy for Windows has."""

DRIVERS, PROGRAMS = 131, 12
"""Values of the signing scenarios: kernel mode and user mode."""

Version = tuple[int, int, int, int]

LOWEST: Version = (0, 0, 0, 0)
HIGHEST: Version = (0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF)

PROVIDER, KEY = "PolicyInfo", "Information"
"""Of the settings in which a policy tells its name."""

ANY_NAME = "*"
"""As ``FileName``: every file that has one."""


class FileKind(IntEnum):
    """What a file rule does; the numbers are those of the binary form."""

    DENY = 0
    ALLOW = 1
    ATTRIBUTE = 2
    """Nothing alone: a signer's rule refers to it."""


class FileRule(Frozen, frozen=True, kw_only=True):
    """A Deny, Allow or FileAttrib.

    A hash (Authenticode's, or a flat file's) stands alone; names are those of the version
    resource, all given must fit; versions are included at both ends, None says no end.
    """

    id: str
    kind: FileKind
    friendly_name: str = ""
    digest: bytes = b""
    file_name: str = ""
    internal_name: str = ""
    description: str = ""
    product_name: str = ""
    package_family: str = ""
    path: str = ""
    minimum: Version | None = None
    maximum: Version | None = None

    @property
    def bounds(self) -> tuple[Version | None, Version | None]:
        """The ends as they are written: a Deny by names says both."""
        if self.kind is FileKind.DENY and not self.digest and not self.path:
            return self.minimum or LOWEST, self.maximum or HIGHEST
        return self.minimum, self.maximum


class Eku(Frozen, frozen=True, kw_only=True):
    """An extended key usage, ``oid`` in dots."""

    id: str
    oid: str
    friendly_name: str = ""

    @property
    def value(self) -> bytes:
        """The OID in DER, the first octet 01."""
        return b"\x01" + der.oid(self.oid)[1:]


class Signer(Frozen, frozen=True, kw_only=True):
    """A signer: a certificate its path has, and what its leaf must be.

    ``tbs`` is the hash of a TBSCertificate; without one, ``well_known`` is the number of a
    root that Windows knows.  ``publisher`` is the leaf's common name, ``issuer`` its issuer's.
    ``ekus`` and ``files`` are identifiers; any one of ``files`` must fit, if there are some.
    """

    id: str
    name: str
    tbs: bytes = b""
    well_known: int = 0
    ekus: tuple[str, ...] = ()
    issuer: str = ""
    publisher: str = ""
    oem: str = ""
    files: tuple[str, ...] = ()


class SignerRef(Frozen, frozen=True, kw_only=True):
    """A signer in a scenario, by identifier, and the file rules it does not reach."""

    signer: str
    exceptions: tuple[str, ...] = ()


class Scenario(Frozen, frozen=True, kw_only=True):
    """A signing scenario: who may and may not, and the file rules that count in it."""

    id: str
    value: int
    friendly_name: str = ""
    allowed: tuple[SignerRef, ...] = ()
    denied: tuple[SignerRef, ...] = ()
    files: tuple[str, ...] = ()


class SiPolicy(Frozen, frozen=True, kw_only=True):
    """A policy.  GUIDs are lower case without braces; a supplement's ``base_id`` is not its own.

    ``name`` and ``label`` are told in events (settings PolicyInfo Name and Id).
    """

    id: str
    base_id: str
    version: Version
    name: str = ""
    label: str = ""
    platform_id: str = PLATFORM_ID
    options: tuple[str, ...] = ()
    ekus: tuple[Eku, ...] = ()
    files: tuple[FileRule, ...] = ()
    signers: tuple[Signer, ...] = ()
    scenarios: tuple[Scenario, ...] = ()
    update_signers: tuple[str, ...] = ()
    supplemental_signers: tuple[str, ...] = ()
    ci_signers: tuple[str, ...] = ()
    hvci: int = 0

    @property
    def is_supplement(self) -> bool:
        """Whether it adds to another policy."""
        return self.id != self.base_id

    @property
    def told(self) -> tuple[tuple[str, str], ...]:
        """What the policy tells of itself: values of the settings PolicyInfo, Information."""
        given = (("Id", self.label), ("Name", self.name))
        return tuple((name, value) for name, value in given if value)


def token(name: str) -> str:
    """Return a rule's name as identifiers may hold it, cut to 48 characters; not unique."""
    return re.sub(r"[^A-Z0-9]+", "_", name.upper())[:48].strip("_")


def braced(guid: str) -> str:
    """Return a GUID as Windows writes it."""
    return f"{{{guid.upper()}}}"


def dotted(version: Version) -> str:
    """Return a version's four numbers with dots."""
    return ".".join(map(str, version))


def write_policy(policy: SiPolicy) -> bytes:
    """Return the policy's XML (UTF-8, LF), the same for the same policy."""
    kind = "Supplemental Policy" if policy.is_supplement else "Base Policy"
    root = tag(
        "SiPolicy",
        *(element for element in _elements(policy) if element is not None),
        xmlns=NAMESPACE,
        FriendlyName=policy.name,
        PolicyType=kind,
    )
    return document(root)


def _elements(policy: SiPolicy) -> Iterator[Tag | None]:
    """Yield the elements in the order of Windows' own tools; None for those left out."""
    yield tag("VersionEx", text=dotted(policy.version))
    yield tag("PlatformID", text=braced(policy.platform_id))
    yield tag("PolicyID", text=braced(policy.id))
    yield tag("BasePolicyID", text=braced(policy.base_id))
    yield tag("Rules", *(tag("Rule", tag("Option", text=option)) for option in policy.options))
    yield _group("EKUs", map(_eku, policy.ekus))
    yield _group("FileRules", map(_file_rule, policy.files))
    yield _group("Signers", map(_signer, policy.signers))
    yield _group("SigningScenarios", map(_scenario, policy.scenarios))
    yield _references("UpdatePolicySigner", policy.update_signers)
    yield _references("CiSigner", policy.ci_signers)
    yield tag("HvciOptions", text=str(policy.hvci))
    yield _settings(policy)
    yield _references("SupplementalPolicySigner", policy.supplemental_signers)


def _group(name: str, children: Iterable[Tag]) -> Tag | None:
    """Return an element unless it would be empty, which the schema forbids."""
    children = tuple(children)
    return tag(name, *children) if children else None


def _references(name: str, signers: Iterable[str]) -> Tag | None:
    return _group(f"{name}s", (tag(name, SignerId=signer) for signer in signers))


def _eku(eku: Eku) -> Tag:
    return tag("EKU", ID=eku.id, Value=eku.value.hex().upper(), FriendlyName=eku.friendly_name)


_FILE_TAGS = {FileKind.DENY: "Deny", FileKind.ALLOW: "Allow", FileKind.ATTRIBUTE: "FileAttrib"}


def _file_rule(rule: FileRule) -> Tag:
    lowest, highest = rule.bounds
    return tag(
        _FILE_TAGS[rule.kind],
        ID=rule.id,
        FriendlyName=rule.friendly_name,
        FileName=rule.file_name,
        InternalName=rule.internal_name,
        FileDescription=rule.description,
        ProductName=rule.product_name,
        PackageFamilyName=rule.package_family,
        MinimumFileVersion=dotted(lowest) if lowest else "",
        MaximumFileVersion=dotted(highest) if highest else "",
        Hash=rule.digest.hex().upper(),
        FilePath=rule.path,
    )


def _signer(signer: Signer) -> Tag:
    root = tag("CertRoot", Type="TBS", Value=signer.tbs.hex().upper()) if signer.tbs else tag(
        "CertRoot", Type="Wellknown", Value=f"{signer.well_known:02X}"
    )  # fmt: skip
    children = [
        root,
        *(tag("CertEKU", ID=eku) for eku in signer.ekus),
        *_value("CertIssuer", signer.issuer),
        *_value("CertPublisher", signer.publisher),
        *_value("CertOemID", signer.oem),
        *(tag("FileAttribRef", RuleID=rule) for rule in signer.files),
    ]
    return tag("Signer", *children, Name=signer.name, ID=signer.id)


def _value(name: str, value: str) -> Iterator[Tag]:
    if value:
        yield tag(name, Value=value)


def _scenario(scenario: Scenario) -> Tag:
    product = tag(
        "ProductSigners",
        *_signer_refs("AllowedSigner", "ExceptDenyRule", "DenyRuleID", scenario.allowed),
        *_signer_refs("DeniedSigner", "ExceptAllowRule", "AllowRuleID", scenario.denied),
        *_file_refs(scenario.files),
    )
    return tag(
        "SigningScenario",
        product,
        Value=str(scenario.value),
        ID=scenario.id,
        FriendlyName=scenario.friendly_name,
    )


def _signer_refs(name: str, inner: str, attribute: str, refs: Iterable[SignerRef]) -> Iterator[Tag]:
    each = [
        tag(
            name,
            *(tag(inner, **{attribute: rule}) for rule in ref.exceptions),
            SignerId=ref.signer,
        )
        for ref in refs
    ]
    if each:
        yield tag(f"{name}s", *each)


def _file_refs(rules: Iterable[str]) -> Iterator[Tag]:
    refs = [tag("FileRuleRef", RuleID=rule) for rule in rules]
    if refs:
        yield tag("FileRulesRef", *refs)


def _settings(policy: SiPolicy) -> Tag | None:
    return _group("Settings", (_setting(name, value) for name, value in policy.told))


def _setting(name: str, value: str) -> Tag:
    return tag(
        "Setting",
        tag("Value", tag("String", text=value)),
        Provider=PROVIDER,
        Key=KEY,
        ValueName=name,
    )
