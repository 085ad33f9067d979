"""IMA, IPE, verity and the kernel's blacklist: what is written, by the kernel's own grammars."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

import msgspec
import pytest

from signward.compilers import Compiled, Compiler, ima, ipe, kernel_blacklist, verity
from signward.frozen import replace
from signward.policy.rules.material import material
from signward.policy.rules.model import (
    Action,
    Mode,
    PublisherMatch,
    Requirements,
    Rule,
    RuleSet,
    Waiver,
)
from tests.builders.policies import AT, digest, pem, publishers, rule_set, tbs_of

FIRST, SECOND = publishers()
KEYRING = (ima.COMPILER, ipe.COMPILER, verity.COMPILER)
OWN = Rule(id="own", action=Action.ALLOW, publisher=PublisherMatch(key="first-leaf"))


def compiled(compiler: Compiler, rules: RuleSet, **settings: object) -> Compiled:
    return compiler.compile(rules, msgspec.convert(settings, compiler.settings))


def lost(made: Compiled) -> set[tuple[str, str]]:
    return {(loss.name, str(loss.towards)) for loss in made.losses if loss.name != "reject"}


def rule(action: Action = Action.ALLOW, **words: Any) -> Rule:
    return Rule(id="r", action=action, **words)


# What the kernel's Documentation/ABI/testing/ima_policy allows in the lines we write.
IMA_LINE = re.compile(
    r"dont_appraise fsmagic=0x[0-9a-f]{1,8}"
    r"|appraise func=(BPRM_CHECK|MMAP_CHECK mask=MAY_EXEC|MODULE_CHECK|FIRMWARE_CHECK|POLICY_CHECK"
    r"|KEXEC_KERNEL_CHECK|KEXEC_INITRAMFS_CHECK)"
    r" appraise_type=(imasig|imasig\|modsig( appraise_flag=check_blacklist)?)"
    r"( appraise_algos=sha(256|384|512)(,sha(384|512))*)?"
)


def ima_lines(made: Compiled) -> list[str]:
    text = made.content("ima-policy").decode("ascii")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert all(IMA_LINE.fullmatch(line) for line in lines), lines
    return [line for line in lines if line.startswith("appraise ")]


def test_ima_appraises_what_it_governs() -> None:
    made = compiled(ima.COMPILER, rule_set(OWN))
    assert lost(made) == set()
    algorithms = " appraise_algos=sha256,sha384,sha512"
    assert ima_lines(made) == [
        "appraise func=BPRM_CHECK appraise_type=imasig" + algorithms,
        "appraise func=MMAP_CHECK mask=MAY_EXEC appraise_type=imasig" + algorithms,
        "appraise func=MODULE_CHECK appraise_type=imasig|modsig appraise_flag=check_blacklist"
        + algorithms,
        "appraise func=KEXEC_KERNEL_CHECK appraise_type=imasig|modsig"
        " appraise_flag=check_blacklist" + algorithms,
        "appraise func=POLICY_CHECK appraise_type=imasig" + algorithms,
    ]
    assert material("x", made.content("keys/first-leaf.der")).der == made.content(
        "keys/first-leaf.der"
    )
    assert made.content("cmdline") == b"ima_appraise=enforce\n"


def test_ima_asks_for_the_digest_the_policy_asks_for() -> None:
    rules = rule_set(OWN, requirements=Requirements(minimum_digest="sha384"))
    made = compiled(ima.COMPILER, rules)
    assert all(line.endswith(" appraise_algos=sha384,sha512") for line in ima_lines(made))
    assert lost(made) == set()
    old = compiled(ima.COMPILER, rules, kernel="5.4")
    assert lost(old) == {("requirement-algorithm", "looser")}
    assert not any("appraise_algos" in line for line in ima_lines(old))


def test_ima_without_appended_signatures() -> None:
    made = compiled(ima.COMPILER, rule_set(), modsig=False, also=["initramfs", "firmware"],
                    kernel="5.4")  # fmt: skip
    assert ima_lines(made)[2:] == [
        "appraise func=MODULE_CHECK appraise_type=imasig",
        "appraise func=KEXEC_INITRAMFS_CHECK appraise_type=imasig",
        "appraise func=FIRMWARE_CHECK appraise_type=imasig",
    ]


def test_memory_file_systems_are_appraised() -> None:
    text = compiled(ima.COMPILER, rule_set()).content("ima-policy").decode()
    for magic in ("0x1021994", "0x858458f6"):  # tmpfs, ramfs (linux/magic.h)
        assert magic not in text


IPE_LINE = re.compile(
    r"policy_name=[a-z0-9._-]+ policy_version=[0-9]{1,5}\.[0-9]{1,5}\.[0-9]{1,5}"
    r"|DEFAULT( op=(EXECUTE|KMODULE|KEXEC_IMAGE|KEXEC_INITRAMFS|FIRMWARE|POLICY|X509_CERT))?"
    r" action=(ALLOW|DENY)"
    r"|op=(EXECUTE|KMODULE|KEXEC_IMAGE|KEXEC_INITRAMFS|FIRMWARE|POLICY|X509_CERT)"
    r" (boot_verified=TRUE|dmverity_signature=TRUE|fsverity_signature=TRUE"
    r"|(dmverity_roothash|fsverity_digest)=sha256:[0-9a-f]{64}) action=(ALLOW|DENY)"
)


def ipe_lines(made: Compiled, name: str = "generated") -> list[str]:
    lines = made.content(f"{name}.pol").decode("ascii").splitlines()
    assert all(IPE_LINE.fullmatch(line) for line in lines), lines
    return lines


def test_ipe_lets_in_what_is_signed() -> None:
    made = compiled(ipe.COMPILER, rule_set(OWN), also=[])
    assert ipe_lines(made) == [
        "policy_name=generated policy_version=0.0.1",
        "DEFAULT action=ALLOW",
        "DEFAULT op=EXECUTE action=DENY",
        "DEFAULT op=KMODULE action=DENY",
        "op=EXECUTE dmverity_signature=TRUE action=ALLOW",
        "op=EXECUTE fsverity_signature=TRUE action=ALLOW",
        "op=KMODULE dmverity_signature=TRUE action=ALLOW",
        "op=KMODULE fsverity_signature=TRUE action=ALLOW",
    ]


def test_ipe_denies_before_it_lets_in() -> None:
    good, bad = "sha256:" + "a" * 64, "sha256:" + "b" * 64
    made = compiled(ipe.COMPILER, rule_set(), name="prod", volumes=[good], denied_files=[bad],
                    boot_verified=True, also=["policy"])  # fmt: skip
    lines = [line for line in ipe_lines(made, "prod") if line.startswith("op=EXECUTE")]
    assert lines == [
        f"op=EXECUTE fsverity_digest={bad} action=DENY",
        "op=EXECUTE boot_verified=TRUE action=ALLOW",
        f"op=EXECUTE dmverity_roothash={good} action=ALLOW",
    ]
    assert "DEFAULT op=POLICY action=DENY" in ipe_lines(made, "prod")


@pytest.mark.parametrize(("lower", "higher"), [(1, 2), (65535, 65536), (65536, 2**31 - 1)])
def test_ipe_versions_grow(lower: int, higher: int) -> None:
    def parts(number: int) -> tuple[int, ...]:
        found = tuple(map(int, ipe.version(number).split(".")))
        assert all(part < 65536 for part in found)
        return found

    assert parts(lower) < parts(higher)


@pytest.mark.parametrize("compiler", KEYRING, ids=lambda one: one.target)
@pytest.mark.parametrize(
    ("name", "towards", "given"),
    [
        ("key", "stricter", rule(publisher=PublisherMatch(key="first-ca"))),
        ("key", "stricter", rule(publisher=PublisherMatch(certificate="sha256:" + "0" * 64))),
        ("publisher", "stricter", rule(publisher=PublisherMatch(organization="X"))),
        ("publisher", "stricter",
         rule(publisher=PublisherMatch(key="first-leaf", eku="1.2.3"))),
        ("kind", "stricter", rule(kind=("executable", "library", "kernel-module"))),
        ("path", "stricter",
         rule(publisher=PublisherMatch(key="first-leaf"), path=("/opt/**",))),
        ("digest", "stricter", rule(digest=(digest("file", 0),))),
        ("deny", "looser", rule(Action.DENY, publisher=PublisherMatch(key="first-leaf"))),
        ("deny", "looser", rule(Action.DENY, digest=(digest("file", 0),))),
    ],
)  # fmt: skip
def test_a_keyring_says_little(compiler: Compiler, name: str, towards: str, given: Rule) -> None:
    made = compiled(compiler, rule_set(given))
    assert lost(made) == {(name, towards)}
    assert not any(file.name.startswith("keys/") for file in made.files)


@pytest.mark.parametrize("compiler", KEYRING, ids=lambda one: one.target)
def test_a_keyring_counts_for_every_kind(compiler: Compiler) -> None:
    one = rule(publisher=PublisherMatch(key="first-leaf"), kind=("executable",))
    made = compiled(compiler, rule_set(one))
    assert lost(made) == {("wider-kind", "looser")}
    assert "keys/first-leaf.der" in {file.name for file in made.files}


@pytest.mark.parametrize("compiler", KEYRING, ids=lambda one: one.target)
def test_a_keyring_holds_signers(compiler: Compiler) -> None:
    every = ("executable", "library", "kernel-module", "script")
    by_digest = PublisherMatch(certificate=f"sha256:{SECOND.signer.certificates[0]}")
    made = compiled(compiler, rule_set(
        replace(OWN, kind=every), Rule(id="other", action=Action.AUDIT, publisher=by_digest),
    ))  # fmt: skip
    assert lost(made) == {("audit", "looser")}
    names = {file.name for file in made.files if file.name.endswith(".der")}
    assert names == {"keys/first-leaf.der", "keys/second-leaf.der"}


def test_modes_stand_on_the_command_line() -> None:
    rules = rule_set(mode=Mode.MONITOR)
    assert compiled(ima.COMPILER, rules).content("cmdline") == b"ima_appraise=log\n"
    assert compiled(ipe.COMPILER, rules).content("cmdline") == b"ipe.enforce=0\n"


def test_the_plan_quotes_what_the_shell_would_read() -> None:
    made = compiled(
        verity.COMPILER, rule_set(OWN), files=["/opt/a b/$(reboot)'x"],
        volumes=[{"name": "root", "data": "/dev/vg/data", "hashes": "/dev/vg/hash"}],
    )  # fmt: skip
    script = made.content("verity.sh").decode()
    assert "fsverity enable '/opt/a b/$(reboot)'\"'\"'x'" in script
    plan = json.loads(made.content("plan.json"))
    assert plan["keys"] == ["keys/first-leaf.der"]
    assert plan["volumes"][0]["name"] == "root"
    assert made.content("keys/first-leaf.pem") == pem(FIRST.leaf)
    assert {loss.name for loss in made.losses} == {"reject"}


# scripts/check-blacklist-hashes.awk of the kernel: a prefix and an even number of hex digits.
BLACKLISTED = re.compile(r"(tbs|bin):([0-9a-f]{2}){1,64}")


def test_denials_are_entries() -> None:
    made = compiled(kernel_blacklist.COMPILER, rule_set(
        Rule(id="a", action=Action.DENY, digest=(digest("file", 0), digest("authenticode", 1))),
        Rule(id="b", action=Action.DENY, publisher=PublisherMatch(tbs=FIRST.signer.tbs[1])),
        Rule(id="c", action=Action.DENY, publisher=PublisherMatch(key="second-ca")),
    ))  # fmt: skip
    assert made.losses == ()
    entries = made.content("blacklist.txt").decode().splitlines()
    assert all(BLACKLISTED.fullmatch(entry) for entry in entries)
    assert entries == [
        f"bin:{digest('file', 0).rpartition(':')[2]}",
        f"bin:{digest('authenticode', 1).rpartition(':')[2]}",
        f"tbs:{FIRST.signer.tbs[1].partition(':')[2]}",
        f"tbs:{tbs_of(SECOND.authority).partition(':')[2]}",
    ]
    listed = made.content("blacklist-hashes").decode()
    assert json.loads(f"[{listed}]") == entries


def test_the_tbs_digest_is_of_what_was_signed() -> None:
    own = hashlib.sha256(FIRST.authority.tbs_certificate_bytes).hexdigest()
    made = compiled(kernel_blacklist.COMPILER, rule_set(
        Rule(id="c", action=Action.DENY, publisher=PublisherMatch(key="first-ca")),
    ))  # fmt: skip
    assert made.content("blacklist.txt").decode() == f"tbs:{own}\n"


@pytest.mark.parametrize(
    ("name", "towards", "given"),
    [
        ("allow", "looser", OWN),
        ("digest", "looser", rule(Action.DENY, digest=(digest("cdhash", 0),))),
        ("publisher", "looser", rule(Action.DENY, publisher=PublisherMatch(unit="x"))),
        ("publisher", "looser", rule(Action.DENY, kind=("library",))),
        ("publisher", "looser", rule(Action.DENY, digest=(digest("file", 0),),
                                     publisher=PublisherMatch(key="first-ca"))),
        ("key", "looser",
         rule(Action.DENY, publisher=PublisherMatch(certificate="sha256:" + "0" * 64))),
        ("path", "looser", rule(Action.DENY, path=("/x",))),
    ],
)  # fmt: skip
def test_what_is_no_entry_is_lost(name: str, towards: str, given: Rule) -> None:
    made = compiled(kernel_blacklist.COMPILER, rule_set(given))
    assert lost(made) == {(name, towards)}
    assert made.content("blacklist.txt") == b""
    assert made.content("blacklist-hashes") == b""


def test_an_exception_by_path_leaves_the_entry() -> None:
    waiver = Waiver(id="w", owner="o", reason="r", expires=AT, spares=("r",), path=("/x",))
    rules = rule_set(rule(Action.DENY, digest=(digest("file", 0),)))
    made = compiled(kernel_blacklist.COMPILER, replace(rules, spared={"r": (waiver,)}))
    assert lost(made) == {("exception", "stricter")}
    assert made.content("blacklist.txt")
