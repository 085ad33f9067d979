"""Receipts: proofs that a log has a signature, checked when they come and written beside files."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from pathlib import Path

from signward.errors import AuthorityError, BadInputError, KeyProviderError, SigningError
from signward.keys import Signed

SUFFIX = ".receipt"


def check_receipt(signed: Signed, data: bytes, leaf: bytes) -> None:
    """Return if the receipt proves that the service's log has this very signature.

    ``data`` is what was signed, ``leaf`` the certificate (DER).  Raises ``KeyProviderError``.
    """
    from signward.authority.log.checkpoint import Policy
    from signward.authority.log.entry import Kind, decode
    from signward.authority.log.note import read_key
    from signward.authority.log.proof import open_receipt

    try:
        proven = open_receipt(signed.receipt, Policy(log=read_key(signed.log)))
        entry = decode(proven.entry)
    except (AuthorityError, BadInputError) as error:
        raise KeyProviderError("receipt", str(error), "a proof from the service's log") from None
    required = {
        "digest": _digest(data), "value": _digest(signed.value),
        "certificate": hashlib.sha256(leaf).hexdigest(),
    }  # fmt: skip
    for name, value in required.items():
        if entry.kind is not Kind.SIGNED or entry.fields.get(name) != value:
            found = f"a proof of something else ({entry.kind}, another {name})"
            raise KeyProviderError("receipt", found, "one of this signature")


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class Receipts:
    """Writes receipts into a folder, each under its file's name.  Thread-safe."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)
        self._taken: set[str] = set()
        self._lock = threading.Lock()

    def write(self, path: str, receipts: Sequence[bytes]) -> tuple[str, ...]:
        """Write the receipts of the file at ``path``; return where.  Raises ``SigningError``.

        ``NAME.receipt``; further ones of a file, and of others of its name, are numbered.
        """
        if not receipts:
            raise SigningError("--receipts", "a key that brings none", "one that a service logs",
                               hint="a key's URL: https://signer.example/keys/NAME")  # fmt: skip
        return tuple(self._write(Path(path).name, one) for one in receipts)

    def _write(self, name: str, receipt: bytes) -> str:
        from signward.verbs.authority.files import replace_file

        target = self._folder / self._free(name)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            replace_file(target, receipt)
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise SigningError(str(target), why, "a place that can be written") from None
        except AuthorityError as error:
            raise SigningError(error.subject, error.found, error.required) from None
        return str(target)

    def _free(self, name: str) -> str:
        with self._lock:
            number, chosen = 1, name + SUFFIX
            while chosen in self._taken:
                number += 1
                chosen = f"{name}.{number}{SUFFIX}"
            self._taken.add(chosen)
        return chosen
