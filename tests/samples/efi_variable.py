"""Signature lists to be signed as writes: alone, as efivarfs gives them, and none at all."""

from conformance.authenticode.keys import key
from conformance.authenticode.pki import issue

from signward.wire.siglist import SHA256, X509, Entry, write_lists

BYTE_EXACT = True
UNTIMED = True

_OWNER = "77fa9abd-0359-4d32-bd60-28f4e78f784b"


def digests() -> bytes:
    """Return a list of two image digests."""
    return write_lists(Entry(kind=SHA256, owner=_OWNER, data=bytes([n]) * 32) for n in (1, 2))


def certificates() -> bytes:
    """Return a list with a certificate, and one with a digest."""
    own = issue("Boot Test Authority", subject_key=key("rsa2048", "boot-ca"), ca=True, ekus=None)
    return write_lists((
        Entry(kind=X509, owner=_OWNER, data=own.certificate),
        Entry(kind=SHA256, owner=_OWNER, data=bytes(32)),
    ))  # fmt: skip


SAMPLES = {"dbx.esl": digests, "db.esl": certificates, "new.esl": digests}
OPTIONS = {
    "dbx.esl": {"options": {"append": "yes"}},
    "new.esl": {"options": {"variable": "KEK"}},
}
