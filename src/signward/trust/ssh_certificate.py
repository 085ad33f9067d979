"""SSH keys that an authority certifies: by lines of the list that name the authority's key.

In order: the certificate is a person's, of this time, with nothing critical; its authority signed
it, with a key that counts; a line with ``cert-authority`` has that key (OpenSSH's sshsig.c).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from signward import integrity
from signward.envelopes.allowed_signers import Entry, entries
from signward.envelopes.ssh_certificate import USER, SshCertificate, read_certificate
from signward.envelopes.sshsig import Key, fingerprint_text, read_key
from signward.errors import BadInputError
from signward.findings import Code, Effect, Finding
from signward.frozen import Frozen
from signward.state import HeldKey
from signward.trust.rules import STRICT

if TYPE_CHECKING:
    from signward.envelopes.krl import Withdrawn
    from signward.trust.judge import Grounds

_CLAUSE = "PROTOCOL.certkeys"


class Lines(Frozen, frozen=True, kw_only=True):
    """The lines that speak of a key, and the list they are in.

    ``principals`` are those of its certificate, None where none is; ``findings`` what is to be
    said of that, ``fingerprint`` the SHA-256 of the key without it, and ``authority`` whose word
    it is (``SHA256:...``).
    """

    lines: tuple[Entry, ...]
    keyring: str
    principals: tuple[str, ...] | None = None
    findings: tuple[Finding, ...] = ()
    fingerprint: bytes = b""
    authority: str = ""


def certified(key: HeldKey, grounds: Grounds, what: str) -> Lines | None:
    """Return the lines of a certified key's authority; None for a key without certificate."""
    try:
        own = read_key(key.holder)
        certificate = read_certificate(key.holder) if own.certified else None
    except BadInputError as error:
        # What holds a key that is listed are lines, and no key of SSH's.
        listed = key.holder in grounds.keyring
        return None if listed else Lines(lines=(), keyring="", findings=(error.finding,))
    if certificate is None:
        return None
    found = [(line, path) for holder, path in grounds.keyring.items()
             for line in entries(holder) if line.blob == certificate.authority.blob]  # fmt: skip
    return Lines(
        lines=tuple(line for line, _ in found),
        keyring=found[0][1] if found else "",
        principals=certificate.principals,
        findings=tuple(_findings(own, certificate, grounds, what)),
        fingerprint=hashlib.sha256(own.alone).digest(),
        authority=fingerprint_text(certificate.authority.fingerprint),
    )


def _findings(
    key: Key, certificate: SshCertificate, grounds: Grounds, what: str
) -> Iterator[Finding]:
    yield from _standing(certificate, grounds, what)
    yield from certificate.made.findings
    made, authority = certificate.made, certificate.authority
    name = f"SSH authority {fingerprint_text(authority.fingerprint)}"
    if authority.spki:
        try:
            integrity.check_value(authority.spki, made.algorithm, made.signed, made.value)
        except (integrity.ValueMismatchError, integrity.UnsupportedKeyError) as error:
            yield _finding(Code.CERTIFICATE_SIGNATURE, name, str(error), "a value by its key")
        weak = STRICT.judge_public_key(name, authority.spki)
        if weak is not None:
            yield weak
    if grounds.revoked is not None:
        yield from _withdrawn(key, certificate, grounds.revoked, name)


def _standing(certificate: SshCertificate, grounds: Grounds, what: str) -> Iterator[Finding]:
    at = grounds.at
    if certificate.purpose != USER:
        yield _finding(Code.WRONG_USAGE, what, f"a certificate for {certificate.purpose}",
                       "1, a person's")  # fmt: skip
    if not certificate.principals:
        yield _finding(Code.WRONG_USAGE, what, "a certificate of nobody", "principals")
    if at < certificate.after:
        yield _finding(Code.NOT_YET_VALID, what, f"a certificate from {certificate.after} on",
                       f"at {at}")  # fmt: skip
    if certificate.before is not None and at >= certificate.before:
        yield _finding(Code.EXPIRED, what, f"a certificate until {certificate.before}", f"at {at}")
    if certificate.critical:
        yield _finding(Code.CRITICAL_EXTENSION, what, ", ".join(certificate.critical)[:200],
                       "no critical option: they are about logins")  # fmt: skip


def _withdrawn(
    key: Key, certificate: SshCertificate, lists: Withdrawn, name: str
) -> Iterator[Finding]:
    """Yield what lists say of the key, of its authority, and of the certificate itself."""
    told = f"SSH key {fingerprint_text(hashlib.sha256(key.alone).digest())}"
    authority = certificate.authority.blob
    for subject, blob in ((told, key.alone), (name, authority)):
        digests = {
            hashlib.sha256(blob).digest(),
            hashlib.sha1(blob, usedforsecurity=False).digest(),
        }
        if digests & lists.digests:
            yield _finding(Code.REVOKED, subject, "withdrawn by a list", "on none of --revoked")
    number, called = certificate.number, certificate.name
    if any(one.has(authority, number, called) for one in lists.certificates):
        yield _finding(
            Code.REVOKED, told, f"a certificate that is withdrawn, number {number}",
            "on none of --revoked",
        )  # fmt: skip


def _finding(code: Code, subject: str, found: str, required: str) -> Finding:
    return Finding(code=code, effect=Effect.REJECT, subject=subject, found=found,
                   required=required, clause=_CLAUSE)  # fmt: skip
