"""The rule for osascript, evaluated by Google's CEL runtime."""

from __future__ import annotations

import json
import plistlib
from datetime import timedelta
from typing import Any

import pytest

from signward.compilers import Compiled, Towards
from signward.compilers.santa_osascript import COMPILER, MAX_PATTERNS, OsascriptSettings
from signward.policy.rules.model import Action, Mode, PublisherMatch, Rule, RuleSet, Waiver
from tests.builders.cel import runs
from tests.builders.policies import AT, rule_set
from tests.schemas import schemas

PLACES = Rule(id="places", action=Action.ALLOW, kind=("script",),
              path=("/Library/Acme/**", '/opt/a "b"/*.scpt', "/opt/ü.(js)"))  # fmt: skip
OLD = Rule(id="old", action=Action.DENY, path=("/Library/Acme/old/*",))


def _compile(*rules: Rule, **given: Any) -> Compiled:
    return COMPILER.compile(rule_set(*rules), OsascriptSettings(**given))


def _expression(compiled: Compiled) -> str:
    (rule,) = plistlib.loads(compiled.content("osascript.plist"))
    (synced,) = json.loads(compiled.content("osascript.json"))["rules"]
    assert synced == {key: value for key, value in rule.items() if key != "comment"}
    assert (rule["rule_type"], rule["policy"]) == ("SIGNINGID", "CEL")
    assert rule["identifier"] == "platform:com.apple.osascript"
    return str(rule["cel_expr"])


def _runs(compiled: Compiled, *args: str) -> bool:
    return runs(_expression(compiled), args=("osascript", *args))


@pytest.mark.interop
@pytest.mark.parametrize(
    ("args", "lets_run"),
    [
        (("/Library/Acme/a.scpt",), True),
        (("/Library/Acme/deep/er/a.scpt", "-e", "argument"), True),
        (("-l", "JavaScript", "/Library/Acme/a.js"), True),
        (('/opt/a "b"/x.scpt',), True),
        ((), False),
        (("-",), False),
        (("-i",), False),
        (("-e", "beep"), False),
        (("-ebeep",), False),
        (("-e", "beep", "/Library/Acme/a.scpt"), False),
        (("-l", "JavaScript", "-e", "beep"), False),
        (("-l", "/Library/Acme/a.scpt"), False),
        (("-s", "h", "/Library/Acme/a.scpt"), False),
        (("-l", "x", "-e", "/Library/Acme/a.scpt"), False),
        (("/Library/Acme/old/a.scpt",), False),
        (("/Library/Acme/older/a.scpt",), True),
        (("/Library/Acme//old/a.scpt",), False),
        (("//Library/Acme/a.scpt",), False),
        (("/Library/Acme/OLD/a.scpt",), False),
        (("/Library/Acme/o\u017fd/a.scpt",), False),
        (("/Library/Acme/ü.scpt",), False),
        (("/Library/Acme/../../tmp/a.scpt",), False),
        (("/Library/Acme/x/./old/a.scpt",), False),
        (("/Library/Acme/x/..",), False),
        (("/Library/Acme/..x",), True),
        (("Library/Acme/a.scpt",), False),
        (("/tmp/Library/Acme/a.scpt",), False),
        (('/opt/a "b"/x/y.scpt',), False),
        (("/opt/ü.js",), False),
        (("/opt/üx(js)",), False),
        (("/tmp/x\n/Library/Acme/a.scpt",), False),
    ],
)
def test_files_in_known_places_run(args: tuple[str, ...], lets_run: bool) -> None:
    compiled = _compile(PLACES, OLD)
    assert [(x.name, x.towards) for x in compiled.losses] == [("spelling", Towards.STRICTER)]
    assert _runs(compiled, *args) is lets_run


@pytest.mark.interop
def test_paths_beyond_ascii_run_where_none_is_denied() -> None:
    compiled = _compile(PLACES)
    assert compiled.losses == ()
    assert _runs(compiled, "/opt/ü.(js)")
    assert not _runs(compiled, "/opt/Ü.(js)")
    assert not _runs(compiled, "/Library/Acme//a.scpt")


