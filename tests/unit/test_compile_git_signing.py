"""Git's lists of keys, held against git and ssh-keygen; how the script calls gitsign."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from signward.compilers import Compiled, Towards
from signward.compilers.git_signing import COMPILER, GitSettings
from signward.errors import PolicyError
from signward.frozen import replace
from signward.policy.rules.force import in_force
from signward.policy.rules.material import material
from signward.policy.rules.model import (
    Action,
    IdentityMatch,
    Mode,
    PublisherMatch,
    Rule,
    RuleSet,
    SignersMatch,
    Waiver,
)
from tests.builders.policies import AT, rule_set

ALICE = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQ a " b\n'
CI = IdentityMatch(identity="https://git\\.example/o'neil/.*", issuer="https://issuer\\.example")


def _rules(*rules: Rule, keys: dict[str, bytes] | None = None, **given: Any) -> RuleSet:
    read = {
        name: material(name, data) for name, data in (keys or {"alice": ALICE.encode()}).items()
    }
    base = rule_set(*rules, **given)
    return replace(base, keys={**base.keys, **read})


def _key(name: str, key: str, action: Action = Action.ALLOW) -> Rule:
    return Rule(id=name, action=action, kind=("source",), publisher=PublisherMatch(key=key))


def _compile(rules: RuleSet, **given: Any) -> Compiled:
    return COMPILER.compile(rules, msgspec.convert(given, GitSettings))


def test_a_key_is_listed_without_its_comment() -> None:
    compiled = _compile(_rules(_key("a", "alice")), principals={"alice": ["a@example.org", "*@b"]})
    assert compiled.losses == ()
    key = ALICE.split()[1]
    assert compiled.content("allowed_signers").decode() == (
        f'a@example.org,*@b namespaces="git" ssh-ed25519 {key} alice\n'
    )
    assert compiled.content("revoked_keys") == b""


def test_an_exception_ends() -> None:
    waiver = Waiver(id="late", owner="o", reason="r", expires=AT + timedelta(days=1),
                    publisher=PublisherMatch(key="alice"))  # fmt: skip
    compiled = _compile(in_force(replace(_rules(), waivers=(waiver,)), AT))
    assert b'* namespaces="git",valid-before="20261124120000Z" ' in compiled.content(
        "allowed_signers"
    )
    assert [(x.name, x.rule, x.towards) for x in compiled.losses] == [
        ("expiry", "late", Towards.LOOSER)
    ]


@pytest.mark.parametrize(
    ("name", "conditions"),
    [
        ("key", {"publisher": PublisherMatch(key="first-leaf")}),
        ("publisher", {"publisher": PublisherMatch(organization="x")}),
        ("publisher", {"publisher": PublisherMatch(key="alice", organization="x")}),
        ("publisher", {"publisher": PublisherMatch(key="alice"), "identity": CI}),
        ("signers", {"signers": SignersMatch(least=2, of=(
            PublisherMatch(key="alice"), PublisherMatch(key="first-leaf")))}),
        ("path", {"path": ("/x",)}),
        ("kind", {"kind": ("source",)}),
        ("kind", {"kind": ("git-tag",), "publisher": PublisherMatch(key="alice")}),
        ("hosts", {"hosts": ("ci",), "publisher": PublisherMatch(key="alice")}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("action", [Action.ALLOW, Action.DENY])
def test_what_git_cannot_say_is_left_out(
    name: str, conditions: dict[str, Any], action: Action
) -> None:
    compiled = _compile(_rules(Rule(id="x", action=action, **conditions)))
    towards = Towards.LOOSER if action is Action.DENY else Towards.STRICTER
    assert [(x.name, x.rule, x.towards) for x in compiled.losses] == [(name, "x", towards)]
    assert compiled.content("allowed_signers") == compiled.content("revoked_keys") == b""


def test_identities_that_are_denied_are_lost_where_others_are_allowed() -> None:
    denied = Rule(id="d", action=Action.DENY, identity=CI)
    assert _compile(_rules(denied)).losses == ()
    both = _compile(_rules(denied, Rule(id="a", action=Action.ALLOW, identity=CI)))
    assert [(x.name, x.rule, x.towards) for x in both.losses] == [("identity", "d", Towards.LOOSER)]


def test_watching_audits_and_spares_are_lost() -> None:
    waiver = Waiver(id="w", owner="o", reason="r", expires=AT + timedelta(days=1), spares=("d",),
                    kind=("git-tag",))  # fmt: skip
    rules = _rules(_key("a", "alice", Action.AUDIT), _key("d", "alice", Action.DENY),
                   mode=Mode.MONITOR)  # fmt: skip
    compiled = _compile(in_force(replace(rules, waivers=(waiver,)), AT))
    assert [(loss.name, loss.rule) for loss in compiled.losses] == [
        ("monitor", ""), ("expiry", "w"), ("audit", "a"), ("exception", "w"),
    ]  # fmt: skip


def test_principals_of_no_key_are_refused() -> None:
    with pytest.raises(PolicyError, match="bob"):
        _compile(_rules(), principals={"bob": ["*"]})
    with pytest.raises(msgspec.ValidationError):
        _compile(_rules(), principals={"alice": ['x" cert-authority']})


# --- git and ssh-keygen themselves ------------------------------------------------------------


class _Bench:
    """A repository, keys, and the compiled files where the configuration says they are."""

    def __init__(self, folder: Path) -> None:
        for tool in ("git", "ssh-keygen"):
            if shutil.which(tool) is None:
                pytest.skip(f"{tool} is not installed")
        self.folder = folder
        self.place = folder / "etc"
        self.environment = {
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "HOME": str(folder),
            "GIT_CONFIG_NOSYSTEM": "1", "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.org",
            "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@example.org",
        }  # fmt: skip
        self.run("git", "init", "-q", str(folder / "repository"), where=folder)

    def run(
        self,
        *command: str,
        where: Path | None = None,
        check: bool = True,
        more: dict[str, str] | None = None,
    ) -> int:
        done = subprocess.run(
            command, cwd=where or self.folder / "repository", env=self.environment | (more or {}),
            capture_output=True, check=False, timeout=60, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stderr.decode()
        return done.returncode

    def key(self, name: str) -> bytes:
        path = self.folder / name
        self.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path))
        return path.with_suffix(".pub").read_bytes()

    def commit(self, by: str = "", *, tag: str = "", when: str = "") -> str:
        signing: Sequence[str] = ()
        if by:
            signing = ("-c", "gpg.format=ssh", "-c", f"user.signingKey={self.folder / by}.pub")
        dates = {"GIT_COMMITTER_DATE": when, "GIT_AUTHOR_DATE": when} if when else {}
        command = ("git", *signing, "commit", "-q", "--allow-empty", "-m",
                   "-----BEGIN SSH SIGNATURE-----", *(("-S",) if by else ()))  # fmt: skip
        self.run(*command, more=dates)
        if tag:
            self.run("git", *signing, "tag", "-s", "-m", "tag", tag)
        return tag or "HEAD"

    def put(self, rules: RuleSet) -> None:
        compiled = _compile(rules, directory=str(self.place))
        self.place.mkdir(exist_ok=True)
        for file in compiled.files:
            (self.place / file.name).write_bytes(file.content)

    def git_takes(self, name: str) -> bool:
        include = f"include.path={self.place / 'gitconfig'}"
        return self.run("git", "-c", include, "verify-commit", name, check=False) == 0

    def script_takes(self, *names: str) -> bool:
        return self.run("sh", str(self.place / "verify-source"), *names, check=False) == 0


@pytest.fixture
def bench(tmp_path: Path) -> _Bench:
    return _Bench(tmp_path)


@pytest.mark.interop
def test_git_takes_who_is_allowed_and_nobody_else(bench: _Bench) -> None:
    keys = {name: bench.key(name) for name in ("alice", "bob", "eve")}
    bench.put(
        _rules(_key("a", "alice"), _key("b", "bob"), _key("d", "bob", Action.DENY), keys=keys)
    )
    assert not bench.git_takes(bench.commit())
    assert not bench.git_takes(bench.commit("eve"))
    assert not bench.git_takes(bench.commit("bob"))
    assert bench.git_takes(bench.commit("alice"))
    assert bench.script_takes("HEAD")
    assert not bench.script_takes("HEAD", "HEAD~1")
    assert not bench.script_takes("HEAD^{tree}")
    assert not bench.script_takes("--help")
    assert not bench.script_takes()


@pytest.mark.interop
def test_tags_are_verified_too(bench: _Bench) -> None:
    keys = {name: bench.key(name) for name in ("alice", "eve")}
    bench.put(_rules(_key("a", "alice"), keys=keys))
    assert bench.script_takes(bench.commit("alice", tag="v1"))
    assert not bench.script_takes(bench.commit("eve", tag="v2"))


@pytest.mark.interop
def test_a_key_of_an_exception_is_good_until_it_ends(bench: _Bench) -> None:
    keys = {"alice": bench.key("alice")}
    waiver = Waiver(id="late", owner="o", reason="r", expires=datetime(2026, 12, 1, tzinfo=UTC),
                    publisher=PublisherMatch(key="alice"))  # fmt: skip
    bench.put(in_force(replace(_rules(keys=keys), waivers=(waiver,)), AT))
    assert bench.git_takes(bench.commit("alice", when="2026-11-30T23:59:00Z"))
    assert not bench.git_takes(bench.commit("alice", when="2026-12-01T00:01:00Z"))


@pytest.mark.interop
def test_ssh_keygen_takes_no_other_namespace(bench: _Bench) -> None:
    keys = {"alice": bench.key("alice")}
    bench.put(_rules(_key("a", "alice"), keys=keys))
    text = bench.folder / "text"
    for namespace, wanted in (("git", True), ("file", False)):
        text.write_text("x")
        bench.run("ssh-keygen", "-q", "-Y", "sign", "-f", str(bench.folder / "alice"),
                  "-n", namespace, str(text))  # fmt: skip
        command = (
            f"ssh-keygen -Y verify -f {bench.place}/allowed_signers -I a@example.org "
            f"-n {namespace} -s {text}.sig -r {bench.place}/revoked_keys < {text}"
        )
        assert (bench.run("sh", "-c", command, check=False) == 0) is wanted
        text.with_suffix(".sig").unlink()


GITSIGN = """#!/bin/sh
# Stands in for gitsign: says what it was asked, and knows one identity.
printf '%s\\n' "$@" > "$HOME/asked"
[ "$2" = '--certificate-identity-regexp=^(?:https://git\\.example/o'"'"'neil/.*)$' ]
"""


def test_identities_are_asked_of_gitsign(bench: _Bench) -> None:
    """Only how it is called: the program here is a stand-in."""
    program = bench.folder / "bin" / "gitsign"
    program.parent.mkdir()
    program.write_text(GITSIGN)
    program.chmod(0o755)
    bench.commit()
    other = IdentityMatch(identity="$(touch pwned)", issuer="`touch pwned`")
    bench.put(_rules(Rule(id="other", action=Action.ALLOW, identity=other)))
    assert not bench.script_takes("HEAD")
    assert not (bench.folder / "repository" / "pwned").exists()
    bench.put(_rules(Rule(id="ci", action=Action.ALLOW, identity=CI)))
    assert bench.script_takes("HEAD")
    asked = (bench.folder / "asked").read_text().splitlines()
    assert asked[0] == "verify"
    assert asked[2] == "--certificate-oidc-issuer-regexp=^(?:https://issuer\\.example)$"
    assert asked[3] == "--"
    assert len(asked[4]) == 40
    assert not bench.git_takes("HEAD")


@pytest.mark.interop
def test_a_tag_is_the_one_that_gitsign_finds(bench: _Bench) -> None:
    """gitsign would verify refs/tags/tags/v1 where git takes refs/tags/v1."""
    program = bench.folder / "bin" / "gitsign"
    program.parent.mkdir()
    program.write_text(GITSIGN)
    program.chmod(0o755)
    bench.put(_rules(Rule(id="ci", action=Action.ALLOW, identity=CI)))
    bench.commit()
    bench.run("git", "tag", "-a", "-m", "tag", "v1")
    assert bench.script_takes("v1")
    assert not bench.script_takes("tags/v1")
    bench.run("git", "tag", "-a", "-m", "another", "tags/v1")
    assert not bench.script_takes("tags/v1")
