"""Signed ZIP packages changed where ZIP readers look, or inside and signed again.

Whatever is accepted must be to Python's zipfile what it was, and its signature must speak of
it; nothing ends in a surprise.
"""

from __future__ import annotations

import base64
import hashlib
import io
import random
import struct
import warnings
import zipfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import pytest

from signward.findings import Code
from signward.formats._jar_manifest import read_sections
from signward.formats.nupkg import FORMAT as NUPKG
from signward.state import Outcome, Verdict
from signward.verbs.context import Context
from signward.verbs.verify import assess
from signward.wire.patch import Patched, pieces
from signward.wire.source import BytesSource
from signward.wire.zip_patch import Member, changed
from tests.builders import jars, msix, vsix
from tests.builders.packages import package
from tests.fuzz.budget import rounds, watched
from tests.fuzz.resign import resigned_cms
from tests.fuzz.trees import NotDerError
from tests.signing import context, identity, sign_bytes

MARKS = [b"PK\3\4", b"PK\1\2", b"PK\5\6", b"PK\6\6", b"PK\6\7", b"PK\7\x08"]
REPOSITORY = {"type": "repository", "service-index": "https://packages.example/index.json"}


@cache
def samples() -> Mapping[str, bytes]:
    """Accepted packages of each format, plain and as streaming writers leave them."""
    author = sign_bytes("a.nupkg", package())
    repository = identity(name="Signing Test Repository")
    return {
        "author.nupkg": author,
        "both.nupkg": sign_bytes("a.nupkg", author, who=repository, options=REPOSITORY),
        "plain.msix": sign_bytes("a.msix", msix.package(make_appx=False)),
        "packed.msix": sign_bytes("a.msix", msix.package()),
        "a.vsix": sign_bytes("a.vsix", vsix.extension()),
        "a.jar": sign_bytes("a.jar", jars.archive(jars.MULTI_RELEASE)),
    }


@pytest.fixture(scope="module")
def judging(tmp_path_factory: pytest.TempPathFactory) -> Context:
    folder: Path = tmp_path_factory.mktemp("packages")
    return context(folder)


def answer(name: str, data: bytes, judging: Context) -> Verdict:
    with watched():
        verdict = assess(BytesSource(name, data), judging)
    assert verdict.cause is not Code.JUDGE_FAILED, verdict.findings
    return verdict


# --- the archive ------------------------------------------------------------------


def seen(data: bytes) -> dict[str, bytes] | None:
    """Return the members as zipfile reads them; None where it refuses the archive."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return {one.filename: archive.read(one) for one in archive.infolist()}
    except Exception:  # noqa: BLE001 - zipfile answers hostile bytes with errors of many kinds
        return None


def _marks(data: bytes | bytearray) -> list[int]:
    return [at for at in range(len(data) - 3) if data[at : at + 4] in MARKS]


def _set_byte(rng: random.Random, data: bytearray) -> None:
    at = rng.choice(_marks(data)) + rng.randrange(4, 60)
    if at < len(data):
        data[at] = rng.choice((0, 1, 2, 8, 255, rng.randrange(256), data[at] ^ 1))


def _set_field(rng: random.Random, data: bytearray) -> None:
    places, width = _marks(data), rng.choice((2, 4, 8))
    at = rng.choice(places) + rng.randrange(4, 50)
    number = rng.choice((0, (1 << 8 * width) - 1, len(data) & 0xFFFF, rng.choice(places) & 0xFFFF))
    data[at : at + width] = number.to_bytes(width, "little")


def _insert(rng: random.Random, data: bytearray) -> None:
    at = rng.randrange(len(data) + 1)
    source = rng.choice((rng.choice(MARKS) + bytes(rng.randrange(30)), bytes(data)))
    begin = rng.randrange(len(source)) if len(source) > 40 else 0
    data[at:at] = source[begin : begin + rng.randrange(1, 120)]


def _cut(rng: random.Random, data: bytearray) -> None:
    at = rng.randrange(len(data))
    del data[at : at + rng.randrange(1, 40)]


def _comment(rng: random.Random, data: bytearray) -> None:
    """Put another archive, whole or not, where the comment belongs."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("evil.dll", b"MZ")
    other = out.getvalue() + bytes(rng.randrange(3))
    data[-2:] = struct.pack("<H", len(other)) + other


