r"""App Control for Business (WDAC): a base, and a supplement per further layer; XML and ``.cip``.

Sources: Microsoft Learn, "App Control rules and file rules", "Use multiple App Control policies",
"Use signed policies to protect App Control"; the schema ``cipolicy.xsd``; for the binary form see
``_cip``.  What denies goes to the base whichever layer it is of: supplements only let in.

Names of files and products are compared without regard to case.  A path lets in only where no
user can write, which Windows looks at when it loads a file (unless option 18 is set).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

import msgspec

from signward.compilers import Compiled, File, Towards
from signward.compilers._app_control import (
    DRIVER,
    GOVERNED_KINDS,
    SCRIPTED,
    USER_MODE,
    Expression,
    Sheet,
    tbs_of,
)
from signward.compilers._cip import OPTIONS, write_cip
from signward.compilers._lossy import Ledger
from signward.compilers._sipolicy import SiPolicy, Version, braced, write_policy
from signward.errors import PolicyError
from signward.policy.rules.model import Action, KeyKind, Layer, Mode, Name, Rule, RuleSet, Strict

HVCI = {"off": 0, "enabled": 1, "strict": 2}
"""Values of HvciOptions (Set-HVCIOptions)."""

UMCI, AUDIT = "Enabled:UMCI", "Enabled:Audit Mode"
UNSIGNED = "Enabled:Unsigned System Integrity Policy"
SUPPLEMENTS = "Enabled:Allow Supplemental Policies"
NO_SCRIPTS = "Disabled:Script Enforcement"

OWN_OPTIONS = frozenset({UMCI, AUDIT, UNSIGNED, SUPPLEMENTS, NO_SCRIPTS})
"""Options that follow from the policy and its settings."""

DECIDING = frozenset({
    "Enabled:Intelligent Security Graph Authorization",
    "Enabled:Managed Installer",
    "Enabled:Developer Mode Dynamic Code Trust",
    "Required:WHQL",
    "Required:EV Signers",
})  # fmt: skip
"""Options that let in or stop by what no rule says: a policy has none of them."""

FREE_OPTIONS = frozenset(OPTIONS) - OWN_OPTIONS - DECIDING

MAX_GUARDS = 16


class AppControlSettings(Strict, frozen=True, kw_only=True):
    """``[targets.app-control]``.

    ``update_signers`` are names of [keys], certificates: only what one of them has signed
    replaces the policy (or adds to it), and the policy itself must be signed.  ``options``
    are App Control's own, ``form`` the binary form's number (7 is read since Windows 10 1903).
    """

    hvci: Literal["off", "enabled", "strict"] = "off"
    scripts: bool = True
    update_signers: Annotated[tuple[Name, ...], msgspec.Meta(max_length=MAX_GUARDS)] = ()
    options: Annotated[tuple[str, ...], msgspec.Meta(max_length=64)] = (
        "Enabled:Advanced Boot Options Menu",
        "Enabled:Update Policy No Reboot",
    )
    form: Literal[7, 8] = 8


LOSSES: Mapping[str, str] = {
    "publisher": "a publisher by names alone: App Control wants a certificate of its path",
    "key-renewed": "a leaf's key in its next certificate",
    "signers": "several signers of one file",
    "identity": "keyless identities",
    "product": "bundle identifiers, * or ? in names, a highest version alone or of zero",
    "digest": "digests other than Authenticode's SHA-1 and SHA-256, or with a condition more",
    "path": "paths of drivers, with a condition more, or with wildcards inside",
    "path-of-drivers": "a path's drivers: kernel mode knows no paths",
    "origin": "the package a file came from",
    "catalog": "the catalog that vouches",
    "kind": "rules by kind alone, or for single kinds of files",
    "wider-kind": "user mode tells no programs from libraries, scripts and installers",
    "hosts": "hosts: deploy to groups instead",
    "audit": "that a rule that lets in also tells",
    "exception": "exceptions by more than a hash or a product, or from other denials",
    "expiry": "the end of exceptions: compile again before it",
    "requirement-timestamp": "a trusted timestamp",
    "requirement-revocation": "revocation status",
    "requirement-algorithm": "algorithms and key sizes",
    "requirement-log": "inclusion in a log",
    "requirement-age": "a signature's age",
}


class AppControl:
    """The compiler."""

    target = "app-control"
    title = "App Control for Business (WDAC)"
    spec = "Microsoft Learn, App Control rules and file rules; cipolicy.xsd"
    governs = frozenset(unit.file_class for unit in (DRIVER, *USER_MODE, *SCRIPTED))
    settings = AppControlSettings
    schema = "windows/SiPolicy.xsd"
    checked = ("schema", "cipolicy.xsd; the binary form by two published readers' layout only")
    losses = LOSSES

    def compile(self, rules: RuleSet, settings: AppControlSettings) -> Compiled:
        """Return XML and ``.cip`` of the base and of every supplement."""
        _check(rules, settings)
        ledger = Ledger("App Control")
        sheets = _sheets(rules, settings, ledger)
        policies = [
            _policy(rules, layer, settings, sheet)
            for layer, sheet in zip(rules.layers, sheets, strict=True)
        ]
        return ledger.compiled(_files(policies, rules, settings))


def _check(rules: RuleSet, settings: AppControlSettings) -> None:
    for option in settings.options:
        if option not in FREE_OPTIONS:
            found = f"option {option[:80]!r}"
            raise PolicyError(
                "targets.app-control", found, f"one of {', '.join(sorted(FREE_OPTIONS))}"
            )
    for name in settings.update_signers:
        key = rules.keys.get(name)
        if key is None or key.kind is not KeyKind.CERTIFICATE or not tbs_of(key.der):
            raise PolicyError("targets.app-control", f"update signer {name!r}", "a certificate "
                              "of [keys]")  # fmt: skip


def _sheets(rules: RuleSet, settings: AppControlSettings, ledger: Ledger) -> list[Sheet]:
    """Return a sheet per layer with the rules it brought, those that deny in the first."""
    expression = Expression(ledger, rules.keys, scripts=settings.scripts)
    sheets = [Sheet() for _ in rules.layers]
    kept: list[Rule] = []
    for rule in ledger.in_turn(rules, AppControl.governs, GOVERNED_KINDS):
        sheet = sheets[0] if rule.action is Action.DENY else sheets[_layer(rules, rule)]
        if expression.express(rule, sheet, rules.spared.get(rule.id, ())):
            kept.append(rule)
    for rule in kept:
        if rule.action is Action.AUDIT:
            text = "App Control tells of nothing that a rule lets in"
            ledger.lose("audit", rule.id, text, Towards.LOOSER)
    ledger.lose_requirements(rules, kept)
    ledger.lose_expiry(rules)
    return sheets


def _layer(rules: RuleSet, rule: Rule) -> int:
    return next((n for n, layer in enumerate(rules.layers) if rule.id in layer.rules), 0)


def _policy(rules: RuleSet, layer: Layer, settings: AppControlSettings, sheet: Sheet) -> SiPolicy:
    base = layer is rules.layers[0]
    keys = settings.update_signers if base else ()
    guards = tuple(
        sheet.add_trusted(name, bytes.fromhex(tbs_of(rules.keys[name].der).partition(":")[2]))
        for name in keys
    )
    several = len(rules.layers) > 1
    return SiPolicy(
        id=layer.id,
        base_id=rules.id,
        version=version_from(layer.version),
        name=layer.name,
        label=f"{layer.name} {layer.version}",
        options=tuple(sorted(set(_options(rules, settings, base=base)))),
        ekus=sheet.ekus,
        files=tuple(sheet.files),
        signers=tuple(sheet.signers),
        scenarios=sheet.scenarios(),
        update_signers=guards,
        supplemental_signers=guards if several else (),
        ci_signers=tuple(sheet.ci_signers),
        hvci=HVCI[settings.hvci] if base else 0,
    )


def _options(rules: RuleSet, settings: AppControlSettings, *, base: bool) -> Iterator[str]:
    """Yield the options; most are the base's alone (Microsoft Learn, "Policy rule options")."""
    if not settings.update_signers:
        yield UNSIGNED
    if not base:
        return
    yield UMCI
    if rules.mode is Mode.MONITOR:
        yield AUDIT
    if len(rules.layers) > 1:
        yield SUPPLEMENTS
    if not settings.scripts:
        yield NO_SCRIPTS
    yield from settings.options


