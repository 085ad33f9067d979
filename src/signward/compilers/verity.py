"""fs-verity and dm-verity: a plan of what is to be signed, by whom, and how it is switched on.

Spec: Documentation/filesystems/fsverity.rst and admin-guide/device-mapper/verity.rst of Linux.
Both make files or volumes that cannot change unseen; that nothing else runs is for IPE or IMA to
say, and lost here.  The plan is JSON for machines and a shell script for people, who read it
before they run it.
"""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import msgspec

from signward.compilers import Compiled, File, Towards
from signward.compilers._linux import LOSSES, keyring
from signward.compilers._lossy import Ledger
from signward.policy.rules.model import Material, Name, RuleSet, Strict

GOVERNS = frozenset({"executable", "library", "kernel-module"})

_LOST = ("publisher", "identity", "signers", "product", "digest", "path", "origin", "catalog",
         "kind", "wider-kind", "hosts", "key", "audit", "deny", "expiry", "requirement-timestamp",
         "requirement-revocation", "requirement-algorithm", "requirement-log",
         "requirement-age")  # fmt: skip
_PEM_COLUMNS = 64
"""Characters of Base64 in a line (RFC 7468 2)."""

Path = Annotated[str, msgspec.Meta(pattern=r"^/[^\x00-\x1f\x7f]{0,4095}\Z")]


class Volume(Strict, frozen=True, kw_only=True):
    """A volume for dm-verity: its name when open, the data, and where its hashes go."""

    name: Name
    data: Path
    hashes: Path


class Settings(Strict, frozen=True, kw_only=True):
    """``[targets.verity]``.

    ``files`` get fs-verity, ``volumes`` dm-verity; ``require_signatures`` refuses unsigned
    fs-verity files on the whole machine.
    """

    files: tuple[Path, ...] = ()
    volumes: tuple[Volume, ...] = ()
    require_signatures: bool = True


class Verity:
    """The compiler."""

    target = "verity"
    title = "fs-verity and dm-verity (Linux): what to sign and how to switch it on"
    spec = "Linux Documentation/filesystems/fsverity.rst"
    governs = GOVERNS
    losses: Mapping[str, str] = {
        **{name: LOSSES[name] for name in _LOST},
        "reject": "it stops nothing that is not listed: see the targets ipe and ima",
    }
    settings = Settings
    checked = ("parsed", "fsverity-utils 1.5, veritysetup 2.6 and OpenSSL, not by a kernel")

    def compile(self, rules: RuleSet, settings: Settings) -> Compiled:
        """Return the plan, as JSON and as a script, and the certificates (PEM and DER)."""
        ledger = Ledger("verity")
        certificates, kept = keyring(ledger, rules, GOVERNS)
        ledger.lose("reject", "", self.losses["reject"], Towards.LOOSER)
        ledger.lose_requirements(rules, kept)
        ledger.lose_expiry(rules)
        return ledger.compiled(_files(settings, certificates))


def _files(settings: Settings, certificates: tuple[Material, ...]) -> Iterator[File]:
    plan = _plan(settings, certificates)
    yield File(
        name="plan.json",
        content=json.dumps(plan, indent=2).encode() + b"\n",
        deploy="what verity.sh does, for a machine that builds images",
    )
    yield File(
        name="verity.sh",
        content="\n".join((*_script(settings, certificates), "")).encode(),
        deploy="read it, then: KEY=URI sh verity.sh where the files are; CERT chooses among keys/",
    )
    for material in certificates:
        yield File(
            name=f"keys/{material.name}.der",
            content=material.der,
            deploy="into the .fs-verity keyring, and for dm-verity among the kernel's own",
        )
        yield File(
            name=f"keys/{material.name}.pem", content=_pem(material.der), deploy="for signing"
        )


def _plan(settings: Settings, certificates: tuple[Material, ...]) -> dict[str, Any]:
    return {
        "keys": [f"keys/{material.name}.der" for material in certificates],
        "require_signatures": settings.require_signatures,
        "files": [{"path": path, "signature": f"{path}.fsv.p7s"} for path in settings.files],
        "volumes": [msgspec.structs.asdict(volume) for volume in settings.volumes],
    }


def _script(settings: Settings, certificates: tuple[Material, ...]) -> Iterator[str]:
    yield "#!/bin/sh"
    yield "# Signs files and volumes for verity and switches it on; KEY is a key's URI."
    yield "set -eu"
    first = f"keys/{certificates[0].name}.pem" if certificates else ""
    yield f': "${{KEY:?}}" "${{CERT:={first}}}"'
    for material in certificates:
        yield f"keyctl padd asymmetric '' %keyring:.fs-verity <keys/{material.name}.der"
    if settings.require_signatures:
        yield "sysctl -w fs.verity.require_signatures=1"
    for path in settings.files:
        yield from _of_file(shlex.quote(path), shlex.quote(f"{path}.fsv.p7s"))
    for volume in settings.volumes:
        yield from _of_volume(volume)


def _of_file(path: str, signature: str) -> Iterator[str]:
    yield f'signward policy seal {path} --form verity --key "$KEY" --cert "$CERT" -o {signature}'
    yield f"fsverity enable {path} --signature={signature}"


def _of_volume(volume: Volume) -> Iterator[str]:
    data, hashes, root = shlex.quote(volume.data), shlex.quote(volume.hashes), f"{volume.name}.root"
    yield f"veritysetup format {data} {hashes} --root-hash-file={root}"
    yield (
        f'signward policy seal {root} --form root-hash --key "$KEY" --cert "$CERT" -o {root}.p7s'
    )
    yield (
        f'veritysetup open {data} {volume.name} {hashes} "$(cat {root})" '
        f"--root-hash-signature={root}.p7s"
    )


def _pem(der: bytes) -> bytes:
    text = base64.b64encode(der)
    lines = [text[i : i + _PEM_COLUMNS] for i in range(0, len(text), _PEM_COLUMNS)]
    return b"\n".join((b"-----BEGIN CERTIFICATE-----", *lines, b"-----END CERTIFICATE-----", b""))


COMPILER = Verity()
