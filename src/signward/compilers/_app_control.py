"""Rules in App Control's words: file rules and signers, by signing scenario.

Sources: Microsoft Learn, "App Control rules and file rules" and "Use multiple App Control
policies"; the schema of SiPolicy XML.  A signer is a certificate of the path, by the hash of its
TBSCertificate, and what its leaf must be: a common name, EKUs; further a file's own names and
versions.  A hash stands alone.  There are two kinds of files only: drivers, and all else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache

from signward.compilers import Towards
from signward.compilers._lossy import Ledger
from signward.compilers._sipolicy import (
    ANY_NAME,
    DRIVERS,
    HIGHEST,
    LOWEST,
    PROGRAMS,
    Eku,
    FileKind,
    FileRule,
    Scenario,
    Signer,
    SignerRef,
    Version,
    token,
)
from signward.compilers._windows import (
    Unit,
    digests_of,
    is_literal,
    only_a_ceiling,
    spares_in_part,
    units_of,
    windows_path,
)
from signward.compilers._xml import holds
from signward.errors import PolicyError
from signward.frozen import Frozen, replace
from signward.policy.rules.matching import version_of
from signward.policy.rules.model import (
    CONDITIONS,
    Action,
    Conditions,
    KeyKind,
    Material,
    ProductMatch,
    PublisherMatch,
    Rule,
)
from signward.trust.x509 import Certificate, load_certificate

PE = frozenset({"pe"})
DRIVER = Unit(name="kernel mode", file_class="driver", kinds=PE)
USER_MODE = (
    Unit(name="programs", file_class="executable", kinds=PE),
    Unit(name="libraries", file_class="library", kinds=PE),
)
SCRIPTED = (
    Unit(name="scripts", file_class="script",
         kinds=frozenset({"powershell", "javascript", "vbscript", "wsf"})),
    Unit(name="installers", file_class="installer", kinds=frozenset({"msi"})),
)  # fmt: skip
"""What Windows' script hosts ask for, unless script enforcement is off."""

GOVERNED_KINDS = frozenset().union(*(u.kinds for u in (DRIVER, *USER_MODE, *SCRIPTED)))

VARIABLES = frozenset({"osdrive", "windir", "system32"})

WELL_KNOWN: Mapping[str, int] = {
    "md5:8b3c3087b7056f5ec5ddba91a1b901f0": 4,
    "sha1:391be92883d52509155bfeae27b9bd340170b76b": 5,
    "sha256:08fba831c08544208f5208686b991ca1b2cfc510e7301784ddf1eb5bf0393239": 6,
    "sha256:279cd652c4e252bfbe5217ac722205d7729ba409148cfa9e6d9e5b1cb94eaff1": 7,
    "sha384:32991981bf1575a1a5303bb93a381723ea346b9ec130fdb596a75ba1d7ce0b0a"
    "06570bb985d25841e23be944e8ff118f": 18,
}
"""Roots that App Control knows by number, whose certificates no signature brings: Microsoft's
of 1997, 2001, 2010 and 2011, and the ECC product root of 2018 (Microsoft Learn, "Understanding App
Control event tags"); by the TBS digests of the certificates in Microsoft's root program."""

LENGTHS = {20: "sha1", 32: "sha256", 48: "sha384", 64: "sha512"}


class Who(Frozen, frozen=True, kw_only=True):
    """A publisher in App Control's words."""

    tbs: str
    common_name: str
    eku: str