def version_from(number: int) -> Version:
    """Return a policy's version: Windows refuses a signed one below the one in force."""
    return 10, 0, number >> 16, number & 0xFFFF


def _files(
    policies: list[SiPolicy], rules: RuleSet, settings: AppControlSettings
) -> Iterator[File]:
    signed = bool(settings.update_signers)
    for layer, policy in zip(rules.layers, policies, strict=True):
        yield File(
            name=f"{layer.name}.xml",
            content=write_policy(policy),
            deploy="for people, and for tools that take XML; Windows takes the .cip beside it",
        )
        yield File(
            name=f"{braced(policy.id)}.cip",
            content=write_cip(policy, settings.form),
            deploy=_deploy(policy, signed=signed),
        )


def _deploy(policy: SiPolicy, *, signed: bool) -> str:
    place = r"%windir%\System32\CodeIntegrity\CiPolicies\Active"
    text = f'to {place}, then `CiTool --update-policy`; try it with mode = "monitor" first: '
    text += "a base that lets in too little of Windows leaves a machine that does not start"
    if signed:
        text = ("sign it first, an unsigned one is refused: signward policy seal FILE --form cip "
                f"--key KEY, and give FILE.p7b the name FILE; {text}")  # fmt: skip
    return f"after its base; {text}" if policy.is_supplement else text


COMPILER = AppControl()
