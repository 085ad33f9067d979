"""Package managers: apt, dnf, pip and npm told to install nothing that is not checked.

Sources: apt.conf(5), sources.list(5) (deb822, ``Signed-By`` with the key inline, apt 2.3.10),
apt_preferences(5), dnf.conf(5), pip's configuration (``require-hashes``) and npm's
(``ignore-scripts``).

What apt and dnf take is what a rule's OpenPGP key signed, from the sources that
``[targets.package-managers]`` gives the rule; sources of the machine's own are not read any more.
pip and npm verify no signature while installing: they compare digests with those of requirements
and lock files, which is made mandatory, and is the loss ``pip-signatures`` and ``npm-signatures``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Literal

import msgspec

from signward.compilers import Compiled, File, Towards
from signward.compilers._lossy import Ledger
from signward.errors import PolicyError
from signward.frozen import Frozen
from signward.policy.rules.model import Action, KeyKind, Name, PublisherMatch, Rule, RuleSet, Strict

Manager = Literal["apt", "dnf", "pip", "npm"]
MANAGERS: tuple[Manager, ...] = ("apt", "dnf", "pip", "npm")

_KINDS: Mapping[str, Manager] = {"deb": "apt", "rpm": "dnf", "wheel": "pip", "sdist": "pip",
                                 "npm": "npm"}  # fmt: skip
_ORIGINS: Mapping[str, Manager] = {"deb": "apt", "rpm": "dnf", "pypi": "pip", "npm": "npm"}
_ARMOR = re.compile(rb"-----BEGIN PGP PUBLIC KEY BLOCK-----.*?"
                    rb"-----END PGP PUBLIC KEY BLOCK-----", re.DOTALL)  # fmt: skip
_PACKAGE = re.compile(r"[A-Za-z0-9*][A-Za-z0-9*+._-]{0,127}\Z")

Url = Annotated[str, msgspec.Meta(pattern=r"^(https?|file)://?[A-Za-z0-9._~:/?&=@%+,-]{1,500}\Z")]
KeyUrl = Annotated[str, msgspec.Meta(pattern=r"^file:///[A-Za-z0-9._~/+-]{1,500}\Z")]
Word = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9./_+-]{0,100}\Z")]
Words = Annotated[tuple[Word, ...], msgspec.Meta(min_length=1, max_length=32)]


class AptSource(Strict, frozen=True, kw_only=True):
    """Where apt finds what a rule lets in."""

    uri: Url
    suites: Words
    components: Words


class DnfSource(Strict, frozen=True, kw_only=True):
    """Where dnf does; ``key_url`` is the key's own address on the machine (``file:///...``)."""

    baseurl: Url
    key_url: KeyUrl


class PackageSettings(Strict, frozen=True, kw_only=True):
    """``[targets.package-managers]``: sources by the rule that lets their packages in.

    ``pip_index`` and ``npm_registry`` replace the public ones.
    """

    managers: tuple[Manager, ...] = MANAGERS
    apt: dict[Name, AptSource] = msgspec.field(default_factory=dict)
    dnf: dict[Name, DnfSource] = msgspec.field(default_factory=dict)
    pip_index: Url | Literal[""] = ""
    npm_registry: Url | Literal[""] = ""


class Told(Frozen, frozen=True, kw_only=True):
    """What is said to apt and dnf: a rule's keys, or names of packages that are denied."""

    rule: Rule
    managers: frozenset[Manager]
    keys: tuple[str, ...] = ()
    package: str = ""


