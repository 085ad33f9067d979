"""Version floors: what is signed by the best of signers, and older than the policy allows."""

from __future__ import annotations

from pathlib import Path

import pytest
from conformance.authenticode.keys import key
from conformance.authenticode.pki import NOW, pem
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from signward.cli.commands import run
from signward.findings import Code
from signward.policy.rules.reading import merge, read_document
from signward.state import Outcome, Verdict
from signward.verbs.context import Context
from signward.verbs.options import Options
from signward.verbs.verify import assess_path
from tests.samples.swi import image
from tests.signing import authority, identity, sign_bytes

HEAD = 'schema = 1\nname = "switches"\nversion = 1\n'
FLOOR = """[[rule]]
id = "eos"
action = "allow"
publisher = { common_name = "Signing Test Publisher" }
product = { minimum_version = "4.28.10" }
"""


def judged(data: bytes, folder: Path, rules: str = FLOOR, name: str = "EOS.swi") -> Verdict:
    anchor, path = folder / "root.pem", folder / name
    anchor.write_bytes(pem(authority().certificate))
    path.write_bytes(data)
    policy = merge([read_document("p.toml", (HEAD + rules).encode())], lambda *_: b"")
    options = Options(anchors=(str(anchor),), at=NOW, rules=policy)
    return assess_path(str(path), Context(options))


def version(text: str) -> bytes:
    return sign_bytes("EOS.swi", image(f"SWI_VERSION={text}\n".encode()))


@pytest.mark.parametrize("text", ["4.28.10M", "4.28.10.1M", "4.29.0F", "42.0.0"])
def test_what_is_not_older_is_accepted(text: str, tmp_path: Path) -> None:
    assert judged(version(text), tmp_path).outcome is Outcome.ACCEPTED


@pytest.mark.parametrize("text", ["4.28.9M", "4.9.99", "3.99.99F"])
def test_a_validly_signed_older_image_is_a_downgrade(text: str, tmp_path: Path) -> None:
    verdict = judged(version(text), tmp_path)
    assert (verdict.outcome, verdict.cause) == (Outcome.REJECTED, Code.DOWNGRADE)
    (said,) = [finding for finding in verdict.findings if finding.code is Code.DOWNGRADE]
    assert "floor of eos" in said.found
    assert "4.28.10" in said.required


def test_an_image_that_says_no_version_is_let_in_by_nothing(tmp_path: Path) -> None:
    for text in ("daily-build", "4.29.0.0.1"):
        verdict = judged(version(text), tmp_path)
        assert (verdict.outcome, verdict.cause) == (Outcome.REJECTED, Code.NO_RULE)


def test_a_raised_version_is_no_way_around(tmp_path: Path) -> None:
    data = version("4.28.9M").replace(b"4.28.9M", b"4.29.9M")
    verdict = judged(data, tmp_path)
    assert verdict.outcome is Outcome.REJECTED
    assert verdict.cause in (Code.MALFORMED, Code.AMBIGUOUS, Code.SIGNATURE_MISMATCH)


def test_somebody_elses_older_image_is_no_downgrade(tmp_path: Path) -> None:
    """Only where nothing else speaks against it: who must not sign is told first."""
    who = identity("rsa2048", "Somebody else")
    data = sign_bytes("EOS.swi", image(b"SWI_VERSION=4.1.1\n"), who=who)
    assert judged(data, tmp_path).cause is Code.NO_RULE
    assert judged(image(b"SWI_VERSION=4.1.1\n"), tmp_path).cause is Code.UNSIGNED


def test_another_rule_may_let_it_in(tmp_path: Path) -> None:
    other = '\n[[rule]]\nid = "older"\naction = "allow"\nkind = ["swi"]\n' + FLOOR.split("\n")[3]
    assert judged(version("4.28.9M"), tmp_path, FLOOR + other).outcome is Outcome.ACCEPTED


def test_a_requirement_that_is_not_met_is_told_before_a_floor(tmp_path: Path) -> None:
    strict = '\n[[rule]]\nid = "stamped"\naction = "allow"\nkind = ["swi"]\n'
    strict += FLOOR.split("\n")[3] + "\nrequires = { timestamp = true }\n"
    assert judged(version("4.28.9M"), tmp_path, FLOOR + strict).cause is Code.REQUIREMENT_UNMET


def test_a_signed_policy_is_the_floor_and_does_not_go_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the guide has it: sign the policy, then verify images by it."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    who, files = key("p256", "policy"), {name: str(tmp_path / name) for name in NAMES}
    raw = who.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "policy.pem").write_bytes(raw)
    (tmp_path / "root.pem").write_bytes(pem(authority().certificate))
    (tmp_path / "old.swi").write_bytes(version("4.27.2F"))
    (tmp_path / "new.swi").write_bytes(version("4.28.10.1M"))

    def written(number: int, floor: str, signed: str) -> None:
        text = (HEAD + FLOOR).replace("version = 1", f"version = {number}", 1)
        (tmp_path / "policy.toml").write_text(text.replace("4.28.10", floor))
        assert run(["policy", "sign", files["policy.toml"], "--key", f"file:{files['policy.pem']}",
                    "--key-out", files["policy.pub"], "-o", signed]) == 0  # fmt: skip

    def verified(image_: str, signed: str) -> int:
        capsys.readouterr()
        return run(["verify", "--policy", signed, "--policy-key", files["policy.pub"], "--anchor",
                    files["root.pem"], "--at", NOW.isoformat(), files[image_]])  # fmt: skip

    written(4, "4.28.10", files["signed"])
    written(3, "4.0", files["lax"])
    assert verified("new.swi", files["signed"]) == 0
    assert verified("old.swi", files["signed"]) == 1
    assert "downgrade - " in capsys.readouterr().out
    assert verified("old.swi", files["lax"]) == 2


NAMES = ("policy.toml", "policy.pem", "policy.pub", "root.pem", "old.swi", "new.swi", "signed",
         "lax")  # fmt: skip
