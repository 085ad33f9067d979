"""fapolicyd 1.1.7 from Debian, with rules and trust that we compiled, in a jail of its own."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from signward.compilers.arbiters.fapolicyd import ARBITER
from signward.compilers.fapolicyd import COMPILER, Settings
from signward.policy.rules.model import Action, Mode, Rule, RuleSet
from signward.policy.rules.subject import Subject
from tests.builders import jail
from tests.builders.policies import rule_set

pytestmark = pytest.mark.interop

PROGRAMS = {
    "/opt/good": "/bin/true",
    "/opt/vendor/bad": "/bin/echo",
    "/opt/vendor/fine": "/bin/uname",
    "/opt/audited": "/bin/pwd",
    "/opt/trusted": "/bin/date",
    "/opt/changed": "/bin/id",
    "/opt/unknown": "/bin/cat",
    "/bin/sh": "/bin/dash",
    "/opt/vendor/run.sh": "#!/bin/sh\necho ran\n",
    "/opt/stray.sh": "#!/bin/sh\necho ran\n",
}
RUNS = {
    **{place: [place] for place in PROGRAMS if place not in {"/bin/sh", "/opt/unknown"}},
    "/opt/unknown": ["/opt/unknown", "/proc/mounts"],
    "/bin/sh": ["/bin/sh", "-c", "exit 0"],
}
LOADER = "/lib64/ld-linux-x86-64.so.2"


@pytest.fixture(autouse=True)
def _able() -> None:
    jail.require()


def content(place: str) -> bytes:
    source = PROGRAMS[place]
    return source.encode() if source.startswith("#!") else Path(source).resolve().read_bytes()


def digest_of(data: bytes) -> str:
    return f"file:sha256:{hashlib.sha256(data).hexdigest()}"


def allow(name: str, **words: Any) -> Rule:
    return Rule(id=name, action=Action.ALLOW, **words)


def foundation() -> tuple[Rule, ...]:
    """The loader by its digest, libraries by their place."""
    loader = digest_of(Path(LOADER).resolve().read_bytes())
    return (
        allow("loader", path=(LOADER,), digest=(loader,)),
        allow("libraries", path=("/lib/**", "/usr/lib/**")),
    )


def policy(mode: Mode = Mode.ENFORCE) -> RuleSet:
    return rule_set(
        *foundation(),
        allow("shell", digest=(digest_of(content("/bin/sh")),), kind=("executable",)),
        allow("good", digest=(digest_of(content("/opt/good")),)),
        allow("vendor", path=("/opt/vendor/**",), note="they deliver there: sh -c 'x' #"),
        Rule(id="bad", action=Action.DENY, digest=(digest_of(content("/opt/vendor/bad")),)),
        Rule(id="audited", action=Action.AUDIT, path=("/opt/audited",)),
        allow("trusted", path=("/opt/trusted",), digest=(digest_of(content("/opt/trusted")),)),
        allow("changed", path=("/opt/changed",), digest=(digest_of(content("/opt/trusted")),)),
        mode=mode,
    )


def answers(folder: Path, rules: RuleSet, **settings: Any) -> dict[str, bool]:
    """Return what the real daemon let run, having checked that the arbiter says the same."""
    sizes = {digest_of(content(p)).rpartition(":")[2]: len(content(p)) for p in PROGRAMS}
    made = COMPILER.compile(rules, Settings(sizes=sizes, watch_fs=("tmpfs",), **settings))
    assert not made.losses
    files = {file.name: file.content for file in made.files}
    told = jail.run_in_jail(folder, files, PROGRAMS, [*RUNS.values()])
    assert told["ready"], told["log"]
    real = {place: run["ran"] for place, run in zip(RUNS, told["runs"], strict=True)}
    assert real == {place: ARBITER.judge(files, subject(place)) for place in RUNS}, told["log"]
    return real


def subject(place: str) -> Subject:
    script = place.endswith(".sh")
    return Subject(
        path=place,
        kind="shell" if script else "elf",
        file_class="script" if script else "executable",
        digests=frozenset({digest_of(content(place))}),
    )


def test_the_daemon_stops_what_no_rule_lets_in(tmp_path: Path) -> None:
    real = answers(tmp_path, policy())
    assert {place for place, ran in real.items() if not ran} == {
        "/opt/vendor/bad", "/opt/changed", "/opt/unknown", "/opt/stray.sh",
    }  # fmt: skip


def test_in_monitor_mode_it_stops_nothing(tmp_path: Path) -> None:
    assert all(answers(tmp_path, policy(Mode.MONITOR)).values())


def test_without_a_rule_for_them_nothing_starts(tmp_path: Path) -> None:
    assert not any(answers(tmp_path, rule_set()).values())


def test_kinds_and_denied_places(tmp_path: Path) -> None:
    rules = rule_set(
        *foundation(),
        allow("programs", path=("/opt/**", "/bin/**"), kind=("executable",)),
        allow("scripts", path=("/opt/vendor/**",), kind=("shell",)),
        Rule(id="no", action=Action.DENY, path=("/opt/vendor/fine", "/opt/good")),
    )
    real = answers(tmp_path, rules)
    assert {place for place, ran in real.items() if not ran} == {
        "/opt/vendor/fine", "/opt/good", "/opt/stray.sh",
    }  # fmt: skip


def test_programs_given_to_the_loader_can_be_stopped(tmp_path: Path) -> None:
    rules = rule_set(*foundation(), allow("good", path=("/opt/good",)))
    made = COMPILER.compile(rules, Settings(watch_fs=("tmpfs",), ld_so="open"))
    runs = [[LOADER, "/opt/good"], [LOADER, "/opt/unknown", "/proc/mounts"]]
    told = jail.run_in_jail(tmp_path, {f.name: f.content for f in made.files}, PROGRAMS, runs)
    assert [run["ran"] for run in told["runs"]] == [True, False]


def test_a_rule_file_that_has_no_opinion_lets_run(tmp_path: Path) -> None:
    """What the arbiter takes for granted of rules that end without a word."""
    empty = {"rules.d/05-x.rules": b"deny_audit perm=any all : path=/opt/good\n"}
    made = COMPILER.compile(rule_set(), Settings(watch_fs=("tmpfs",)))
    conf = {"fapolicyd.conf": made.content("fapolicyd.conf")}
    runs = [["/opt/good"], ["/opt/vendor/fine"]]
    told = jail.run_in_jail(tmp_path, {**empty, **conf}, PROGRAMS, runs)
    assert [run["ran"] for run in told["runs"]] == [False, True]
    assert ARBITER.judge(empty, subject("/opt/good")) is False
    assert ARBITER.judge(empty, subject("/opt/vendor/fine")) is True
