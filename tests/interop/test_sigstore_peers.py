"""Sigstore bundles and attestations: public vectors, and what sigstore and PyPI's library say.

Both run on the trust roots that the PyPI package ``sigstore`` carries, or on our own; none of
them reaches for the network.
"""

from __future__ import annotations

import csv
import hashlib
import json
from importlib import util
from pathlib import Path
from typing import Any

import pytest

from signward.errors import EvidenceError
from signward.findings import Code
from signward.policy.settings import Policy
from signward.state import Outcome, Verdict
from signward.verbs.context import Context
from signward.verbs.detached import assess_detached
from signward.verbs.options import Options
from tests.builders import sigstore as made
from tests.builders.sigstore import AT, PROVIDER, WORKFLOW, Sigstore

pytestmark = pytest.mark.interop

CONFORMANCE = "sigstore-conformance/test/assets/bundle-verify"
BEACON = ("https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/"
          "workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main")  # fmt: skip
STAGING = "_store/https%3A%2F%2Ftuf-repo-cdn.sigstage.dev/trusted_root.json"
PRODUCTION = "_store/https%3A%2F%2Ftuf-repo-cdn.sigstore.dev/trusted_root.json"
RELEASE = "https://github.com/trailofbits/{}/.github/workflows/release.yml@refs/tags/{}"
SIGNERS = {
    "rfc8785-0.1.2": ("william@yossarian.net", "https://github.com/login/oauth"),
    "pypi_attestation_models-0.0.4a2": (
        RELEASE.format("pypi-attestation-models", "v0.0.4a2"), PROVIDER),
    "pypi_attestations-0.0.19": (RELEASE.format("pypi-attestations", "v0.0.19"), PROVIDER),
}  # fmt: skip
"""Who signed the attestations among the vectors, by the distribution."""

STAGED = ("rfc8785-0.1.2", "sigstore-python")
"""Rows of the staging instance."""

MIXED = "bundle.txt.late_timestamp.sigstore"
"""By the public authority of certificates, and the staging instance's log and stamps."""

CAUSES = {
    "bundle-from-wrong-instance_fail": Code.CERTIFICATE_SIGNATURE,
    "bundle-negative-log-index_fail": Code.MALFORMED,
    "checkpoint-bad-keyhint_fail": Code.LOG_ENTRY,
    "dsse-invalid-sig_fail": Code.SIGNATURE_MISMATCH,
    "dsse-mismatch-envelope_fail": Code.LOG_ENTRY,
    "integrated-time-in-future_fail": Code.EXPIRED,
    "intoto-expired-certificate_fail": Code.NOT_YET_VALID,
    "intoto-missing-inclusion-proof_fail": Code.LOG_ENTRY,
    "rekor2-checkpoint-missing-root-hash_fail": Code.LOG_ENTRY,
    "rekor2-checkpoint-missing-size_fail": Code.LOG_ENTRY,
    "rekor2-no-timestamp_fail": Code.NO_PROVEN_TIME,
    "rekor2-timestamp-outside-tsa-cert-validity_fail": Code.TIMESTAMP_UNTRUSTED,
    "rekor2-timestamp-payload-mismatch_fail": Code.TIMESTAMP_MISMATCH,
    "rekor2-timestamp-untrusted-tsa-with-embedded-cert_fail": Code.TIMESTAMP_UNTRUSTED,
    "signature-mismatch_fail": Code.SIGNATURE_MISMATCH,
    "trust-root-tlog-missing-validity-start_fail": None,
    "wrong-hashedrekord-cert-and-sig_fail": Code.LOG_ENTRY,
    "bundle_no_checkpoint.txt.sigstore": Code.LOG_ENTRY,
    MIXED: Code.EXPIRED,
    "rfc8785-0.1.2-py3-none-any.whl.attestation": Code.DIGEST_MISMATCH,
}
"""What is found wrong with the rows that are invalid; None where the trust root is refused."""

CONTENT = b"what is signed"
OURS = Sigstore()


def _packaged(path: str) -> Path:
    found = util.find_spec("sigstore")
    if found is None or not found.submodule_search_locations:
        pytest.skip("sigstore (PyPI) is not installed")
    return Path(found.submodule_search_locations[0]) / path


def _rows(root: Path, kind: str) -> list[dict[str, str]]:
    with (root / "EXPECTED.tsv").open(newline="") as handle:
        return [r for r in csv.DictReader(handle, delimiter="\t") if r["format"] == kind]


