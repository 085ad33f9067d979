"""Answers as podman and skopeo would by a policy.json (containers-policy.json(5)).

An image is looked up by its digest first, as if asked for by it, then by its repository and what
holds that.  Signatures are taken to claim the image's own name.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping

from signward.compilers import _policy_json as words
from signward.compilers._scopes import wider
from signward.errors import PolicyError
from signward.policy.rules.material import material
from signward.policy.rules.subject import Subject

POLICY = "policy.json"


class ContainersArbiter:
    """Judges images by a policy.json alone."""

    target = "containers-policy"

    def judge(self, files: Mapping[str, bytes], subject: Subject) -> bool | None:
        """Say whether the image may be used; None for what is no image."""
        if subject.file_class != "image":
            return None
        policy = words.read(files[POLICY])
        docker = policy.transports.get("docker", {})
        found = next((docker[scope] for scope in _scopes(subject) if scope in docker), None)
        requirements = policy.default if found is None else found
        return all(_met(requirement, subject) for requirement in requirements)


def _scopes(subject: Subject) -> Iterator[str]:
    """Yield the scopes that hold the image, the most specific first."""
    digests = [d.removeprefix("oci:") for d in subject.digests if d.startswith("oci:")]
    for origin in subject.origins:
        if origin.kind == "oci" and origin.name:
            yield from (f"{origin.name}@{digest}" for digest in digests)
            yield origin.name
            *holding, _ = wider(origin.name)
            yield from holding
            yield from _wildcards(origin.name)
    yield ""


def _wildcards(name: str) -> Iterator[str]:
    """Yield ``*.example.com`` and wider of a registry's host, without its port."""
    host = name.partition("/")[0].partition(":")[0]
    while "." in host:
        host = host.partition(".")[2]
        yield f"*.{host}"


def _met(requirement: words.Requirement, subject: Subject) -> bool:
    if isinstance(requirement, words.SigstoreSigned):
        return _sigstore(requirement, subject)
    return isinstance(requirement, words.Accept)  # no subject tells OpenPGP keys: signedBy fails


def _sigstore(requirement: words.SigstoreSigned, subject: Subject) -> bool:
    signers = [s for s in subject.signers if s.logged or not requirement.logged]
    fulcio = requirement.fulcio
    if fulcio:
        wanted = (fulcio.subject_email, fulcio.oidc_issuer)
        return any((s.keyless_identity, s.keyless_issuer) == wanted for s in signers)
    keys = {_spki(data) for data in (requirement.key_data, *requirement.key_datas) if data}
    return any(signer.key in keys for signer in signers)


def _spki(data: str) -> str:
    """Return the SHA-256 (hex) of the public key in a ``keyData``."""
    try:
        key = material("policy", base64.b64decode(data, validate=True))
    except ValueError as error:
        raise PolicyError("keyData", str(error), "Base64") from None
    return hashlib.sha256(key.der).hexdigest()


ARBITER = ContainersArbiter()
