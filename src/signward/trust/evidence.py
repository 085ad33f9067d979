"""Evidence: the CRLs, OCSP responses, feeds and signers' certificates at hand, indexed.

What the caller names must be readable (``EvidenceError``); what a signature carries
along may be anything, and what cannot be read there is kept as a problem's text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from signward.errors import BadInputError, EvidenceError
from signward.trust import pem
from signward.trust.crl import Crl, load_crl
from signward.trust.names import normalized_name
from signward.trust.ocsp import OcspResponse, SingleResponse, load_response
from signward.trust.x509 import Certificate, load_certificate

if TYPE_CHECKING:
    from signward.trust.feed import Feed

MAX_CRLS = 2000
MAX_RESPONSES = 2000
MAX_CERTIFICATES = 5000

_Item = TypeVar("_Item", bound="Crl | OcspResponse | Certificate")


class Evidence:
    """Everything at hand about revocation.  Immutable; false when it is empty.

    ``certificates`` are those of CRL and OCSP signers; nobody trusts them by being
    here.  ``feeds`` are those whose signature the caller's keys fit.  ``problems`` tells what
    was passed over.
    """

    def __init__(
        self,
        crls: Iterable[bytes] = (),
        ocsp: Iterable[bytes] = (),
        certificates: Iterable[bytes] = (),
        feeds: Iterable[Feed] = (),
    ) -> None:
        """Read the contents of files, PEM or DER; raises ``EvidenceError``."""
        self.crls = _from_files("CRL", crls, pem.CRLS, load_crl)
        self.responses = _from_files("OCSP response", ocsp, pem.OCSP_RESPONSES, load_response)
        self.certificates = _from_files(
            "certificate", certificates, pem.CERTIFICATES, load_certificate
        )
        self.feeds = tuple(feeds)
        self.problems: tuple[str, ...] = ()
        self._check_bounds()

    def extended(
        self,
        crls: Iterable[bytes] = (),
        ocsp: Iterable[bytes] = (),
        certificates: Iterable[Certificate] = (),
    ) -> Evidence:
        """Return this evidence and what a signature carries (DER); never raises for bytes."""
        more, problems = Evidence(feeds=self.feeds), list(self.problems)
        more.crls = _merged(self.crls, _readable(crls, load_crl, problems))[:MAX_CRLS]
        responses = _readable(ocsp, load_response, problems)
        more.responses = _merged(self.responses, responses)[:MAX_RESPONSES]
        more.certificates = _merged(self.certificates, certificates)[:MAX_CERTIFICATES]
        more.problems = tuple(problems)
        return more

    def __bool__(self) -> bool:
        return bool(self.crls or self.responses or self.feeds)

    def __repr__(self) -> str:
        return f"<Evidence {len(self.crls)} CRLs, {len(self.responses)} OCSP responses>"

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 that changes with any piece, for caches."""
        digests = {item.sha256 for item in self.crls}
        digests.update(item.sha256 for item in self.responses)
        digests.update(item.sha256 for item in self.certificates)
        digests.update(item.sha256 for item in self.feeds)
        return hashlib.sha256(b"".join(sorted(digests))).digest()

    def crls_of(self, issuer: bytes) -> Sequence[Crl]:
        """Return the CRLs whose issuer has this normalized name, newest first."""
        return self._by_issuer.get(issuer, ())

    def answers_about(self, serial: int) -> Sequence[tuple[OcspResponse, SingleResponse]]:
        """Return the OCSP answers about this serial number, of whatever issuer."""
        return self._by_serial.get(serial, ())

    @cached_property
    def _by_issuer(self) -> dict[bytes, list[Crl]]:
        index: dict[bytes, list[Crl]] = {}
        for crl in sorted(self.crls, key=lambda c: c.this_update, reverse=True):
            index.setdefault(normalized_name(crl.issuer), []).append(crl)
        return index

    @cached_property
    def _by_serial(self) -> dict[int, list[tuple[OcspResponse, SingleResponse]]]:
        index: dict[int, list[tuple[OcspResponse, SingleResponse]]] = {}
        for response in self.responses:
            for single in response.responses:
                index.setdefault(single.cert_id.serial, []).append((response, single))
        return index

    def _check_bounds(self) -> None:
        for name, items, most in (
            ("CRLs", self.crls, MAX_CRLS),
            ("OCSP responses", self.responses, MAX_RESPONSES),
            ("certificates", self.certificates, MAX_CERTIFICATES),
        ):
            if len(items) > most:
                raise EvidenceError(f"evidence: {len(items)} {name}, at most {most}")


def _from_files(
    what: str, files: Iterable[bytes], label: str, load: Callable[[bytes], _Item]
) -> tuple[_Item, ...]:
    items: dict[_Item, None] = {}
    for number, data in enumerate(files, 1):
        for block in pem.blocks(f"{what} {number}", data, label):
            try:
                items[load(block)] = None
            except BadInputError as error:
                raise EvidenceError(f"{what} {number}: {error}") from None
    return tuple(items)


def _readable(
    blobs: Iterable[bytes], load: Callable[[bytes], _Item], problems: list[str]
) -> list[_Item]:
    items = []
    for blob in blobs:
        try:
            items.append(load(bytes(blob)))
        except BadInputError as error:
            problems.append(str(error))
    return items


def _merged(old: tuple[_Item, ...], new: Iterable[_Item]) -> tuple[_Item, ...]:
    return tuple(dict.fromkeys((*old, *new)))
