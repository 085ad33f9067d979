"""What a case is, and short ways to write one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from conformance.authenticode import cms, pe
from conformance.authenticode.pki import NOW, Pki, default_pki


class Answer(StrEnum):
    """The four answers of the runner protocol."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    UNSIGNED = "unsigned"
    CANNOT_TELL = "cannot-tell"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One file, what is given beside it, and what a verifier must say.

    ``id`` is named after the defect; ``row`` is the row of THREATS.md (or ``design``);
    ``cause`` and ``findings`` are Signward's codes (``signward.findings.Code``): the cause of
    a refusal, and findings that must be present.  ``anchors`` are PEM, ``crls`` and
    ``ocsp`` DER.  ``options`` name policy switches (README.md lists them).
    """

    id: str
    row: str
    what: str
    clause: str
    file: str
    data: bytes
    expected: Answer
    cause: str = ""
    findings: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    at: datetime = NOW
    anchors: tuple[bytes, ...] = ()
    crls: tuple[bytes, ...] = ()
    ocsp: tuple[bytes, ...] = ()
    catalogs: tuple[bytes, ...] = ()
    stage: str = "accepted"
    options: tuple[str, ...] = ()
    maker: str = "builder"


def sign_image(
    whole: bytes | None = None,
    pki: Pki | None = None,
    *,
    signer: Mapping[str, Any] | None = None,
    content: Mapping[str, Any] | None = None,
    certificates: Sequence[bytes] | None = None,
    **arguments: Any,
) -> bytes:
    """Return the PKCS#7 over an image: the leaf signs, leaf and intermediate are embedded.

    ``signer`` overrides fields of ``cms.Signer``, ``content`` arguments of ``pe.content``,
    the rest are arguments of ``cms.sign``.
    """
    pki = pki or default_pki()
    fields: dict[str, Any] = {"identity": pki.leaf, **(signer or {})}
    digest = str(fields.get("digest", "sha256"))
    spoken = pe.content(whole or pe.image(), **{"digest": digest, **(content or {})})
    listed = pki.chain if certificates is None else certificates
    return cms.sign(spoken, cms.Signer(**fields), certificates=listed, **arguments)


def signed_image(whole: bytes | None = None, pki: Pki | None = None, **arguments: Any) -> bytes:
    """Return a whole signed image (see ``sign_image``)."""
    whole = whole or pe.image()
    return pe.signed(whole, sign_image(whole, pki, **arguments))


def case(
    id_: str,
    row: int | str,
    what: str,
    data: bytes,
    answer: Answer,
    cause: str = "",
    *,
    clause: str = "",
    file: str = "image.exe",
    pki: Pki | None = None,
    **fields: Any,
) -> Case:
    """Return a case whose anchor is the PKI's root."""
    fields.setdefault("anchors", ((pki or default_pki()).root.pem,))
    return Case(
        id=id_,
        row=str(row),
        what=what,
        clause=clause,
        file=file,
        data=data,
        expected=answer,
        cause=cause,
        **fields,
    )


ACCEPTED, REJECTED = Answer.ACCEPTED, Answer.REJECTED
UNSIGNED, CANNOT_TELL = Answer.UNSIGNED, Answer.CANNOT_TELL
