"""Intake: what the policy says of signed files and of archives, and the command as it is run."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from conformance.authenticode import pe
from conformance.authenticode.keys import key
from conformance.authenticode.pki import NOW
from conformance.authenticode.pki import pem as as_pem
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from signward.cli.commands import run
from signward.errors import PolicyError
from signward.policy.rules.model import RuleSet
from signward.policy.rules.reading import merge, read_document
from signward.state import Outcome
from signward.verbs.intake.judging import Judged, PolicyJudge
from signward.verbs.options import Options
from tests.builders.feeds import public_pem
from tests.signing import authority, identity, sign_bytes

POLICY = """\
schema = 1
name = "vendors"
version = 3

[[rule]]
id = "vendor"
action = "allow"
publisher = { common_name = "Signing Test Publisher" }
"""

DENY = """
[[rule]]
id = "withdrawn"
action = "deny"
digest = ["file:sha256:%s"]
"""

PROGRAM = pe.image(plus=True)
SIGNED = sign_bytes("a.exe", PROGRAM)
OTHER = sign_bytes("b.exe", PROGRAM, who=identity(name="Somebody Else"))


def sha256(data: bytes) -> str:
    import hashlib

    return hashlib.sha256(data).hexdigest()


def rules(text: str = POLICY) -> RuleSet:
    return merge([read_document("vendors.toml", text.encode())], lambda *_: b"")


def zipped(**members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for name, data in members.items():
            file.writestr(name.replace("__", "."), data)
    return out.getvalue()


def tarred(**members: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as file:
        for name, data in members.items():
            entry = tarfile.TarInfo(name.replace("__", "."))
            entry.size = len(data)
            file.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def judged(
    folder: Path, name: str, data: bytes, text: str = POLICY, passing: frozenset[str] = frozenset()
) -> Judged:
    anchor = folder / "anchor.pem"
    anchor.write_bytes(as_pem(authority().certificate))
    judge = PolicyJudge(rules(text), Options(anchors=(str(anchor),)), NOW, passing)
    (folder / "staged").mkdir(exist_ok=True)
    path = folder / "staged" / name
    path.write_bytes(data)
    return judge.judge(path, name)


def test_a_vendors_file_is_let_in_and_anothers_is_not(tmp_path: Path) -> None:
    good = judged(tmp_path, "a.exe", SIGNED)
    assert (good.outcome, good.rule, good.publisher) == (
        Outcome.ACCEPTED, "vendors 3: vendor", "Conformance",
    )  # fmt: skip
    assert judged(tmp_path, "b.exe", OTHER).outcome is Outcome.REJECTED
    assert judged(tmp_path, "c.exe", PROGRAM).outcome is Outcome.REJECTED
    changed = bytearray(SIGNED)
    changed[0x200] ^= 1
    assert judged(tmp_path, "d.exe", bytes(changed)).outcome is Outcome.REJECTED


def test_what_is_denied_stays_out_whoever_signed_it(tmp_path: Path) -> None:
    found = judged(tmp_path, "a.exe", SIGNED, POLICY + DENY % sha256(SIGNED))
    assert found.outcome is Outcome.REJECTED
    assert "denied by withdrawn" in found.why


ARCHIVES: dict[str, tuple[Any, str]] = {
    "zip": (zipped, "x.zip"),
    "tar": (tarred, "x.tar"),
    "tar.gz": (lambda **m: gzip.compress(tarred(**m)), "x.tar.gz"),
    "zip in zip": (lambda **m: zipped(inner__zip=zipped(**m)), "x.zip"),
}


@pytest.mark.parametrize("form", ARCHIVES)
@pytest.mark.parametrize(
    ("members", "outcome"),
    [
        ({"a__exe": SIGNED}, Outcome.ACCEPTED),
        ({"a__exe": SIGNED, "b__exe": SIGNED}, Outcome.ACCEPTED),
        ({"a__exe": SIGNED, "b__exe": OTHER}, Outcome.REJECTED),
        ({"a__exe": SIGNED, "b__exe": PROGRAM}, Outcome.REJECTED),
        ({"a__exe": SIGNED, "readme__txt": b"words"}, Outcome.REJECTED),
        ({"a__exe": SIGNED, "run__sh": b"#!/bin/sh\nid\n"}, Outcome.REJECTED),
        ({}, Outcome.REJECTED),
    ],
)
def test_an_archive_is_what_it_holds(
    tmp_path: Path, form: str, members: dict[str, bytes], outcome: Outcome
) -> None:
    make, name = ARCHIVES[form]
    found = judged(tmp_path, name, make(**members))
    assert found.outcome is outcome, found
    if outcome is Outcome.ACCEPTED:
        assert found.rule == "members"


def test_kinds_may_be_let_pass(tmp_path: Path) -> None:
    text = frozenset({"text"})
    assert judged(tmp_path, "r.txt", b"words", passing=text).rule == "pass text"
    data = zipped(a__exe=SIGNED, readme__txt=b"words")
    assert judged(tmp_path, "x.zip", data, passing=text).outcome is Outcome.ACCEPTED
    only_text = zipped(readme__txt=b"words")
    assert judged(tmp_path, "y.zip", only_text, passing=text).outcome is not Outcome.ACCEPTED
    script = judged(tmp_path, "r.sh", b"#!/bin/sh\nid\n", passing=text)
    assert script.outcome is Outcome.REJECTED


def test_what_passes_by_kind_is_denied_all_the_same(tmp_path: Path) -> None:
    denied = POLICY + DENY % sha256(b"words")
    found = judged(tmp_path, "r.txt", b"words", denied, frozenset({"text"}))
    assert found.outcome is Outcome.REJECTED


def test_programs_cannot_be_let_pass(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="--pass"):
        judged(tmp_path, "a.exe", PROGRAM, passing=frozenset({"pe"}))


def test_an_archive_that_cannot_be_seen_through_is_not_let_in(tmp_path: Path) -> None:
    whole = bytearray(zipped(a__exe=SIGNED))
    at = whole.index(SIGNED[:64]) + 100
    whole[at] ^= 1
    found = judged(tmp_path, "x.zip", bytes(whole))
    assert found.outcome is not Outcome.ACCEPTED


def test_a_denied_member_keeps_its_archive_out(tmp_path: Path) -> None:
    data = zipped(a__exe=SIGNED, b__exe=sign_bytes("b.exe", pe.image(plus=False)))
    found = judged(tmp_path, "x.zip", data, POLICY + DENY % sha256(SIGNED))
    assert found.outcome is Outcome.REJECTED
    assert "x.zip!/a.exe" in found.why


@pytest.mark.parametrize(
    "condition", ['path = ["**/setup.exe"]', 'kind = ["executable"]', 'product = { product = "x" }']
)
def test_rules_by_what_a_deliverer_chooses_are_refused(tmp_path: Path, condition: str) -> None:
    text = POLICY + f'\n[[rule]]\nid = "weak"\naction = "allow"\n{condition}\n'
    with pytest.raises(PolicyError, match="rule weak"):
        judged(tmp_path, "a.exe", SIGNED, text)
    judged(
        tmp_path, "a.exe", SIGNED, text.replace('"weak"\naction = "allow"', '"w"\naction="deny"')
    )


def test_a_digest_lets_in_what_nobody_signed(tmp_path: Path) -> None:
    digest = f'digest = ["file:sha256:{sha256(PROGRAM)}"]'
    text = f'{POLICY}\n[[rule]]\nid = "this"\naction = "allow"\n{digest}\n'
    assert judged(tmp_path, "a.exe", PROGRAM, text).outcome is Outcome.ACCEPTED
    assert judged(tmp_path, "x.zip", zipped(a__exe=PROGRAM), text).outcome is Outcome.ACCEPTED


def test_a_policy_that_monitors_is_a_gate_all_the_same(tmp_path: Path) -> None:
    text = POLICY.replace("version = 3", 'version = 3\nmode = "monitor"')
    assert judged(tmp_path, "b.exe", OTHER, text).outcome is Outcome.REJECTED


# The command


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "anchor.pem").write_bytes(as_pem(authority().certificate))
    (tmp_path / "vendors.toml").write_text(POLICY)
    signer = key("p256", "gate")
    (tmp_path / "gate.pem").write_bytes(
        signer.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    inbox = tmp_path / "inbox"
    (inbox / "sub").mkdir(parents=True)
    (inbox / "a.exe").write_bytes(SIGNED)
    (inbox / "sub" / "b.exe").write_bytes(OTHER)
    return tmp_path


TAKE = ("inbox", "--policy", "vendors.toml", "--accept", "in", "--quarantine", "held", "--key",
        "file:gate.pem", "--key-out", "gate.pub", "--anchor", "anchor.pem", "--at",
        f"{NOW:%Y-%m-%dT%H:%M:%SZ}")  # fmt: skip


def test_a_delivery_is_taken_in_by_the_command(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["intake", *TAKE]) == 1
    told = capsys.readouterr().out
    assert "ACCEPTED      a.exe by Conformance (rule vendors 3: vendor)" in told
    assert "REJECTED      sub/b.exe" in told
    assert told.endswith("2 files: 1 accepted, 1 rejected\n")
    assert (place / "in" / "a.exe").read_bytes() == SIGNED
    assert (place / "held" / "sub" / "b.exe").read_bytes() == OTHER
    assert (place / "gate.pub").read_bytes() == public_pem(key("p256", "gate"))
    receipt = json.loads((place / "in.receipts" / "a.exe.intoto.jsonl").read_text())
    assert receipt["payloadType"] == "application/vnd.in-toto+json"


def test_all_is_well(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "inbox" / "sub" / "b.exe").unlink()
    assert run(["intake", "take", *TAKE, "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["judged"]["outcome"] == "accepted"
    assert run(["intake", "audit", "--accept", "in", "--receipt-key", "gate.pub", "--all"]) == 0
    assert "1 files, 1 unchanged" in capsys.readouterr().out
    assert run(["intake", "receipts", "in.receipts", "--receipt-key", "gate.pub"]) == 0
    assert "PASSED  a.exe  by urn:signward:policy:vendors:3" in capsys.readouterr().out


def test_a_change_is_noticed_by_the_command(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(["intake", *TAKE])
    (place / "in" / "a.exe").write_bytes(OTHER)
    capsys.readouterr()
    assert run(["intake", "audit", "--accept", "in", "--receipt-key", "gate.pub"]) == 1
    told = capsys.readouterr().out
    assert told.startswith("CHANGED  a.exe: its content is no longer what was accepted\n")
    assert run(["intake", "audit", "--accept", "in", "--receipt-key", "gate.pub", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["state"] == "changed"


def test_another_gate_asks_for_a_receipt(place: Path) -> None:
    run(["intake", *TAKE])
    ask = ("--receipt-key", "gate.pub", "--file")
    assert run(["intake", "receipts", "in.receipts", *ask, "in/a.exe"]) == 0
    assert run(["intake", "receipts", "in.receipts", "held.receipts", *ask, "held/sub/b.exe"]) == 1
    assert run(["intake", "receipts", "in.receipts", *ask, "vendors.toml"]) == 1
    verifier = ("--verifier", "urn:other")
    assert run(["intake", "receipts", "in.receipts", *ask, "in/a.exe", *verifier]) == 1


def test_a_dry_run_of_the_command(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ("inbox", "--policy", "vendors.toml", "--anchor", "anchor.pem", "--dry-run")
    assert run(["intake", *given, "--at", f"{NOW:%Y-%m-%d}"]) == 1
    assert "1 accepted, 1 rejected" in capsys.readouterr().out
    assert not (place / "in").exists()


@pytest.mark.parametrize("missing", ["--accept", "--quarantine", "--key"])
def test_what_moving_needs(place: Path, capsys: pytest.CaptureFixture[str], missing: str) -> None:
    at = TAKE.index(missing)
    assert run(["intake", *TAKE[:at], *TAKE[at + 2 :]]) == 2
    assert missing in capsys.readouterr().err
    assert (place / "inbox" / "a.exe").exists()


def test_a_signed_policy_is_asked_for(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sign = ("policy", "sign", "vendors.toml", "--key", "file:gate.pem", "--key-out", "p.pub")
    assert run([*sign, "-o", "vendors.signed"]) == 0
    assert run(["intake", *TAKE, "--policy-key", "p.pub"]) == 2
    assert "a policy without a signature" in capsys.readouterr().err
    given = [word if word != "vendors.toml" else "vendors.signed" for word in TAKE]
    assert run(["intake", *given, "--policy-key", "p.pub"]) == 1


def test_the_instant_judged_at_is_not_when_it_was_verified(place: Path) -> None:
    run(["intake", *TAKE])
    import base64

    receipt = json.loads((place / "in.receipts" / "a.exe.intoto.jsonl").read_text())
    statement = json.loads(base64.b64decode(receipt["payload"]))
    verified = datetime.fromisoformat(statement["predicate"]["timeVerified"])
    assert abs((datetime.now(UTC) - verified).total_seconds()) < 600