@pytest.mark.interop
@pytest.mark.parametrize(
    ("inline", "text", "lets_run"),
    [
        ("block", "beep", False),
        ("allow", 'display dialog "Password" with hidden answer', True),
        ("no-password-dialogs", "beep", True),
        ("no-password-dialogs", 'display dialog "Done"', True),
        ("no-password-dialogs", 'Display  Dialog "Your passphrase"', False),
        ("no-password-dialogs", 'display dialog "x" with hidden  answer', False),
    ],
)
def test_text_runs_as_settings_say(inline: str, text: str, lets_run: bool) -> None:
    compiled = _compile(PLACES, inline=inline)
    assert _runs(compiled, "-e", text) is lets_run
    assert _runs(compiled, f"-e{text}") is lets_run
    assert _runs(compiled, "-l", "AppleScript", "-e", text) is lets_run
    assert _runs(compiled, "-i") is False


@pytest.mark.interop
def test_a_dialog_may_be_spread_over_arguments() -> None:
    compiled = _compile(inline="no-password-dialogs")
    assert not _runs(compiled, "-e", "display dialog t", "-e", 'set t to "Password"')


@pytest.mark.interop
def test_an_empty_policy_lets_nothing_run() -> None:
    compiled = _compile()
    assert compiled.losses == ()
    assert not _runs(compiled, "/Library/Acme/a.scpt")


@pytest.mark.interop
def test_a_rule_by_kind_is_for_every_file() -> None:
    compiled = _compile(Rule(id="all", action=Action.ALLOW, kind=("applescript",)))
    assert _runs(compiled, "/tmp/x")
    assert not _runs(compiled, "-e", "beep")
    for device in ("/dev/stdin", "/dev/fd/3", "/DEV/stdin"):
        assert not _runs(compiled, device)


def test_what_santa_does_not_see_is_lost() -> None:
    compiled = _compile(
        Rule(id="signed", action=Action.ALLOW, publisher=PublisherMatch(organization="Example")),
        Rule(id="bad", action=Action.DENY, digest=("file:sha256:" + "aa" * 32,)),
        Rule(id="windows", action=Action.ALLOW, path=(r"C:\Scripts\*",)),
        Rule(id="relative", action=Action.ALLOW, path=("**/x",)),
        Rule(id="lines", action=Action.DENY, path=("/a\nb",)),
        Rule(id="shell", action=Action.ALLOW, kind=("shell",), path=("/opt/**",)),
        Rule(id="audit", action=Action.AUDIT, path=("/opt/**",)),
    )
    assert [(x.name, x.rule, x.towards) for x in compiled.losses] == [
        ("publisher", "signed", Towards.STRICTER),
        ("digest", "bad", Towards.LOOSER),
        ("path", "windows", Towards.STRICTER),
        ("path", "relative", Towards.STRICTER),
        ("path", "lines", Towards.LOOSER),
        ("audit", "audit", Towards.LOOSER),
    ]
    assert compiled.skipped == ("shell",)


def test_too_many_paths_are_lost() -> None:
    rules = [Rule(id=f"r{n}", action=Action.ALLOW, path=(f"/opt/{n}",))
             for n in range(MAX_PATTERNS + 1)]  # fmt: skip
    assert [loss.rule for loss in _compile(*rules).losses] == [f"r{MAX_PATTERNS}"]


def test_exceptions_and_watching_are_lost() -> None:
    waiver = Waiver(id="spare", owner="o", reason="r", expires=AT + timedelta(days=1),
                    spares=("old",), path=("/Library/Acme/old/x",))  # fmt: skip
    base = rule_set(PLACES, OLD, mode=Mode.MONITOR)
    rules = RuleSet(**{f: getattr(base, f) for f in base.__struct_fields__}
                    | {"waivers": (waiver,), "spared": {"old": (waiver,)}})  # fmt: skip
    compiled = COMPILER.compile(rules, OsascriptSettings())
    assert [(loss.name, loss.rule) for loss in compiled.losses] == [
        ("expiry", "spare"), ("monitor", ""), ("exception", "spare"), ("spelling", ""),
    ]  # fmt: skip


def test_the_expression_names_what_santa_knows() -> None:
    text = (schemas() / "santa" / "cel_v1.proto").read_text()
    assert "repeated string args = 2;" in text
    assert "args" in _expression(_compile(PLACES))
    assert "target" not in _expression(_compile(PLACES))