class PackageCompiler:
    """Writes each manager's own configuration."""

    target = "package-managers"
    title = "apt, dnf, pip and npm"
    spec = "apt.conf(5), sources.list(5), apt_preferences(5), dnf.conf(5), pip, npm config"
    governs = frozenset({"package"})
    kinds = frozenset(_KINDS)
    losses: Mapping[str, str] = {
        "local-packages": "packages from files: apt and dpkg install them unasked",
        "pip-signatures": "who signed: pip compares digests alone",
        "npm-signatures": "who signed: npm compares digests, and checks signatures when asked",
        "publisher": "publishers by anything but an OpenPGP key",
        "key": "keys other than OpenPGP's",
        "signers": "several signers",
        "identity": "keyless identities",
        "product": "what a package says of itself",
        "digest": "digests: they stand in requirement and lock files, by name",
        "path": "paths",
        "origin": "packages let in by name or repository, rules without a source in the settings",
        "catalog": "catalogs",
        "kind": "rules by kind alone",
        "hosts": "host tags",
        "audit": "the word about what an audit rule lets in",
        "exception": "what exceptions spare",
        "expiry": "the end of exceptions",
        "monitor": "watching only",
        "requirement-timestamp": "trusted timestamps",
        "requirement-revocation": "revocation",
        "requirement-algorithm": "minimum algorithms",
        "requirement-log": "log inclusion",
        "requirement-age": "the age of a signature",
    }
    settings = PackageSettings
    checked = ("executed", "apt and pip, each with what is refused and what is taken; npm parses")

    def compile(self, rules: RuleSet, settings: PackageSettings) -> Compiled:
        """Return the files.  Raises ``PolicyError`` for a source of a rule there is none of."""
        _check_sources(rules, settings)
        ledger = Ledger(self.target)
        told = tuple(
            one
            for rule in ledger.in_turn(rules, self.governs, self.kinds)
            if (one := _told(ledger, rules, rule, settings))
        )
        allowed, denied = _settled(told)
        _lose_the_rest(ledger, rules, settings, [one.rule for one in (*allowed, *denied)])
        return ledger.compiled(
            file for manager in settings.managers
            for file in _FILES[manager](rules, settings, allowed, denied)
        )  # fmt: skip


def _check_sources(rules: RuleSet, settings: PackageSettings) -> None:
    known = {rule.id for rule in rules.rules}
    known.update(*(layer.rules for layer in rules.layers))  # those that have ended too
    for name in (*settings.apt, *settings.dnf):
        if name not in known:
            raise PolicyError("targets.package-managers", f"a source of {name}", "a rule's id")


def _told(ledger: Ledger, rules: RuleSet, rule: Rule, settings: PackageSettings) -> Told | None:
    """Return what can be said of a rule; None for one that is lost."""
    if ledger.lose_fields(rule, ("publisher", "signers", "origin")):
        return None
    managers = _managers(rule) & set(settings.managers)
    if rule.action is Action.DENY and rule.origin and not (rule.publisher or rule.signers):
        return _told_package(ledger, rule, managers)
    if not (rule.publisher or rule.signers):
        ledger.lose_rule("origin" if rule.origin else "kind", rule, "apt and dnf ask for a key")
        return None
    if rule.origin and (rule.origin.name or rule.origin.repository):
        ledger.lose_rule("origin", rule, "a key lets in all that a source has")
        return None
    keys = _keys(ledger, rules, rule)
    if not keys or rule.action is Action.DENY:
        return Told(rule=rule, managers=managers, keys=keys) if keys else None
    placed = {"apt": rule.id in settings.apt, "dnf": rule.id in settings.dnf}
    if not any(placed.get(manager) for manager in managers):
        why = f"apt and dnf take a key for a source: give {rule.id} one in the settings"
        ledger.lose_rule("origin", rule, why)
        return None
    return Told(rule=rule, managers=managers, keys=keys)


def _managers(rule: Rule) -> frozenset[Manager]:
    """Return the managers of whose packages a rule speaks."""
    if rule.origin:
        named = {_ORIGINS[rule.origin.kind]} if rule.origin.kind in _ORIGINS else set()
        return frozenset(named)
    if not rule.kind or "package" in rule.kind:
        return frozenset(MANAGERS)
    return frozenset(_KINDS[kind] for kind in rule.kind if kind in _KINDS)


def _told_package(ledger: Ledger, rule: Rule, managers: frozenset[Manager]) -> Told | None:
    assert rule.origin is not None  # noqa: S101 - its caller asks
    name = rule.origin.name
    if rule.origin.repository or not _PACKAGE.match(name) or not managers & {"apt", "dnf"}:
        ledger.lose_rule("origin", rule, "apt and dnf can leave out packages by name")
        return None
    return Told(rule=rule, managers=managers, package=name.replace("**", "*"))


