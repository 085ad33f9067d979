"""Android packages signed by keys that took over, and by v4: what is written, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conformance.authenticode.pki import NOW, Identity, pem

from signward.cli import main
from signward.errors import NotSignableError
from signward.findings import Code
from signward.formats import Existing
from signward.formats._apk_v4_sign import ApkV4Format
from signward.policy.settings import Policy
from signward.state import Outcome, Stage, Verdict
from signward.verbs.context import Context
from signward.verbs.detached import assess_detached
from signward.verbs.options import Options
from signward.verbs.sign import Signatory, SignOptions
from signward.verbs.verify import assess_path
from tests.builders import apk
from tests.builders.apk import Holder
from tests.builders.keyfiles import encoded
from tests.signing import identity, sign_beside, sign_bytes

FIRST = identity("rsa2048", "First Holder")
SECOND = identity("rsa2048", "Second Holder")
THIRD = identity("p256", "Third Holder")
STEPS = apk.lineage_file(Holder(who=FIRST), Holder(who=SECOND)).hex()
LONGER = apk.lineage_file(Holder(who=FIRST), Holder(who=SECOND), Holder(who=THIRD)).hex()


def judged(data: bytes, *pins: Identity, folder: Path, idsig: bytes = b"", **more: Any) -> Verdict:
    paths = []
    for number, pin in enumerate(pins):
        (folder / f"{number}.pem").write_bytes(pem(pin.certificate))
        paths.append(str(folder / f"{number}.pem"))
    (folder / "a.apk").write_bytes(data)
    if idsig:
        (folder / "a.apk.idsig").write_bytes(idsig)
    context = Context(Options(anchors=tuple(paths), at=NOW, **more))
    return assess_path(folder / "a.apk", context)


def accepted(verdict: Verdict) -> None:
    assert verdict.outcome is Outcome.ACCEPTED, [str(f) for f in verdict.findings]


def since_option(since: str) -> dict[str, str]:
    return {"rotation-min-sdk": since} if since else {}


def hand_on(data: bytes, who: Identity = SECOND, lineage: str = STEPS, since: str = "") -> bytes:
    return sign_bytes("a.apk", data, who=who, existing=Existing.NESTED,
                      options={"lineage": lineage, **since_option(since)})  # fmt: skip


@pytest.mark.parametrize("oldest", [21, 24, 28])
def test_the_new_key_takes_the_place_of_the_former_in_v3(oldest: int, tmp_path: Path) -> None:
    before = sign_bytes("a.apk", apk.archive(oldest=oldest), who=FIRST)
    data = hand_on(before)
    accepted(judged(data, FIRST, folder=tmp_path))
    assert judged(data, SECOND, folder=tmp_path, newest_sdk=27).outcome is Outcome.REJECTED
    accepted(judged(data, SECOND, folder=tmp_path, oldest_sdk=28))
    assert hand_on(data) == data


def test_it_hands_on_again(tmp_path: Path) -> None:
    before = sign_bytes("a.apk", apk.archive(oldest=24), who=FIRST)
    data = hand_on(hand_on(before), THIRD, LONGER)
    verdict = judged(data, FIRST, folder=tmp_path)
    accepted(verdict)
    assert verdict.publisher is not None
    assert "Third Holder" in verdict.publisher.identity


def test_platforms_that_know_v3_need_nothing_of_the_former_key(tmp_path: Path) -> None:
    data = sign_bytes("a.apk", apk.archive(oldest=28), who=SECOND, options={"lineage": STEPS})
    accepted(judged(data, FIRST, folder=tmp_path))
    with pytest.raises(NotSignableError, match="former key"):
        sign_bytes("a.apk", apk.archive(oldest=24), who=SECOND, options={"lineage": STEPS})


def test_v31_for_newer_platforms_alone(tmp_path: Path) -> None:
    said = {"rotation-min-sdk": "34"}
    before = sign_bytes("a.apk", apk.archive(oldest=24), who=FIRST, options=said)
    accepted(judged(before, FIRST, folder=tmp_path, newest_sdk=33))
    stripped = judged(before, FIRST, folder=tmp_path)
    assert stripped.cause is Code.SLOT_MISSING
    data = hand_on(before, since="34")
    accepted(judged(data, FIRST, folder=tmp_path))
    intact = judged(data, FIRST, folder=tmp_path, policy=Policy(stage=Stage.INTACT))
    labels = [s.claimed.label for s in intact.signatures]  # type: ignore[union-attr]
    assert labels == ["v3.1:1", "v3:1", "v2:1"]
    accepted(
        judged(data, SECOND, folder=tmp_path, oldest_sdk=34, policy=Policy(stage=Stage.INTACT))
    )
    assert hand_on(data, since="34") == data


def refused(match: str, data: bytes, **asked: Any) -> None:
    with pytest.raises(NotSignableError, match=match):
        sign_bytes("a.apk", data, **asked)


def test_what_is_refused_of_rotation() -> None:
    before = sign_bytes("a.apk", apk.archive(oldest=24), who=FIRST)
    nested = {"existing": Existing.NESTED}
    refused("nested", before, who=SECOND, options={"lineage": STEPS})
    refused("nested", before, who=SECOND, options={"lineage": STEPS}, existing=Existing.REPLACE)
    refused("another signer", before, who=FIRST, options={"lineage": STEPS}, **nested)
    refused("a lineage file", before, who=SECOND, options={"lineage": "00"}, **nested)
    refused("a lineage file", before, who=SECOND, options={"lineage": "no hex"}, **nested)
    refused("from 33 on", before, who=FIRST, options={"rotation-min-sdk": "32"})
    refused("from 33 on", before, who=FIRST, options={"rotation-min-sdk": "x"})
    said = {"lineage": STEPS, "rotation-min-sdk": "34"}
    refused("says nothing of that", before, who=SECOND, options=said, **nested)
    others = sign_bytes("a.apk", apk.archive(oldest=24), who=THIRD)
    refused("somebody else", others, who=SECOND, options={"lineage": STEPS}, **nested)


def test_by_the_command_line_s_own_way(tmp_path: Path) -> None:
    """Both keys in turn, every result assessed before it is released."""
    (tmp_path / "app.apk").write_bytes(apk.archive(oldest=24))
    (tmp_path / "lineage").write_bytes(bytes.fromhex(STEPS))
    for who, name in ((FIRST, "first"), (SECOND, "second")):
        (tmp_path / f"{name}.pem").write_bytes(encoded(who.key) + pem(who.certificate))
    since = {"rotation-min-sdk": "33"}

    def run(name: str, options: dict[str, str], existing: Existing, newest: int = 0) -> str:
        asked = SignOptions(key=f"file:{tmp_path / f'{name}.pem'}", options=options,
                            existing=existing, judge=Options(newest_sdk=newest))  # fmt: skip
        with Signatory(asked) as signatory:
            return next(iter(signatory.run([str(tmp_path / "app.apk")]))).problem

    assert "intact" in run("first", since, Existing.REFUSE)
    assert run("first", since, Existing.REFUSE, newest=32) == ""
    options = {"lineage": str(tmp_path / "lineage"), **since}
    assert run("second", options, Existing.NESTED) == ""
    anchors = (str(tmp_path / "first.pem"),)
    accepted(assess_path(tmp_path / "app.apk", Context(Options(anchors=anchors, at=NOW))))


# --- v4 --------------------------------------------------------------------------


@pytest.mark.parametrize(("oldest", "schemes"), [(24, ""), (28, "v3"), (24, "v2")])
def test_v4_is_written_beside_a_signed_package(oldest: int, schemes: str, tmp_path: Path) -> None:
    options = {"schemes": schemes} if schemes else {}
    plain = apk.archive({"assets/a": bytes(900_000)}, oldest=oldest)
    data = sign_bytes("a.apk", plain, who=FIRST, options=options)
    idsig = sign_beside(ApkV4Format(), data, FIRST)
    accepted(judged(data, FIRST, folder=tmp_path, idsig=idsig))
    assert idsig.endswith(apk.file_root(data)[1])
    context = Context(Options(anchors=(str(tmp_path / "0.pem"),), at=NOW))
    path = str(tmp_path / "a.apk")
    accepted(assess_detached(path, f"{path}.idsig", context))
    changed = bytearray(idsig)
    changed[-1] ^= 1
    (tmp_path / "other").write_bytes(changed)
    assert assess_detached(path, str(tmp_path / "other"), context).cause is Code.DIGEST_MISMATCH


def test_v4_repeats_the_best_digest_of_v3(tmp_path: Path) -> None:
    data = sign_bytes("a.apk", apk.archive(oldest=24), who=FIRST, digest="sha512")
    idsig = sign_beside(ApkV4Format(), data, FIRST, "sha512")
    accepted(judged(data, FIRST, folder=tmp_path, idsig=idsig))


def test_v4_of_a_package_that_was_handed_on(tmp_path: Path) -> None:
    data = hand_on(sign_bytes("a.apk", apk.archive(oldest=24), who=FIRST))
    accepted(judged(data, FIRST, folder=tmp_path, idsig=sign_beside(ApkV4Format(), data, SECOND)))
    with pytest.raises(NotSignableError, match="somebody else"):
        sign_beside(ApkV4Format(), data, FIRST)


def test_what_is_refused_of_v4() -> None:
    with pytest.raises(NotSignableError, match="without scheme v2 or v3"):
        sign_beside(ApkV4Format(), apk.archive(oldest=24), FIRST)
    said = {"rotation-min-sdk": "33"}
    before = sign_bytes("a.apk", apk.archive(oldest=24), who=FIRST, options=said)
    with pytest.raises(NotSignableError, match=r"v3\.1"):
        sign_beside(ApkV4Format(), hand_on(before, since="33"), SECOND)


def test_the_words_for_v4(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key, path = tmp_path / "first.pem", tmp_path / "app.apk"
    key.write_bytes(encoded(FIRST.key) + pem(FIRST.certificate))
    path.write_bytes(sign_bytes("app.apk", apk.archive(oldest=24), who=FIRST))
    words = ["sign", "--key", f"file:{key}", "--detached", "--as", "apk-v4", str(path)]
    assert main(words) == 0, capsys.readouterr()
    idsig = tmp_path / "app.apk.idsig"
    assert main(["verify", str(path), "--anchor", str(key)]) == 0
    assert main(["verify", str(path), "--detached", str(idsig), "--anchor", str(key)]) == 0
    assert main(words) == 1, "a file that is there is not written over"
    path.write_bytes(sign_bytes("app.apk", apk.archive(oldest=28), who=FIRST))
    assert main(["verify", str(path), "--anchor", str(key)]) == 1
    assert main([*words, "--replace"]) == 0
    assert main(["verify", str(path), "--anchor", str(key)]) == 0


def test_a_stale_v4_signature_stops_signing_anew(tmp_path: Path) -> None:
    key, path = tmp_path / "first.pem", tmp_path / "app.apk"
    key.write_bytes(encoded(FIRST.key) + pem(FIRST.certificate))
    path.write_bytes(apk.archive(oldest=24))
    (tmp_path / "app.apk.idsig").write_bytes(b"of another file")
    assert main(["sign", "--key", f"file:{key}", str(path)]) == 1
    assert path.read_bytes() == apk.archive(oldest=24)
