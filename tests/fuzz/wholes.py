"""Whole signed files to mutate: builder-made ones, and small real ones where they are at hand."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from conformance.authenticode import catalog, cms, pe, pki, script, tsa
from conformance.authenticode.cases.base import sign_image

from signward.verbs.context import Context
from signward.verbs.options import Options
from tests.corpus import CorpusMissingError, require
from tests.fuzz.worlds import GivenContext, store, world

REAL = (
    ("mssql-cli", "**/bin/System.Reflection.Emit.Lightweight.dll"),
    ("mssql-cli", "**/bin/api-ms-win-core-file-l2-1-0.dll"),
    ("vigem-x64", "**/ViGEmBus.cat"),
    ("windows-admin-center-sdk", "**/tools/utilities/index.js"),
    ("windows-admin-center-sdk", "**/tools/scripts/Search-NonAsciiText.ps1"),
)
"""Small accepted files of the corpus: sample and pattern."""

REAL_AT = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Whole:
    """A file by name and bytes, the context that accepts it, and where its signature begins."""

    name: str
    data: bytes
    context: Context
    signature: int


@cache
def wholes() -> dict[str, Whole]:
    """Return the files by name; the name's extension says which kind it is."""
    made = {**_images(), **_texts(), **_vouched()}
    real_context = Context(Options(at=REAL_AT))
    for sample, pattern in REAL:
        try:
            path = next(iter(sorted(require(sample).glob(pattern))))
        except (CorpusMissingError, StopIteration):
            continue
        data = path.read_bytes()
        made[path.name] = Whole(path.name, data, real_context, _signature_begin(path.name, data))
    return made


def _signature_begin(name: str, data: bytes) -> int:
    if name.endswith((".exe", ".dll", ".sys")):
        return pe.security_directory(data)[0]
    return max(data.find(b"SIG"), 0)


def _made(name: str, data: bytes, context: Context | None = None) -> Whole:
    return Whole(
        name, data, context or GivenContext(store(), pki.NOW), _signature_begin(name, data)
    )


def _images() -> dict[str, Whole]:
    its, old = world(), world(expired=True)
    plain, wide = pe.image(data=b"whole\0" * 50), pe.image(plus=False, driver=True)
    stamp = {"unsigned": (tsa.token(old.tsa, at=pki.instant(2024)),)}
    counter = {"unsigned": (tsa.countersignature(old.tsa, at=pki.instant(2024)),)}
    second = sign_image(plain, its, signer={"digest": "sha384"})
    files = {
        "plain.exe": (plain, sign_image(plain, its)),
        "pages.sys": (wide, sign_image(wide, its, content={"pages": True})),
        "token.exe": (plain, sign_image(plain, old, signer=stamp)),
        "counter.exe": (
            plain, sign_image(plain, old, signer=counter,
                              certificates=[*old.chain, old.tsa.certificate]),
        ),
        "nested.exe": (plain, sign_image(plain, its, signer={"unsigned": (cms.nested(second),)})),
        "blob.exe": (plain, sign_image(plain, its, signer={"unsigned": (cms.blob(),)})),
    }  # fmt: skip
    return {name: _made(name, pe.signed(image, blob)) for name, (image, blob) in files.items()}


def _texts() -> dict[str, Whole]:
    its = world()
    signer = cms.Signer(identity=its.leaf)
    found = {}
    for extension, encoding in (
        ("ps1", "utf-8"), ("psm1", "utf-16-le"), ("psc1", "utf-8-sig"), ("mof", "utf-8"),
        ("js", "utf-8"), ("vbs", "utf-8"), ("wsf", "utf-8"),
    ):  # fmt: skip
        content = script.content(extension, encoding=encoding)
        blob = cms.sign(content, signer, certificates=its.chain)
        name = f"text.{extension}"
        found[name] = _made(name, script.signed(extension, blob, encoding=encoding))
    members = [catalog.member(bytes([n])) for n in range(6)]
    listed = catalog.signed(members, signer, certificates=its.chain)
    return {**found, "list.cat": _made("list.cat", listed)}


def _vouched() -> dict[str, Whole]:
    """Files without a signature that a catalog lists."""
    its, image, note = world(), pe.image(data=b"listed\0" * 9), b"a note that a catalog lists\r\n"
    signer = cms.Signer(identity=its.leaf)
    listed = catalog.signed(
        [catalog.member(image), catalog.member(note)], signer, certificates=its.chain
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "list.cat")
        path.write_bytes(listed)
        context = GivenContext(store(), pki.NOW, catalogs=[str(path)])
        from signward.verbs.catalogs import catalog_index

        catalog_index(context)
    return {
        "listed.exe": Whole("listed.exe", image, context, 0),
        "listed.txt": Whole("listed.txt", note, context, 0),
    }
