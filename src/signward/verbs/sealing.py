"""Sealing documents of ours: an envelope (DSSE) around a payload, by a key that a URI names."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager

from signward.envelopes.dsse import DsseDraft, key_id
from signward.errors import KeyProviderError
from signward.integrity import (
    UnsupportedKeyError,
    ValueMismatchError,
    check_value,
    usual_algorithm,
)
from signward.keys import Purpose, SigningKey, open_key, sign_for
from signward.verbs.secrets import SecretFinder

_PEM_COLUMNS = 64
"""Characters of Base64 in a line (RFC 7468 2)."""


class Sealer:
    """Signs documents with one open key; each value is checked before it is used."""

    def __init__(self, key: SigningKey) -> None:
        self._key = key

    @property
    def key_id(self) -> str:
        """The key id that envelopes name: SHA-256 of the SubjectPublicKeyInfo, in hex."""
        return key_id(self._key.public_key)

    @property
    def public_pem(self) -> bytes:
        """The public key as PEM (RFC 7468 13)."""
        text = base64.b64encode(self._key.public_key)
        lines = [text[i : i + _PEM_COLUMNS] for i in range(0, len(text), _PEM_COLUMNS)]
        return b"\n".join((b"-----BEGIN PUBLIC KEY-----", *lines, b"-----END PUBLIC KEY-----", b""))

    @property
    def public_key(self) -> bytes:
        """The public key (DER SubjectPublicKeyInfo)."""
        return self._key.public_key

    @property
    def certificates(self) -> tuple[bytes, ...]:
        """The certificates (DER) that are kept with the key, the leaf's first."""
        return self._key.certificates

    def seal(
        self, payload_type: str, payload: bytes, certificates: tuple[bytes, ...] = ()
    ) -> bytes:
        """Return the envelope (JSON) around a payload.  Raises ``KeyProviderError``.

        ``certificates`` (DER, the leaf's first) go beside the signature.
        """
        spki = self._key.public_key
        try:
            draft = DsseDraft(payload_type=payload_type, payload=payload,
                              algorithm=usual_algorithm(spki), key_id=key_id(spki),
                              certificates=certificates)  # fmt: skip
            signed = sign_for(self._key, draft.to_be_signed, draft.algorithm, _purpose)
            check_value(spki, draft.algorithm, draft.to_be_signed, signed.value)
        except (UnsupportedKeyError, ValueMismatchError) as error:
            required = "a key that documents can be signed by"
            raise KeyProviderError("--key", str(error), required) from None
        return draft.seal(signed.value)


def _purpose() -> Purpose:
    return Purpose(format="other", name="document")


@contextmanager
def opened_sealer(uri: str, pass_file: str = "") -> Iterator[Sealer]:
    """Open the key a URI names; close it on leaving.  Raises ``KeyProviderError``."""
    key = open_key(uri, SecretFinder(pass_file))
    try:
        yield Sealer(key)
    finally:
        key.close()