def _keys(ledger: Ledger, rules: RuleSet, rule: Rule) -> tuple[str, ...]:
    """Return the OpenPGP keys, any of which will do; none for a rule that is lost."""
    if rule.signers and rule.signers.least != 1:
        ledger.lose_rule("signers", rule, "apt and dnf are content with one signature")
        return ()
    matches = rule.signers.of if rule.signers else (rule.publisher,)
    names = tuple(_key_name(match) for match in matches if match)
    if not all(names):
        ledger.lose_rule("publisher", rule, "apt and dnf know a publisher by a key")
    elif any(rules.keys[name].kind is not KeyKind.OPENPGP for name in names):
        ledger.lose_rule("key", rule, "apt and dnf take OpenPGP keys")
    else:
        return names
    return ()


def _key_name(match: PublisherMatch) -> str:
    """Return the key's name if nothing else is asked, else an empty text."""
    asked = [field for field in match.__struct_fields__ if getattr(match, field)]
    return match.key if asked == ["key"] else ""


def _settled(told: Iterable[Told]) -> tuple[list[Told], list[Told]]:
    """Return what is let in, without keys that are denied, and what is denied by name."""
    told = tuple(told)
    refused = {key for one in told if one.rule.action is Action.DENY for key in one.keys}
    allowed = []
    for one in told:
        keys = tuple(key for key in one.keys if key not in refused)
        if one.rule.action is not Action.DENY and keys:
            allowed.append(Told(rule=one.rule, managers=one.managers, keys=keys))
    return allowed, [one for one in told if one.package]


def _lose_the_rest(
    ledger: Ledger, rules: RuleSet, settings: PackageSettings, kept: list[Rule]
) -> None:
    for manager, (name, text) in _ALWAYS.items():
        if manager in settings.managers:
            ledger.lose(name, "", text, Towards.LOOSER)
    ledger.lose_requirements(rules, kept)
    ledger.lose_expiry(rules)
    ledger.lose_mode(rules)
    for rule in rules.rules:
        for spare in rules.spared.get(rule.id, ()):
            text = f"what {rule.id} denies is left out whatever else it is"
            ledger.lose("exception", spare.id, text, Towards.STRICTER)
    for rule in kept:
        if rule.action is Action.AUDIT:
            ledger.lose("audit", rule.id, "it is installed, and nothing says so", Towards.LOOSER)


_ALWAYS: Mapping[Manager, tuple[str, str]] = {
    "apt": ("local-packages", "apt and dpkg install a package that is given as a file unasked"),
    "pip": ("pip-signatures", "pip compares what it installs with digests, and asks for no signer"),
    "npm": ("npm-signatures", "npm asks for signers in npm audit signatures, not to install"),
}

_MARK = "Made by Signward from the policy"


def _head(rules: RuleSet, mark: str) -> str:
    return f"{mark} {_MARK} {rules.name} {rules.version}\n"


def _apt_files(
    rules: RuleSet, settings: PackageSettings, allowed: Iterable[Told], denied: Iterable[Told]
) -> Iterator[File]:
    sources = "\n".join(
        _apt_source(rules, one, settings.apt[one.rule.id])
        for one in allowed
        if "apt" in one.managers and one.rule.id in settings.apt
    )
    yield File(
        name="apt/99signward",
        content=(_head(rules, "//") + _APT).encode(),
        deploy="/etc/apt/apt.conf.d/99signward: only signed sources, only these",
    )
    yield File(name="apt/signward.sources", content=(_head(rules, "#") + "\n" + sources).encode(),
               deploy="/etc/apt/signward.sources")  # fmt: skip
    pins = "".join(
        f"\nPackage: {_of_any_architecture(one.package)}\nPin: release *\nPin-Priority: -1\n"
        for one in denied
        if "apt" in one.managers
    )
    if pins:
        yield File(name="apt/signward.pref", content=(_head(rules, "#") + pins).encode(),
                   deploy="/etc/apt/preferences.d/signward.pref")  # fmt: skip


def _of_any_architecture(package: str) -> str:
    """Return a name for a pin: without a suffix apt takes it for the machine's own alone."""
    return package if package == "*" else f"{package}:any"


_APT = """\
APT::Get::AllowUnauthenticated "false";
Acquire::AllowInsecureRepositories "false";
Acquire::AllowWeakRepositories "false";
Acquire::AllowDowngradeToInsecureRepositories "false";
Acquire::Check-Valid-Until "true";
Dir::Etc::sourcelist "signward.sources";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::trusted "/dev/null";
Dir::Etc::trustedparts "/dev/null";
"""


