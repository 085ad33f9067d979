"""Whether firmware would take an update of dbx: it has to be signed by a key in KEK, or PK."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from signward.errors import BadInputError
from signward.formats import ParseOptions, efi_variable
from signward.integrity import check_signature
from signward.policy.boot.firmware import issuer_name
from signward.policy.dbx import ancestry
from signward.state import IntactSignature
from signward.trust.x509 import Certificate, load_certificate
from signward.wire import siglist
from signward.wire.source import BytesSource


def why_not_taken(data: bytes, updaters: Sequence[Certificate]) -> str:
    """Return why firmware refuses a write of dbx; empty if it takes it, or it is no such write.

    ``updaters`` are the certificates in KEK and PK (UEFI 2.10 8.2.2, 32.3.5).  Bare lists and
    dbx_info are nothing that firmware is given as they are.
    """
    try:
        if siglist.stored(data).update is None:
            return ""
    except BadInputError:
        return ""  # whoever reads it as a list says what is wrong with it
    try:
        artifact = efi_variable.FORMAT.parse(BytesSource("dbx.auth", data), ParseOptions())
    except BadInputError as error:
        return f"it cannot be read ({error.finding.found})"
    why = "it is not signed"
    for claimed in artifact.signatures:
        checked = check_signature(artifact, claimed, {})
        if not isinstance(checked, IntactSignature):
            why = "its signature does not fit it"
            continue
        pool = list(updaters)
        for der in claimed.claimed_certificates:
            with suppress(BadInputError):
                pool.append(load_certificate(der))
        try:
            leaf = load_certificate(checked.key.holder)
            if not set(updaters).isdisjoint(ancestry(leaf, pool)):
                return ""
        except BadInputError as error:
            return f"its signer cannot be judged ({error.finding.found})"
        why = f"it is signed under {issuer_name(leaf)}, which is not in KEK"
    return why