class Sheet:
    """A policy as it is written: hands out identifiers, keeps what belongs to which scenario."""

    def __init__(self) -> None:
        self.files: list[FileRule] = []
        self.signers: list[Signer] = []
        self.ci_signers: list[str] = []
        self._ekus: dict[str, Eku] = {}
        self._allowed: dict[int, list[SignerRef]] = {DRIVERS: [], PROGRAMS: []}
        self._denied: dict[int, list[SignerRef]] = {DRIVERS: [], PROGRAMS: []}
        self._referred: dict[int, list[str]] = {DRIVERS: [], PROGRAMS: []}

    @property
    def ekus(self) -> tuple[Eku, ...]:
        """The EKUs that signers refer to."""
        return tuple(self._ekus.values())

    def add_file(self, rule: Conditions, made: FileRule, scenarios: Iterable[int] = ()) -> str:
        """Add a file rule under an identifier of its own, referred to in these scenarios."""
        identifier = f"{_PREFIXES[made.kind]}{len(self.files) + 1}_{token(rule.id)}"
        self.files.append(replace(made, id=identifier, friendly_name=told(rule)))
        for scenario in scenarios:
            self._referred[scenario].append(identifier)
        return identifier

    def add_signer(
        self, rule: Rule, made: Signer, scenarios: Iterable[int], exceptions: tuple[str, ...] = ()
    ) -> None:
        """Add a signer, allowed or denied as the rule says."""
        identifier = f"ID_SIGNER_S{len(self.signers) + 1}_{token(rule.id)}"
        self.signers.append(replace(made, id=identifier, name=told(rule)))
        denied = rule.action is Action.DENY
        for scenario in scenarios:
            refs = (self._denied if denied else self._allowed)[scenario]
            refs.append(SignerRef(signer=identifier, exceptions=exceptions))
            if scenario == PROGRAMS and not denied:
                self.ci_signers.append(identifier)

    def add_trusted(self, name: str, tbs: bytes) -> str:
        """Add a signer that no scenario refers to: one who may change policies."""
        identifier = f"ID_SIGNER_P{len(self.signers) + 1}_{token(name)}"
        self.signers.append(Signer(id=identifier, name=name, tbs=tbs))
        return identifier

    def eku(self, oid: str) -> str:
        """Return the identifier of an EKU."""
        if oid not in self._ekus:
            name = f"ID_EKU_E{len(self._ekus) + 1}"
            self._ekus[oid] = Eku(id=name, oid=oid, friendly_name=oid)
        return self._ekus[oid].id

    def scenarios(self) -> tuple[Scenario, ...]:
        """Return both scenarios."""
        names = {DRIVERS: "DRIVERS_1", PROGRAMS: "WINDOWS"}
        titles = {DRIVERS: "Kernel mode", PROGRAMS: "User mode"}
        return tuple(
            Scenario(
                id=f"ID_SIGNINGSCENARIO_{names[value]}",
                value=value,
                friendly_name=titles[value],
                allowed=tuple(self._allowed[value]),
                denied=tuple(self._denied[value]),
                files=tuple(self._referred[value]),
            )
            for value in (DRIVERS, PROGRAMS)
        )


_PREFIXES = {
    FileKind.DENY: "ID_DENY_D",
    FileKind.ALLOW: "ID_ALLOW_A",
    FileKind.ATTRIBUTE: "ID_FILEATTRIB_F",
}


def told(rule: Conditions) -> str:
    """Return what an administrator reads of a rule: its name, and its note."""
    note = getattr(rule, "note", "")
    return f"{rule.id}: {note}" if note else rule.id


