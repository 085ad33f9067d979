"""What passes between a signing service of Signward's own and its clients: JSON, octets in Base64.

=========================================  =============================================
``GET  /keys/NAME``                        `KeyPage`
``POST /keys/NAME/signatures``             an `Order` under an ``Idempotency-Key`` header;
                                           an `Answer`: 200 signed, 202 not yet
``GET  /keys/NAME/signatures/ID``          an `Answer`: how far it is
=========================================  =============================================

The file never travels: only the octets to be signed, and what people need to know of it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from msgspec import Meta

from signward.frozen import Frozen
from signward.state import Algorithm

MAX_DATA = 40 * 1024
"""Octets to be signed, so that an order stays within 64 KiB; they are signed attributes or a
SignedInfo of some hundred octets."""

MAX_FILE_NAME = 1024
"""Characters of a file's name; longer ones are cut in front."""

IDEMPOTENCY_HEADER = "Idempotency-Key"
IDEMPOTENCY = r"^[A-Za-z0-9_-]{16,64}$(?!\n)"
"""What stands in it: drawn by the client, and the same whenever it asks for the same again.
(In Python ``$`` would let one newline follow.)"""

WHOLE_TEXT = r"^[^\x00]*$"
"""Any text but such as holds NUL, which PostgreSQL does not store."""

FormatName = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$(?!\n)")]
ContentDigest = Annotated[str, Meta(pattern=r"^(sha256:[0-9a-f]{64})?$(?!\n)")]
SCHEMES = r"^(rsa-pkcs1v15|rsa-pss|ecdsa|ed25519|ml-dsa-(44|65|87))$(?!\n)"


class OrderedAlgorithm(Frozen, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A signature algorithm as `state.Algorithm` has it."""

    scheme: Annotated[str, Meta(pattern=SCHEMES)]
    digest: Annotated[str, Meta(pattern=r"^(sha256|sha384|sha512)?$(?!\n)")] = ""
    mgf_digest: Annotated[str, Meta(pattern=r"^(sha256|sha384|sha512)?$(?!\n)")] = ""
    salt_length: Annotated[int, Meta(ge=0, le=64)] = 0

    @property
    def algorithm(self) -> Algorithm:
        """The same as a trust state knows it."""
        return Algorithm(
            scheme=self.scheme, digest=self.digest, mgf_digest=self.mgf_digest,
            salt_length=self.salt_length,
        )  # fmt: skip


class Order(Frozen, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be signed and how; the rest is for the rules, the approvers and the log.

    ``content`` is the digest of the file as it was, ``sha256:`` and hexadecimal;
    ``timestamp`` whether a token over the value would be of use.
    """

    data: Annotated[bytes, Meta(min_length=1, max_length=MAX_DATA)]
    algorithm: OrderedAlgorithm
    format: FormatName
    file: Annotated[str, Meta(min_length=1, max_length=MAX_FILE_NAME, pattern=WHOLE_TEXT)]
    content: ContentDigest = ""
    timestamp: bool = False


class KeyPage(Frozen, frozen=True, kw_only=True):
    """A key that is served: its certificates (DER, leaf first) and how it signs.

    ``log`` is the verifier key (c2sp.org/signed-note) of the log that receipts come from,
    empty where there is none.
    """

    name: str
    certificates: tuple[bytes, ...]
    approvals: int = 0
    log: str = ""


class Answer(Frozen, frozen=True, kw_only=True):
    """What became of an order.

    ``state`` is ``signed`` (then the rest is there), ``pending`` (approvals are missing),
    ``approved`` (send the order again), ``signing``, ``denied`` or ``expired``.  ``receipt`` is
    the proof that the result is in the log, with its entry (c2sp.org/tlog-proof).
    """

    id: str
    state: str
    value: bytes = b""
    certificates: tuple[bytes, ...] = ()
    tokens: tuple[bytes, ...] = ()
    receipt: bytes = b""
    approvals: int = 0
    required: int = 0
    expires: datetime | None = None
