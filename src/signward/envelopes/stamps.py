"""Timestamps that an envelope of another kind than CMS carries over its signature value."""

from __future__ import annotations

from signward.envelopes.cms import DATA, no_slots, open_signatures, open_token, read_signed_data
from signward.errors import BadInputError, MalformedError
from signward.findings import Code, Effect
from signward.frozen import replace
from signward.state import ClaimedTimestamp

_SIGNATURE = "signature "


def read_timestamp(label: str, blob: bytes, value: bytes) -> ClaimedTimestamp:
    """Return the timestamp over a signature value.

    ``blob`` is an RFC 3161 token, or the older PKCS#7 of Authenticode's timestamp servers,
    whose content is the value itself.  One that cannot be read keeps its finding.
    """
    kind = "rfc3161"
    try:
        if read_signed_data(blob, label).content_type != DATA:
            return open_token(blob, value, label)
        kind = "pkcs7"
        return _value_signed(label, blob, value)
    except BadInputError as error:
        finding = error.finding.with_effect(Effect.WARN, Code.TIMESTAMP_MALFORMED)
        return ClaimedTimestamp(
            kind=kind, signature=None, claimed_time=None, imprint=None, findings=(finding,)
        )


def _value_signed(label: str, blob: bytes, value: bytes) -> ClaimedTimestamp:
    """Read a PKCS#7 over a signature value; its signingTime is the time it vouches for."""
    found = open_signatures(blob, no_slots, label=label.removeprefix(_SIGNATURE))
    if len(found) != 1:
        raise MalformedError(label, f"{len(found)} signatures", "one", "RFC 5652 5.1")
    signature = replace(found[0], label=label)
    if signature.claimed_time is None or not signature.bindings:
        raise MalformedError(label, "no signingTime", "the time it vouches for", "RFC 5652 11.3")
    return ClaimedTimestamp(
        kind="pkcs7",
        signature=signature,
        claimed_time=signature.claimed_time,
        imprint=replace(signature.bindings[0], data=value),
    )
