"""Compiling for a target: which losses are let pass, whose settings count, what is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from signward.compilers import Compiled, File, Loss, Towards
from signward.compilers._lossy import Ledger
from signward.errors import LossError, PolicyError
from signward.frozen import replace
from signward.policy.rules.model import Action, PublisherMatch, Rule
from signward.verbs.policies.compiling import MAX_TOLD, compile_for, every_loss, import_from, place
from tests.builders.policies import AT, rule_set

TEAM = PublisherMatch(team_id="EXAMPLE001")


def _rule(name: str, **conditions: Any) -> Rule:
    return Rule(id=name, action=Action.ALLOW, **conditions)


def test_a_loss_must_be_allowed_by_its_name() -> None:
    rules = rule_set(_rule("a", publisher=TEAM), _rule("b", path=("/opt/x",)))
    with pytest.raises(LossError, match="--allow-loss path"):
        compile_for(rules, "santa", AT)
    with pytest.raises(LossError):
        compile_for(rules, "santa", AT, frozenset({"hosts"}))
    compiled = compile_for(rules, "santa", AT, frozenset({"path"}))
    assert [(loss.name, loss.rule) for loss in compiled.losses] == [("path", "b")]
    with pytest.raises(PolicyError, match="pathe"):
        compile_for(rules, "santa", AT, frozenset({"path", "pathe"}))


def test_a_refusal_stays_readable_whatever_is_lost() -> None:
    rules = rule_set(*(_rule(f"r{n}", path=(f"/opt/{n}",)) for n in range(MAX_TOLD + 30)))
    with pytest.raises(LossError, match=f"r{MAX_TOLD - 1}: .*; and 30 more") as refused:
        compile_for(rules, "santa", AT)
    assert f"r{MAX_TOLD}:" not in str(refused.value)


@pytest.mark.parametrize("target", ["santa-osascript", "santa_osascript"])
def test_a_targets_settings_count_however_it_is_written(target: str) -> None:
    rules = replace(rule_set(), targets={"santa-osascript": {"inline": "allow"}})
    assert b"startsWith" in compile_for(rules, target, AT).content("osascript.json")
    wrong = replace(rule_set(), targets={"santa-osascript": {"inline": "perhaps"}})
    with pytest.raises(PolicyError, match=r"targets\.santa-osascript"):
        compile_for(wrong, target, AT)


def test_settings_of_no_target_are_refused() -> None:
    rules = replace(rule_set(), targets={"santa_osascript": {"inline": "allow"}})
    with pytest.raises(PolicyError, match=r"targets\.santa_osascript"):
        compile_for(rules, "santa-osascript", AT)


@pytest.mark.parametrize("target", ["", "../santa", "_santa", "santa.x", "importers"])
def test_what_is_no_target_is_refused(target: str) -> None:
    with pytest.raises(PolicyError, match="target"):
        compile_for(rule_set(), target, AT)
    with pytest.raises(PolicyError, match="target"):
        import_from(target, {})


def test_every_loss_has_help() -> None:
    assert all(every_loss().values())


def test_a_loss_in_both_directions_is_told_twice() -> None:
    """What is stricter must not hide what is looser."""
    ledger = Ledger("target")
    for towards in (Towards.STRICTER, Towards.LOOSER, Towards.LOOSER):
        ledger.lose("path", "a", "text", towards)
    told = ledger.compiled(()).losses
    assert told == tuple(Loss(name="path", rule="a", text="text", towards=t) for t in Towards)


def test_files_are_placed_all_or_none(tmp_path: Path) -> None:
    made = {t: Compiled(files=(File(name="a/b", content=b"x", deploy="there"),)) for t in "xy"}
    place(tmp_path / "out", made)
    assert sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("b")) == [
        "out/x/a/b", "out/y/a/b",
    ]  # fmt: skip
    with pytest.raises(PolicyError, match="something there already"):
        place(tmp_path / "out", made)
    (tmp_path / "file").touch()
    with pytest.raises(PolicyError):
        place(tmp_path / "file" / "out", made)
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "empty")
    (tmp_path / "empty").mkdir()
    with pytest.raises(PolicyError, match="something there already"):
        place(link, made)
    assert not list((tmp_path / "empty").iterdir())
    assert not list(tmp_path.glob(".new-*"))
