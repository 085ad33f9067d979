"""Signing what compilers made, in the form each enforcer verifies.

A compiler returns octets; here a key makes of them what firmware or a kernel takes.  All of it is
CMS without signed attributes and with SHA-256 or longer; who trusts it holds the signer's own
certificate, so neither validity nor usage is asked for.  Windows asks for more: see ``cip``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from enum import StrEnum

from signward.envelopes.cms_plain import PlainDraft
from signward.errors import BadInputError, PolicyError, SigningError
from signward.keys import open_key
from signward.trust.pem import CERTIFICATES, blocks
from signward.verbs.credential import Credential
from signward.verbs.options import read_option
from signward.verbs.policies.cip import signed_cip
from signward.verbs.secrets import SecretFinder
from signward.wire import siglist, verity

_KERNEL_SCHEMES = frozenset({"rsa-pkcs1v15", "ecdsa"})
"""What the kernel's PKCS#7 parser knows by name."""

_BLACKLISTED = re.compile(r"(tbs|bin):([0-9a-f]{2}){16,64}\Z")
"""A description of the ``.blacklist`` keyring (certs/blacklist.c)."""

_ROOT_HASH = re.compile(rb"(?:[0-9a-f]{2}){20,64}\n?\Z")


class Form(StrEnum):
    """What is signed, by the word of ``policy seal --form``."""

    DB = "db"
    DBX = "dbx"
    KEK = "kek"
    PK = "pk"
    IPE = "ipe"
    VERITY = "verity"
    ROOT_HASH = "root-hash"
    BLACKLIST = "blacklist"
    CIP = "cip"


@contextmanager
def opened(key: str, certificates: Sequence[str] = (), pass_file: str = "") -> Iterator[Credential]:
    """Open the key that a URI names, with the certificates in PEM files.

    Raises ``SigningError``.
    """
    given = [
        block for path in certificates for block in blocks(path, read_option(path), CERTIFICATES)
    ]
    opened_key = open_key(key, SecretFinder(pass_file))
    try:
        yield Credential(opened_key, given, "sha256")
    finally:
        opened_key.close()


def seal(form: Form, content: bytes, credential: Credential, at: datetime) -> bytes:
    """Return ``content`` signed in that form; ``at`` is an update's time (aware UTC).

    Raises ``PolicyError`` for content that is no such thing, ``SigningError`` for a key that the
    enforcer would not know.
    """
    return _SEALS[form](content, credential, at)


def signed_update(
    name: str, content: bytes, credential: Credential, at: datetime, *, append: bool = False
) -> bytes:
    """Return an authenticated write of a Secure Boot variable (UEFI 2.10 8.2.2).

    ``content`` is a signature list; an update with ``append`` adds to what stands there, and any
    other takes its place and must be later than the last.
    """
    try:
        siglist.read_lists(content)
    except BadInputError as error:
        raise PolicyError(name, str(error), "a signature list") from None
    at = at.replace(microsecond=0)
    data = siglist.to_be_signed(name, content, at, append=append)
    draft, value = _valued(data, credential, frozenset({"rsa-pkcs1v15"}), certificates=True)
    update = siglist.Update(at=at, signed_data=draft.signed_data(value), content=content)
    return siglist.authenticated(update)


def _valued(
    data: bytes,
    credential: Credential,
    schemes: frozenset[str],
    *,
    attached: bool = False,
    certificates: bool = False,
) -> tuple[PlainDraft, bytes]:
    standing = credential.standing
    signer = standing.signer
    if signer.algorithm.scheme not in schemes:
        known = " or ".join(sorted(schemes))
        raise SigningError("--key", f"a key for {signer.algorithm.scheme}", known,
                           hint="whoever verifies it knows no other")  # fmt: skip
    draft = PlainDraft(content=data, signer=signer, attached=attached, certificates=certificates)
    return draft, credential.sign(standing, draft.to_be_signed, draft.algorithm)


def _detached(data: bytes, credential: Credential) -> bytes:
    draft, value = _valued(data, credential, _KERNEL_SCHEMES)
    return draft.seal(value)


def _ipe(content: bytes, credential: Credential, _at: datetime) -> bytes:
    """Return the policy with its signature around it, as new_policy takes it."""
    if not content.startswith(b"policy_name="):
        raise PolicyError("IPE policy", repr(content[:40]), "policy_name= first")
    draft, value = _valued(content, credential, _KERNEL_SCHEMES, attached=True, certificates=True)
    return draft.seal(value)


def _verity(content: bytes, credential: Credential, _at: datetime) -> bytes:
    """Return the signature that FS_IOC_ENABLE_VERITY takes for this file."""
    return _detached(verity.formatted(verity.file_digest(content)), credential)


def _root_hash(content: bytes, credential: Credential, _at: datetime) -> bytes:
    """Return the signature of a dm-verity root hash: over its hexadecimal text, no line's end."""
    if not _ROOT_HASH.match(content):
        raise PolicyError("root hash", repr(content[:40]), "lower-case hexadecimal digits")
    return _detached(content.rstrip(b"\n"), credential)


def _blacklist(content: bytes, credential: Credential, _at: datetime) -> bytes:
    """Return the payload of ``keyctl add blacklist DESCRIPTION``: over the description's text."""
    text = content.decode("ascii", "replace").removesuffix("\n")
    if not _BLACKLISTED.match(text):
        raise PolicyError("blacklist entry", repr(text[:40]), "tbs:HEX or bin:HEX")
    return _detached(text.encode(), credential)


def _replacing(name: str) -> Callable[[bytes, Credential, datetime], bytes]:
    return lambda content, credential, at: signed_update(name, content, credential, at)


def _dbx(content: bytes, credential: Credential, at: datetime) -> bytes:
    return signed_update("dbx", content, credential, at, append=True)


_SEALS: Mapping[Form, Callable[[bytes, Credential, datetime], bytes]] = {
    Form.DB: _replacing("db"),
    Form.DBX: _dbx,
    Form.KEK: _replacing("KEK"),
    Form.PK: _replacing("PK"),
    Form.IPE: _ipe,
    Form.VERITY: _verity,
    Form.ROOT_HASH: _root_hash,
    Form.BLACKLIST: _blacklist,
    Form.CIP: signed_cip,
}
