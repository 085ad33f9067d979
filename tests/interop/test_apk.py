"""Android packages and their second opinion: apksigner; its own vectors; real and hostile ones."""

from __future__ import annotations

import csv
import hashlib
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conformance.authenticode.pki import Identity, pem

from signward.cli.verify import exit_code
from signward.findings import Code
from signward.formats import Existing
from signward.formats._apk_v4_sign import ApkV4Format
from signward.policy.settings import Policy
from signward.state import IntactSignature, Outcome, Stage, Verdict
from signward.verbs.context import Context
from signward.verbs.options import Options
from signward.verbs.verify import assess_path
from tests.builders import apk
from tests.signing import identity, sign_beside, sign_bytes

pytestmark = [pytest.mark.interop]

LEVELS = {"M": 23, "N": 24, "O": 26, "P": 28}

EXPECTED = {"valid": 0, "invalid": 1, "malformed": 1}

STRICTER = {
    ("v1-only-with-signed-attrs-signerInfo1-wrong-digest-signerInfo2-good.apk", "valid"):
        "one of two signer infos is broken: a reader of another age takes that one",
    ("v1-only-with-signed-attrs-signerInfo1-wrong-signature-signerInfo2-good.apk", "valid"):
        "likewise",
    ("v1-only-with-signed-attrs-wrong-content-type.apk", "valid"):
        "a signed attribute that contradicts the message",
    ("v1-sha1-sha256-manifest-and-sf-with-sha256-wrong-in-manifest.apk", "valid"):
        "a digest in the manifest that is wrong, which only old platforms passed over",
    ("weird-compression-method.apk", "valid"):
        "a compression method that readers understand differently",
}  # fmt: skip
"""Rows where Signward is deliberately stricter, with the reason."""

GOLDEN = {"v1v2": 0, "v2v3": 24, "v3": 28}
"""Oldest platform that golden outputs without a JAR signature are signed for, by their name."""


def _given(row: dict[str, str]) -> dict[str, Any]:
    """Return the platforms that a row's test asked about."""
    name, given = Path(row["path"]).name, row["given"]
    golden = re.match(r"golden-(?:legacy-)?(?:un)?aligned-(v2v3|v3)-", name)
    if golden:
        return {"oldest_sdk": GOLDEN[golden[1]]}
    if found := re.match(r"(?:verifyForMinSdkVersion, |minSdk=)(\w+)$", given):
        return {"oldest_sdk": LEVELS.get(found[1]) or int(found[1])}
    if found := re.match(r"verifyForMaxSdkVersion, (\w+)( - 1)?$", given):
        return {"newest_sdk": (LEVELS.get(found[1]) or int(found[1])) - bool(found[2])}
    if found := re.match(r"verifySourceStamp, (\d+), (\d+)$", given):
        return {"oldest_sdk": int(found[1]), "newest_sdk": int(found[2])}
    assert given in ("", "verify") or given.startswith("verifySourceStamp"), given
    return {}


def judged(path: Path, *pins: Path, stage: Stage = Stage.INTACT, **asked: Any) -> Verdict:
    anchors = tuple(str(pin) for pin in pins)
    policy = Policy(stage=stage)
    return assess_path(str(path), Context(Options(policy=policy, anchors=anchors, **asked)))


def test_every_row_of_apksig_is_answered_as_expected(vectors: Path) -> None:
    """Rows about source stamps alone are answered where one is asked for; see below."""
    rows = _rows(vectors)
    rows = [row for row in rows if row["expected"] in EXPECTED]
    assert len(rows) >= 104
    wrong = {}
    for row in rows:
        verdict = judged(vectors / row["path"], **_given(row))
        if exit_code(verdict) != EXPECTED[row["expected"]]:
            wrong[Path(row["path"]).name, row["expected"]] = verdict.cause
    assert wrong.keys() == STRICTER.keys(), wrong
    assert len(STRICTER) <= 0.05 * len(rows)


