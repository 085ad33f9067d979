"""Block lists: Microsoft's vulnerable driver block list, and others in its format.

Sources: the schema of SiPolicy XML (urn:schemas-microsoft-com:sipolicy) and Microsoft Learn,
"Microsoft recommended driver block rules" and "App Control rules and file rules".  Read are
the rules that deny: by hash (Authenticode, or of the first page), by what the version
resource says (name, product, version), and by signer (a CA's TBSCertificate hash, the
publisher's name, EKUs), the latter for certain files only where the list says so.

A rule counts in the signing scenario that refers to it: 131 for drivers, 12 for programs.
In rules that deny, a lone MinimumFileVersion is the *highest* version denied: the published
list writes 65535.65535.65535.65535 there for "all".  Rules by path, package, application or
OEM identifier are left out, as they speak of things a file's bytes do not tell.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping

from signward.errors import EvidenceError
from signward.findings import Code, Effect, Finding
from signward.frozen import Frozen
from signward.policy.sipolicy import Element, read_policy
from signward.trust.x509 import Certificate, certificate_size
from signward.wire import der
from signward.wire.repeated import CERTIFICATE_OCTETS, remembering

DRIVERS, PROGRAMS = 131, 12
"""Values of the signing scenarios."""

_ATTRIBUTES = {
    "FileName": "original-name",
    "InternalName": "internal-name",
    "FileDescription": "description",
    "ProductName": "product",
}
"""Attributes of a file rule to the names of a file's facts (``formats._pe_resources``)."""

_ELSEWHERE = ("FilePath", "PackageFamilyName", "PackageVersion", "AppIDs")
_VERSION = re.compile(r"\d{1,5}(\.\d{1,5}){3}\Z", re.ASCII)

Version = tuple[int, ...]


class FileRule(Frozen, frozen=True, kw_only=True):
    """A Deny, Allow or FileAttrib: a hash, or attributes and a range of versions."""

    id: str
    name: str
    digest: bytes
    attributes: tuple[tuple[str, str], ...]
    lowest: Version | None
    highest: Version | None

    def matches(self, subject: Subject) -> bool:
        """Say whether the rule speaks of this file."""
        if self.digest:
            return self.digest in subject.digests
        if not all(
            wanted == "*" or subject.facts.get(fact, "").casefold() == wanted
            for fact, wanted in self.attributes
        ):
            return False
        version = subject.version
        return (self.lowest is None or version >= self.lowest) and (
            self.highest is None or version <= self.highest
        )


class SignerRule(Frozen, frozen=True, kw_only=True):
    """A Signer: a certificate on the path, and what its leaf must be."""

    id: str
    name: str
    tbs: bytes
    publisher: str
    issuer: str
    ekus: tuple[bytes, ...]
    files: tuple[str, ...]

    def matches(self, path: tuple[Certificate, ...]) -> bool:
        """Say whether the path (leaf first) is this signer's."""
        leaf = path[0]
        ekus = {der.oid(eku) for eku in leaf.ekus or ()}
        return (
            (not self.publisher or _same(leaf.common_name, self.publisher))
            and (not self.issuer or _same(path[1].common_name if path[1:] else "", self.issuer))
            and ekus.issuperset(self.ekus)
            and any(_tbs_digest(certificate) == self.tbs for certificate in path)
        )


class Denial(Frozen, frozen=True, kw_only=True):
    """A signer denied in a scenario, and the files that are let through all the same."""

    signer: SignerRule
    files: tuple[FileRule, ...]
    exceptions: tuple[FileRule, ...]

    def matches(self, subject: Subject) -> bool:
        """Say whether the file is denied for its signer."""
        if self.signer.files and not any(rule.matches(subject) for rule in self.files):
            return False
        if any(rule.matches(subject) for rule in self.exceptions):
            return False
        return any(self.signer.matches(path) for path in subject.paths)