def _block(rng: random.Random, data: bytearray) -> None:
    """Put bytes in front of the directory that some readers have learned to step over."""
    end = data.rindex(b"PK\5\6")
    (start,) = struct.unpack_from("<I", data, end + 16)
    block = rng.randbytes(rng.randrange(40)) + b"APK Sig Block 42"
    if start < len(data):
        struct.pack_into("<I", data, end + 16, start + len(block))
        data[start:start] = block


CHANGES: tuple[Callable[[random.Random, bytearray], None], ...] = (
    _set_byte, _set_byte, _set_byte, _set_field, _set_field, _insert, _cut, _comment, _block,
)  # fmt: skip


NAMES = ("author.nupkg", "both.nupkg", "plain.msix", "packed.msix", "a.vsix", "a.jar")


@pytest.mark.parametrize("name", NAMES)
def test_an_accepted_archive_reads_as_it_did(name: str, judging: Context) -> None:
    whole = samples()[name]
    before = seen(whole)
    assert before
    assert answer(name, whole, judging).outcome is Outcome.ACCEPTED
    for seed in rounds(120):
        rng = random.Random(f"{name}:{seed}")
        data = bytearray(whole)
        rng.choice(CHANGES)(rng, data)
        if answer(name, bytes(data), judging).outcome is not Outcome.ACCEPTED:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert seen(bytes(data)) in (before, None), f"{name}, seed {seed}"


# --- the signature ----------------------------------------------------------------


def _package_digest() -> bytes:
    return hashlib.sha256(package()).digest()


@pytest.mark.parametrize("part", ["content", "attributes", "frame"])
def test_an_accepted_signature_over_a_package_names_its_digest(part: str, judging: Context) -> None:
    """A true author signs odd content and attributes."""
    source = BytesSource("a.nupkg", package())
    blob = NUPKG.envelopes(BytesSource("a.nupkg", samples()["author.nupkg"]))[0]
    named = base64.b64encode(_package_digest())
    for seed in rounds(80):
        rng = random.Random(f"{part}:{seed}")
        try:
            new = resigned_cms(rng, blob, identity().key, part)
        except NotDerError:
            continue
        data = b"".join(pieces(Patched(source, NUPKG.embed(source, (new,)))))
        if answer("a.nupkg", data, judging).outcome is Outcome.ACCEPTED:
            assert named in new, f"{part}, seed {seed}"


@pytest.mark.parametrize("name", ["AppxManifest.xml", "AppxBlockMap.xml", "[Content_Types].xml"])
def test_a_package_whose_lists_were_mangled_is_refused_or_as_it_was(
    name: str, judging: Context
) -> None:
    """The archive is mended after the change, so that only what signatures say can tell."""
    whole = samples()["plain.msix"]
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        text = archive.read(name)
    source = BytesSource("a.msix", whole)
    for seed in rounds(60):
        rng = random.Random(f"{name}:{seed}")
        new = bytearray(text)
        at = rng.randrange(len(new))
        new[at : at + rng.randrange(3)] = rng.choice((b"<", b"", b"\0", b"/>", rng.randbytes(2)))
        if bytes(new) == text:
            continue
        patch = changed(source, {name: Member(data=bytes(new))})
        data = b"".join(pieces(Patched(source, patch)))
        assert answer("a.msix", data, judging).outcome is not Outcome.ACCEPTED, f"seed {seed}"


def _said(data: bytes) -> object:
    """Return what a manifest says, wherever its sections lie."""
    found = read_sections(data, "manifest")
    return found.main.attributes, {n: s.attributes for n, s in found.entries.items()}


@pytest.mark.parametrize("name", ["META-INF/MANIFEST.MF", "META-INF/SIGNER.SF"])
def test_a_jar_whose_lists_were_mangled_is_refused_or_says_the_same(
    name: str, judging: Context
) -> None:
    whole = samples()["a.jar"]
    members = jars.members_of(whole)
    text = members[name]
    for seed in rounds(80):
        rng = random.Random(f"{name}:{seed}")
        new = bytearray(text)
        at = rng.randrange(len(new) + 1)
        added = (b"\r\n", b"\n\n", b" ", b"", b": ", b"Name: b\r\n", rng.randbytes(1))
        new[at : at + rng.randrange(3)] = rng.choice(added)
        if bytes(new) == text:
            continue
        data = jars.archive({**members, name: bytes(new)})
        if answer("a.jar", data, judging).outcome is Outcome.ACCEPTED:
            assert name.endswith(".MF"), f"seed {seed}"
            assert _said(bytes(new)) == _said(text), f"seed {seed}"
