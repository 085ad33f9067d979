"""SiPolicy XML into plain values: what ``_sipolicy`` writes, and what Windows' tools do.

An identifier stands once, and whatever refers to one finds it: `check_references`.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from itertools import chain

from signward.compilers._sipolicy import (
    PLATFORM_ID,
    Eku,
    FileKind,
    FileRule,
    Scenario,
    Signer,
    SignerRef,
    SiPolicy,
    Version,
)
from signward.errors import BadInputError, EvidenceError, PolicyError
from signward.policy.sipolicy import Element, read_policy
from signward.wire import der

_VERSION = re.compile(r"\d{1,5}\.\d{1,5}\.\d{1,5}\.\d{1,5}\Z", re.ASCII)
_FILE_KINDS = {
    "Deny": FileKind.DENY,
    "Allow": FileKind.ALLOW,
    "FileAttrib": FileKind.ATTRIBUTE,
}
_FOREIGN = ("AppIDs", "PackageVersion", "RequireHotpatchID", "MinimumHotpatchSequence",
            "MaximumHotpatchSequence")  # fmt: skip
"""Attributes of file rules that are not read: a rule that has one is refused."""

_UNREAD = ("ArtifactRules", "ArtifactSigners", "Macros", "AppSettings", "AppIDTags", "TestSigners",
           "TestSigningSigners", "ArtifactRuleRef")  # fmt: skip
"""Elements that change what a policy says and are not read: with content they are refused."""

_UNREAD_ATTRIBUTES = (("SigningScenario", "InheritedScenarios"),
                      ("SigningScenario", "MinimumHashAlgorithm"),
                      ("CertEKU", "Condition"), ("Signer", "SignTimeAfter"))  # fmt: skip
"""Attributes of that sort."""


def read_xml(source: str, data: bytes) -> SiPolicy:
    """Return the policy.  ``source`` is told in messages.

    Raises ``PolicyError`` for bytes that are none, and for elements that are not understood.
    """
    try:
        root = read_policy(source, data)
    except EvidenceError as error:
        raise PolicyError(source, str(error), "SiPolicy XML") from None
    for name in _UNREAD:
        if any(element.children or element.attributes for element in root.below(name)):
            raise PolicyError(source, name, "elements that have an equal in rules")
    for name, attribute in _UNREAD_ATTRIBUTES:
        if any(element.get(attribute) for element in root.below(name)):
            raise PolicyError(source, f"{attribute} of a {name}", "one that has an equal in rules")
    policy = _Reading(source, root).policy()
    check_references(source, policy)
    return policy


def check_references(source: str, policy: SiPolicy) -> None:
    """Refuse identifiers that stand twice, and references to none.  Raises ``PolicyError``."""
    files, signers, ekus = ([one.id for one in group]
                            for group in (policy.files, policy.signers, policy.ekus))  # fmt: skip
    refs = [ref for s in policy.scenarios for ref in (*s.allowed, *s.denied)]
    found = (
        (files, chain(*(s.files for s in policy.signers), *(s.files for s in policy.scenarios),
                      *(ref.exceptions for ref in refs))),
        (signers, chain((ref.signer for ref in refs), policy.update_signers, policy.ci_signers,
                        policy.supplemental_signers)),
        (ekus, chain(*(s.ekus for s in policy.signers))),
    )  # fmt: skip
    for identifiers, references in found:
        known = set(identifiers)
        if len(known) != len(identifiers):
            raise PolicyError(source, "an identifier twice", "each once", "SiPolicy XML")
        for reference in references:
            if reference not in known:
                raise PolicyError(source, f"a reference to {reference[:80]!r}", "to what is there")


class _Reading:
    """Reads one policy; ``_source`` is told in messages."""

    def __init__(self, source: str, root: Element) -> None:
        self._source, self._root = source, root

    def policy(self) -> SiPolicy:
        own = self._guid("PolicyID") or self._guid("PolicyTypeID")
        if not own:
            raise PolicyError(self._source, "no PolicyID", "one", "SiPolicy XML")
        return SiPolicy(
            id=own,
            base_id=self._guid("BasePolicyID") or own,
            version=self._version(self._text("VersionEx")) or (0, 0, 0, 0),
            name=self._told("Name") or self._root.get("FriendlyName"),
            label=self._told("Id"),
            platform_id=self._guid("PlatformID") or PLATFORM_ID,
            options=tuple(e.text for e in self._root.below("Option")),
            ekus=tuple(self._eku(e) for e in self._in("EKUs", "EKU")),
            files=tuple(self._file_rule(e) for e in self._file_elements()),
            signers=tuple(self._signer(e) for e in self._in("Signers", "Signer")),
            scenarios=tuple(
                self._scenario(e) for e in self._in("SigningScenarios", "SigningScenario")
            ),
            update_signers=self._ids("UpdatePolicySigner"),
            supplemental_signers=self._ids("SupplementalPolicySigner"),
            ci_signers=self._ids("CiSigner"),
            hvci=self._number(self._text("HvciOptions") or "0"),
        )

    def _in(self, group: str, name: str) -> Iterator[Element]:
        for element in self._root.all(group):
            yield from element.all(name)

    def _ids(self, name: str) -> tuple[str, ...]:
        return tuple(e.get("SignerId") for e in self._in(f"{name}s", name))

    def _text(self, name: str) -> str:
        return next((e.text for e in self._root.all(name)), "")

    def _told(self, value: str) -> str:
        """Return what the policy tells of itself in its settings."""
        for setting in self._in("Settings", "Setting"):
            if (setting.get("Provider"), setting.get("ValueName")) == ("PolicyInfo", value):
                return next((e.text for e in setting.below("String")), "")
        return ""

    def _guid(self, name: str) -> str:
        text = self._text(name)
        try:
            return str(uuid.UUID(text)) if text else ""
        except ValueError:
            raise PolicyError(self._source, f"{name} {text[:80]!r}", "a GUID") from None

    def _number(self, text: str) -> int:
        if not (text.isascii() and text.isdecimal() and len(text) <= 10) or int(text) >= 1 << 32:
            raise PolicyError(self._source, repr(text[:80]), "a number of 32 bits")
        return int(text)

    def _version(self, text: str) -> Version | None:
        if not text:
            return None
        parts = tuple(map(int, text.split("."))) if _VERSION.match(text) else ()
        if len(parts) != 4 or max(parts) > 0xFFFF:
            raise PolicyError(self._source, f"version {text[:80]!r}", "four numbers of 16 bits")
        return parts

    def _octets(self, text: str) -> bytes:
        try:
            return bytes.fromhex(text)
        except ValueError:
            raise PolicyError(self._source, f"{text[:80]!r}", "hexadecimal") from None

    def _eku(self, element: Element) -> Eku:
        identifier, value = element.get("ID"), self._octets(element.get("Value"))
        return Eku(
            id=identifier,
            oid=oid_of(f"{self._source}: {identifier}", value),
            friendly_name=element.get("FriendlyName"),
        )

    def _file_elements(self) -> Iterator[Element]:
        for group in self._root.all("FileRules"):
            yield from group.children

    def _file_rule(self, element: Element) -> FileRule:
        kind = _FILE_KINDS.get(element.name)
        foreign = [name for name in _FOREIGN if element.get(name)]
        if kind is None or foreign:
            what = " ".join((element.name, *foreign))
            raise PolicyError(f"{self._source}: {element.get('ID')}", what, "an attribute we read")
        return FileRule(
            id=element.get("ID"),
            kind=kind,
            friendly_name=element.get("FriendlyName"),
            digest=self._octets(element.get("Hash")),
            file_name=element.get("FileName"),
            internal_name=element.get("InternalName"),
            description=element.get("FileDescription"),
            product_name=element.get("ProductName"),
            package_family=element.get("PackageFamilyName"),
            path=element.get("FilePath"),
            minimum=self._version(element.get("MinimumFileVersion")),
            maximum=self._version(element.get("MaximumFileVersion")),
        )

    def _signer(self, element: Element) -> Signer:
        root = next(iter(element.all("CertRoot")), Element("", {}))
        value = self._octets(root.get("Value"))
        well_known = root.get("Type").casefold() == "wellknown"
        if not value or (well_known and len(value) != 1):
            raise PolicyError(f"{self._source}: {element.get('ID')}", "no root", "one of a signer")
        return Signer(
            id=element.get("ID"),
            name=element.get("Name"),
            tbs=b"" if well_known else value,
            well_known=value[0] if well_known else 0,
            ekus=tuple(e.get("ID") for e in element.all("CertEKU")),
            issuer=_value(element, "CertIssuer"),
            publisher=_value(element, "CertPublisher"),
            oem=_value(element, "CertOemID"),
            files=tuple(e.get("RuleID") for e in element.all("FileAttribRef")),
        )

    def _scenario(self, element: Element) -> Scenario:
        return Scenario(
            id=element.get("ID"),
            value=self._number(element.get("Value")),
            friendly_name=element.get("FriendlyName"),
            allowed=tuple(_signer_refs(element, "AllowedSigner", "DenyRuleID")),
            denied=tuple(_signer_refs(element, "DeniedSigner", "AllowRuleID")),
            files=tuple(e.get("RuleID") for e in element.below("FileRuleRef")),
        )


def oid_of(subject: str, value: bytes) -> str:
    """Return the OID of an EKU's value: DER with 01 for the tag.  Raises ``PolicyError``."""
    try:
        return der.parse(b"\x06" + value[1:], subject).oid()
    except BadInputError:
        raise PolicyError(subject, value[:40].hex(), "an OID in DER") from None


def _value(element: Element, name: str) -> str:
    return next((child.get("Value") for child in element.all(name)), "")


def _signer_refs(scenario: Element, name: str, rule: str) -> Iterator[SignerRef]:
    for element in scenario.below(name):
        exceptions = tuple(e.get(rule) for e in element.children)
        yield SignerRef(signer=element.get("SignerId"), exceptions=exceptions)
