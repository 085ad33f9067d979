"""XML signatures: mutated and signed again, or mutated as signed; what is accepted is read anew.

The second reader is the standard library's: it takes whatever looks like a file, wherever it
stands, for one.
"""

from __future__ import annotations

import base64
import hashlib
import os
import random
import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree as ET

import pytest

from signward.errors import BadInputError, NotSignableError
from signward.formats import _clickonce_sign as clickonce
from signward.formats import _vsix_sign as vsix
from signward.state import Outcome, Verdict
from signward.verbs.context import Context
from signward.verbs.verify import assess
from signward.wire.companions import MappedCompanions
from signward.wire.source import BytesSource
from tests.builders.clickonce import application, hash_element
from tests.builders.vsix import archive, members, related
from tests.fuzz.budget import rounds, watched
from tests.fuzz.xml_tokens import mutated
from tests.signing import context, sign_bytes

INPUTS = int(os.environ.get("SIGNWARD_FUZZ_XML_INPUTS", "300"))

NAME, PACKAGE = "App.exe.manifest", "sample.vsix"
PROGRAM, SETTINGS = b"MZ program", b"settings"
FILES = {"App.exe": PROGRAM, "data/settings.txt": SETTINGS, "y": b"y"}
MANIFEST = application(
    PROGRAM,
    {"data\\settings.txt": SETTINGS},
    extra=f'<file name="y" optional="true">{hash_element(b"y")}</file>',
).decode()
FOLDER = "package/services/digital-signature/"
_ORIGIN = "/origin"
_DSIG = "{http://www.w3.org/2000/09/xmldsig#}"

Change = Callable[[random.Random, str], str]


@cache
def trusting() -> Context:
    return context(Path(tempfile.mkdtemp()))


def judged(name: str, data: bytes) -> Verdict:
    beside = {path: BytesSource(path, content) for path, content in FILES.items()}
    with watched():
        return assess(BytesSource(name, data), trusting(), MappedCompanions(beside))


def local(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2]


# ClickOnce


def file_complaint(text: str) -> str:
    """Say which file a manifest names that is not here with the digest it gives."""
    root = ET.fromstring(text)
    for child in root:
        found = [child, *child] if local(child) == "dependency" else [child]
        for element in found:
            name = _installed(element)
            if name is not None and not _is_here(name, element, child):
                return f"{local(element)} {name!r}"
    return ""


def _installed(element: ET.Element) -> str | None:
    if local(element) == "file":
        return element.get("name", "")
    named = element.get("codebase")
    kind = element.get("dependencyType")
    if local(element) != "dependentAssembly" or kind == "preRequisite":
        return None
    return named if kind != "install" else named or ""


def _is_here(name: str, element: ET.Element, above: ET.Element) -> bool:
    hashes = [one for one in element.iter() if local(one) == "hash"]
    values = [v.text or "" for one in hashes for v in one.iter() if local(v) == "DigestValue"]
    content = FILES.get(name.replace("\\", "/"))
    if content is None:
        return "true" in (element.get("optional"), above.get("optional")) and len(values) == 1
    return [base64.b64decode(v) for v in values] == [hashlib.sha256(content).digest()]


def manifest_signed_again(rng: random.Random) -> bool:
    """Change a manifest, then sign it without a look at its files."""
    text = mutated(rng, MANIFEST, ('<file name="y"/>', '<asmv1:file name="z"/>'))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clickonce, "_file_edits", lambda *_: ())
        try:
            data = sign_bytes(NAME, text.encode())
        except (BadInputError, NotSignableError, AssertionError):
            return False
    accepted = judged(NAME, data).outcome is Outcome.ACCEPTED
    assert not (accepted and file_complaint(text)), f"{file_complaint(text)}\n{text}"
    return accepted


@cache
def signed_manifest() -> str:
    return sign_bytes(NAME, MANIFEST.encode()).decode()


def said(text: str) -> tuple[str, str]:
    """Return canonical forms of a manifest without its signature, and of the licence likewise."""
    root = ET.fromstring(text)
    licences = [one for one in root.iter() if local(one) == "license"]
    assert len(licences) == 1
    (issuer,) = (one for one in licences[0] if local(one) == "issuer")
    for above in (issuer, root):
        for child in above.findall(f"{_DSIG}Signature"):
            above.remove(child)
    return tuple(ET.canonicalize(ET.tostring(one)) for one in (root, licences[0]))  # type: ignore[return-value]


