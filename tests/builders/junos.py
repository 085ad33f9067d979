"""Junos packages as Juniper's published code reads them: gzip, tar, a signed manifest."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from base64 import encodebytes
from collections.abc import Mapping

from conformance.authenticode.pki import Identity, pem

from tests.signing import identity

NAME = "junos-arm-32-22.4R3.tgz"
FILES = {"package.xml": b"<package/>\n", "contents/kernel": b"\x7fELF" + bytes(200),
         "scripts/rc": b"#!/bin/sh\n"}  # fmt: skip


def manifest(files: Mapping[str, bytes] = FILES, algorithm: str = "sha256") -> bytes:
    """Return a manifest of files."""
    lines = (
        f"{path} {algorithm}={hashlib.new(algorithm, data).hexdigest()} mode=444\n"
        for path, data in files.items()
    )
    return "".join(lines).encode()


def armoured(label: str, data: bytes) -> bytes:
    """Return a PEM block."""
    return f"-----BEGIN {label}-----\n".encode() + encodebytes(data) + (
        f"-----END {label}-----\n".encode())  # fmt: skip


def signature(text: bytes, who: Identity, *, again: bool = False) -> bytes:
    """Return a signature; ``again``: over the hexadecimal digits of the manifest's SHA-256."""
    signed = hashlib.sha256(text).hexdigest().encode() if again else text
    return armoured("SIGNATURE", who.key.sign(signed, "sha256"))


def chain(who: Identity) -> bytes:
    """Return the signer's certificates, leaf first, without the root."""
    return b"".join(pem(one.certificate) for one in who.path if one.issuer)


def signed(
    text: bytes, who: Identity | None = None, *, again: bool = False, folder: str = ""
) -> dict[str, bytes]:
    """Return a manifest and what signs it, by path."""
    who = who or identity("p256", "Junos test signer")
    ending, certs = ("esig", "ecerts") if who.key.family == "ec" else ("rsig", "rcerts")
    return {
        f"{folder}manifest": text,
        f"{folder}manifest.{ending}": signature(text, who, again=again),
        f"{folder}manifest.{certs}": chain(who),
    }


def archive(
    files: Mapping[str, bytes],
    links: Mapping[str, str] | None = None,
    modes: Mapping[str, int] | None = None,
) -> bytes:
    """Return a tar archive; ``modes`` are those of files that are not 0644."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), (modes or {}).get(name, 0o644)
            tar.addfile(info, io.BytesIO(data))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)
    return out.getvalue()


def package(
    files: Mapping[str, bytes] = FILES,
    who: Identity | None = None,
    *,
    again: bool = True,
    more: Mapping[str, bytes] | None = None,
) -> bytes:
    """Return a signed package; ``more`` are files that the manifest does not list."""
    parts = {**signed(manifest(files), who, again=again), **files, **(more or {})}
    return gzip.compress(archive(parts), mtime=0)