def _rows(vectors: Path) -> list[dict[str, str]]:
    with (vectors / "EXPECTED.tsv").open(newline="") as handle:
        return [r for r in csv.DictReader(handle, delimiter="\t") if r["format"].startswith("apk")]


STAMPED_BY = "fb5dbd3c669af9fc236c6991e6387b7f11ff0590997f22d0f5c74ff40e04fca8"
"""SHA-256 of the certificate that stamped the vectors (``RSA_2048_CERT_SHA256_DIGEST``)."""


def test_every_row_about_stamps_is_answered_as_expected(vectors: Path, tmp_path: Path) -> None:
    """apksig says by whom; here he is pinned, or somebody else, beside the package's signer."""
    rows = [row for row in _rows(vectors) if row["expected"] not in EXPECTED]
    assert len(rows) >= 12
    for row in rows:
        path, given = vectors / row["path"], _given(row)
        fine = row["expected"] == "stamp:STAMP_VERIFIED"
        stranger = "EC_P256_CERT" in row["given"]
        verdict = judged(path, source_stamp=True, **given)
        assert exit_code(verdict) == (0 if fine or stranger else 1), row
        if fine or stranger:
            assert verdict.facts["source-stamp"] == STAMPED_BY
            pins = _pins(verdict, tmp_path, but=STAMPED_BY if stranger else "")
            verdict = judged(path, *pins, stage=Stage.ACCEPTED, source_stamp=True, **given)
            assert exit_code(verdict) == (1 if stranger else 0), row
        else:
            assert verdict.cause is Code.SIGNATURE_MISMATCH, row


def _pins(verdict: Verdict, folder: Path, but: str) -> list[Path]:
    """Return files with the certificates of an intact package's signers, all but one."""
    found = []
    for number, signature in enumerate(verdict.signatures):
        assert isinstance(signature, IntactSignature)
        if hashlib.sha256(signature.key.holder).hexdigest() != but:
            found.append(folder / f"{number}.der")
            found[-1].write_bytes(signature.key.holder)
    return found


def test_the_v4_vector_speaks_for_both_of_its_signers(vectors: Path) -> None:
    path = vectors / "tools_apksig/apk/v31-rsa-2048_2-tgt-10000-dev-release.apk"
    verdict = judged(path)
    assert verdict.outcome is Outcome.ACCEPTED
    labels = [s.claimed.label for s in verdict.signatures if isinstance(s, IntactSignature)]
    assert labels[-2:] == ["v4", "v4:v3.1"]


# --- apksigner -------------------------------------------------------------------


@pytest.fixture(scope="module")
def apksigner() -> Callable[..., subprocess.CompletedProcess[str]]:
    tool = shutil.which("apksigner")
    if tool is None:
        pytest.skip("apksigner is not installed")

    def run(*words: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [tool, *map(str, words)], capture_output=True, text=True, timeout=120, check=False
        )

    return run


def _signers(text: str) -> set[str]:
    return set(re.findall(r"certificate SHA-256 digest: ([0-9a-f]{64})", text))


def _newest_signers(verdict: Verdict) -> set[str]:
    """Return the digests of the certificates that signed by the newest scheme."""
    intact = [s for s in verdict.signatures if isinstance(s, IntactSignature)]
    scheme = intact[0].claimed.label.partition(":")[0]
    return {
        hashlib.sha256(s.key.holder).hexdigest()
        for s in intact
        if s.claimed.label.startswith(f"{scheme}:")
    }


HOSTILE = {"janus.apk", "issue-1128-poc2.apk", "issue-1128-min-sdk-30-poc.apk"}
"""Packages that apksigner passes and that other readers take for somebody else's."""


