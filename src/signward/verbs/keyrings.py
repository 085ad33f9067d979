"""Keyrings: the public keys that callers give, for signatures that bring no certificate.

A file is an OpenPGP keyring (armoured or not), a public key of minisign, signify or SSH, SSH's list
of allowed signers, or public keys by themselves (SubjectPublicKeyInfo, RFC 7468 13, in PEM or
DER); which, its content says.  Of a folder (`/usr/share/keyrings`) every file of an OpenPGP ending
is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from signward.envelopes.allowed_signers import allowed_keys, is_list
from signward.envelopes.minisign import is_bare_key, is_commented
from signward.envelopes.minisign import read_keys as read_commented
from signward.envelopes.openpgp_cert import KIND as OPENPGP
from signward.envelopes.openpgp_cert import binary, keys_of, primary_of, split_keyring
from signward.envelopes.openpgp_packets import is_armoured
from signward.envelopes.raw import named_key
from signward.envelopes.sshsig import KIND as SSHSIG
from signward.errors import BadInputError, EvidenceError
from signward.frozen import Frozen
from signward.integrity import UnsupportedKeyError, load_public_key
from signward.state import HeldKey
from signward.trust.pem import CERTIFICATES, blocks
from signward.verbs.options import read_option
from signward.wire import der

if TYPE_CHECKING:
    from signward.envelopes.krl import Withdrawn

MAX_KEYS = 20_000
"""Keys of a run; Debian's keyring of all its developers has some 4,000."""

MAX_FILES = 1000
"""Files of one folder."""

ENDINGS = (".asc", ".gpg", ".pgp")
"""How files of a folder of keyrings end (sources.list(5), "Signed-By")."""

PUBLIC_KEYS = "PUBLIC KEY"
"""The label of a public key by itself (RFC 7468 13)."""

_KEYBOX = b"KBXf"
_PEM_KEY = re.compile(rb"^-----BEGIN PUBLIC KEY-----", re.MULTILINE)


class Keyring(Frozen, frozen=True, kw_only=True):
    """The keys in reach, and by the octets of what holds each, the file it was in."""

    keys: tuple[HeldKey, ...]
    files: Mapping[bytes, str]


def load_keyrings(paths: tuple[str, ...]) -> Keyring:
    """Return the keys in files and folders.  Raises ``EvidenceError``."""
    keys, files = list[HeldKey](), dict[bytes, str]()
    for path in (file for given in paths for file in _files(given)):
        found = read_keyring(path, read_option(path))
        keys += found
        for key in found:
            files.setdefault(key.holder, path)
        if len(keys) > MAX_KEYS:
            raise EvidenceError(f"{path}: more than {MAX_KEYS} keys, required fewer")
    return Keyring(keys=tuple(_merged(keys, files)), files=files)


def _merged(keys: list[HeldKey], files: dict[bytes, str]) -> Iterator[HeldKey]:
    """Yield the keys; copies of one OpenPGP certificate become one, kept under the first's file.

    What only one copy says counts: an older keyring must not hide a revocation.  So do all lines
    of SSH's lists that have one key.
    """
    copies = dict[tuple[str, bytes], dict[bytes, list[HeldKey]]]()
    for key in keys:
        if key.kind not in (OPENPGP, SSHSIG):
            yield key
            continue
        named = primary_of(key.holder) if key.kind == OPENPGP else key.key_id
        held = copies.setdefault((key.kind, named), {})
        held.setdefault(key.holder, []).append(key)
    for (kind, _), held in copies.items():
        first, *others = held
        if not others:
            yield from dict.fromkeys(held[first])
            continue
        whole = (b"" if kind == OPENPGP else b"\n").join(held)
        files[whole] = files[first]
        yield from keys_of(whole) if kind == OPENPGP else allowed_keys(whole)


def _files(path: str) -> Iterator[str]:
    folder = Path(path)
    if not folder.is_dir():
        yield path
        return
    found = sorted(str(one) for one in folder.iterdir() if one.suffix in ENDINGS)
    if not found or len(found) > MAX_FILES:
        raise EvidenceError(f"{path}: found {len(found)} keyrings ({', '.join(ENDINGS)}), "
                            f"required 1 to {MAX_FILES}")  # fmt: skip
    yield from found


def read_keyring(path: str, data: bytes) -> list[HeldKey]:
    """Return the keys in one file that can have signed.  Raises ``EvidenceError``."""
    if data[8:12] == _KEYBOX:
        raise EvidenceError(f"{path}: found GnuPG's own key database, required a keyring\n"
                            "hint: gpg --export > keyring.gpg writes one")  # fmt: skip
    if is_public_key(data):
        return [_named(path, spki) for spki in blocks(path, data, PUBLIC_KEYS)]
    try:
        if is_commented(data) or is_bare_key(data):
            return list(read_commented(data))
        if is_list(data):
            return list(allowed_keys(data))
        return [key for one in split_keyring(binary(data)) for key in keys_of(one)]
    except BadInputError as error:
        raise EvidenceError(f"{path}: {error}") from None


def load_revoked(paths: tuple[str, ...]) -> Withdrawn:
    """Return the SSH keys and certificates that lists withdraw.  Raises ``EvidenceError``."""
    # For few runs only.
    from signward.envelopes.krl import Certified, Withdrawn, read_revocations

    digests, certificates = set[bytes](), list[Certified]()
    for path in paths:
        try:
            found = read_revocations(read_option(path))
        except BadInputError as error:
            raise EvidenceError(f"{path}: {error}") from None
        digests |= found.digests
        certificates += found.certificates
    return Withdrawn(digests=frozenset(digests), certificates=tuple(certificates))


def _named(path: str, spki: bytes) -> HeldKey:
    try:
        load_public_key(spki)
    except UnsupportedKeyError as error:
        raise EvidenceError(f"{path}: {error}") from None
    return named_key(spki)


def is_public_key(data: bytes) -> bool:
    """Say whether octets are public keys by themselves (SubjectPublicKeyInfo), in PEM or DER."""
    if data[:1] != b"\x30":
        return _PEM_KEY.search(data) is not None
    try:
        kind, key = der.parse(data, "public key").fields("public key", 2)
        return key.tag == der.BIT_STRING and kind.fields("algorithm", 1)[0].tag == der.OID
    except (BadInputError, ValueError):
        return False


def read_holders(paths: tuple[str, ...]) -> tuple[list[bytes], list[HeldKey]]:
    """Return what holds public keys in files: certificates (X.509, DER), and keys of other kinds.

    Raises ``EvidenceError`` for a file that is neither.
    """
    certificates, keys = list[bytes](), list[HeldKey]()
    for path in paths:
        data = read_option(path)
        if is_keyring(data) or is_public_key(data):
            keys += read_keyring(path, data)
        else:
            certificates += blocks(path, data, CERTIFICATES)
    return certificates, keys


def is_keyring(data: bytes) -> bool:
    """Say whether octets begin as a file of keys does that is no X.509 certificate."""
    if data[8:12] == _KEYBOX or is_commented(data) or is_bare_key(data) or is_list(data):
        return True
    first = data[0] if data else 0
    return first & 0xFC == 0x98 or first == 0xC6 or is_armoured(data)  # a public key, either header
