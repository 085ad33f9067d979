r"""App Control's answer, from its files: any denial first, then every base must let in.

Source: Microsoft Learn, "Use multiple App Control policies": a file runs if each base policy, or a
supplement of it, lets it in, and no policy denies it.  A lone ``MinimumFileVersion`` in what denies
is the highest version denied (Microsoft's own list writes 65535.65535.65535.65535 there for all).
A file that has names has a version, they stand in one resource; without one no bound fits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from signward.compilers._app_control import DRIVER, SCRIPTED, USER_MODE, WELL_KNOWN
from signward.compilers._app_control_files import read_policies
from signward.compilers._sipolicy import (
    ANY_NAME,
    DRIVERS,
    HIGHEST,
    LOWEST,
    PROGRAMS,
    FileRule,
    Scenario,
    Signer,
    SignerRef,
    SiPolicy,
)
from signward.compilers._windows import our_path
from signward.compilers.app_control import AUDIT, NO_SCRIPTS, UMCI
from signward.errors import PolicyError
from signward.frozen import replace
from signward.policy.rules import subject as ours
from signward.policy.rules.paths import path_pattern
from signward.policy.rules.subject import Subject


class AppControlArbiter:
    """The arbiter."""

    target = "app-control"

    def judge(self, files: Mapping[str, bytes], subject: Subject) -> bool | None:
        """Say whether Windows lets the subject run.  Raises ``PolicyError``."""
        policies = read_policies(files)
        value = _scenario(subject, policies)
        if value is None:
            return None
        audited = {p.id for p in policies if not p.is_supplement and AUDIT in p.options}
        stands = [_Standing(p, value) for p in policies if p.base_id not in audited]
        if any(standing.denies(subject) for standing in stands):
            return False
        bases = {s.policy.id for s in stands if not s.policy.is_supplement}
        lets_in = {s.policy.base_id for s in stands if s.allows(subject)}
        return bases <= lets_in


def _scenario(subject: Subject, policies: Sequence[SiPolicy]) -> int | None:
    """Return the signing scenario a file is judged in; None for what is not governed."""
    bases = [policy for policy in policies if not policy.is_supplement]
    if DRIVER.holds(subject):
        return DRIVERS
    if not any(UMCI in policy.options for policy in bases):
        return None
    scripts = not any(NO_SCRIPTS in policy.options for policy in bases)
    units = USER_MODE + (SCRIPTED if scripts else ())
    return PROGRAMS if any(unit.holds(subject) for unit in units) else None


class _Standing:
    """A policy in one scenario."""

    def __init__(self, policy: SiPolicy, value: int) -> None:
        self.policy = policy
        self._value = value
        self._files = {rule.id: rule for rule in policy.files}
        self._signers = {signer.id: signer for signer in policy.signers}
        self._ekus = {eku.id: eku.oid for eku in policy.ekus}

    def denies(self, subject: Subject) -> bool:
        """Say whether a rule of the policy denies the file."""
        return any(
            self._by_files(scenario, 0, subject)
            or self._by_signers(scenario.denied, subject, denying=True)
            for scenario in self._scenarios()
        )

    def allows(self, subject: Subject) -> bool:
        """Say whether a rule of the policy lets the file in."""
        return any(
            self._by_files(scenario, 1, subject)
            or self._by_signers(scenario.allowed, subject, denying=False)
            for scenario in self._scenarios()
        )

    def _scenarios(self) -> Iterator[Scenario]:
        return (s for s in self.policy.scenarios if s.value == self._value)

    def _by_files(self, scenario: Scenario, kind: int, subject: Subject) -> bool:
        rules = (self._files[i] for i in scenario.files)
        return any(self._fits(r, subject, denying=kind == 0) for r in rules if r.kind == kind)

    def _by_signers(self, refs: Iterable[SignerRef], subject: Subject, *, denying: bool) -> bool:
        return any(self._by_signer(ref, subject, denying=denying) for ref in refs)

    def _by_signer(self, ref: SignerRef, subject: Subject, *, denying: bool) -> bool:
        wanted = self._signers[ref.signer]
        if not any(self._signed(wanted, one) for one in subject.signers):
            return False
        attributes = [self._files[i] for i in wanted.files]
        if attributes and not any(self._fits(r, subject, denying=denying) for r in attributes):
            return False
        excepted = (self._files[i] for i in ref.exceptions)
        return not any(self._fits(r, subject, denying=not denying) for r in excepted)

    def _signed(self, wanted: Signer, signer: ours.Signer) -> bool:
        name = signer.subject.get("common_name", "")
        return (
            any(_is_root(wanted, tbs) for tbs in signer.tbs)
            and (not wanted.publisher or name.casefold() == wanted.publisher.casefold())
            and (not wanted.issuer or _issuer(signer) == wanted.issuer.casefold())
            and all(self._ekus[eku] in signer.ekus for eku in wanted.ekus)
            and not wanted.oem
        )

    def _fits(self, rule: FileRule, subject: Subject, *, denying: bool) -> bool:
        if rule.digest:
            return rule.digest in _hashes(subject)
        if rule.path:
            return self._value == PROGRAMS and _at(rule.path, subject.path)
        if rule.package_family:
            return False
        return _named(rule, subject) and _between(_bounds(rule, denying=denying), subject)


def _is_root(wanted: Signer, tbs: str) -> bool:
    if wanted.tbs:
        return tbs.partition(":")[2] == wanted.tbs.hex()
    return WELL_KNOWN.get(tbs, 0) == wanted.well_known


def _issuer(signer: ours.Signer) -> str:
    return signer.names[1].casefold() if signer.names[1:] else ""


def _hashes(subject: Subject) -> frozenset[bytes]:
    parts = (digest.split(":") for digest in subject.digests)
    return frozenset(bytes.fromhex(value) for of, _, value in parts if of == "authenticode")


def _at(path: str, where: str) -> bool:
    pattern = our_path(path)
    if pattern is None:
        raise PolicyError("App Control", f"path {path[:80]!r}", "one whose places are known")
    return path_pattern(pattern).fits(where)


def _named(rule: FileRule, subject: Subject) -> bool:
    wanted = (
        (rule.file_name, subject.original_name),
        (rule.internal_name, subject.internal_name),
        (rule.product_name, subject.product),
    )
    given = [(name, found) for name, found in wanted if name not in ("", ANY_NAME)]
    if rule.description:  # no subject tells it
        return False
    return all(found.casefold() == name.casefold() for name, found in given)


def _bounds(rule: FileRule, *, denying: bool) -> FileRule:
    """Return the rule with what its versions mean."""
    if denying and rule.minimum and rule.maximum is None:
        return replace(rule, minimum=None, maximum=rule.minimum)
    return rule


def _between(rule: FileRule, subject: Subject) -> bool:
    lowest, highest = rule.minimum or LOWEST, rule.maximum or HIGHEST
    if (lowest, highest) == (LOWEST, HIGHEST):
        return True
    return subject.version is not None and lowest <= subject.version <= highest


ARBITER = AppControlArbiter()