@pytest.mark.corpus
@pytest.mark.confirms("apk", "verify", "apksigner")
def test_packages_of_fdroidserver(
    corpus: Callable[[str], Path], apksigner: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    paths = sorted(corpus("fdroidserver").rglob("*.apk"))
    assert len(paths) >= 39
    for path in paths:
        theirs, ours = apksigner("verify", "--print-certs", path), judged(path)
        if path.name in HOSTILE:
            assert ours.outcome is Outcome.REJECTED, path.name
            continue
        assert (theirs.returncode == 0) == (ours.outcome is Outcome.ACCEPTED), (path.name, ours)
        if theirs.returncode == 0:
            assert _newest_signers(ours) == _signers(theirs.stdout), path.name


@pytest.mark.corpus
def test_no_hostile_package_is_accepted(corpus: Callable[[str], Path], tmp_path: Path) -> None:
    """Nor with a pin of whomever it names beside its signer (issue 1128 of fdroidserver)."""
    names = ("janus.apk", "issue-1128-*.apk", "urzip-badsig.apk", "urzip-badcert.apk")
    paths = [path for name in names for path in corpus("fdroidserver").rglob(name)]
    assert len(paths) == 8
    for path in paths:
        assert exit_code(judged(path, stage=Stage.ACCEPTED)) == 1
        for number, pin in enumerate(_bystanders(judged(path))):
            (tmp_path / f"{number}.der").write_bytes(pin)
            verdict = judged(path, tmp_path / f"{number}.der", stage=Stage.ACCEPTED)
            assert exit_code(verdict) == 1, path.name


def _bystanders(verdict: Verdict) -> set[bytes]:
    """Return the certificates that come along and are not the signer's."""
    return {
        one
        for signature in verdict.signatures
        if isinstance(signature, IntactSignature)
        for one in signature.claimed.claimed_certificates
        if one != signature.key.holder
    }


def _keys(who: Identity, folder: Path) -> tuple[str, ...]:
    """Return apksigner's words for an identity, written as PKCS #8 and X.509 (DER)."""
    from cryptography.hazmat.primitives import serialization as form

    name = who.name.replace(" ", "-")
    private = who.key.private.private_bytes(
        form.Encoding.DER, form.PrivateFormat.PKCS8, form.NoEncryption()
    )
    (folder / f"{name}.pk8").write_bytes(private)
    (folder / f"{name}.pem").write_bytes(pem(who.certificate))
    return "--key", str(folder / f"{name}.pk8"), "--cert", str(folder / f"{name}.pem")


@pytest.mark.parametrize(
    ("kind", "oldest", "schemes"),
    [("rsa2048", 18, "v3, v2, v1"), ("rsa2048", 24, "v3, v2"), ("rsa4096", 24, "v3, v2"),
     ("p256", 24, "v3, v2"), ("p521", 24, "v3, v2"), ("rsa2048", 28, "v3")],
)  # fmt: skip
@pytest.mark.confirms("apk", "verify", "apksigner")
def test_what_apksigner_signs_is_accepted(
    kind: str, oldest: int, schemes: str, tmp_path: Path,
    apksigner: Callable[..., subprocess.CompletedProcess[str]],
) -> None:  # fmt: skip
    who = identity(kind, f"Packager {kind}")
    (tmp_path / "in.apk").write_bytes(apk.archive({"assets/a": bytes(5000)}, oldest=oldest))
    keys = _keys(who, tmp_path)
    done = apksigner("sign", *keys, "--v4-signing-enabled", "false",
                     "--out", tmp_path / "out.apk", tmp_path / "in.apk")  # fmt: skip
    assert done.returncode == 0, done.stderr
    verdict = judged(tmp_path / "out.apk", Path(keys[3]), stage=Stage.ACCEPTED)
    assert verdict.outcome is Outcome.ACCEPTED, [str(f) for f in verdict.findings]
    assert str(verdict.facts["schemes"]).startswith(schemes)


@pytest.mark.confirms("apk", "verify", "apksigner")
def test_a_rotation_that_apksigner_makes(
    tmp_path: Path, apksigner: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    old, new = (
        _keys(identity("rsa2048", n), tmp_path) for n in ("Packager before", "Packager now")
    )
    (tmp_path / "in.apk").write_bytes(apk.archive(oldest=24))
    lineage, out = tmp_path / "lineage", tmp_path / "out.apk"
    done = apksigner("rotate", "--out", lineage, "--old-signer", *old, "--new-signer", *new)
    assert done.returncode == 0, done.stderr
    done = apksigner("sign", *old, "--next-signer", *new, "--lineage", lineage,
                     "--out", out, tmp_path / "in.apk")  # fmt: skip
    assert done.returncode == 0, done.stderr
    accepted = judged(out, Path(old[3]), stage=Stage.ACCEPTED)
    assert accepted.outcome is Outcome.ACCEPTED, [str(f) for f in accepted.findings]
    assert exit_code(judged(out, Path(new[3]), stage=Stage.ACCEPTED)) == 1
    assert exit_code(judged(out, Path(new[3]), stage=Stage.ACCEPTED, oldest_sdk=28)) == 0


@pytest.mark.parametrize("kind", ["rsa2048", "p256"])
@pytest.mark.confirms("apk-v4", "verify", "apksigner")
@pytest.mark.confirms("apk", "verify", "apksigner")
def test_v4_and_a_stamp_by_apksigner(
    kind: str, tmp_path: Path, apksigner: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    who, store = identity(kind, f"Packager {kind}"), identity("rsa2048", "A Store")
    (tmp_path / "in.apk").write_bytes(apk.archive({"assets/a": bytes(900_000)}, oldest=24))
    keys, out = _keys(who, tmp_path), tmp_path / "out.apk"
    done = apksigner("sign", *keys, "--v4-signing-enabled", "true", "--out", out,
                     "--stamp-signer", *_keys(store, tmp_path), tmp_path / "in.apk")  # fmt: skip
    assert done.returncode == 0, done.stderr
    pins = Path(keys[3]), tmp_path / "A-Store.pem"
    verdict = judged(out, *pins, stage=Stage.ACCEPTED, source_stamp=True)
    assert verdict.outcome is Outcome.ACCEPTED, [str(f) for f in verdict.findings]
    intact = judged(out, source_stamp=True).signatures
    labels = [s.claimed.label for s in intact if isinstance(s, IntactSignature)]
    assert {"v4", "stamp:v3", "stamp:v2"} <= set(labels)
    idsig = bytearray((tmp_path / "out.apk.idsig").read_bytes())
    idsig[-1] ^= 1
    (tmp_path / "out.apk.idsig").write_bytes(idsig)
    assert judged(out).cause is Code.DIGEST_MISMATCH


@pytest.mark.confirms("apk-v4", "verify", "apksigner")
@pytest.mark.confirms("apk", "verify", "apksigner")
def test_v4_of_our_builder_is_apksigners(
    tmp_path: Path, apksigner: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """Its words for a good ``.idsig`` file and for bad ones, which unit tests break further.

    Of a tree or root that is wrong it says that v4 is not verified, and ends with 0 all the same;
    we reject, since Android checks no other digests of what v4 installs.
    """
    who, other = identity("rsa2048", "Packager before"), identity("rsa2048", "Packager now")
    plain = apk.archive(oldest=28)
    package, path = apk.signed(plain, v3=apk.By(who=who)), tmp_path / "a.apk"
    digest = apk.content_digest(plain, apk.RSA256)
    good = apk.Beside(who=who, digest=digest)
    path.write_bytes(package)
    cases = {
        apk.idsig(package, good): True,
        apk.idsig(package, good, tree=bytes(4096)): False,
        apk.idsig(package, good, root=bytes(32)): False,
        apk.idsig(package, apk.Beside(who=other, digest=digest)): False,
        apk.idsig(package, apk.Beside(who=who, digest=bytes(32))): False,
    }
    for data, fine in cases.items():
        (tmp_path / "a.apk.idsig").write_bytes(data)
        done = apksigner("verify", "-v", "--v4-signature-file", tmp_path / "a.apk.idsig", path)
        assert ("(APK Signature Scheme v4): true" in done.stdout) == fine, done.stdout + done.stderr
        assert (judged(path).outcome is Outcome.ACCEPTED) == fine


@pytest.mark.confirms("apk-lineage", "verify", "apksigner")
def test_a_lineage_file_by_apksigner(
    tmp_path: Path, apksigner: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    who = [identity("rsa2048", n) for n in ("Packager before", "Packager now", "Packager later")]
    old, new, last = (_keys(one, tmp_path) for one in who)
    path, longer = tmp_path / "lineage", tmp_path / "longer"
    done = apksigner("rotate", "--out", path, "--old-signer", *old, "--new-signer", *new)
    assert done.returncode == 0, done.stderr
    done = apksigner("rotate", "--in", path, "--out", longer, "--old-signer", *new,
                     "--new-signer", *last)  # fmt: skip
    assert done.returncode == 0, done.stderr
    verdict = judged(longer, Path(old[3]), stage=Stage.ACCEPTED)
    assert verdict.outcome is Outcome.ACCEPTED, [str(f) for f in verdict.findings]
    digests = [hashlib.sha256(one.certificate).hexdigest() for one in who]
    assert [verdict.facts[f"holder-{n}"] for n in (1, 2, 3)] == [f"sha256:{d}" for d in digests]
    assert exit_code(judged(longer, Path(last[3]), stage=Stage.ACCEPTED)) == 1
    done = apksigner("lineage", "--in", longer, "--print-certs")
    assert all(digest in done.stdout for digest in digests), done.stdout


@pytest.mark.confirms("apk", "verify", "apksigner")
def test_what_our_builder_breaks_apksigner_refuses(
    tmp_path: Path, apksigner: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """The builder of the unit tests speaks apksigner's language, in good and in bad."""
    who, other = identity("rsa2048", "Packager before"), identity("rsa2048", "Packager now")
    package = apk.archive()
    good, bad = apk.By(who=who), apk.By(who=who, digest=bytes(32))
    cases = {
        apk.signed(package, v2=good): True,
        apk.signed(package, v2=good, v3=apk.By(who=who)): True,
        apk.signed(package, v2=bad): False,
        apk.signed(package, v2=good, v3=apk.By(who=other)): False,
        apk.signed(package, v2=apk.By(who=who, attributes=(apk.stripping(),))): False,
    }
    for number, (data, fine) in enumerate(cases.items()):
        path = tmp_path / f"{number}.apk"
        path.write_bytes(data)
        done = apksigner("verify", "--verbose", path)
        assert (done.returncode == 0) == fine, done.stdout + done.stderr
        assert (judged(path).outcome is Outcome.ACCEPTED) == fine


# --- what we sign ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "digest", "oldest"),
    [("rsa2048", "sha256", 18), ("rsa2048", "sha512", 21), ("p256", "sha256", 21),
     ("p384", "sha512", 24), ("rsa2048", "sha256", 28)],
)  # fmt: skip
@pytest.mark.confirms("apk", "sign", "apksigner")
def test_apksigner_accepts_what_we_sign(
    kind: str, digest: str, oldest: int, tmp_path: Path,
    apksigner: Callable[..., subprocess.CompletedProcess[str]],
) -> None:  # fmt: skip
    who = identity(kind, f"Packager {kind}")
    package = apk.archive({"assets/a": bytes(3 * 1024 * 1024 + 5)}, oldest=oldest)
    path = tmp_path / "ours.apk"
    path.write_bytes(sign_bytes("ours.apk", package, who=who, digest=digest))
    done = apksigner("verify", "--verbose", "--print-certs", path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING: META-INF" not in done.stdout + done.stderr
    assert ("(JAR signing): true" in done.stdout) == (oldest < 24)
    assert "Scheme v3): true" in done.stdout
    assert _signers(done.stdout) == {hashlib.sha256(who.certificate).hexdigest()}


@pytest.mark.confirms("apk", "sign", "apksigner")
def test_apksigner_sees_what_was_stripped_from_ours(
    tmp_path: Path, apksigner: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """Without the signing block the JAR signature alone is refused: it names v2 and v3."""
    signed = sign_bytes("a.apk", apk.archive(oldest=18), who=identity("rsa2048", "Packager before"))
    start = signed.rindex(b"PK\5\6") + 16
    directory = int.from_bytes(signed[start : start + 4], "little")
    size = int.from_bytes(signed[directory - 24 : directory - 16], "little") + 8
    block = directory - size
    bare = signed[:block] + signed[directory:start] + apk.u32(block) + signed[start + 4 :]
    path = tmp_path / "a.apk"
    path.write_bytes(bare)
    assert apksigner("verify", path).returncode != 0
    verdict = judged(path)
    assert verdict.cause is Code.SLOT_MISSING
    assert any("stripped" in finding.hint for finding in verdict.findings)


@pytest.mark.confirms("apk", "sign", "apksigner")
def test_apksigner_accepts_what_a_key_signs_that_took_over(
    tmp_path: Path, apksigner: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """Its own lineage file; scheme v3.1 it does not know: asked for platforms before that."""
    who = [identity("rsa2048", n) for n in ("Packager before", "Packager now")]
    old, new = (_keys(one, tmp_path) for one in who)
    lineage, path = tmp_path / "lineage", tmp_path / "ours.apk"
    done = apksigner("rotate", "--out", lineage, "--old-signer", *old, "--new-signer", *new)
    assert done.returncode == 0, done.stderr
    for since in ("", "33"):
        said = {"rotation-min-sdk": since} if since else {}
        before = sign_bytes("ours.apk", apk.archive(oldest=21), who=who[0], options=said)
        path.write_bytes(sign_bytes(
            "ours.apk", before, who=who[1], existing=Existing.NESTED,
            options={"lineage": lineage.read_bytes().hex(), **said},
        ))  # fmt: skip
        asked = ("--max-sdk-version", "32") if since else ()
        done = apksigner("verify", "--verbose", "--print-certs", *asked, path)
        assert done.returncode == 0, done.stdout + done.stderr
        signer = who[0] if since else who[1]
        assert _signers(done.stdout) == {hashlib.sha256(signer.certificate).hexdigest()}
        verdict = judged(path, Path(old[3]), stage=Stage.ACCEPTED)
        assert verdict.outcome is Outcome.ACCEPTED, [str(f) for f in verdict.findings]


@pytest.mark.parametrize(("kind", "digest"), [("rsa2048", "sha256"), ("p384", "sha512")])
@pytest.mark.confirms("apk-v4", "sign", "apksigner")
def test_apksigner_accepts_the_v4_signatures_that_we_write(
    kind: str, digest: str, tmp_path: Path,
    apksigner: Callable[..., subprocess.CompletedProcess[str]],
) -> None:  # fmt: skip
    who = identity(kind, f"Packager {kind}")
    package = apk.archive({"assets/a": bytes(3 * 1024 * 1024 + 5)}, oldest=28)
    data = sign_bytes("ours.apk", package, who=who, digest=digest)
    (tmp_path / "ours.apk").write_bytes(data)
    idsig = sign_beside(ApkV4Format(), data, who, digest)
    (tmp_path / "ours.apk.idsig").write_bytes(idsig)
    done = apksigner("verify", "-v", "--v4-signature-file", tmp_path / "ours.apk.idsig",
                     tmp_path / "ours.apk")  # fmt: skip
    assert "(APK Signature Scheme v4): true" in done.stdout, done.stdout + done.stderr