def manifest_as_signed(rng: random.Random) -> bool:
    """Change a signed manifest: accepted, it says what it said."""
    text = mutated(rng, signed_manifest())
    codec = rng.choice(("utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"))
    accepted = judged(NAME, text.encode(codec)).outcome is Outcome.ACCEPTED
    assert not accepted or said(text) == said(signed_manifest()), text
    return accepted


# VSIX


@cache
def signed_package() -> Mapping[str, bytes]:
    return members(sign_bytes(PACKAGE, related()))


def relationships(data: bytes) -> frozenset[tuple[str, ...]]:
    found = ET.fromstring(data)
    rows = [tuple(one.get(n, "") for n in ("Id", "Type", "Target", "TargetMode")) for one in found]
    return frozenset(
        (*row[:3], row[3] or "Internal") for row in rows if not row[1].endswith(_ORIGIN)
    )


def kinds(parts: Mapping[str, bytes]) -> Mapping[str, str]:
    """Return the content type of every part outside the signature's folder, simply read."""
    types = ET.fromstring(parts["[Content_Types].xml"])
    by_name = {(one.get("PartName") or "").lower(): one.get("ContentType", "") for one in types}
    by_end = {(one.get("Extension") or "").lower(): one.get("ContentType", "") for one in types}
    return {
        name: by_name.get(f"/{name}".lower()) or by_end.get(name.rpartition(".")[2].lower(), "")
        for name in contents(parts)
    }


def contents(parts: Mapping[str, bytes]) -> Mapping[str, Any]:
    """Return what a package holds but for its signature."""
    return {
        name: relationships(data) if name.endswith(".rels") else data
        for name, data in parts.items()
        if not name.startswith(FOLDER) and name != "[Content_Types].xml"
    }


def package_as_signed(rng: random.Random) -> bool:
    """Change one of a signed package's XML parts: accepted, it holds what it held."""
    parts = dict(signed_package())
    name = rng.choice([one for one in parts if not one.endswith((".dll", ".psdor"))])
    parts[name] = mutated(rng, parts[name].decode()).encode()
    accepted = judged(PACKAGE, archive(parts)).outcome is Outcome.ACCEPTED
    if accepted:
        assert contents(parts) == contents(signed_package()), parts[name]
        assert kinds(parts) == kinds(signed_package()), parts[name]
    return accepted


def reference_complaint(data: bytes) -> str:
    """Say which part of a package has no one reference with its digest (relationships: any)."""
    parts = members(data)
    signature = next(content for name, content in parts.items() if name.endswith(".psdsxs"))
    listed: dict[str, list[bytes]] = {}
    for one in ET.fromstring(signature).iter(f"{_DSIG}Reference"):
        path = unquote(one.get("URI", "").partition("?")[0]).lower()
        listed.setdefault(path, []).extend(
            base64.b64decode(value.text or "") for value in one.iter(f"{_DSIG}DigestValue")
        )
    for name in contents(parts):
        found = listed.get(f"/{name}".lower(), [])
        same = name.endswith(".rels") or found == [hashlib.sha256(parts[name]).digest()]
        if len(found) != 1 or not same:
            return name
    return ""


def package_signed_again(rng: random.Random) -> bool:
    """Change the references of a package's signature before it is made."""
    plain = vsix._manifest
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vsix, "_manifest", lambda *args: mutated(rng, plain(*args)))
        try:
            data = sign_bytes(PACKAGE, related())
        except (BadInputError, NotSignableError):
            return False
    accepted = judged(PACKAGE, data).outcome is Outcome.ACCEPTED
    assert not (accepted and reference_complaint(data)), reference_complaint(data)
    return accepted


FAMILIES = (manifest_signed_again, manifest_as_signed, package_as_signed, package_signed_again)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)
def test_resigned_xml(family: Callable[[random.Random], bool]) -> None:
    accepted = 0
    for seed in rounds(INPUTS):
        rng = random.Random(f"{family.__name__}:{seed}")
        try:
            accepted += family(rng)
        except Exception as error:
            raise AssertionError(f"{family.__name__}, seed {seed}: {error!r}") from error
    assert accepted, "no mutation was harmless: the second reader was never asked"


def test_the_second_reader_sees_what_is_wrong() -> None:
    assert file_complaint(MANIFEST) == ""
    assert file_complaint(MANIFEST.replace('name="y"', 'name="App.exe"')) == "file 'App.exe'"
    whole = archive(signed_package())
    assert reference_complaint(whole) == ""
    added = archive({**signed_package(), "x.dll": b"MZ"})
    assert reference_complaint(added) == "x.dll"
