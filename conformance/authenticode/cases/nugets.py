"""Row 31: NuGet packages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from conformance.authenticode import cms, nupkg
from conformance.authenticode.cases.base import ACCEPTED, REJECTED, UNSIGNED, Case, case
from conformance.authenticode.nupkg import (
    FILES,
    ORIGIN,
    RECEIPT,
    SERVICE_INDEX,
    archive,
    commitment,
    content,
    named_certificate,
    signed,
)
from conformance.authenticode.pki import default_pki
from signward.wire import der

_CLAUSE = "NuGet, Package Signatures Technical Details"
_INDEX = cms.attribute(SERVICE_INDEX, der.encode(0x16, b"https://packages.example/v3/index.json"))


def cases() -> Iterator[Case]:
    """Yield the cases about NuGet packages."""
    yield from _good()
    yield from _changed()
    yield from _entry()
    yield from _attributes()


def _one(id_: str, row: int | str, what: str, data: bytes, *answer: Any, **fields: Any) -> Case:
    fields.setdefault("file", "example.nupkg")
    return case(id_, row, what, data, *answer, clause=_CLAUSE, **fields)


def _good() -> Iterator[Case]:
    leaf = named_certificate(default_pki().leaf)
    yield _one("good-nupkg", "design", "an author's signature", signed(), ACCEPTED)
    yield _one("good-nupkg-repository", "design", "a repository's signature",
               signed(extra=(commitment(RECEIPT), leaf, _INDEX)), ACCEPTED)  # fmt: skip
    yield _one("unsigned-nupkg", 56, "a package nobody signed", archive(), UNSIGNED, "unsigned")


def _changed() -> Iterator[Case]:
    """Yield packages that hold something else than what was signed."""
    before = content(archive())
    for name, what, files in (
        ("nupkg-file-changed", "a file changed", {**FILES, "lib/net8.0/example.dll": b"MZ evil"}),
        ("nupkg-file-added", "a file added", {**FILES, "tools/install.ps1": b"evil"}),
        ("nupkg-file-removed", "a file removed", {"example.nuspec": FILES["example.nuspec"]}),
        ("nupkg-files-in-another-order", "the entries in another order",
         dict(reversed(FILES.items()))),
    ):  # fmt: skip
        yield _one(name, 31, what, signed(archive(files), spoken=before), REJECTED,
                   "digest-mismatch")  # fmt: skip
    yield _one("nupkg-file-behind-the-signature", 31, "a file added behind the signature",
               signed(after={"tools/install.ps1": b"evil"}), REJECTED,
               "digest-mismatch")  # fmt: skip


def _entry() -> Iterator[Case]:
    """Yield packages whose signature's entry is not as NuGet's own."""
    yield _one("nupkg-signature-compressed", 31, "the signature's entry is compressed",
               signed(packed=True), REJECTED, "malformed")  # fmt: skip
    yield _one("nupkg-two-signatures", 31, "two entries of the signature's name",
               signed(copies=2), REJECTED, "ambiguous")  # fmt: skip
    yield _one("nupkg-bytes-in-front", 31, "bytes before the first entry",
               b"evil" + signed(), REJECTED, "ambiguous")  # fmt: skip
    yield _one("nupkg-bytes-behind", 31, "bytes behind the archive",
               signed() + b"evil", REJECTED, "ambiguous")  # fmt: skip


def _attributes() -> Iterator[Case]:
    """Yield packages whose signature lacks what NuGet asks for."""
    leaf, intermediate = default_pki().leaf, default_pki().intermediate
    origin, receipt, named = commitment(ORIGIN), commitment(RECEIPT), named_certificate(leaf)
    for name, what, extra in (
        ("nupkg-no-commitment", "no commitment type", (named,)),
        ("nupkg-repository-without-index", "a repository that does not name itself",
         (receipt, named)),
        ("nupkg-no-signing-certificate", "no signing-certificate-v2", (origin,)),
        ("nupkg-no-issuer-serial", "signing-certificate-v2 without issuer and serial",
         (origin, named_certificate(leaf, serial=False))),
    ):  # fmt: skip
        yield _one(name, 31, what, signed(extra=extra), REJECTED, "attribute-rule")
    yield _one("nupkg-signing-certificate-of-another", 31,
               "signing-certificate-v2 names another certificate",
               signed(extra=(origin, named_certificate(intermediate))), REJECTED,
               "attribute-rule")  # fmt: skip
    yield _one("nupkg-no-signing-time", 31, "no signing-time", signed(time=False), REJECTED,
               "attribute-rule")  # fmt: skip
    for name, what, spoken in (
        ("nupkg-content-of-version-2", "signed content of another version",
         content(archive(), version="2")),
        ("nupkg-content-by-sha1", "signed content that names SHA-1",
         content(archive(), oid="1.3.14.3.2.26")),
        ("nupkg-content-of-no-digest", "signed content without a digest", b"Version:1\n\n\n"),
    ):  # fmt: skip
        yield _one(name, 31, what, signed(spoken=spoken), REJECTED, "malformed")
    yield _one("nupkg-pss", 8, "RSASSA-PSS, which NuGet does not take", signed(pss=True),
               REJECTED, "unsupported-algorithm")  # fmt: skip
    yield _one("nupkg-authenticode-signature", 31, "an Authenticode signature of the digest",
               nupkg.signed(spoken=b"\0" * 32), REJECTED, "malformed")  # fmt: skip