class Expression:
    """Expresses rules one by one, on sheets; what cannot be said goes to the ledger."""

    def __init__(self, ledger: Ledger, keys: Mapping[str, Material], *, scripts: bool) -> None:
        self._ledger, self._keys = ledger, keys
        self._user_mode = USER_MODE + (SCRIPTED if scripts else ())
        self._aside = () if scripts else SCRIPTED
        self._leaves = {
            hashlib.sha256(key.der).hexdigest(): key
            for key in keys.values()
            if key.kind is KeyKind.CERTIFICATE and not _certificate(key.der).is_ca
        }

    def express(self, rule: Rule, sheet: Sheet, spared: tuple[Conditions, ...]) -> bool:
        """Put a rule on a sheet, sparing what ``spared`` matches; say whether it is there."""
        units = units_of(rule, (DRIVER, *self._user_mode))
        if not units:
            self._lose("kind", rule, "no rule is for one kind of file" if units is None else
                                     "scripts and installers are not enforced")  # fmt: skip
            return False
        denied = rule.action is Action.DENY and bool(rule.kind)
        if denied and any(unit.touched(rule.kind) for unit in self._aside):
            self._lose("kind", rule, "scripts and installers are not enforced")
        user = set(units) - {DRIVER}
        scenarios = (DRIVERS,) * (DRIVER in units) + (PROGRAMS,) * bool(user)
        there = self._expressed(rule, sheet, scenarios, spared)
        if there and user and user != set(self._user_mode):
            self._ledger.widen_kinds(rule, (unit.name for unit in set(self._user_mode) - user))
        return there

    def _expressed(
        self,
        rule: Rule,
        sheet: Sheet,
        scenarios: tuple[int, ...],
        spared: tuple[Conditions, ...],
    ) -> bool:
        if self._ledger.lose_fields(rule, _EXPRESSED):
            return False
        if rule.digest:
            return self._digests(rule, sheet, scenarios, spared)
        if rule.path:
            return self._paths(rule, sheet, scenarios, spared)
        product = self._product(rule) if rule.product else None
        if rule.product and product is None:
            return False
        if rule.publisher or rule.signers:
            return self._signers(rule, sheet, scenarios, spared, product)
        if product is None:
            self._lose("kind", rule, "no rule is by kind alone")
            return False
        self._spare_none(rule, spared)
        sheet.add_file(rule, _acting(rule, product), scenarios)
        return True

    def _lose(self, name: str, rule: Rule, why: str) -> None:
        self._ledger.lose_rule(name, rule, f"App Control: {why}")

    def _digests(
        self,
        rule: Rule,
        sheet: Sheet,
        scenarios: tuple[int, ...],
        spared: tuple[Conditions, ...],
    ) -> bool:
        if any((rule.publisher, rule.signers, rule.product, rule.path)):
            self._lose("digest", rule, "a hash has no further condition")
            return False
        digests = _hashes(rule)
        if len(digests) < len(rule.digest):
            number = len(rule.digest) - len(digests)
            self._lose("digest", rule, f"{number} of {len(rule.digest)} digests are not "
                                       "Authenticode's SHA-1 or SHA-256")  # fmt: skip
        kept = digests - self._spared_digests(rule, spared)
        kind = FileKind.DENY if rule.action is Action.DENY else FileKind.ALLOW
        for digest in sorted(kept):
            sheet.add_file(rule, FileRule(id="", kind=kind, digest=digest), scenarios)
        return bool(digests)

    def _spared_digests(self, rule: Rule, spared: tuple[Conditions, ...]) -> set[bytes]:
        """Return the hashes that exceptions take out of a deny rule by hash."""
        found: set[bytes] = set()
        for waiver in spared:
            whole = _asks_only(waiver, "digest") and len(_hashes(waiver)) == len(waiver.digest)
            if whole:
                found |= _hashes(waiver)
            if not whole or spares_in_part(rule, waiver):
                self._lose_exception(rule, waiver)
        return found

    def _lose_exception(self, rule: Rule, waiver: Conditions) -> None:
        text = f"App Control denies by {rule.id} what {waiver.id} spares"
        self._ledger.lose("exception", waiver.id, text, Towards.STRICTER)

    def _spare_none(self, rule: Rule, spared: tuple[Conditions, ...]) -> None:
        for waiver in spared:
            self._lose_exception(rule, waiver)

    def _paths(
        self,
        rule: Rule,
        sheet: Sheet,
        scenarios: tuple[int, ...],
        spared: tuple[Conditions, ...],
    ) -> bool:
        if any((rule.publisher, rule.signers, rule.product)):
            self._lose("path", rule, "a path has no further condition")
            return False
        paths = [windows_path(text, VARIABLES) for text in rule.path]
        if PROGRAMS not in scenarios or not all(path and _one_star(path) for path in paths):
            self._lose("path", rule, "paths are of user mode, on Windows, with one ** at an end")
            return False
        if DRIVERS in scenarios:
            self._lose("path-of-drivers", rule, "kernel mode knows no paths")
        self._spare_none(rule, spared)
        kind = FileKind.DENY if rule.action is Action.DENY else FileKind.ALLOW
        for path in paths:
            made = FileRule(id="", kind=kind, path=path or "")
            sheet.add_file(rule, made, (PROGRAMS,))
        return True

    def _product(self, rule: Rule) -> FileRule | None:
        """Return the attributes of a file rule; None for what they cannot say."""
        match = rule.product
        assert match is not None  # noqa: S101 - for the type
        if not _is_sayable(match):
            self._lose("product", rule, "no bundle identifier, no * or ? in a name, no highest "
                                        "version alone or of zero")  # fmt: skip
            return None
        return attributes(match)

    def _signers(
        self,
        rule: Rule,
        sheet: Sheet,
        scenarios: tuple[int, ...],
        spared: tuple[Conditions, ...],
        product: FileRule | None,
    ) -> bool:
        people = self._people(rule)
        if not people:
            return False
        exceptions = tuple(self._exceptions(rule, sheet, spared))
        files = (sheet.add_file(rule, _bounded(rule, product)),) if product else ()
        for who in people:
            sheet.add_signer(rule, _signer(who, sheet, files), scenarios, exceptions)
        return True

    def _people(self, rule: Rule) -> list[Who]:
        """Return who the rule speaks of, any of whom will do; nobody if it cannot be said."""
        if rule.publisher and rule.signers:
            self._lose("signers", rule, "one signer at a time")
            return []
        if rule.signers and rule.signers.least > 1:
            self._lose("signers", rule, f"no {rule.signers.least} signers of one file")
            return []
        matches = rule.signers.of if rule.signers else (rule.publisher,)
        people = [self._who(rule, match) for match in matches if match]
        return [who for who in people if who] if all(people) else []

    def _who(self, rule: Rule, match: PublisherMatch) -> Who | None:
        asked = {f for f in match.__struct_fields__ if getattr(match, f)}
        beyond = asked - {"common_name", "tbs", "key", "certificate", "eku"}
        roots = set(self._roots(rule, match))
        if not holds(match.common_name):
            self._lose("publisher", rule, "a name that XML cannot hold")
            return None
        if beyond or len(roots) != 1 or "" in roots:
            why = f"{', '.join(sorted(beyond))} of a signer" if beyond else (
                "a signer has one certificate, by tbs or key, for which its file must be in [keys]"
            )  # fmt: skip
            self._lose("publisher", rule, why)
            return None
        return Who(tbs=roots.pop(), common_name=match.common_name, eku=match.eku)

    def _roots(self, rule: Rule, match: PublisherMatch) -> Iterator[str]:
        """Yield the TBS digests asked for; an empty one for what has none."""
        if match.tbs:
            algorithm, _, value = match.tbs.partition(":")
            if LENGTHS.get(len(value) // 2) != algorithm or len(value) % 2:
                raise PolicyError(
                    f"rule {rule.id}", f"tbs {match.tbs}", f"as long as a {algorithm}"
                )
            yield match.tbs
        if match.certificate:
            leaf = self._leaves.get(match.certificate.removeprefix("sha256:"))
            yield tbs_of(leaf.der) if leaf else ""
        if match.key:
            key = self._keys[match.key]
            certificate = key.kind is KeyKind.CERTIFICATE
            if certificate and not _certificate(key.der).is_ca:
                self._lose("key-renewed", rule, f"the certificate {match.key} is not recognized "
                                                "once it is renewed with the same key")  # fmt: skip
            yield tbs_of(key.der) if certificate else ""

    def _exceptions(
        self, rule: Rule, sheet: Sheet, spared: tuple[Conditions, ...]
    ) -> Iterator[str]:
        """Yield the identifiers of file rules that a denied signer does not reach."""
        for waiver in spared:
            hashes = _hashes(waiver)
            if _asks_only(waiver, "digest") and len(hashes) == len(waiver.digest):
                for digest in sorted(hashes):
                    made = FileRule(id="", kind=FileKind.ALLOW, digest=digest)
                    yield sheet.add_file(waiver, made)
            elif waiver.product and _asks_only(waiver, "product") and _is_sayable(waiver.product):
                made = replace(attributes(waiver.product), kind=FileKind.ALLOW)
                yield sheet.add_file(waiver, made)
            else:
                self._lose_exception(rule, waiver)


_EXPRESSED = ("publisher", "signers", "product", "digest", "path")


def attributes(match: ProductMatch) -> FileRule:
    """Return what a file says of itself as a FileAttrib."""
    named = match.product or match.original_name or match.internal_name
    return FileRule(
        id="",
        kind=FileKind.ATTRIBUTE,
        file_name=match.original_name or ("" if named else ANY_NAME),
        internal_name=match.internal_name,
        product_name=match.product,
        minimum=_end(match.minimum_version),
        maximum=_end(match.maximum_version),
    )


def _end(text: str) -> Version | None:
    return version_of(text) if text else None


def _acting(rule: Rule, made: FileRule) -> FileRule:
    kind = FileKind.DENY if rule.action is Action.DENY else FileKind.ALLOW
    return replace(made, kind=kind)


def _bounded(rule: Rule, made: FileRule) -> FileRule:
    """Return a FileAttrib, for a denied signer with both ends: a lone one says less there."""
    if rule.action is not Action.DENY:
        return made
    return replace(made, minimum=made.minimum or LOWEST, maximum=made.maximum or HIGHEST)


def _signer(who: Who, sheet: Sheet, files: tuple[str, ...]) -> Signer:
    well_known = WELL_KNOWN.get(who.tbs, 0)
    return Signer(
        id="",
        name="",
        tbs=b"" if well_known else bytes.fromhex(who.tbs.partition(":")[2]),
        well_known=well_known,
        publisher=who.common_name,
        ekus=(sheet.eku(who.eku),) if who.eku else (),
        files=files,
    )


def _asks_only(conditions: Conditions, field: str) -> bool:
    return [name for name in CONDITIONS if getattr(conditions, name)] == [field]


def _is_sayable(match: ProductMatch) -> bool:
    """Say whether attributes of a file rule can say all of it, and no more.

    A highest version of zero is, in the binary form, none at all.
    """
    highest = _end(match.maximum_version)
    return not match.bundle_id and not only_a_ceiling(match) and is_literal(match) and (
        highest != LOWEST
    )  # fmt: skip


def _hashes(rule: Conditions) -> set[bytes]:
    """Return those that App Control computes: Authenticode's, SHA-1 and SHA-256.

    Raises ``PolicyError`` for a digest of the wrong length.
    """
    return {
        bytes.fromhex(value)
        for of, algorithm, value in digests_of(rule)
        if of == "authenticode" and algorithm in ("sha1", "sha256")
    }


def _one_star(path: str) -> bool:
    """Say whether a path has at most one wildcard, at one of its ends."""
    return path.count("*") == 0 or (path.count("*") == 1 and "*" in (path[0], path[-1]))


def tbs_of(der: bytes) -> str:
    """Return a certificate's TBS digest by its own signature digest; empty for one without."""
    certificate = _certificate(der)
    digest = certificate.signature_algorithm.digest
    if digest not in (*LENGTHS.values(), "md5"):
        return ""
    return f"{digest}:{hashlib.new(digest, certificate.tbs, usedforsecurity=False).hexdigest()}"


@cache
def _certificate(der: bytes) -> Certificate:
    return load_certificate(der)
