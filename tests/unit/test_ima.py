"""IMA: values of security.ima read, written and judged, and whole trees signed into them."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from conformance.authenticode.pki import LEAF_BEGIN, Identity, issue
from hypothesis import given
from hypothesis import strategies as st

from signward.cli.commands import run
from signward.errors import BadInputError, NotSignableError
from signward.findings import Code
from signward.formats import ParseOptions
from signward.formats._ima import ImaFormat, key_id_of
from signward.inventory.classify import KINDS, Kind
from signward.state import Outcome, TrustedSignature, Verdict
from signward.verbs.context import Context
from signward.verbs.detached import form_of
from signward.verbs.evidence import assess_with_evidence
from signward.verbs.options import Options
from signward.verbs.replay import replay
from signward.verbs.show import show
from signward.verbs.verify import assess_as, assess_path
from signward.wire import ima
from signward.wire.source import BytesSource, FileSource, whole_digest
from tests.builders.keyfiles import encoded
from tests.contract.test_formats import RIGHT_CAUSES
from tests.signing import authority, context, identity, sign_beside

CONTENT = b"#!/bin/sh\necho a script that nobody signs in itself\n" * 20
OWN = identity()
_ANY = ParseOptions()
NOBODY = Context(Options(stores=("linux-kernel",)))


def judged(value: bytes, folder: Path, who: Identity = OWN, content: bytes = CONTENT) -> Verdict:
    return assess_as(form_of(value), BytesSource("file", content), context(folder, who))


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize(
    ("kind", "digest"),
    [("rsa2048", "sha256"), ("rsa3072", "sha512"), ("p256", "sha256"), ("p384", "sha384"),
     ("p521", "sha512")],
)  # fmt: skip
def test_what_is_signed_is_accepted(kind: str, digest: str, version: int, tmp_path: Path) -> None:
    who = identity(kind)
    value = sign_beside(ImaFormat(version=version), CONTENT, who, digest)
    verdict = judged(value, tmp_path, who)
    assert verdict.outcome is Outcome.ACCEPTED, [str(f) for f in verdict.findings]
    assert isinstance(verdict.signatures[0], TrustedSignature)
    assert verdict.digests[f"file-{digest}"] == whole_digest(BytesSource("f", CONTENT), digest)
    assert value[2:7] == bytes((ima._NUMBERS[digest],)) + who.key_identifier[-4:]


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("kind", ["rsa2048", "p256"])
def test_no_flipped_byte_of_content_or_value_is_accepted(
    kind: str, version: int, tmp_path: Path
) -> None:
    who = identity(kind)
    value = sign_beside(ImaFormat(version=version), CONTENT, who)
    judging, causes = context(tmp_path, who), Counter[Code | None]()
    for offset in range(len(value) + len(CONTENT)):
        changed = bytearray(value + CONTENT)
        changed[offset] ^= 1 << (offset * 5 % 8)
        form = form_of(bytes(changed[: len(value)]))
        verdict = assess_as(form, BytesSource("file", bytes(changed[len(value) :])), judging)
        assert verdict.outcome is not Outcome.ACCEPTED, offset
        causes[verdict.cause] += 1
    assert set(causes) <= RIGHT_CAUSES
    assert causes[Code.SIGNATURE_MISMATCH] >= len(CONTENT)


@pytest.mark.parametrize("version", [2, 3])
def test_no_length_but_the_whole_is_accepted(version: int, tmp_path: Path) -> None:
    value, judging = sign_beside(ImaFormat(version=version), CONTENT), context(tmp_path, OWN)
    for size in range(len(value)):
        verdict = assess_as(form_of(value[:size]), BytesSource("file", CONTENT), judging)
        assert verdict.outcome is not Outcome.ACCEPTED
    assert judged(value + b"\0", tmp_path).cause is Code.MALFORMED
    assert judged(value, tmp_path, content=CONTENT + b"\0").cause is Code.SIGNATURE_MISMATCH
    assert judged(value, tmp_path, content=CONTENT[:-1]).cause is Code.SIGNATURE_MISMATCH


def test_a_key_that_nobody_has_is_missing(tmp_path: Path) -> None:
    for version in (2, 3):
        value = sign_beside(ImaFormat(version=version), CONTENT)
        verdict = judged(value, tmp_path, identity("p256"))
        assert (verdict.outcome, verdict.cause) == (Outcome.INDETERMINATE, Code.KEY_MISSING)
        assert "with --anchor" in verdict.findings[0].hint
        assert "RFC" not in verdict.findings[0].clause


def test_changed_content_is_told_as_such(tmp_path: Path) -> None:
    """Of version 3 it was said that the signature was changed, or its attributes."""
    for version in (2, 3):
        value = sign_beside(ImaFormat(version=version), CONTENT)
        verdict = judged(value, tmp_path, content=CONTENT + b"x")
        assert "over file" in verdict.findings[0].required
        assert "the content or its signature" in verdict.findings[0].hint


def test_a_leaf_in_reach_needs_a_path_to_an_anchor(tmp_path: Path) -> None:
    (tmp_path / "leaf.pem").write_bytes(OWN.pem)
    value, leaf = sign_beside(ImaFormat(), CONTENT), (str(tmp_path / "leaf.pem"),)
    judging = context(tmp_path, authority(), certificates=leaf)
    known = assess_as(form_of(value), BytesSource("f", CONTENT), judging)
    judging = context(tmp_path, identity("p256"), certificates=leaf)
    stranger = assess_as(form_of(value), BytesSource("f", CONTENT), judging)
    assert known.outcome is Outcome.ACCEPTED
    assert stranger.cause is Code.NO_PATH


def test_validity_and_usage_count_for_nothing_as_in_the_kernel(tmp_path: Path) -> None:
    ended = issue("Ended", issuer=authority(), ekus=None, usage=None,
                  not_after=LEAF_BEGIN.replace(year=LEAF_BEGIN.year + 1))  # fmt: skip
    value = sign_beside(ImaFormat(), CONTENT, ended)
    assert judged(value, tmp_path, ended).outcome is Outcome.ACCEPTED


def test_two_certificates_of_one_key_id_are_both_tried(tmp_path: Path) -> None:
    """Four octets of a name are no name: whose key fits has signed."""
    value = sign_beside(ImaFormat(), CONTENT)
    other = identity("p256").certificate
    seen = key_id_of(other)
    value = value[:3] + seen + value[7:]
    verdict = judged(value, tmp_path, identity("p256"))
    assert verdict.cause is Code.UNSUPPORTED_ALGORITHM  # an EC key for an RSA value
    stranger = identity("rsa2048", "Somebody Else")
    value = value[:3] + key_id_of(stranger.certificate) + value[7:]
    assert judged(value, tmp_path, stranger).cause is Code.SIGNATURE_MISMATCH


def test_a_certificate_without_key_identifier_is_found_by_its_key(tmp_path: Path) -> None:
    bare = issue("Bare", issuer=authority(), identifiers=False)
    value = sign_beside(ImaFormat(), CONTENT, bare)
    assert value[3:7] == bare.key_identifier[-4:]
    assert judged(value, tmp_path, bare).outcome is Outcome.ACCEPTED


def test_one_kind_of_digest_never_passes_for_another(tmp_path: Path) -> None:
    """What version 3 says of a digest is signed; a value of one version is none of the other."""
    second, third = (sign_beside(ImaFormat(version=v), CONTENT) for v in (2, 3))
    assert judged(b"\3\3" + second[2:], tmp_path).cause is Code.SIGNATURE_MISMATCH
    assert judged(b"\3\2" + third[2:], tmp_path).cause is Code.SIGNATURE_MISMATCH
    assert judged(b"\6\3" + third[2:], tmp_path).cause is Code.SIGNATURE_MISMATCH
    assert judged(b"\6\2" + second[2:], tmp_path).cause is Code.MALFORMED


@pytest.mark.parametrize(
    "kind", ["ed25519", "ml-dsa-44", "ml-dsa-65", "ml-dsa-87"]
)  # fmt: skip
def test_keys_that_the_kernel_does_not_know_are_refused_by_name(kind: str) -> None:
    with pytest.raises(NotSignableError, match=kind):
        sign_beside(ImaFormat(), CONTENT, identity(kind), "sha512")


SHA256 = whole_digest(BytesSource("file", CONTENT), "sha256")


@pytest.mark.parametrize(
    ("value", "cause"),
    [
        (b"\4\4" + SHA256, Code.AD_HOC),
        (b"\4\4" + SHA256[::-1], Code.DIGEST_MISMATCH),
        (b"\1" + whole_digest(BytesSource("f", CONTENT), "sha1"), Code.AD_HOC),
        (b"\1" + whole_digest(BytesSource("f", CONTENT), "md5"), Code.AD_HOC),
        (b"\1" + bytes(20), Code.DIGEST_MISMATCH),
        (b"\4\x11" + SHA256, Code.UNSUPPORTED_ALGORITHM),
        (b"\4\4" + SHA256[1:], Code.MALFORMED),
        (b"\4\xff" + SHA256, Code.MALFORMED),
        (b"\4", Code.MALFORMED),
        (b"\1" + bytes(21), Code.MALFORMED),
        (b"\3\1" + bytes(300), Code.UNSUPPORTED_ALGORITHM),
        (b"\3\2\4" + bytes(4) + b"\1\0", Code.MALFORMED),
        (b"\3\2\4" + bytes(4) + b"\0\0", Code.MALFORMED),
        (b"\3\2\x10" + bytes(4) + b"\1\0" + bytes(256), Code.UNSUPPORTED_ALGORITHM),
        (b"\3\4\4" + bytes(4) + b"\1\0" + bytes(256), Code.MALFORMED),
        (b"\5\2\4" + bytes(4) + b"\1\0" + bytes(256), Code.MALFORMED),
        (b"\6\3\2" + bytes(4) + b"\1\0" + bytes(256), Code.UNSUPPORTED_ALGORITHM),
        (b"\2" + bytes(20), Code.MALFORMED),
        (b"\0", Code.MALFORMED),
        (b"", Code.MALFORMED),
        (b"\3\2\4" + bytes(4) + b"\xff\xf0" + bytes(70000), Code.LIMIT_EXCEEDED),
    ],
)  # fmt: skip
def test_every_other_value_has_its_own_cause(value: bytes, cause: Code, tmp_path: Path) -> None:
    verdict = assess_as(ImaFormat(value), BytesSource("file", CONTENT), context(tmp_path, OWN))
    assert verdict.outcome is not Outcome.ACCEPTED
    assert verdict.cause is cause


@given(st.binary(max_size=400) | st.builds(lambda b: b"\3\2\4" + b, st.binary(max_size=400)))
def test_any_octets_are_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(BadInputError):
        ima.read_value(data)
    ima.is_value(data)


@given(
    st.binary(max_size=600)
    | st.builds(
        lambda a, b: a + b,
        st.sampled_from([b"\3\2\4", b"\3\3\6", b"\6\3\4", b"\1", b"\4\4", b"\3\1", b"\x30\x82"]),
        st.binary(max_size=600),
    )
)
def test_any_octets_beside_a_file_have_a_verdict(data: bytes) -> None:
    """With no key in reach nothing is accepted, and nothing raises."""
    verdict = assess_as(form_of(data), BytesSource("file", CONTENT), NOBODY)
    assert verdict.outcome is not Outcome.ACCEPTED


# --- attributes of files -------------------------------------------------------------------------


@pytest.fixture
def attributed(tmp_path: Path) -> Path:
    """Return a folder whose files may carry security.ima."""
    probe = tmp_path / "probe"
    probe.write_bytes(b"x")
    try:
        os.setxattr(probe, "security.ima", b"\4\4" + bytes(32))
    except OSError as error:
        pytest.skip(f"system: security.ima cannot be set here ({error.strerror})")
    probe.unlink()
    return tmp_path


def write(path: Path, value: bytes = b"", content: bytes = CONTENT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    if value:
        os.setxattr(path, "security.ima", value)
    return path


def own_context(folder: Path, **options: Any) -> Context:
    return context(folder, OWN, **options)


def test_a_file_is_judged_by_its_attribute(attributed: Path) -> None:
    value, judging = sign_beside(ImaFormat(), CONTENT), own_context(attributed)
    good = write(attributed / "good", value)
    assert assess_path(good, judging).outcome is Outcome.ACCEPTED
    assert assess_path(write(attributed / "bare"), judging).cause is Code.UNSIGNED
    changed = write(attributed / "changed", value, CONTENT + b"x")
    assert assess_path(changed, judging).cause is Code.SIGNATURE_MISMATCH
    hashed = write(attributed / "hashed", b"\4\4" + SHA256)
    assert assess_path(hashed, judging).cause is Code.AD_HOC


def test_files_of_kinds_nobody_can_judge_are_judged_by_it_too(
    attributed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unjudged = b"7z\xbc\xaf\x27\x1c" + bytes(200)
    monkeypatch.setitem(KINDS, "7z", Kind("7-Zip archive", signable=True))
    value, judging = sign_beside(ImaFormat(), unjudged), own_context(attributed)
    bare = write(attributed / "bare.7z", content=unjudged)
    assert assess_path(bare, judging).cause is Code.UNSUPPORTED_KIND
    signed = write(attributed / "signed.7z", value, unjudged)
    assert assess_path(signed, judging).outcome is Outcome.ACCEPTED
    digest = b"\4\4" + whole_digest(BytesSource("f", unjudged), "sha256")
    hashed = write(attributed / "hashed.7z", digest, unjudged)
    assert assess_path(hashed, judging).cause is Code.UNSUPPORTED_KIND


def test_what_a_file_carries_in_itself_goes_before(attributed: Path) -> None:
    from tests.samples import pe
    from tests.signing import sign_bytes

    name = next(iter(pe.SAMPLES))
    broken = bytearray(sign_bytes(name, pe.SAMPLES[name]()))
    broken[-1] ^= 1
    content = bytes(broken[:-40]) + bytes(40)
    value = sign_beside(ImaFormat(), content)
    verdict = assess_path(write(attributed / name, value, content), own_context(attributed))
    assert verdict.format == "pe"
    assert verdict.outcome is not Outcome.ACCEPTED


def test_the_attribute_and_evm_s_are_shown(attributed: Path) -> None:
    path = write(attributed / "good", sign_beside(ImaFormat(), CONTENT))
    with contextlib.suppress(OSError):  # a kernel with EVM has its own word here
        os.setxattr(path, "security.evm", b"\5\2\4" + b"\xaa\xbb\xcc\xdd" + b"\0\4" + bytes(4))
    artifact, _ = show(path, own_context(attributed))
    assert artifact is not None
    key = OWN.key_identifier[-4:].hex()
    assert artifact.facts["ima"] == f"signature, version 2, sha256, key {key}"
    assert artifact.facts.get("evm", "portable signature, sha256, key aabbccdd") == (
        "portable signature, sha256, key aabbccdd"
    )


@pytest.mark.parametrize(
    ("value", "told"),
    [(b"\2" + bytes(20), "HMAC by a key of the machine"), (b"\2", "cannot be read"),
     (b"\3\2\4" + bytes(4) + b"\0\1x", "signature, sha256, key 00000000")],
)  # fmt: skip
def test_evm_is_told_as_far_as_it_can_be_read(value: bytes, told: str) -> None:
    artifact = ImaFormat(b"\4\4" + SHA256, evm=value).parse(BytesSource("f", CONTENT), _ANY)
    assert artifact.facts["evm"] == told


def test_a_verdict_is_replayed_though_the_attribute_is_gone(attributed: Path) -> None:
    path = write(attributed / "good", sign_beside(ImaFormat(), CONTENT))
    bare = write(attributed / "bare", content=CONTENT[1:])
    options = own_context(attributed).options
    folder = str(attributed / "evidence")
    verdicts, _ = assess_with_evidence([str(path), str(bare)], options, folder)
    assert [one.outcome for one in verdicts] == [Outcome.ACCEPTED, Outcome.REJECTED]
    os.removexattr(path, "security.ima")
    os.setxattr(bare, "security.ima", sign_beside(ImaFormat(), CONTENT[1:]))
    assert replay(folder, str(path)).outcome is Outcome.ACCEPTED
    assert replay(folder, str(bare)).cause is Code.UNSIGNED


# --- trees ---------------------------------------------------------------------------------------


@pytest.fixture
def key_uri(tmp_path: Path) -> str:
    (tmp_path / "key.pem").write_bytes(encoded(OWN.key) + OWN.pem)
    (tmp_path / "anchor.pem").write_bytes(OWN.pem)
    return f"file:{tmp_path / 'key.pem'}"


@pytest.fixture
def tree(attributed: Path) -> Path:
    root = attributed / "tree"
    for number in range(9):
        write(root / f"d{number % 3}" / f"file{number}", content=CONTENT + bytes((number,)))
    os.link(root / "d0" / "file0", root / "again")
    (root / "link").symlink_to("d0/file0")
    os.mkfifo(root / "fifo")
    return root


def told(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_tree_is_signed_and_the_next_run_keeps_it(
    tree: Path, key_uri: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["sign", "--key", key_uri, "--ima", "--json", str(tree)]
    assert run(words) == 0
    first = told(capsys)
    assert [one["outcome"] for one in first] == 9 * ["signed"]
    anchor = str(tree.parent / "anchor.pem")
    files = [one["path"] for one in first]
    assert run(["verify", "--anchor", anchor, *files]) == 0
    capsys.readouterr()
    (tree / "d1" / "new").write_bytes(b"a file more")
    os.removexattr(tree / "d2" / "file2", "security.ima")
    assert run(words) == 0
    second = {Path(one["path"]).name: one["outcome"] for one in told(capsys)}
    assert Counter(second.values()) == {"kept": 8, "signed": 2}
    assert second["new"] == second["file2"] == "signed"


def test_a_dry_run_leaves_every_attribute_alone(
    tree: Path, key_uri: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["sign", "--key", key_uri, "--ima", "--dry-run", "--json", str(tree)]) == 0
    assert {one["outcome"] for one in told(capsys)} == {"planned"}
    assert "security.ima" not in os.listxattr(tree / "d0" / "file0")


@pytest.mark.parametrize("value", ["changed", "stranger", "garbage"])
def test_another_signature_is_replaced_when_told_so(
    value: str, tree: Path, key_uri: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tree / "d0" / "file0"
    stranger = identity("rsa2048", "Somebody Else")
    values = {
        "changed": sign_beside(ImaFormat(), b"older content"),
        "stranger": sign_beside(ImaFormat(), path.read_bytes(), stranger),
        "garbage": b"\3\2garbage",
    }
    os.setxattr(path, "security.ima", values[value])
    words = ["sign", "--key", key_uri, "--ima", "--json", str(path)]
    assert run(words) == 1
    failed = told(capsys)[0]
    assert (failed["outcome"], "--replace" in failed["hint"]) == ("failed", True)
    assert os.getxattr(path, "security.ima") == values[value]
    assert run([*words, "--replace"]) == 0
    assert run(["verify", "--anchor", str(tree.parent / "anchor.pem"), str(path)]) == 0


def test_digests_without_a_key(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["sign", "--ima-hash", "--json", str(tree)]
    assert run(words) == 0
    assert {one["outcome"] for one in told(capsys)} == {"hashed"}
    assert run(words) == 0
    assert {one["outcome"] for one in told(capsys)} == {"kept"}
    path = tree / "d0" / "file0"
    assert os.getxattr(path, "security.ima")[:2] == b"\4\4"
    assert run(["verify", str(path)]) == 4
    path.write_bytes(b"changed")
    assert run(["verify", str(path)]) == 1


def test_signatures_are_not_hashed_away(tree: Path, key_uri: str) -> None:
    path = str(tree / "d0" / "file0")
    assert run(["sign", "--key", key_uri, "--ima", path]) == 0
    assert run(["sign", "--ima-hash", path]) == 1
    assert os.getxattr(path, "security.ima")[0] == ima.SIGNATURE
    assert run(["sign", "--ima-hash", "--replace", path]) == 0
    assert os.getxattr(path, "security.ima")[0] == ima.DIGEST_NG


@pytest.mark.parametrize(
    ("number", "hint"), [(errno.EPERM, "run as root"), (errno.ENOTSUP, "--ima-sigfile"),
                         (errno.EROFS, "--ima-sigfile")],
)  # fmt: skip
def test_who_may_not_set_attributes_is_told_what_to_do(
    number: int, hint: str, tree: Path, key_uri: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def refuse(_source: FileSource, _name: str, _value: bytes) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(FileSource, "set_attribute", refuse)
    path = str(tree / "d0" / "file0")
    assert run(["sign", "--key", key_uri, "--ima", "--json", path]) == 1
    assert hint in told(capsys)[0]["hint"]


def test_what_cannot_be_read_fails_and_the_rest_is_signed(
    tree: Path, key_uri: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["sign", "--key", key_uri, "--ima", "--json", str(tree / "absent"), str(tree / "d0")]
    assert run(words) == 1
    assert Counter(one["outcome"] for one in told(capsys)) == {"failed": 1, "signed": 3}


def test_a_signature_in_a_file_beside(tmp_path: Path, key_uri: str) -> None:
    path = write(tmp_path / "program")
    assert run(["sign", "--key", key_uri, "--ima-sigfile", str(path)]) == 0
    words = ["verify", "--anchor", str(tmp_path / "anchor.pem"), "--detached"]
    assert run([*words, f"{path}.sig", str(path)]) == 0
    path.write_bytes(CONTENT[1:])
    assert run([*words, f"{path}.sig", str(path)]) == 1
    assert run(["sign", "--key", key_uri, "--ima-sigfile", str(path)]) == 1


@pytest.mark.parametrize(
    "words",
    [["--ima"], ["--key", "KEY", "--ima", "--nested"], ["--key", "KEY", "--ima", "--out", "x"],
     ["--key", "KEY", "--ima", "--timestamp", "http://localhost"],
     ["--key", "KEY", "--fs-verity", "--fs-verity-salt", "xy"],
     ["--key", "KEY", "--fs-verity", "--fs-verity-block", "1000"],
     ["--key", "KEY", "--fs-verity", "--ima"]],
)  # fmt: skip
def test_words_that_go_with_no_attribute(words: list[str], tmp_path: Path, key_uri: str) -> None:
    path = write(tmp_path / "program")
    given = [key_uri if word == "KEY" else word for word in words]
    try:
        assert run(["sign", *given, str(path)]) == 2
    except SystemExit as ended:
        assert ended.code == 2  # noqa: PT017 - argparse ends the program itself
