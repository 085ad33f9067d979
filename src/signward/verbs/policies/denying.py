"""Compiling a revocation for every enforcer: each gets the widest denial that it can say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum

import msgspec

from signward import compilers
from signward.compilers import Compiled, File
from signward.errors import LossError, PolicyError
from signward.frozen import Frozen, replace
from signward.policy.rules.denials import (
    EVERYTHING,
    PREFIX,
    Form,
    denials_alone,
    denying,
    forms,
)
from signward.policy.rules.force import in_force
from signward.policy.rules.model import Action, Mode, OriginMatch, Rule, RuleSet
from signward.policy.rules.revoking import Blast, Kind
from signward.verbs.policies.compiling import check_loss, settings_for

TARGETS: Mapping[str, str] = {
    "uefi": "UEFI Secure Boot: dbx, what must not boot",
    "app-control": "App Control for Business",
    "driver-blocklist": "App Control: drivers that must not load",
    "applocker": "AppLocker",
    "santa": "Santa on macOS",
    "fapolicyd": "fapolicyd on Linux",
    "containers-policy": "podman, skopeo, CRI-O: policy.json",
    "kyverno": "Kubernetes: Kyverno",
    "sigstore-policy-controller": "Kubernetes: policy-controller",
    "kernel-blacklist": "Linux kernel: the .blacklist keyring",
}
"""Targets that a revocation is compiled for, each with its name for people."""

_ANY_IMAGE = Rule(id=EVERYTHING, action=Action.ALLOW, origin=OriginMatch(kind="oci", name="**"))


class Alone(Frozen, frozen=True, kw_only=True):
    """How a target is told denials beside what it has already, which stays as it is.

    ``everything`` lets in the rest, for targets where several policies must all let in; others
    are told a list.  ``parts`` are the files that are nothing but the list, all where it is empty.
    ``by`` is the compiler, with its ``settings``, where it is not the target's own.
    """

    everything: Rule | None = None
    parts: tuple[str, ...] = ()
    by: str = ""
    settings: Mapping[str, bool] = msgspec.field(default_factory=dict)


ALONE: Mapping[str, Alone | None] = {
    "uefi": Alone(parts=("dbx.esl",)),
    "app-control": Alone(by="driver-blocklist", settings={"programs": True}),
    "driver-blocklist": Alone(),
    "applocker": None,
    "santa": Alone(parts=("StaticRules.plist", "ruledownload.json")),
    "fapolicyd": Alone(settings={"denials": True}),
    "containers-policy": None,
    "kyverno": Alone(everything=_ANY_IMAGE),
    "sigstore-policy-controller": Alone(everything=_ANY_IMAGE, parts=("policies.yaml",)),
    "kernel-blacklist": Alone(),
}
"""How; None for targets whose files replace all that is there, which is then the policy."""

IMAGES = frozenset({"containers-policy", "kyverno", "sigstore-policy-controller"})
_DIGESTS_OF_IMAGES = frozenset({"oci"})
_DIGESTS_OF_FILES = frozenset({"file", "authenticode", "cdhash"})

LISTS = frozenset({"uefi", "driver-blocklist", "kernel-blacklist", "santa"})
"""Targets that are told the denials alone even where there is a policy: they add to it."""


class State(StrEnum):
    """What came of a target."""

    SAID = "said"
    CANNOT = "cannot"
    NEEDS_POLICY = "needs-policy"
    ABSENT = "absent"
    OUT_OF_SCOPE = "out-of-scope"
    LEFT_OUT = "left-out"


class Order(Frozen, frozen=True, kw_only=True):
    """What one target is told: ``told`` how it names what is revoked, ``why`` what it cannot."""

    target: str
    state: State
    told: str = ""
    why: str = ""
    files: tuple[File, ...] = ()


def orders(
    blast: Blast,
    der: bytes,
    base: RuleSet | None,
    at: datetime,
    *,
    only: Sequence[str] = (),
    without: Sequence[str] = (),
    allowed: frozenset[str] = frozenset(),
) -> tuple[Order, ...]:
    """Return what every target is told; nothing is written.

    ``der`` is the certificate, where it is at hand, ``base`` the policy that the denials are
    added to, ``allowed`` the names of the losses that it may have.  Raises ``PolicyError`` for a
    target or a loss that is none.
    """
    for name in sorted(allowed):
        check_loss(name)
    for name in (*only, *without):
        if name not in TARGETS:
            raise PolicyError("target", repr(name[:80]), f"one of {', '.join(TARGETS)}")
    chosen = [target for target in TARGETS if not only or target in only]
    return tuple(
        Order(target=target, state=State.LEFT_OUT) if target in without
        else _order(target, blast, der, base, at, allowed)
        for target in chosen
    )  # fmt: skip


def check_whole(made: Sequence[Order]) -> None:
    """Raise ``LossError`` unless every target can be told: a revocation has no gaps in silence."""
    gaps = [order for order in made if order.state in (State.CANNOT, State.NEEDS_POLICY)]
    if gaps:
        told = "; ".join(f"{order.target}: {order.why}" for order in gaps)
        names = " ".join(f"--without {order.target}" for order in gaps)
        raise LossError("revoke", told, "targets that can be told, or left out by name", hint=names)


def _order(
    target: str,
    blast: Blast,
    der: bytes,
    base: RuleSet | None,
    at: datetime,
    allowed: frozenset[str],
) -> Order:
    alone = None if base is not None and target not in LISTS else ALONE[target]
    by = alone.by or target if alone else target
    kinds = _DIGESTS_OF_IMAGES if target in IMAGES else _DIGESTS_OF_FILES
    tried = tuple(forms(blast, kinds, der))
    if by.replace("-", "_") not in compilers.names():
        return Order(target=target, state=State.ABSENT, why="this version has no compiler for it")
    if not tried and blast.culprit.kind is Kind.DIGEST:
        what = "images" if target in IMAGES else "files"
        return Order(target=target, state=State.OUT_OF_SCOPE, why=f"it decides about {what}")
    if base is None and alone is None:
        return Order(target=target, state=State.NEEDS_POLICY, why="its files replace what is "
                     "there: give the policy it runs (--policy)")  # fmt: skip
    why = ""
    for form in tried:
        try:
            compiled = (
                _with(target, form, base, at) if alone is None else _alone(target, form, alone, at)
            )
        except PolicyError as error:
            why = why or f"found {error.found}, required {error.required}"
            continue
        if lost := _lost_of_denials(compiled):
            why = why or lost
            continue
        if lost := _lost_of_policy(compiled, allowed) if alone is None else "":
            return Order(target=target, state=State.CANNOT, why=lost)
        if compiled.files:
            told = form.told + (_WATCHES if alone is None and _only_watches(base) else "")
            return Order(target=target, state=State.SAID, told=told, files=compiled.files)
    return Order(target=target, state=State.CANNOT, why=why or "nothing names the files for it")


_WATCHES = "; the policy is in mode monitor: it stops nothing"


def _only_watches(base: RuleSet | None) -> bool:
    return base is not None and base.mode is Mode.MONITOR


def _lost_of_denials(compiled: Compiled) -> str:
    """Return what the target cannot say of the denials, or nothing."""
    ours = (loss for loss in compiled.losses if loss.rule.startswith((PREFIX, EVERYTHING)))
    return next((loss.text for loss in ours), "")


def _lost_of_policy(compiled: Compiled, allowed: frozenset[str]) -> str:
    """Return what the target would lose of the policy that the denials are added to."""
    for loss in compiled.losses:
        if loss.name not in allowed and not loss.rule.startswith((PREFIX, EVERYTHING)):
            whose = f"rule {loss.rule}" if loss.rule else "the policy"
            return f"{whose} would be lost: {loss.text} (--allow-loss {loss.name})"
    return ""


def _with(target: str, form: Form, base: RuleSet | None, at: datetime) -> Compiled:
    """Return the policy with the denials."""
    assert base is not None  # noqa: S101 - for the type: `_order` asked
    return _by(target, denying(form, base), at)


def _alone(target: str, form: Form, alone: Alone, at: datetime) -> Compiled:
    """Return the denials alone, and nothing that would change what is there."""
    by = alone.by or target
    rules = replace(denials_alone(form, alone.everything), targets={by: alone.settings})
    made = _by(by, rules, at)
    kept = tuple(file for file in made.files if not alone.parts or file.name in alone.parts)
    return replace(made, files=kept)


def _by(target: str, rules: RuleSet, at: datetime) -> Compiled:
    compiler = compilers.load(target)
    return compiler.compile(in_force(rules, at), settings_for(rules, target, compiler.settings))
