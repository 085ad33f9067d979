"""Attestations that PyPI took in, of all its kinds of publishers, and PyPI's library on the same.

They and their files are in the source archive of PyPI's own library; nothing reaches for the
network, for all are by the trust roots that the package ``sigstore`` carries.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from signward.findings import Code
from signward.policy.settings import Policy
from signward.state import KeylessIdentity, Outcome, TrustedSignature
from signward.verbs.beside import assess_with_companions
from signward.verbs.context import Context
from signward.verbs.detached import assess_detached
from signward.verbs.options import Options

pytestmark = [
    pytest.mark.interop,
    pytest.mark.confirms("attestation", "verify", "pypi-attestations"),
]

GITHUB = "https://token.actions.githubusercontent.com"
TRAIL = "https://github.com/trailofbits"
CIRCLE = ("https://circleci.com/api/v2/projects/fdd9283f-e619-46af-8f9c-851f7d3e8b2b/"
          "pipeline-definitions/8e4f8ab2-8d7c-4827-9f15-de076d6d647f")  # fmt: skip
SIGNERS = {
    "circleci_sign_publish_example-0.0.1.dev137-py3-none-any.whl": (
        CIRCLE, "https://oidc.circleci.com"),
    "gcb_attestation_test-0.0.0.tar.gz": (
        "919436158236-compute@developer.gserviceaccount.com", "https://accounts.google.com"),
    "gitlab_oidc_project-0.0.3.tar.gz": (
        "https://gitlab.com/facutuesca/gitlab-oidc-project//.gitlab-ci.yml@refs/heads/main",
        "https://gitlab.com"),
    "pypi_attestation_models-0.0.4a2.tar.gz": (
        f"{TRAIL}/pypi-attestation-models/.github/workflows/release.yml@refs/tags/v0.0.4a2",
        GITHUB),
    "pypi_attestations-0.0.19.tar.gz": (
        f"{TRAIL}/pypi-attestations/.github/workflows/release.yml@refs/tags/v0.0.19", GITHUB),
}  # fmt: skip
"""Who signed in, by the distribution: CircleCI, Google, GitLab and GitHub vouched for them."""

STATEMENTS = (
    ("circleci_sign_publish_example-0.0.1.dev137-py3-none-any.whl", ".publish.attestation"),
    ("circleci_sign_publish_example-0.0.1.dev137-py3-none-any.whl", ".provenance"),
    ("gcb_attestation_test-0.0.0.tar.gz", ".provenance"),
    ("gitlab_oidc_project-0.0.3.tar.gz", ".publish.attestation"),
    ("pypi_attestation_models-0.0.4a2.tar.gz", ".attestation"),
    ("pypi_attestation_models-0.0.4a2.tar.gz", ".sigstore"),
    ("pypi_attestations-0.0.19.tar.gz", ".publish.attestation"),
    ("pypi_attestations-0.0.19.tar.gz", ".slsa.attestation"),
    ("pypi_attestations-0.0.19.tar.gz", ".provenance"),
)

Corpus = Callable[[str], Path]


@pytest.fixture
def assets(corpus: Corpus) -> Path:
    (found,) = corpus("pypi-attestations").rglob("test/assets")
    return found


def _wanted(name: str) -> Options:
    identity, issuer = SIGNERS[name]
    return Options(policy=Policy(identity=identity, issuer=issuer))


@pytest.mark.parametrize(("name", "ending"), STATEMENTS)
def test_what_pypi_took_in_is_accepted_for_its_signer_alone(
    assets: Path, name: str, ending: str
) -> None:
    file, beside = str(assets / name), str(assets / f"{name}{ending}")
    verdict = assess_detached(file, beside, Context(_wanted(name)))
    assert verdict.outcome is Outcome.ACCEPTED, verdict.findings
    (signature,) = verdict.signatures
    assert isinstance(signature, TrustedSignature)
    assert isinstance(signature.basis, KeylessIdentity)
    assert signature.basis.logs == ("https://rekor.sigstore.dev",)
    for someone in (name for name in SIGNERS if SIGNERS[name] != SIGNERS[Path(file).name]):
        other = assess_detached(file, beside, Context(_wanted(someone)))
        assert (other.outcome, other.cause) == (Outcome.REJECTED, Code.PUBLISHER_MISMATCH)


@pytest.mark.parametrize(("name", "ending"), STATEMENTS)
def test_of_another_file_or_name_they_say_nothing(
    assets: Path, tmp_path: Path, name: str, ending: str
) -> None:
    beside = str(assets / f"{name}{ending}")
    changed, renamed = tmp_path / name, tmp_path / name.replace("-0.0.", "-1.0.", 1)
    shutil.copy(assets / name, renamed)
    changed.write_bytes((assets / name).read_bytes() + b"\n")
    assert assess_detached(str(changed), beside, Context(_wanted(name))).outcome is Outcome.REJECTED
    verdict = assess_detached(str(renamed), beside, Context(_wanted(name)))
    expected = Outcome.ACCEPTED if ending == ".sigstore" else Outcome.REJECTED  # names no file
    assert verdict.outcome is expected, verdict.findings


@pytest.mark.parametrize("name", sorted(SIGNERS))
def test_they_are_found_beside_their_files(assets: Path, name: str) -> None:
    verdict = assess_with_companions(str(assets / name), Context(_wanted(name)))
    assert verdict.outcome is Outcome.ACCEPTED, verdict.findings


@pytest.mark.parametrize(("name", "ending"), [s for s in STATEMENTS if "attest" in s[1]])
def test_pypis_library_says_the_same(assets: Path, name: str, ending: str) -> None:
    library: Any = pytest.importorskip(
        "pypi_attestations", reason="pypi-attestations (PyPI) is not installed"
    )
    from sigstore.verify.policy import Identity

    identity, issuer = SIGNERS[name]
    text = (assets / f"{name}{ending}").read_text()
    attestation = library.Attestation.model_validate_json(text)
    dist = library.Distribution.from_file(assets / name)
    attestation.verify(Identity(identity=identity, issuer=issuer), dist, offline=True)
    with pytest.raises(library.VerificationError):
        attestation.verify(Identity(identity="x@y.example", issuer=issuer), dist, offline=True)