def _text(path: Path, default: str) -> str:
    return path.read_text().strip() if path.exists() else default


def _conformance(folder: Path) -> Verdict | None:
    """Return the verdict on a case of the conformance suite; None for a refused trust root."""
    artifact, key, root = (folder / n for n in ("artifact", "key.pub", "trusted_root.json"))
    identity = Policy(
        identity=_text(folder / "identity", BEACON), issuer=_text(folder / "issuer", PROVIDER)
    )
    options = Options(
        trusted_root=str(root) if root.exists() else "",
        keyrings=(str(key),) if key.exists() else (),
        policy=Policy() if key.exists() else identity,
    )
    content = artifact if artifact.exists() else folder.parent / "a.txt"
    try:
        bundle = str(folder / "bundle.sigstore.json")
        return assess_detached(str(content), bundle, Context(options))
    except EvidenceError:
        return None


def _beside(path: Path) -> Path:
    """Return the file that an attestation or bundle of the other suites is about."""
    if path.parent.name == "tsa":
        return path.parents[1] / "bundle.txt"
    return path.with_suffix("") if path.suffix == ".sigstore" else _distribution(path)


def _distribution(path: Path) -> Path:
    return path.parent / path.name.removesuffix(".attestation").removesuffix(".slsa")


def _mixed(folder: Path) -> str:
    """Write a trust root of both instances' members."""
    roots = [json.loads(_packaged(one).read_text()) for one in (PRODUCTION, STAGING)]
    members = ("tlogs", "ctlogs", "certificateAuthorities", "timestampAuthorities")
    whole = {name: [one for root in roots for one in root[name]] for name in members}
    path = folder / "mixed.json"
    path.write_text(json.dumps({"mediaType": roots[0]["mediaType"], **whole}))
    return str(path)


def _given(path: Path, folder: Path) -> Options:
    if path.name == MIXED:
        return Options(trusted_root=_mixed(folder))
    staged = any(word in str(path) for word in STAGED)
    known = [who for name, who in SIGNERS.items() if path.name.startswith(name)]
    identity, issuer = known[0] if known else ("", "")
    return Options(
        trusted_root=str(_packaged(STAGING)) if staged else "",
        policy=Policy(identity=identity, issuer=issuer),
    )


def _verdict(row: dict[str, str], root: Path, folder: Path) -> Verdict | None:
    path = root / row["path"]
    if CONFORMANCE in row["path"]:
        return _conformance(path)
    beside = _beside(path)
    if row["given"] == "artifact is other bytes":
        beside = path.parent / "pypi_attestations-0.0.19.tar.gz"
    return assess_detached(str(beside), str(path), Context(_given(path, folder)))


@pytest.mark.confirms("attestation", "verify", "sigstore-conformance")
@pytest.mark.parametrize(("kind", "least"), [("sigstore-bundle", 25), ("pep740", 4)])
def test_every_row_is_answered_as_expected(
    vectors: Path, tmp_path: Path, kind: str, least: int
) -> None:
    rows = _rows(vectors, kind)
    assert len(rows) >= least
    wrong = {}
    codes: set[Code | None]
    for row in rows:
        verdict = _verdict(row, vectors, tmp_path)
        if verdict is None:
            answer, codes = Outcome.REJECTED, {None}
        else:
            answer, codes = verdict.outcome, {f.code for f in verdict.findings}
        if row["expected"] == "valid":
            right = answer is Outcome.ACCEPTED
        else:
            cause = CAUSES[row["path"].rpartition("/")[2]]
            right = answer is Outcome.REJECTED and cause in codes
        if not right:
            wrong[row["path"]] = (answer, codes)
    assert not wrong


def test_attestations_without_an_identity_are_not_accepted(vectors: Path, tmp_path: Path) -> None:
    rows = [r for r in _rows(vectors, "pep740") if r["expected"] == "valid"]
    for row in rows:
        path = vectors / row["path"]
        root = _given(path, tmp_path).trusted_root
        verdict = assess_detached(
            str(_beside(path)), str(path), Context(Options(trusted_root=root))
        )
        assert verdict.outcome is Outcome.REJECTED


def test_the_shipped_trust_root_says_what_the_package_sigstore_says() -> None:
    from signward.trust.sigstore_root import read_trusted_root

    theirs = read_trusted_root("sigstore", _packaged(PRODUCTION).read_bytes())
    assert Context(Options()).trusted_root == theirs