def _apt_source(rules: RuleSet, told: Told, source: AptSource) -> str:
    blocks = (_armor(rules.keys[name].data) for name in told.keys)
    lines = (line.strip() for block in blocks for line in block.split("\n"))
    inline = "".join(f" {line or '.'}\n" for line in lines)
    return (
        f"# {told.rule.id}\nTypes: deb\nURIs: {source.uri}\nSuites: {' '.join(source.suites)}\n"
        f"Components: {' '.join(source.components)}\nSigned-By:\n{inline}"
    )


def _armor(data: bytes) -> str:
    """Return the armored key (RFC 9580 6.2) without what else the file holds."""
    match = _ARMOR.search(data)
    assert match is not None  # noqa: S101 - policy.rules.material took it for an OpenPGP key
    return match[0].decode("ascii", "replace").replace("\r", "")


def _dnf_files(
    rules: RuleSet, settings: PackageSettings, allowed: Iterable[Told], denied: Iterable[Told]
) -> Iterator[File]:
    names = [one.package for one in denied if "dnf" in one.managers]
    excluded = f"excludepkgs={' '.join(names)}\n" if names else ""
    yield File(name="dnf/signward.conf", content=(_head(rules, "#") + _DNF + excluded).encode(),
               deploy="merge into [main] of /etc/dnf/dnf.conf: only signed packages, "
               "only these sources")  # fmt: skip
    placed = [
        (one, settings.dnf[one.rule.id])
        for one in allowed
        if "dnf" in one.managers and one.rule.id in settings.dnf
    ]
    repositories = "".join(_dnf_source(one, source) for one, source in placed)
    yield File(name="dnf/signward.repo", content=(_head(rules, "#") + repositories).encode(),
               deploy="/etc/dnf/signward.repos.d/signward.repo")  # fmt: skip
    for one, source in placed:
        data = "".join(f"{_armor(rules.keys[name].data)}\n" for name in one.keys).encode()
        yield File(name=f"dnf/{one.rule.id}.asc", content=data,
                   deploy=f"to where {source.key_url} is")  # fmt: skip


_DNF = """\
[main]
gpgcheck=1
repo_gpgcheck=1
localpkg_gpgcheck=1
sslverify=1
reposdir=/etc/dnf/signward.repos.d
"""


def _dnf_source(told: Told, source: DnfSource) -> str:
    return (
        f"\n[{told.rule.id}]\nname={told.rule.id}\nbaseurl={source.baseurl}\nenabled=1\n"
        f"gpgcheck=1\nrepo_gpgcheck=1\ngpgkey={source.key_url}\n"
    )


def _pip_files(
    rules: RuleSet, settings: PackageSettings, allowed: Iterable[Told], denied: Iterable[Told]
) -> Iterator[File]:
    del allowed, denied
    index = f"index-url = {settings.pip_index}\n" if settings.pip_index else ""
    sections = "".join(
        f"\n[{command}]\nrequire-hashes = true\nonly-binary = :all:\n"
        for command in ("install", "download", "wheel")
    )
    text = f"{_head(rules, '#')}[global]\n{index.replace('%', '%%')}{sections}"
    yield File(
        name="pip/pip.conf",
        content=text.encode(),
        deploy="/etc/pip.conf: every requirement with its digest, nothing built",
    )


def _npm_files(
    rules: RuleSet, settings: PackageSettings, allowed: Iterable[Told], denied: Iterable[Told]
) -> Iterator[File]:
    del allowed, denied
    registry = f"registry={settings.npm_registry}\n" if settings.npm_registry else ""
    text = f"{_head(rules, ';')}{registry}{_NPM}"
    yield File(
        name="npm/npmrc",
        content=text.encode(),
        deploy="PREFIX/etc/npmrc; install with npm ci, then npm audit signatures",
    )


_NPM = """\
ignore-scripts=true
strict-ssl=true
package-lock=true
audit=true
"""

_FILES = {"apt": _apt_files, "dnf": _dnf_files, "pip": _pip_files, "npm": _npm_files}

COMPILER = PackageCompiler()
