"""IPE: code runs only from what dm-verity or fs-verity vouch for.

Spec: Documentation/admin-guide/LSM/ipe.rst of Linux (6.12).  The first rule of an operation that
matches decides, then its default.  A property says that a volume or file is signed by some key
the kernel trusts, not by which: so a rule can be said that lets in whatever one signer signed,
and the certificates are those the keyrings may hold.  The policy is signed with ``signward policy
seal --form ipe`` and its version must grow.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Literal

import msgspec

from signward.compilers import Compiled, File
from signward.compilers._linux import LOSSES, keyring
from signward.compilers._lossy import Ledger
from signward.policy.rules.model import Material, Mode, Name, RuleSet, Strict

GOVERNS = frozenset({"executable", "library", "kernel-module"})

_LOST = ("publisher", "identity", "signers", "product", "digest", "path", "origin", "catalog",
         "kind", "wider-kind", "hosts", "key", "audit", "deny", "expiry", "requirement-timestamp",
         "requirement-revocation", "requirement-algorithm", "requirement-log",
         "requirement-age")  # fmt: skip
_OPERATIONS = ("EXECUTE", "KMODULE")
_ALSO = {
    "firmware": ("FIRMWARE",),
    "kexec": ("KEXEC_IMAGE", "KEXEC_INITRAMFS"),
    "policy": ("POLICY",),
    "x509": ("X509_CERT",),
}

Hash = Annotated[str, msgspec.Meta(pattern=r"^(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})\Z")]


class Settings(Strict, frozen=True, kw_only=True):
    """``[targets.ipe]``.

    ``name`` is the policy's on the machine (default: its own).  ``boot_verified`` trusts the
    initramfs whole.  ``volumes`` and ``files`` are dm-verity root hashes and fs-verity digests
    that are let in without a signature, ``denied_volumes`` and ``denied_files`` those that are
    stopped whoever signed them.  ``also`` are further operations that need the same.
    """

    name: Name | None = None
    boot_verified: bool = False
    dm_verity: bool = True
    fs_verity: bool = True
    volumes: tuple[Hash, ...] = ()
    files: tuple[Hash, ...] = ()
    denied_volumes: tuple[Hash, ...] = ()
    denied_files: tuple[Hash, ...] = ()
    also: tuple[Literal["firmware", "kexec", "policy", "x509"], ...] = ("kexec",)


class Ipe:
    """The compiler."""

    target = "ipe"
    title = "IPE (Linux 6.12): policy to be signed, and keyrings"
    spec = "Linux Documentation/admin-guide/LSM/ipe.rst"
    governs = GOVERNS
    losses: Mapping[str, str] = {name: LOSSES[name] for name in _LOST}
    settings = Settings
    checked = ("executed", "Linux 6.12 of Debian in a virtual machine, under Secure Boot")

    def compile(self, rules: RuleSet, settings: Settings) -> Compiled:
        """Return the policy (ASCII, to be signed) and the keyrings' certificates (DER)."""
        ledger = Ledger("IPE")
        certificates, kept = keyring(ledger, rules, GOVERNS)
        ledger.lose_requirements(rules, kept)
        ledger.lose_expiry(rules)
        return ledger.compiled(_files(rules, settings, certificates))


def version(number: int) -> str:
    """Return a policy's version as IPE counts: three numbers of 16 bits, growing alike."""
    return f"{number >> 32}.{number >> 16 & 0xFFFF}.{number & 0xFFFF}"


def _files(
    rules: RuleSet, settings: Settings, certificates: tuple[Material, ...]
) -> Iterator[File]:
    name = settings.name or rules.name
    enforce = 0 if rules.mode is Mode.MONITOR else 1
    yield File(
        name=f"{name}.pol",
        content="\n".join((*_lines(rules, settings, name, signed=bool(certificates)), "")).encode(),
        deploy=f"sign it: signward policy seal {name}.pol --form ipe --key KEY; then cat "
        f"{name}.pol.p7b > /sys/kernel/security/ipe/new_policy, echo 1 > "
        f"/sys/kernel/security/ipe/policies/{name}/active, echo {enforce} > "
        "/sys/kernel/security/ipe/enforce",
    )
    yield File(
        name="cmdline",
        content=f"ipe.enforce={enforce}\n".encode(),
        deploy="onto the kernel's command line",
    )
    for material in certificates:
        yield File(
            name=f"keys/{material.name}.der",
            content=material.der,
            deploy="the only signers: into the .fs-verity keyring, and for dm-verity among the "
            "kernel's secondary keys; any other key there is trusted as well",
        )


def _lines(rules: RuleSet, settings: Settings, name: str, *, signed: bool) -> Iterator[str]:
    operations = [*_OPERATIONS, *(one for what in settings.also for one in _ALSO[what])]
    yield f"policy_name={name} policy_version={version(rules.version)}"
    yield "DEFAULT action=ALLOW"
    for operation in operations:
        yield f"DEFAULT op={operation} action=DENY"
    for operation in operations:
        for properties in _denied(settings):
            yield f"op={operation} {properties} action=DENY"
        for properties in _let_in(settings, signed=signed):
            yield f"op={operation} {properties} action=ALLOW"


def _denied(settings: Settings) -> Iterator[str]:
    yield from (f"dmverity_roothash={value}" for value in settings.denied_volumes)
    yield from (f"fsverity_digest={value}" for value in settings.denied_files)


def _let_in(settings: Settings, *, signed: bool) -> Iterable[str]:
    if settings.boot_verified:
        yield "boot_verified=TRUE"
    yield from (f"dmverity_roothash={value}" for value in settings.volumes)
    yield from (f"fsverity_digest={value}" for value in settings.files)
    if signed and settings.dm_verity:
        yield "dmverity_signature=TRUE"
    if signed and settings.fs_verity:
        yield "fsverity_signature=TRUE"


COMPILER = Ipe()