def _peer(folder: Path) -> Any:
    """Return sigstore's verifier on our own trust root."""
    pytest.importorskip("sigstore", reason="sigstore (PyPI) is not installed")
    from sigstore.models import TrustedRoot
    from sigstore.verify import Verifier

    root = folder / "root.json"
    root.write_bytes(OURS.trusted_root())
    return Verifier(trusted_root=TrustedRoot.from_file(str(root)))


def _ours(folder: Path, document: bytes) -> bool:
    file, beside = folder / "a", folder / "a.sigstore"
    file.write_bytes(CONTENT)
    beside.write_bytes(document)
    options = Options(
        trusted_root=str(folder / "root.json"), policy=Policy(identity=WORKFLOW, issuer=PROVIDER)
    )
    verdict = assess_detached(str(file), str(beside), Context(options))
    return verdict.outcome is Outcome.ACCEPTED


def _theirs(verifier: Any, document: bytes) -> bool:
    from sigstore.errors import Error
    from sigstore.models import Bundle
    from sigstore.verify.policy import Identity

    try:
        bundle = Bundle.from_json(document)
        wanted = Identity(identity=WORKFLOW, issuer=PROVIDER)
        if b"dsseEnvelope" in document:
            _, payload = verifier.verify_dsse(bundle, wanted)
            subject = json.loads(payload)["subject"][0]["digest"]["sha256"]
            return bool(subject == hashlib.sha256(CONTENT).hexdigest())
        verifier.verify_artifact(CONTENT, bundle, wanted)
    except (Error, ValueError):
        return False
    return True


BUNDLES = {
    "message": (lambda: OURS.message(CONTENT), True),
    "message-2": (lambda: OURS.message_2(CONTENT), True),
    "statement": (lambda: OURS.attested(made.statement("a", CONTENT)), True),
    "other-content": (lambda: OURS.message(b"other"), False),
    "other-identity": (
        lambda: OURS.message(CONTENT, OURS.leaf(names=(made.workflow("https://x.example"),))),
        False),
    "other-provider": (
        lambda: OURS.message(CONTENT, OURS.leaf(provider="https://x.example")), False),
    "no-sct": (lambda: OURS.message(CONTENT, OURS.leaf(sct=False)), False),
    "other-log": (lambda: OURS.message(CONTENT, log=Sigstore(name="others").log), False),
    "no-proof": (lambda: OURS.message(CONTENT, proof=False), False),
    "late": (lambda: OURS.message(CONTENT, at=AT.replace(hour=20)), False),
    "other-instance": (lambda: Sigstore(name="others").message(CONTENT), False),
}  # fmt: skip


@pytest.mark.confirms("attestation", "verify", "sigstore")
@pytest.mark.parametrize("name", BUNDLES)
def test_sigstore_answers_alike_on_bundles_of_our_own(name: str, tmp_path: Path) -> None:
    verifier = _peer(tmp_path)
    make, good = BUNDLES[name]
    document = json.dumps(make()).encode()
    assert (_ours(tmp_path, document), _theirs(verifier, document)) == (good, good)


@pytest.mark.confirms("attestation", "verify", "pypi-attestations")
def test_pypi_attestations_reads_ours_and_we_read_what_it_converts(tmp_path: Path) -> None:
    library = pytest.importorskip(
        "pypi_attestations", reason="pypi-attestations (PyPI) is not installed"
    )
    verifier = _peer(tmp_path)
    name = "demo-1.0.tar.gz"
    ours = json.dumps(OURS.attestation(name, CONTENT)).encode()
    attestation = library.Attestation.model_validate_json(ours)
    bundle = attestation.to_bundle()
    assert _theirs(verifier, bundle.to_json().encode())
    again = library.Attestation.from_bundle(bundle).model_dump_json().encode()
    file, beside = tmp_path / name, tmp_path / f"{name}.publish.attestation"
    file.write_bytes(CONTENT)
    for document in (ours, again, bundle.to_json().encode()):
        beside.write_bytes(document)
        options = Options(
            trusted_root=str(tmp_path / "root.json"),
            policy=Policy(identity=WORKFLOW, issuer=PROVIDER),
        )
        verdict = assess_detached(str(file), str(beside), Context(options))
        assert verdict.outcome is Outcome.ACCEPTED, verdict.findings
