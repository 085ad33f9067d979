"""Rows 1 to 6: where bytes lie in a PE image, and which of them nobody signed."""

from __future__ import annotations

from collections.abc import Iterator

from conformance.authenticode import cms, pe
from conformance.authenticode.cases.base import (
    ACCEPTED,
    REJECTED,
    UNSIGNED,
    Case,
    case,
    sign_image,
    signed_image,
)

_TABLE = "PE/COFF, Attribute Certificate Table"
_MS13_098 = "CVE-2013-3900 (MS13-098)"


def cases() -> Iterator[Case]:
    """Yield the cases about image layout."""
    yield from _good()
    yield from _stuffing()
    yield from _overlay()
    yield from _table()
    yield from _fields()


def _good() -> Iterator[Case]:
    kinds = {
        "pe32plus": pe.image(),
        "pe32": pe.image(plus=False),
        "efi": pe.image(subsystem=pe.EFI),
        "driver": pe.image(driver=True),
    }
    for name, whole in kinds.items():
        file = {"efi": "image.efi", "driver": "image.sys"}.get(name, "image.exe")
        for pages in (False, True):
            data = signed_image(whole, content={"pages": pages})
            id_ = f"good-{name}" + ("-page-hashes" if pages else "")
            yield case(id_, "design", "an intact, trusted signature", data, ACCEPTED, file=file)


def _stuffing() -> Iterator[Case]:
    blob = sign_image(whole := pe.image())
    for id_, arguments, what in (
        ("data-after-pkcs7", {"stuffing": b"an installer reads this!"}, "data behind the PKCS#7"),
        (
            "url-in-padding",
            {"padding": b"http://x"[: -(8 + len(blob)) % 8 or 8]},
            "a padding not zero",
        ),
        (
            "long-zero-padding",
            {"padding": bytes(-(8 + len(blob)) % 8 + 64)},
            "64 zero octets too many",
        ),
    ):
        data = pe.embed(whole, pe.win_certificate(blob, **arguments))  # type: ignore[arg-type]
        yield case(
            id_,
            1,
            f"{what} inside WIN_CERTIFICATE",
            data,
            REJECTED,
            "uncovered-content",
            clause=_MS13_098,
        )


def _overlay() -> Iterator[Case]:
    whole = pe.image(overlay=b"archive behind the last section" * 20)
    data = signed_image(whole)
    yield case("overlay-signed", 2, "an overlay inside the digest", data, ACCEPTED)
    turned = data.replace(b"archive behind", b"ARCHIVE behind", 1)
    yield case(
        "overlay-changed",
        2,
        "an overlay changed after signing",
        turned,
        REJECTED,
        "digest-mismatch",
        clause="MS12-024",
    )
    image = pe.image()
    behind = pe.embed(image, pe.win_certificate(sign_image(image)), after=b"appended" * 32)
    yield case(
        "data-after-certificate-table",
        2,
        "data behind the certificate table",
        behind,
        REJECTED,
        "uncovered-content",
        clause="MS12-024",
    )
    moved = pe.embed(image + b"between " * 4, pe.win_certificate(sign_image(image)))
    yield case(
        "data-before-certificate-table",
        2,
        "data put between image and table",
        moved,
        REJECTED,
        "digest-mismatch",
        clause="MS12-024",
    )


def _table() -> Iterator[Case]:
    whole = pe.image()
    blob = sign_image(whole)
    good = pe.signed(whole, blob)
    start, size = pe.security_directory(good)
    entry = pe.win_certificate(blob)
    stripped = pe.with_checksum(pe.with_security_directory(good, 0, 0))
    yield case(
        "directory-zeroed-blob-left",
        4,
        "the directory entry zeroed, the table left",
        stripped,
        UNSIGNED,
        "unsigned",
        findings=("leftover-signature",),
    )
    yield case(
        "directory-absent",
        4,
        "an image with too few data directories",
        pe.image(security_directory=False),
        UNSIGNED,
        "unsigned",
    )
    efi = pe.image(subsystem=pe.EFI)
    twin = pe.win_certificate(sign_image(efi))
    yield case(
        "two-win-certificates-efi",
        5,
        "two entries, as shim has them",
        pe.embed(efi, twin, twin),
        ACCEPTED,
        file="image.efi",
        clause="UEFI 2.10, 32.5.3",
    )
    yield case(
        "two-win-certificates",
        5,
        "two entries in an application",
        pe.embed(whole, entry, entry),
        REJECTED,
        "several-entries",
        clause="THREATS.md row 5: Windows reads one",
    )
    yield case(
        "two-win-certificates-second-of-another-image",
        5,
        "two entries, one of another image",
        pe.embed(efi, twin, entry),
        REJECTED,
        "digest-mismatch",
        file="image.efi",
        clause="every signature intact",
    )
    defects = {
        "directory-outside-file": pe.with_security_directory(good, start, size + 4096),
        "directory-behind-file": pe.with_security_directory(good, len(good) + 8, size),
        "directory-inside-headers": pe.with_security_directory(good, 0x40, size),
        "directory-overflows": pe.with_security_directory(good, 0xFFFFFFF8, 0xFFFFFFF8),
        "directory-without-size": pe.with_security_directory(good, start, 0),
        "directory-without-offset": pe.with_security_directory(good, 0, size),
        "directory-smaller-than-header": pe.with_security_directory(good, start, 4),
        "bad-revision": pe.embed(whole, pe.win_certificate(blob, revision=0x0300)),
        "certificate-type-x509": pe.embed(whole, pe.win_certificate(blob, kind=1)),
        "entry-longer-than-table": pe.embed(whole, pe.win_certificate(blob, length=0x7FFFFFFF)),
        "entry-of-no-length": pe.embed(whole, pe.win_certificate(blob, length=0)),
        "pkcs7-cut-short": pe.embed(whole, pe.win_certificate(blob[: len(blob) // 2])),
        "pkcs7-is-garbage": pe.embed(whole, pe.win_certificate(b"\xff" * 256)),
        "image-cut-short": good[: len(good) // 2],
    }
    for id_, data in defects.items():
        yield case(id_, 5, id_.replace("-", " "), data, REJECTED, "malformed", clause=_TABLE)


def _fields() -> Iterator[Case]:
    for name, whole in (("image.exe", pe.image()), ("image.sys", pe.image(driver=True))):
        data = pe.with_checksum(signed_image(whole), 0x12345678)
        id_ = f"checksum-changed-{name[-3:]}"
        yield case(
            id_,
            6,
            "the checksum field changed",
            data,
            ACCEPTED,
            file=name,
            findings=("checksum-mismatch",),
            clause="PE/COFF, CheckSum",
        )
    good = signed_image()
    for id_, old, new in (
        ("code-changed", b"\x31\xc0\xc3", b"\x31\xc0\x90"),
        ("section-name-changed", b".rdata", b".edata"),
        ("dos-stub-changed", b"MZ\0\0", b"MZ\0\1"),
    ):
        yield case(
            id_,
            7,
            "an octet under the digest changed",
            good.replace(old, new, 1),
            REJECTED,
            "digest-mismatch",
            clause="Authenticode PE, Calculating the PE Image Hash",
        )
    data = signed_image(signer={"unsigned": (cms.blob(),)})
    yield case(
        "unauthenticated-blob",
        3,
        "an unsigned attribute full of data",
        data,
        ACCEPTED,
        findings=("unauthenticated-data",),
        clause="RFC 5652 5.3",
    )
