"""Finding a certificate by what people have of it: its serial number, or a file."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from signward.errors import AuthorityError, EvidenceError
from signward.store import certificates
from signward.store.certificates import Listed
from signward.trust.pem import CERTIFICATES, blocks
from signward.verbs.authority.realm import Realm

MAX_FILE = 1024 * 1024
"""Octets of a certificate file."""

_SERIAL = re.compile(r"[0-9a-f]{1,40}")


def find(realm: Realm, reference: str, ca: str = "") -> Listed:
    """Return the certificate that ``reference`` names: a serial number, or a PEM or DER file.

    A serial number is hexadecimal, with colons or without; ``ca`` tells between issuers.
    Raises ``AuthorityError`` where there is none, or several.
    """
    if is_file(reference):
        return in_file(realm, Path(reference))
    return with_serial(realm, serial_of(reference), ca)


def is_file(name: str) -> bool:
    """Say whether a file of that name is there, whatever the name."""
    try:
        return Path(name).is_file()
    except (OSError, ValueError):  # too long a name, or no name at all
        return False


def serial_of(text: str) -> str:
    """Return a serial number as it is stored, of what people write.  Raises ``AuthorityError``."""
    if not is_serial(text):
        raise AuthorityError(
            repr(text[:200]), "neither a file nor a serial number",
            "a certificate's file, or its serial number in hexadecimal",
        )  # fmt: skip
    return _bare(text)


def is_serial(text: str) -> bool:
    """Say whether a text could be a serial number."""
    return bool(_SERIAL.fullmatch(_bare(text)))


def _bare(text: str) -> str:
    return text.replace(":", "").strip().lower().removeprefix("0x").lstrip("0")


def with_serial(realm: Realm, serial: str, ca: str = "") -> Listed:
    """Return the certificate of a serial number.  Raises ``AuthorityError``."""
    with realm.store.read() as connection:
        found = certificates.with_serial(connection, serial)
    found = [one for one in found if ca in ("", one.issued.issuer)]
    if len(found) != 1:
        by = f" of authority {ca}" if ca else ""
        raise AuthorityError(
            f"serial number {serial}{by}", f"{len(found)} certificates", "one that was issued here",
            hint="signward ca list shows them",
        )  # fmt: skip
    return found[0]


def in_file(realm: Realm, path: Path) -> Listed:
    """Return the certificate whose DER a file holds first.  Raises ``AuthorityError``."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
        ders = blocks(str(path), data, CERTIFICATES)
    except OSError as error:
        raise AuthorityError(str(path), error.strerror or "no file", "a certificate") from None
    except EvidenceError as error:
        raise AuthorityError(str(path), str(error), "a certificate, PEM or DER") from None
    with realm.store.read() as connection:
        found = certificates.with_fingerprint(connection, hashlib.sha256(ders[0]).digest())
    if found is None:
        raise AuthorityError(str(path), "a certificate of somebody else's", "one issued here")
    return found
