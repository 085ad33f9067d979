"""Signing App Control policies: the binary form in PKCS#7, as Windows takes it at start.

Source: Microsoft Learn, "Use signed policies to protect App Control for Business against
tampering": RSA keys of 2, 3 or 4 Ki bits and no others; a wrong certificate is a machine that does
not start.  So what cannot be right is refused here.
"""

from __future__ import annotations

from datetime import datetime

from signward.compilers._app_control import tbs_of
from signward.compilers._cip import CONTENT_TYPE, read_cip
from signward.compilers._sipolicy import SiPolicy
from signward.compilers.app_control import UNSIGNED
from signward.envelopes.cms_draft import Form, draft
from signward.errors import PolicyError, SigningError
from signward.integrity import key_size
from signward.trust.profiles import AUTHENTICODE
from signward.verbs.credential import Credential, Standing
from signward.wire import der

KEY_SIZES = (2048, 3072, 4096)

_HINT = "compile with update_signers = [...] in [targets.app-control]"


def signed_cip(content: bytes, credential: Credential, at: datetime) -> bytes:
    """Return the ``.cip`` with its signature around it (PKCS#7 SignedData, DER).

    ``content`` is a policy that is to be signed, ``at`` (aware UTC) when the certificate must be
    valid.  Raises ``PolicyError`` for a policy that cannot be changed by this signer, or is
    signed; ``SigningError`` for a key or certificate that Windows would not take.
    """
    if content[:1] == b"\x30":
        raise PolicyError("policy", "a signature around it", "one that is not signed yet")
    standing = credential.standing
    _check_key(standing)
    standing.check_fitness(AUTHENTICODE, at)
    _check_policy(read_cip("policy", content), standing)
    made = draft(CONTENT_TYPE, der.octet_string(content), standing.signer, form=Form.PKCS7)
    return made.seal(credential.sign(standing, made.to_be_signed, made.algorithm))


def _check_key(standing: Standing) -> None:
    family, size = key_size(standing.leaf.spki)
    if standing.signer.algorithm.scheme != "rsa-pkcs1v15" or size not in KEY_SIZES:
        found = f"a {family} key of {size} bits, {standing.signer.algorithm.scheme}"
        raise SigningError("--key", found, "RSA PKCS#1 v1.5 with 2048, 3072 or 4096 bits",
                           hint="Windows does not start with any other")  # fmt: skip


def _check_policy(policy: SiPolicy, standing: Standing) -> None:
    """Refuse a base that this signer could never change again."""
    if UNSIGNED in policy.options:
        raise PolicyError(f"policy {policy.id}", f"option {UNSIGNED}", "none: it is to be signed",
                          hint=_HINT)  # fmt: skip
    if policy.is_supplement:
        return
    known = {s.tbs.hex() for s in policy.signers if s.id in policy.update_signers}
    path = {tbs_of(one).partition(":")[2] for one in standing.signer.certificates}
    if known.isdisjoint(path - {""}):
        required = f"{standing.leaf.label}, or its issuer, among them"
        raise PolicyError(f"policy {policy.id}", "other update signers", required, hint=_HINT)
