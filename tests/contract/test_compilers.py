"""The contract every compiler keeps: deterministic, honest about losses, read back, agreed with.

A new compiler is picked up by its file in ``compilers/``; an importer and an arbiter by theirs.
"""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import PurePosixPath
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from signward import compilers
from signward.compilers import (
    Arbiter,
    Compiled,
    Compiler,
    Importer,
    Towards,
    arbiters,
    importers,
    in_scope,
)
from signward.policy.rules.decide import decide
from signward.policy.rules.index import Index
from signward.policy.rules.model import RuleSet
from signward.policy.rules.subject import Subject
from signward.state import Outcome
from tests.builders.policies import AT, rule_set, rule_sets, subjects

TARGETS = compilers.names()
OTHER_FORM = frozenset({"kyverno"})
"""Importers of an older form than their compiler writes."""

OFTEN = settings(
    max_examples=60, deadline=None, suppress_health_check=(HealthCheck.too_slow,), derandomize=True
)


def _with(folder: Any) -> tuple[str, ...]:
    return tuple(
        m.name for m in pkgutil.iter_modules(folder.__path__) if not m.name.startswith("_")
    )


def _compiled(compiler: Compiler, rules: RuleSet) -> Compiled:
    return compiler.compile(rules, compiler.settings())


def _allowed(rules: RuleSet, subject: Subject) -> bool:
    return decide(Index(rules), subject, AT).outcome is Outcome.ACCEPTED


@pytest.fixture(params=TARGETS)
def compiler(request: pytest.FixtureRequest) -> Compiler:
    return compilers.load(request.param)


def test_a_compiler_says_what_it_is(compiler: Compiler) -> None:
    assert compiler.target.replace("-", "_") in TARGETS
    assert compiler.title
    assert compiler.spec
    assert compiler.checked[0] in {"executed", "parsed", "schema"}
    assert compiler.checked[1]
    assert all(compiler.losses.values())


@pytest.mark.parametrize("target", TARGETS)
@OFTEN
@given(rules=rule_sets())
def test_what_is_lost_is_named(target: str, rules: RuleSet) -> None:
    compiler = compilers.load(target)
    compiled = _compiled(compiler, rules)
    known = {rule.id: rule for rule in rules.rules}
    assert {loss.name for loss in compiled.losses} <= set(compiler.losses)
    assert {loss.rule for loss in compiled.losses} <= {"", *known}
    for name in compiled.skipped:
        assert not in_scope(known[name], compiler.governs)
    assert _compiled(compiler, rules) == compiled


@pytest.mark.parametrize("target", TARGETS)
@OFTEN
@given(rules=rule_sets())
def test_files_stay_in_their_folder(target: str, rules: RuleSet) -> None:
    compiled = _compiled(compilers.load(target), rules)
    names = [PurePosixPath(file.name) for file in compiled.files]
    assert len(set(names)) == len(names)
    for name in names:
        assert not name.is_absolute()
        assert ".." not in name.parts
    assert all(file.deploy for file in compiled.files)


def test_an_empty_policy_compiles(compiler: Compiler) -> None:
    compiled = _compiled(compiler, rule_set())
    assert not [loss for loss in compiled.losses if loss.rule]


def test_settings_it_does_not_know_are_refused(compiler: Compiler) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"no-such-setting": 1}, compiler.settings)


def _arbiter(target: str) -> Arbiter:
    arbiter: Arbiter = importlib.import_module(f"{arbiters.__name__}.{target}").ARBITER
    return arbiter


def _expressible(compiler: Compiler, rules: RuleSet) -> RuleSet:
    """Return the rule set without the rules that the target cannot say or governs nothing of."""
    while True:
        compiled = _compiled(compiler, rules)
        gone = {loss.rule for loss in compiled.losses} | set(compiled.skipped)
        kept = tuple(rule for rule in rules.rules if rule.id not in gone)
        if len(kept) == len(rules.rules):
            return rules
        rules = msgspec.structs.replace(rules, rules=kept)


@pytest.mark.parametrize("target", _with(arbiters))
@settings(OFTEN, max_examples=300)
@given(data=st.data(), rules=rule_sets())
def test_the_target_would_decide_as_we_do(target: str, data: st.DataObject, rules: RuleSet) -> None:
    """Lost rules excuse a difference only in the direction they name."""
    compiler = compilers.load(target)
    subject = data.draw(subjects(compiler.governs))
    compiled = _compiled(compiler, rules)
    answer = _arbiter(target).judge({f.name: f.content for f in compiled.files}, subject)
    assert answer is not None
    towards = {loss.towards for loss in compiled.losses}
    allowed = _allowed(rules, subject)
    if answer and not allowed:
        assert Towards.LOOSER in towards
    if allowed and not answer:
        assert Towards.STRICTER in towards


@pytest.mark.parametrize("target", _with(arbiters))
@settings(OFTEN, max_examples=300)
@given(data=st.data(), rules=rule_sets())
def test_where_nothing_is_lost_it_agrees(target: str, data: st.DataObject, rules: RuleSet) -> None:
    compiler = compilers.load(target)
    rules = _expressible(compiler, rules)
    compiled = _compiled(compiler, rules)
    files = {f.name: f.content for f in compiled.files}
    for _ in range(4):
        subject = data.draw(subjects(compiler.governs))
        if not compiled.losses:
            assert _arbiter(target).judge(files, subject) == _allowed(rules, subject)


@pytest.mark.parametrize("target", sorted(set(_with(importers)) & set(TARGETS)))
@settings(OFTEN, max_examples=200)
@given(data=st.data(), rules=rule_sets())
def test_what_was_compiled_is_read_back(target: str, data: st.DataObject, rules: RuleSet) -> None:
    compiler = compilers.load(target)
    importer: Importer = importlib.import_module(f"{importers.__name__}.{target}").IMPORTER
    rules = _expressible(compiler, rules)
    compiled = _compiled(compiler, rules)
    if compiled.losses:
        return
    again = importer.read({f.name: f.content for f in compiled.files})
    for _ in range(4):
        subject = data.draw(subjects(compiler.governs))
        assert _allowed(again, subject) == _allowed(rules, subject)
    assert _compiled(compiler, again).losses == ()
