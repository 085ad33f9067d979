"""UEFI lists from a policy; other tools read them in interop."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import msgspec
import pytest

from signward.compilers import Compiled
from signward.compilers.uefi import COMPILER, Settings
from signward.errors import PolicyError
from signward.frozen import replace
from signward.policy.rules.model import (
    Action,
    Mode,
    PublisherMatch,
    Rule,
    RuleSet,
    SignersMatch,
    Waiver,
)
from signward.wire import siglist
from tests.builders.policies import AT, digest, publishers, rule_set

FIRST, SECOND = publishers()
CA = FIRST.authority
DIGEST = digest("authenticode", 0)


def compiled(rules: RuleSet, **settings: object) -> Compiled:
    return COMPILER.compile(rules, msgspec.convert(settings, Settings))


def entries(made: Compiled, name: str) -> list[tuple[str, bytes]]:
    return [(e.kind, e.data) for e in siglist.read_lists(made.content(name))]


def der(certificate: object) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.DER)  # type: ignore[attr-defined, no-any-return]


def rule(name: str, action: Action = Action.ALLOW, **words: object) -> Rule:
    return Rule(id=name, action=action, **words)  # type: ignore[arg-type]


def test_what_is_let_in_goes_to_db_and_what_is_denied_to_dbx() -> None:
    made = compiled(rule_set(
        rule("own", publisher=PublisherMatch(key="first-ca")),
        rule("one", digest=(DIGEST,)),
        rule("bad", Action.DENY, digest=(digest("authenticode", 1),)),
        rule("gone", Action.DENY, publisher=PublisherMatch(tbs=SECOND.signer.tbs[0])),
        rule("leaf", Action.DENY,
             publisher=PublisherMatch(certificate=f"sha256:{SECOND.signer.certificates[0]}")),
    ))  # fmt: skip
    assert not made.losses
    assert entries(made, "db.esl") == [
        (siglist.X509, der(CA)),
        (siglist.SHA256, bytes.fromhex(DIGEST.rpartition(":")[2])),
    ]
    tbs = bytes.fromhex(SECOND.signer.tbs[0].partition(":")[2])
    assert entries(made, "dbx.esl") == [
        (siglist.SHA256, bytes.fromhex(digest("authenticode", 1).rpartition(":")[2])),
        (siglist.X509_SHA256, tbs + bytes(16)),
        (siglist.X509, der(SECOND.leaf)),
    ]
    owners = {e.owner for e in siglist.read_lists(made.content("db.esl"))}
    assert owners == {rule_set().id}


def test_nothing_is_written_for_a_variable_without_entries() -> None:
    made = compiled(rule_set(rule("x", Action.DENY, digest=(DIGEST,))))
    assert [file.name for file in made.files] == ["dbx.esl"]


def test_the_platforms_own_keys_come_from_the_settings() -> None:
    owner = "77fa9abd-0359-4d32-bd60-28f4e78f784b"
    made = compiled(rule_set(), pk="first-ca", kek=["first-ca", "second-ca"], owner=owner)
    assert entries(made, "PK.esl") == [(siglist.X509, der(CA))]
    assert len(entries(made, "KEK.esl")) == 2
    assert siglist.read_lists(made.content("PK.esl"))[0].owner == owner
    with pytest.raises(PolicyError, match="nobody"):
        compiled(rule_set(), kek=["nobody"])


def test_generations_are_shims_table() -> None:
    made = compiled(rule_set(), sbat={"shim": 4, "grub": 3}, sbat_date="2026112300")
    assert made.content("SbatLevel.csv") == b"sbat,1,2026112300\ngrub,3\nshim,4\n"
    with pytest.raises(msgspec.ValidationError):
        compiled(rule_set(), sbat={"shim": 4})
    with pytest.raises(msgspec.ValidationError):
        compiled(rule_set(), sbat={"shim,5\nx": 4}, sbat_date="2026112300")


@pytest.mark.parametrize(
    ("lost", "given"),
    [
        ("digest", rule("r", digest=(digest("file", 0),))),
        ("publisher", rule("r", publisher=PublisherMatch(organization="X"))),
        ("publisher", rule("r", publisher=PublisherMatch(tbs=FIRST.signer.tbs[0]))),
        ("publisher", rule("r", publisher=PublisherMatch(key="first-ca"), digest=(DIGEST,))),
        ("publisher", rule("r", kind=("firmware",))),
        ("key", rule("r", publisher=PublisherMatch(certificate="sha256:" + "0" * 64))),
        ("path", rule("r", path=("/boot/x",), digest=(DIGEST,))),
        ("signers", rule("r", signers=SignersMatch(least=1, of=(PublisherMatch(key="first-ca"),)))),
    ],
)
def test_what_it_cannot_say_is_lost(lost: str, given: Rule) -> None:
    made = compiled(rule_set(given))
    assert [loss.name for loss in made.losses] == [lost]
    assert not made.files


def test_audit_and_monitoring_are_lost() -> None:
    made = compiled(rule_set(rule("r", Action.AUDIT, digest=(DIGEST,)), mode=Mode.MONITOR))
    assert {(loss.name, str(loss.towards)) for loss in made.losses} == {
        ("audit", "looser"), ("monitor", "stricter"),
    }  # fmt: skip


def test_an_exception_takes_its_digests_out() -> None:
    waiver = Waiver(id="w", owner="o", reason="r", expires=AT, spares=("d",), digest=(DIGEST,))
    rules = rule_set(rule("d", Action.DENY, digest=(DIGEST,)))
    made = compiled(replace(rules, waivers=(waiver,), spared={"d": (waiver,)}))
    assert not made.files
    assert [loss.name for loss in made.losses] == ["expiry"]


def test_microsofts_published_dbx_compiles(vectors: Path) -> None:
    """Every image digest of a published dbx, as a deny rule."""
    source = vectors.parent / "schemas" / "dbx_info_msft_latest.json"
    if not source.exists():
        pytest.skip("schemas: no dbx_info_msft_latest.json")
    images = json.loads(source.read_text())["images"]
    listed = {i["authenticodeHash"].lower() for arch in images.values() for i in arch}
    listed = {value for value in listed if len(value) == 64}
    assert len(listed) > 200
    denied = tuple(f"authenticode:sha256:{value}" for value in sorted(listed))
    made = compiled(rule_set(rule("dbx", Action.DENY, digest=denied)))
    assert {data.hex() for _, data in entries(made, "dbx.esl")} == listed


def test_a_ca_named_as_the_signer_itself_is_not_let_in_with_all_below_it() -> None:
    """A rule by certificate speaks of the leaf; db would take everything the CA issued."""
    authority = f"sha256:{hashlib.sha256(der(CA)).hexdigest()}"
    made = compiled(rule_set(rule("r", publisher=PublisherMatch(certificate=authority))))
    assert [(loss.name, loss.rule) for loss in made.losses] == [("publisher", "r")]
    assert not made.files
