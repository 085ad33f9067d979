"""Small samples to mutate: builder-made ones, and real ones where the vectors are at hand."""

from __future__ import annotations

import hashlib
from functools import cache

from conformance.authenticode import msi, rpm
from conformance.authenticode.pki import Identity
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from signward.wire.compressed import pack
from tests.builders import apk, clickonce, elf, gits, images, jars, junos, macho, msix, ssh, vsix
from tests.builders.packages import package
from tests.corpus import CorpusMissingError, vectors_root
from tests.samples import clearsigned, deb, dmg, efi_variable, git_object, pkg, swi, vib
from tests.samples.cab import SAMPLES, cabinet
from tests.samples.macho import INFO, fat, program
from tests.signing import identity, sign_bytes

MAX_SAMPLE = 64 * 1024
"""Larger files are left out: the mutations would mostly hit code and data."""

REAL = (
    "uthenticode/test/assets/32/pegoat-authenticode-nested.exe",
    "uthenticode/test/assets/64/pegoat-authenticode-nested.exe",
    "uthenticode/test/assets/YourPhone.exe",
    "go-uefi/authenticode/testdata/test.pecoff.signed",
    "authenticode-rs/authenticode/tests/testdata/tiny32.efi",
    "relic/functest/packages/hyperv.cat",
    "goxar/testdata/valid.pkg",
    "PowerShell-OpenAuthenticode/tests/data/expired-timestamp.ps1",
)


@cache
def samples() -> dict[str, bytes]:
    """Return samples by file name; the name's extension says which kind it is."""
    made = _made()
    try:
        root = vectors_root()
    except CorpusMissingError:
        return made
    for path in (root / name for name in REAL):
        if path.is_file() and path.stat().st_size <= MAX_SAMPLE:
            made[path.name] = path.read_bytes()
    return made


def _packagers() -> tuple[Identity, Identity]:
    return identity("rsa2048", "Packager before"), identity("rsa2048", "Packager now")


def rotated_package() -> bytes:
    """Return an Android package whose signer others handed signing on to."""
    who, other = _packagers()
    package = apk.archive(oldest=24)
    steps = apk.lineage(apk.Holder(who=who), apk.Holder(who=other))
    newer = apk.By(who=other, attributes=(steps,))
    return apk.signed(package, v2=apk.By(who=who, attributes=(apk.stripping(),)), v3=newer)


def ssh_key() -> ssh.Key:
    """Return an SSH key that is always the same."""
    return ssh.Key("ed25519", Ed25519PrivateKey.from_private_bytes(bytes(range(32))))


def _made() -> dict[str, bytes]:
    plain, wide = images.image(plus=False), images.image(body=b"\xc3" * 0x2400)
    efi = images.image(subsystem=10)
    blob = images.pkcs7(images.pe_content(images.image_digest(efi)))
    digests = [hashlib.sha256(bytes([n])).digest() for n in range(8)]
    return {
        "plain.exe": images.signed_image(plain, plus=False),
        "pages.sys": images.signed_image(wide, pages=images.page_table(wide)),
        "two.efi": images.with_table(efi, images.certificate(blob) * 2),
        "overlay.dll": images.signed_image(images.image(overlay=b"overlay!" * 40)),
        "unsigned.exe": images.image(overlay=images.certificate(blob)),
        "utf8.ps1": images.powershell("Write-Host 'one'\r\n"),
        "utf16.psm1": images.powershell(
            "$x = '\u00e9'\r\n", codec="utf-16-le", mark=b"\xff\xfe"
        ),
        "author.nupkg": sign_bytes("author.nupkg", package()),
        "list.cat": images.catalog([images.image_member(d) for d in digests]),
        "package.msi": bytes(msi.signed()),
        "patch.msp": bytes(msi.signed(msi.PATCH, ex=False)),
        "plain.cab": sign_bytes("plain.cab", cabinet(folders=2)),
        "middle.cab": sign_bytes("middle.cab", SAMPLES["middle.cab"]()),
        "module.sql": b"ADD SIGNATURE TO [a]::b BY CERTIFICATE c WITH SIGNATURE = 0x8312;\r\n",
        "app.msix": sign_bytes("app.msix", msix.package()),
        "app.msixbundle": sign_bytes("app.msixbundle", msix.bundle(make_appx=False)),
        "App.exe.manifest": sign_bytes("App.exe.manifest", clickonce.alone()),
        "a.vsix": sign_bytes("a.vsix", vsix.related()),
        "a.jar": sign_bytes("a.jar", jars.archive()),
        "five.apk": sign_bytes("five.apk", apk.archive(oldest=21)),
        "rotated.apk": rotated_package(),
        "rotated.lineage": apk.lineage_file(*(apk.Holder(who=who) for who in _packagers())),
        "tool.pkg": sign_bytes("tool.pkg", pkg.archive()),
        "tool.dylib": macho.signed_file(program(), kinds=(1, 2)),
        "universal.dylib": fat([(c, macho.signed_file(program(c))) for c in ("x86_64", "ppc")]),
        "tool.dmg": sign_bytes("tool.dmg", dmg.image()),
        "tool.macho": sign_bytes("tool.macho", program(info=INFO)),
        "bare.ko": sign_bytes("bare.ko", elf.module()),
        "packed.ko.xz": sign_bytes("packed.ko.xz", pack("xz", elf.module(), "packed")),
        "packed.ko.gz": sign_bytes("packed.ko.gz", pack("gzip", elf.module(), "packed")),
        "library.so": sign_bytes("library.so", elf.linked(needed=("libc.so.6",))),
        "dbx.auth": sign_bytes("dbx.esl", efi_variable.digests()),
        "driver.vib": sign_bytes("driver.vib", vib.vib()),
        "tool.rpm": sign_bytes("tool.rpm", rpm.package(), held=True),
        "six.rpm": sign_bytes("six.rpm", rpm.package(kind="", version=6), held=True),
        "hello.deb": sign_bytes("hello.deb", deb.deb(packed="xz"), held=True),
        "hello.dsc": sign_bytes("hello.dsc", clearsigned.described(), held=True),
        "change.commit": gits.by_ssh(git_object.merged(), ssh_key()),
        "release.tag": sign_bytes("release.tag", git_object.tag()),
        junos.NAME: junos.package(),
        "EOS.swi": sign_bytes("EOS.swi", swi.image()),
        "db.esl": efi_variable.certificates(),
        "octets.cat": images.catalog([images.member(d) for d in digests], octets=True),
    }  # fmt: skip
