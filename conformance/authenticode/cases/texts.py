"""Rows 26, 28 and 56: scripts, catalogs, and files nobody signed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from conformance.authenticode import catalog, cms, pe, rpm, script
from conformance.authenticode.cases.base import (
    ACCEPTED,
    CANNOT_TELL,
    REJECTED,
    UNSIGNED,
    Case,
    case,
    signed_image,
)
from conformance.authenticode.pki import default_pki, make_pki, stranger_pki

_BLOCK = "the signature block is last, and there is exactly one"
_TRICKY = ("ps1", "psm1", "psd1", "ps1xml", "psc1", "cdxml", "mof", "js", "vbs", "wsf")


def cases() -> Iterator[Case]:
    """Yield the cases about scripts, catalogs and unsigned files."""
    for extension in script.FAMILIES:
        yield from _good_script(extension)
    for extension in _TRICKY:
        yield from _bad_script(extension)
    yield from _powershell()
    yield from _catalogs()
    yield from _catalog_files()
    yield from _unsigned()


def _blob(extension: str, text: str, encoding: str = "utf-8") -> bytes:
    pki = default_pki()
    content = script.content(extension, text, encoding=encoding)
    return cms.sign(content, cms.Signer(identity=pki.leaf), certificates=pki.chain)


def _script(extension: str, text: str = "", *, encoding: str = "utf-8", **arguments: Any) -> bytes:
    text = text or script.FAMILIES[extension].sample
    blob = _blob(extension, text, encoding)
    return script.signed(extension, blob, text, encoding=encoding, **arguments)


def _one(id_: str, extension: str, data: bytes, *answer: Any, **fields: Any) -> Case:
    fields.setdefault("clause", _BLOCK)
    return case(
        f"{id_}-{extension}",
        28,
        f"{id_.replace('-', ' ')} ({extension})",
        data,
        *answer,
        file=f"script.{extension}",
        **fields,
    )


def _good_script(extension: str) -> Iterator[Case]:
    sample = script.FAMILIES[extension].sample
    for encoding in script.ENCODINGS:
        text = sample if encoding == "utf-8" else sample.replace("onformance", "onf\u00f6rmance")
        data = _script(extension, text, encoding=encoding)
        yield _one(f"good-{encoding}", extension, data, ACCEPTED)
    data = _script(extension)
    if extension != "wsf":
        yield _one("good-no-last-line-ending", extension, data.removesuffix(b"\r\n"), ACCEPTED)
    yield _one("unsigned", extension, script.encode(sample), UNSIGNED, "unsigned")


def _bad_script(extension: str) -> Iterator[Case]:
    sample = script.FAMILIES[extension].sample
    good = _script(extension)
    blob = _blob(extension, sample)
    if extension == "wsf":
        after, code = "<script>WScript.Echo 2</script>\r\n", "malformed"
    else:
        after, code = "something that runs\r\n", "uncovered-content"
    yield _one("text-after-end-marker", extension, _script(extension, after=after), REJECTED, code)
    if extension == "wsf":
        more = good + b"<!-- more -->\r\n"
        yield _one("text-behind-job", extension, more, REJECTED, "digest-mismatch")
    else:
        yield _one(
            "blank-lines-after-end-marker",
            extension,
            good + b"\r\n\r\n",
            REJECTED,
            "uncovered-content",
        )
        yield _one("nul-after-end-marker", extension, good + b"\0", REJECTED, "uncovered-content")
    changed = good.replace(sample[:9].encode(), sample[:9].upper().encode() + b" ", 1)
    yield _one("text-changed", extension, changed, REJECTED, "digest-mismatch")
    yield _one("text-before", extension, b"extra line\r\n" + good, REJECTED, "digest-mismatch")
    yield _one(
        "text-before-block",
        extension,
        _script(extension, before="extra line\r\n"),
        REJECTED,
        "digest-mismatch",
    )
    two = _script(extension, before=script.block(extension, blob))
    yield _one("two-blocks", extension, two, REJECTED, "ambiguous")
    crlf = good.replace(b"\r\n", b"\n")
    yield _one("line-endings-converted", extension, crlf, REJECTED, "digest-mismatch")
    if not script.FAMILIES[extension].host:
        yield _one(
            "byte-order-mark-added", extension, b"\xef\xbb\xbf" + good, REJECTED, "digest-mismatch"
        )
    cut = good[: len(good) * 2 // 3]
    yield _one("end-marker-missing", extension, cut, REJECTED, "malformed")
    family = script.FAMILIES[extension]
    junk = good.replace(family.prefix.encode() + b"MII", family.prefix.encode() + b"M!!", 1)
    yield _one("base64-is-garbage", extension, junk, REJECTED, "malformed")
    foreign = _script(extension, "\r\n" + sample)
    begin = family.begin.encode()
    swapped = good[: good.index(begin)] + foreign[foreign.index(begin) :]
    yield _one("block-of-another-script", extension, swapped, REJECTED, "digest-mismatch")


def _powershell() -> Iterator[Case]:
    marker = script.FAMILIES["ps1"]
    fake = f'$text = @"\r\n{marker.begin}\r\n# AAAA\r\n{marker.end}\r\n"@\r\nWrite-Output $text\r\n'
    yield _one("fake-marker-in-here-string", "ps1", _script("ps1", fake), REJECTED, "ambiguous")
    yield _one("fake-marker-unsigned", "ps1", script.encode(fake), REJECTED, "uncovered-content")
    recoded = _script("ps1", 'Write-Output "\u00e4"\r\n').decode().encode("utf-16-le")
    yield _one("encoding-changed", "ps1", b"\xff\xfe" + recoded, REJECTED, "digest-mismatch")
    plain = _script("ps1", 'Write-Output "\u00e4"\r\n')
    yield _one("good-utf-8-beyond-ascii", "ps1", plain, ACCEPTED)


def _made(*members: catalog.Member, **arguments: Any) -> bytes:
    """Return a catalog signed by the usual leaf; ``signer`` overrides fields of the signer."""
    pki = default_pki()
    signer = cms.Signer(identity=pki.leaf, **arguments.pop("signer", {}))
    return catalog.signed(members, signer, certificates=pki.chain, **arguments)


def _catalogs() -> Iterator[Case]:
    image, text = pe.image(), b"a flat file that no format claims\r\n"
    command = script.encode(script.FAMILIES["ps1"].sample)
    clause = "catalog membership by digest"

    good = _made(catalog.member(image), catalog.member(text), catalog.member(command))
    for file, data in (("image.exe", image), ("script.ps1", command), ("readme.txt", text)):
        id_ = f"catalog-member-{file.rpartition('.')[2]}"
        yield case(
            id_,
            26,
            "an unsigned file that a trusted catalog lists",
            data,
            ACCEPTED,
            file=file,
            catalogs=(good,),
            findings=("by-catalog",),
            clause=clause,
        )
    old = _made(catalog.member(image, "sha1"), version=1)
    yield case(
        "catalog-member-sha1",
        26,
        "a member by SHA-1 without proven time",
        image,
        REJECTED,
        "weak-digest",
        catalogs=(old,),
        clause=clause,
    )
    absent = _made(catalog.member(pe.image(code=b"\xcc")))
    yield case(
        "catalog-lists-another-file",
        26,
        "a catalog in reach, the file not in it",
        image,
        UNSIGNED,
        "unsigned",
        catalogs=(absent,),
        clause=clause,
    )
    refused = {
        "catalog-signature-wrong": (
            "signature-mismatch",
            _made(catalog.member(image), signer={"break_value": True}),
        ),
        "catalog-untrusted": (
            "no-path",
            catalog.signed(
                [catalog.member(image)],
                cms.Signer(identity=(stranger := stranger_pki()).leaf),
                certificates=stranger.chain,
            ),
        ),
    }
    for id_, (cause, given) in refused.items():
        yield case(
            id_, 26, id_.replace("-", " "), image, REJECTED, cause, catalogs=(given,), clause=clause
        )
    changed = image.replace(b"\x31\xc0\xc3", b"\x31\xc0\x90")
    yield case(
        "catalog-member-changed",
        26,
        "a member changed since",
        changed,
        UNSIGNED,
        "unsigned",
        catalogs=(good,),
        clause=clause,
    )


def _catalog_files() -> Iterator[Case]:
    text = b"a flat file\r\n"
    good = _made(catalog.member(text), catalog.member(b"another"))
    tampered = good.replace(catalog.member(text).octets, bytes(32), 1)
    whole = {
        "catalog-good": (good, ACCEPTED, ""),
        "catalog-v1-good": (_made(catalog.member(text, "sha1"), version=1), ACCEPTED, ""),
        "catalog-member-list-changed": (tampered, REJECTED, "digest-mismatch"),
        "catalog-trailing-bytes": (good + b"trailing", REJECTED, "uncovered-content"),
        "catalog-cut-short": (good[:-100], REJECTED, "malformed"),
    }
    for id_, (data, answer, cause) in whole.items():
        yield case(
            id_,
            26,
            id_.replace("-", " "),
            data,
            answer,
            cause,
            file="members.cat",
            clause="a catalog is one ContentInfo and nothing else",
        )


def _unsigned() -> Iterator[Case]:
    clause = "distinct states; unsigned never succeeds"
    yield case(
        "unsigned-image",
        56,
        "an image without signature",
        pe.image(),
        UNSIGNED,
        "unsigned",
        clause=clause,
    )
    yield case(
        "unsigned-image-with-overlay",
        56,
        "an image with an overlay",
        pe.image(overlay=b"overlay" * 50),
        UNSIGNED,
        "unsigned",
        clause=clause,
    )
    yield case(
        "kind-not-judged-yet",
        56,
        "a difference between two RPM packages",
        rpm.delta(),
        CANNOT_TELL,
        "unsupported-kind",
        file="a.rpm",
        clause=clause,
    )
    yield case(
        "plain-text",
        56,
        "a file of no signable kind",
        b"hello\n",
        UNSIGNED,
        "unsigned",
        file="notes.txt",
        clause=clause,
    )
    yield case(
        "empty-file",
        56,
        "a file without any octet",
        b"",
        REJECTED,
        "malformed",
        file="empty.txt",
        clause=clause,
    )
    expired = make_pki(leaf={"break_signature": True})
    yield case(
        "stage-intact-ignores-trust",
        56,
        "intact, whoever holds the key",
        signed_image(pki=expired),
        ACCEPTED,
        pki=expired,
        stage="intact",
        clause=clause,
    )
    turned = signed_image().replace(b"\x31\xc0\xc3", b"\x31\xc0\x90", 1)
    yield case(
        "stage-intact-tampered",
        56,
        "tampered stays rejected at every stage",
        turned,
        REJECTED,
        "digest-mismatch",
        stage="intact",
        clause=clause,
    )
