"""Revoking without gaps in silence: what enforcers are told, and what they are not."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from signward.cli.commands import run
from signward.errors import EvidenceError, PolicyError
from signward.policy.rules import revoking
from signward.policy.rules.decide import decide
from signward.policy.rules.denials import denials_alone, forms
from signward.policy.rules.force import in_force
from signward.policy.rules.index import Index
from signward.policy.rules.model import Action, Rule, RuleSet
from signward.policy.rules.reading import merge, read_document
from signward.policy.rules.revoking import Culprit, Kind
from signward.policy.rules.subject import Subject
from signward.report.revocation import lines
from signward.report.revocation_page import page
from signward.state import Outcome
from signward.verbs.policies import revoke
from signward.verbs.policies.denying import Order, State, orders
from tests.unit.test_revoke import (
    CERTIFICATE,
    FILES,
    FLEET,
    NOW,
    OURS,
    PUBLISHER,
    STOLEN,
    blast,
    signed,
)

REST = Rule(id="everything-else", action=Action.ALLOW, path=("/**",))
ISSUER = Culprit(kind=Kind.CERTIFICATE, label="ca", sha256=OURS.signer.certificates[1])

POLICY = """schema = 1
name = "base"
version = 4

[[rule]]
id = "ours"
action = "allow"
digest = ["file:sha256:%s"]
""" % ("12" * 32)


def rules(text: str) -> RuleSet:
    return merge([read_document("p", text.encode())], lambda *_: b"")


def told(culprit: Culprit, base: RuleSet | None = None, **given: Any) -> dict[str, Order]:
    made = orders(blast(culprit, FLEET), b"", base, NOW, **given)
    return {one.target: one for one in made}


def test_an_issuers_certificate_is_not_told_as_a_signers_own() -> None:
    """A condition by certificate is of the leaf: such a denial would stop nothing."""
    found = list(forms(blast(ISSUER, FLEET), FILES))
    assert found
    for form in found:
        index = Index(in_force(denials_alone(form, REST), NOW))
        for number in (0, 1, 2):
            assert decide(index, FLEET[number], NOW).outcome is Outcome.REJECTED, form.told
    assert "by 1 certificate known today" in told(ISSUER)["santa"].told


def test_a_certificate_that_nobody_knows_may_be_an_issuers() -> None:
    unknown = Culprit(kind=Kind.CERTIFICATE, label="?", sha256="ab" * 32)
    (form,) = forms(blast(unknown, FLEET), FILES)
    assert form.told == "by the certificate, if it signs files itself"


def test_files_that_a_form_does_not_name_are_counted() -> None:
    script = msgspec.structs.replace(
        signed(7, STOLEN), digests=frozenset({"file:sha256:" + "77" * 32})
    )
    bare = msgspec.structs.replace(signed(8, STOLEN), digests=frozenset())
    found = [form.told for form in forms(blast(CERTIFICATE, [*FLEET, script, bare]), FILES)]
    assert [one.partition(" of files known today; ")[2] for one in found[-3:]] == [
        "1 known file not named: without authenticode or file digest",
        "2 known files not named: without authenticode digest",
        "1 known file not named: without file digest",
    ]


def test_files_beyond_the_bound_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revoking, "MAX_DIGESTS", 4)
    assert "2 known files not named: too many" in told(CERTIFICATE)["fapolicyd"].told


def test_signers_whose_certificate_is_not_told_are_counted() -> None:
    signer = msgspec.structs.replace(OURS.signer, certificates=(), tbs=())
    odd = msgspec.structs.replace(signed(9, None), signers=(signer,))
    told = [form.told for form in forms(blast(PUBLISHER, [*FLEET, odd]), FILES)]
    assert any("1 known file not named: signed by others" in one for one in told)


def test_a_rule_of_the_policy_is_not_lost_in_silence() -> None:
    """What `policy compile` refuses, revoking does not do on the side."""
    base = rules(
        POLICY
        + """
[[rule]]
id = "keep-out"
action = "deny"
publisher = { common_name = "Malware Ltd" }
"""
    )
    order = told(CERTIFICATE, base)["fapolicyd"]
    assert order.state is State.CANNOT
    assert "rule keep-out would be lost" in order.why
    name = order.why.rpartition("--allow-loss ")[2].rstrip(")")
    assert told(CERTIFICATE, base, allowed=frozenset({name}))["fapolicyd"].state is State.SAID
    with pytest.raises(PolicyError, match="--allow-loss"):
        told(CERTIFICATE, base, allowed=frozenset({"no-such"}))


def test_a_policy_that_only_watches_is_said_to() -> None:
    watching = rules(POLICY.replace("version = 4", 'version = 4\nmode = "monitor"'))
    losses = frozenset({"monitor"})
    order = told(CERTIFICATE, watching, allowed=losses)["fapolicyd"]
    assert "mode monitor" in (order.told or order.why)
    assert "monitor" not in told(CERTIFICATE, rules(POLICY))["fapolicyd"].told


def test_a_name_of_any_octets_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    name = os.fsdecode(b"x\xff\n.exe")
    Path(name).write_bytes(b"evil")
    given = ("revoke", "--file", name, "--target", "fapolicyd")
    assert run([*given, "--json"]) == 0
    assert run([*given, "--apply", "--out", "out"]) == 0
    assert "x\\xff\\x0a.exe" in (tmp_path / "out" / "READ-ME.txt").read_text()


def test_an_empty_file_is_not_revoked(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    for path in ("/dev/null", str(tmp_path), str(tmp_path / "empty")):
        with pytest.raises(EvidenceError, match="no file or an empty one"):
            revoke.of_file(path)


def test_a_date_ahead_is_refused_by_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["revoke", "--digest", "sha256:" + "0" * 64, "--since", "2999-01-01"]) == 2
    assert "--since: found 2999-01-01" in capsys.readouterr().err


def test_no_dates_are_weighed_for_a_file() -> None:
    digests = frozenset({min(FLEET[1].digests)})
    found = blast(Culprit(kind=Kind.DIGEST, label="f", digests=digests), FLEET)
    text = "\n".join(lines(found))
    assert "is refused whatever the date" in text
    assert "another date" not in text
    made = page(found)
    assert b"dates make no difference" in made
    assert b'<ol class="dates">' not in made


def test_one_of_a_thing_is_one() -> None:
    subjects: list[Subject] = [*FLEET, signed(6, STOLEN, cause="revoked")]
    text = "\n".join(lines(blast(CERTIFICATE, subjects[:4] + subjects[6:7])))
    assert "1 file of these is stopped already" in text