class Subject(Frozen, frozen=True, kw_only=True):
    """What is known of a file: its digests, what it says of itself, whose it is.

    ``scenarios`` are those it may be loaded in; ``paths`` are certification paths, leaf first;
    ``facts`` those of its version resource.
    """

    scenarios: tuple[int, ...]
    digests: frozenset[bytes]
    facts: Mapping[str, str]
    paths: tuple[tuple[Certificate, ...], ...]

    @property
    def version(self) -> Version:
        """The file's version; zeros where it has none."""
        return _version(self.facts.get("fixed-file-version", "")) or (0, 0, 0, 0)


class BlockList(Frozen, frozen=True, kw_only=True):
    """A block list: what it calls itself, and its rules by scenario.

    Those by hash, Microsoft's most, are found by it.
    """

    name: str
    version: str
    hashes: Mapping[int, Mapping[bytes, FileRule]]
    files: Mapping[int, tuple[FileRule, ...]]
    signers: Mapping[int, tuple[Denial, ...]]

    def findings(self, subject: Subject) -> Iterator[Finding]:
        """Yield a finding for the first rule of each kind and scenario that denies the file."""
        for scenario in subject.scenarios:
            yield from self._denials(scenario, subject)

    def _denials(self, scenario: int, subject: Subject) -> Iterator[Finding]:
        hashes = self.hashes.get(scenario, {})
        for digest in sorted(subject.digests & hashes.keys(), key=len)[-1:]:
            rule = hashes[digest]
            yield self._finding(rule.id, rule.name, f"the hash {digest.hex()}")
        for rule in self.files.get(scenario, ()):
            if rule.matches(subject):
                yield self._finding(rule.id, rule.name, _described(subject))
                break
        for denial in self.signers.get(scenario, ()):
            if denial.matches(subject):
                signer = denial.signer
                by = f"signer {signer.publisher or 'any'} under {signer.name}"
                yield self._finding(signer.id, signer.name, by)
                return

    def _finding(self, identifier: str, name: str, by: str) -> Finding:
        return Finding(
            code=Code.BLOCKED,
            effect=Effect.REJECT,
            subject=f"block list {self.name}, version {self.version}",
            found=f"rule {identifier} ({name or 'without a name'}) denies {by}",
            required="no rule that denies the file",
            clause="SiPolicy XML",
        )


def _same(name: str, wanted: str) -> bool:
    return name.casefold() == wanted.casefold()


def _described(subject: Subject) -> str:
    name = subject.facts.get("original-name", "a file without a name")
    return f"{name}, version {'.'.join(map(str, subject.version))}"


@remembering(4096, CERTIFICATE_OCTETS, certificate_size)
def _tbs_digest(certificate: Certificate) -> bytes:
    """Return the hash of the TBSCertificate by the certificate's own signature digest."""
    digest = certificate.signature_algorithm.digest
    if digest not in hashlib.algorithms_available:
        return b""
    return hashlib.new(digest, certificate.tbs, usedforsecurity=False).digest()


def read_block_list(name: str, data: bytes) -> BlockList:
    """Return the block list in SiPolicy XML.

    ``name`` stands for lists that do not name themselves.  Raises ``EvidenceError``.
    """
    root = read_policy(name, data)
    rules = {r.id: r for group in root.all("FileRules") for r in _file_rules(name, group)}
    denying = [e.get("ID") for group in root.all("FileRules") for e in group.all("Deny")]
    signers = dict(_signers(name, root))
    scenarios = [s for group in root.all("SigningScenarios") for s in group.all("SigningScenario")]
    referred: dict[int, list[str]] = {}
    denials: dict[int, tuple[Denial, ...]] = {}
    for scenario in scenarios:  # a value may come twice
        number = _scenario(scenario)
        referred.setdefault(number, []).extend(_references(scenario, denying))
        denials[number] = (*denials.get(number, ()), *_denials(scenario, signers, rules))
    if not scenarios:
        referred = {DRIVERS: denying, PROGRAMS: denying}
    denied = {
        number: [rules[i] for i in dict.fromkeys(identifiers) if i in rules]
        for number, identifiers in referred.items()
    }
    return BlockList(
        name=_title(root) or name,
        version=next((e.text for e in root.all("VersionEx")), "not given"),
        hashes={n: {r.digest: r for r in found if r.digest} for n, found in denied.items()},
        files={n: tuple(r for r in found if not r.digest) for n, found in denied.items()},
        signers=denials,
    )


