"""Notarization tickets as ``envelopes/ticket.py`` describes them, by a test signer."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from conformance.authenticode.keys import key
from conformance.authenticode.pki import NOW, Identity, issue

from signward.verbs.tickets import ISSUER_MARK, LEAF_MARK
from signward.wire import der
from tests.signing import authority


def notary(*, leaf: bool = True, between: bool = True) -> Identity:
    """Return who signs tickets, under the test root, with Apple's marks or without."""
    null = der.null()
    authority_marks = [(ISSUER_MARK, False, null)] if between else []
    issuer = issue(
        f"Ticket Authority {between}", issuer=authority(), subject_key=key("p256", "ticket-ca"),
        ca=True, ekus=None, usage=("keyCertSign",), extensions=authority_marks,
    )  # fmt: skip
    return issue(
        f"Ticket Signer {leaf}", issuer=issuer, subject_key=key("p256", "ticket-leaf"), ekus=None,
        extensions=[(LEAF_MARK, False, null)] if leaf else [],
    )  # fmt: skip


def ticket(hashes: Iterable[bytes], who: Identity, kind: int = 2) -> bytes:
    """Return a ticket for these hashes (20 octets each), signed with a P-256 key."""
    listed = [bytes([kind]) + digest[:20] for digest in hashes]
    seconds = int(NOW.timestamp())
    body = struct.pack("<4sHHQQ", b"g8tk", 2, 20, len(listed), seconds) + b"".join(listed)
    certificates = der.sequence(*(one.certificate for one in who.path))
    signed = struct.pack("<4sIII", b"s8ch", 1, len(certificates), len(body)) + certificates + body
    value = who.key.sign(signed, "sha256")
    return signed + value + bytes(-len(value) % 4)
