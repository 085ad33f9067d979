"""Code that does not meet the requirement its own signature designates is rejected."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from signward.findings import Code, Effect
from signward.formats import ParseOptions
from signward.formats.macho import FORMAT
from signward.frozen import replace
from signward.policy.settings import Policy
from signward.state import Outcome, Stage, Verdict
from signward.verbs.stages import nested_findings
from signward.verbs.verify import assess
from signward.wire.requirement import write_requirement
from signward.wire.requirement_text import parse_requirement
from signward.wire.source import BytesSource
from tests.samples.macho import ENTITLEMENTS, INFO, fat, program
from tests.signing import assess_bytes, context, identity, sign_bytes


def _judged(folder: Path, requirement: str, **asked: Any) -> Verdict:
    options = {"requirements": requirement, **asked.pop("options", {})}
    data = sign_bytes("tool", asked.pop("data", program(info=INFO)), options=options)
    return assess_bytes("tool", data, folder, **asked)


@pytest.mark.parametrize(
    "requirement",
    [
        "identifier org.example.informed or never",
        'certificate root[subject.CN] = "Signing Test Root"',
        'certificate leaf[subject.O] = "Conformance" and ! anchor apple generic',
        'info[CFBundleVersion] >= "6" and info[CFBundleVersion] < "10"',
        'entitlement["com.apple.security.app-sandbox"] exists',
        "platform = 0",
    ],
)
def test_what_meets_its_requirement_is_accepted(tmp_path: Path, requirement: str) -> None:
    requirement = requirement.replace("org.example.informed", '"org.example.informed"')
    verdict = _judged(tmp_path, requirement, options={"entitlements": ENTITLEMENTS.decode()})
    assert verdict.outcome is Outcome.ACCEPTED, [str(f) for f in verdict.findings]
    assert Code.REQUIREMENT_FAILED not in {f.code for f in _findings(verdict)}


@pytest.mark.parametrize(
    "requirement",
    [
        "anchor apple generic",
        'identifier "org.example.other"',
        f'certificate leaf = H"{"00" * 20}"',
        'info[CFBundleVersion] > "7"',
        'entitlement["com.apple.security.app-sandbox"] /* exists */',
        f'cdhash H"{"00" * 20}"',
    ],
)
def test_what_does_not_is_rejected(tmp_path: Path, requirement: str) -> None:
    verdict = _judged(tmp_path, requirement)
    assert (verdict.outcome, verdict.cause) == (Outcome.REJECTED, Code.REQUIREMENT_FAILED)
    found = next(f for f in _findings(verdict) if f.code is Code.REQUIREMENT_FAILED)
    assert found.required == requirement


def test_every_slice_is_asked(tmp_path: Path) -> None:
    data = fat((("x86_64", program(info=INFO)), ("i386", program("i386"))))
    verdict = _judged(tmp_path, "info[CFBundleVersion] exists", data=data)
    assert (verdict.outcome, verdict.cause) == (Outcome.REJECTED, Code.REQUIREMENT_FAILED)


def test_what_only_a_mac_knows_is_told(tmp_path: Path) -> None:
    verdict = _judged(tmp_path, "notarized or anchor trusted")
    assert verdict.outcome is Outcome.ACCEPTED
    found = next(f for f in _findings(verdict) if f.code is Code.REQUIREMENT_FAILED)
    assert found.effect is Effect.WARN
    assert "a Mac" in found.hint


@pytest.mark.parametrize(
    ("asked", "effect"),
    [("anchor apple generic", Effect.WARN), ('certificate root[subject.CN] = "x"', Effect.WARN),
     ("certificate 1[field.1.2.840.113635.100.6.2.6] exists", Effect.WARN),
     ('certificate leaf[subject.CN] = "x"', Effect.REJECT),
     ('anchor apple generic and identifier "x"', Effect.REJECT),
     ('certificate leaf[subject.CN] = "Signing Test Publisher"', None)],
)  # fmt: skip
def test_what_stands_above_a_signer_that_is_trusted_by_itself_is_unknown(
    tmp_path: Path, asked: str, effect: Effect | None
) -> None:
    """A path that ends at the developer's own certificate does not say whose root is above."""
    data = sign_bytes("tool", program(), options={"requirements": asked})
    verdict = assess(BytesSource("tool", data), context(tmp_path, identity()))
    found = [f.effect for f in _findings(verdict) if f.code is Code.REQUIREMENT_FAILED]
    assert set(found) == ({effect} - {None})
    assert (verdict.outcome is Outcome.REJECTED) is (effect is Effect.REJECT)


def test_who_signed_is_no_matter_where_only_integrity_is_asked(tmp_path: Path) -> None:
    verdict = _judged(tmp_path, "anchor apple", policy=Policy(stage=Stage.INTACT))
    assert verdict.outcome is Outcome.ACCEPTED


@pytest.mark.parametrize(
    ("asked", "effect"),
    [("anchor trusted", Effect.UNKNOWN), ("notarized", Effect.UNKNOWN),
     ("anchor apple", Effect.REJECT), ('identifier "helper"', None)],
)  # fmt: skip
def test_what_a_list_asks_of_nested_code_is_met_or_not_accepted(
    tmp_path: Path, asked: str, effect: Effect | None
) -> None:
    """Code in a bundle may be somebody else's where nobody here can tell: never accepted."""
    inner = FORMAT.parse(BytesSource("helper", sign_bytes("helper", program())), ParseOptions())
    own = inner.signatures[0].own_requirement
    assert own is not None
    demand = replace(own, requirement=write_requirement(parse_requirement(asked)))
    outer = replace(inner, nested={"helper": inner}, demands={"helper": demand})
    found = [f.effect for f in nested_findings(outer, context(tmp_path))]
    assert found == ([] if effect is None else [effect])


def _findings(verdict: Verdict) -> list[Any]:
    inner = [f for s in verdict.signatures for f in getattr(s, "findings", ())]
    return [*verdict.findings, *inner]