def _scenario(element: Element) -> int:
    value = element.get("Value")
    return int(value) if value.isdecimal() and len(value) < 4 else 0


def _references(scenario: Element, denying: list[str]) -> list[str]:
    """Return the Deny rules that a scenario refers to."""
    named = (e.get("RuleID") for e in scenario.below("FileRuleRef"))
    known = frozenset(denying)
    return [identifier for identifier in named if identifier in known]


def _title(root: Element) -> str:
    """Return the name in the policy's own settings, if it has one."""
    for setting in root.below("Setting"):
        if (setting.get("Provider"), setting.get("ValueName")) == ("PolicyInfo", "Name"):
            return next((e.text for e in setting.below("String")), "")
    return ""


def _file_rules(source: str, group: Element) -> Iterator[FileRule]:
    """Yield the rules that a file's bytes can be held against."""
    for element in group.children:
        if element.name not in ("Deny", "Allow", "FileAttrib"):
            continue
        if any(element.get(name) for name in _ELSEWHERE):
            continue
        rule = _file_rule(source, element)
        if rule.digest or rule.attributes or rule.lowest or rule.highest:
            yield rule


def _file_rule(source: str, element: Element) -> FileRule:
    lowest = _bound(source, element.get("MinimumFileVersion"))
    highest = _bound(source, element.get("MaximumFileVersion"))
    if element.name != "Allow" and highest is None:
        lowest, highest = None, lowest
    return FileRule(
        id=element.get("ID"),
        name=element.get("FriendlyName"),
        digest=_hexadecimal(source, element.get("Hash")),
        attributes=tuple(
            (fact, element.get(name).strip().casefold())
            for name, fact in _ATTRIBUTES.items()
            if element.get(name)
        ),
        lowest=lowest,
        highest=highest,
    )


def _signers(source: str, root: Element) -> Iterator[tuple[str, SignerRule]]:
    """Yield the signers of which everything that is asked can be told, by identifier."""
    ekus = {e.get("ID"): _hexadecimal(source, e.get("Value")) for e in root.below("EKU")}
    for signer in root.below("Signer"):
        roots = [e.get("Value") for e in signer.all("CertRoot") if e.get("Type") == "TBS"]
        wanted = [e.get("ID") for e in signer.all("CertEKU")]
        if not roots or signer.all("CertOemID") or not ekus.keys() >= set(wanted):
            continue
        identifier = signer.get("ID")
        yield (
            identifier,
            SignerRule(
                id=identifier,
                name=signer.get("Name"),
                tbs=_hexadecimal(source, roots[0]),
                publisher=_value(signer, "CertPublisher"),
                issuer=_value(signer, "CertIssuer"),
                # The OID's DER, with tag 1 in place of 6.
                ekus=tuple(b"\x06" + ekus[eku][1:] for eku in wanted),
                files=tuple(e.get("RuleID") for e in signer.all("FileAttribRef")),
            ),
        )


def _value(signer: Element, name: str) -> str:
    return next((element.get("Value") for element in signer.all(name)), "")


def _denials(
    scenario: Element, signers: Mapping[str, SignerRule], rules: Mapping[str, FileRule]
) -> Iterator[Denial]:
    for denied in scenario.below("DeniedSigner"):
        signer = signers.get(denied.get("SignerId"))
        if signer is not None:
            allowed = (e.get("AllowRuleID") for e in denied.all("ExceptAllowRule"))
            yield Denial(
                signer=signer,
                files=tuple(rules[i] for i in signer.files if i in rules),
                exceptions=tuple(rules[i] for i in allowed if i in rules),
            )


def _bound(source: str, text: str) -> Version | None:
    version = _version(text) if text else None
    if text and version is None:
        raise EvidenceError(f"{source}: version {text[:80]!r}, required four numbers")
    return version


def _hexadecimal(source: str, text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise EvidenceError(f"{source}: {text[:80]!r} is not hexadecimal") from None


def _version(text: str) -> Version | None:
    """Return a version of four numbers; None for anything else."""
    return tuple(map(int, text.split("."))) if _VERSION.match(text) else None
