"""Compiling a revocation for every enforcer: each gets the widest denial that it can say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum

from signward import compilers
from signward.compilers import Compiled, File
from signward.errors import LossError, PolicyError
from signward.frozen import Frozen
from signward.policy.rules.denials import EVERYTHING, PREFIX, Form, denials_only, denying
from signward.policy.rules.force import in_force
from signward.policy.rules.model import RuleSet
from signward.verbs.policies.compiling import settings_for

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

LISTS = frozenset({"uefi", "driver-blocklist", "kernel-blacklist"})
"""Targets that are lists of denials: what they do not name goes on as before."""


class State(StrEnum):
    """What came of a target."""

    SAID = "said"
    CANNOT = "cannot"
    NEEDS_POLICY = "needs-policy"
    ABSENT = "absent"
    LEFT_OUT = "left-out"


class Order(Frozen, frozen=True, kw_only=True):
    """What one target is told: ``told`` how it names what is revoked, ``why`` what it cannot."""

    target: str
    state: State
    told: str = ""
    why: str = ""
    files: tuple[File, ...] = ()


def orders(
    forms: Iterable[Form],
    base: RuleSet | None,
    at: datetime,
    *,
    only: Sequence[str] = (),
    without: Sequence[str] = (),
) -> tuple[Order, ...]:
    """Return what every target is told; nothing is written.

    ``base`` is the policy that the denials are added to.  Raises ``PolicyError`` for a target
    that is none.
    """
    for name in (*only, *without):
        if name not in TARGETS:
            raise PolicyError("target", repr(name[:80]), f"one of {', '.join(TARGETS)}")
    tried = tuple(forms)
    chosen = [target for target in TARGETS if not only or target in only]
    return tuple(
        Order(target=target, state=State.LEFT_OUT) if target in without
        else _order(target, tried, base, at)
        for target in chosen
    )  # fmt: skip


def check_whole(made: Sequence[Order]) -> None:
    """Raise ``LossError`` unless every target can be told: a revocation has no gaps in silence."""
    gaps = [order for order in made if order.state in (State.CANNOT, State.NEEDS_POLICY)]
    if gaps:
        told = "; ".join(f"{order.target}: {order.why}" for order in gaps)
        names = " ".join(f"--without {order.target}" for order in gaps)
        raise LossError("revoke", told, "targets that can be told, or left out by name", hint=names)


def _order(target: str, forms: Sequence[Form], base: RuleSet | None, at: datetime) -> Order:
    if target.replace("-", "_") not in compilers.names():
        return Order(target=target, state=State.ABSENT, why="this version has no compiler for it")
    why = ""
    for form in forms:
        try:
            compiled = _compiled(target, form, base, at)
        except PolicyError as error:
            why = why or f"found {error.found}, required {error.required}"
            continue
        lost = next((x for x in compiled.losses if x.rule.startswith(PREFIX)), None)
        stopping = next((x for x in compiled.losses if x.rule == EVERYTHING), None)
        if lost is not None:
            why = why or lost.text
        elif stopping is not None:
            return Order(target=target, state=State.NEEDS_POLICY, why="it has no list of denials "
                         f"alone, give the policy it runs (--policy): {stopping.text}")  # fmt: skip
        elif compiled.files:
            return Order(target=target, state=State.SAID, told=form.told, files=compiled.files)
    return Order(target=target, state=State.CANNOT, why=why or "nothing names the files for it")


def _compiled(target: str, form: Form, base: RuleSet | None, at: datetime) -> Compiled:
    compiler = compilers.load(target)
    rules = denials_only(form) if target in LISTS else denying(form, base)
    return compiler.compile(in_force(rules, at), settings_for(rules, target, compiler.settings))
