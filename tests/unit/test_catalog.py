"""Catalogs: members, kinds, the one list that every signature covers (THREATS 26)."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from signward.errors import BadInputError, LimitError, MalformedError
from signward.findings import Code
from signward.formats import Match, ParseOptions, Peek, catalog, peek_at, recognise
from signward.formats.catalog import ANY_KIND, FORMAT, read_members
from signward.integrity import check_regions, check_signature
from signward.state import Endorsement, IntactSignature, SignedArtifact
from signward.wire import der
from signward.wire.source import BytesSource
from tests.builders import images
from tests.corpus import CorpusMissingError, vectors_root

SHA1, SHA256 = hashlib.sha1(b"x").digest(), hashlib.sha256(b"x").digest()


def parse(data: bytes) -> SignedArtifact:
    return FORMAT.parse(BytesSource("a.cat", data), ParseOptions())


def test_members_of_a_signed_catalog() -> None:
    digests = [hashlib.sha256(bytes([n])).digest() for n in range(5)]
    artifact = parse(images.catalog([images.image_member(d) for d in digests]))
    (signature,) = artifact.signatures
    assert isinstance(check_signature(artifact, signature, {}), IntactSignature)
    assert artifact.endorsements == tuple(
        Endorsement(algorithm="sha256", digest=d, kind="image") for d in digests
    )
    assert FORMAT.digests(artifact, frozenset({("image", "sha256")})) == {}


@pytest.mark.parametrize(
    ("identifier", "expected"),
    [
        (SHA1, [("sha1", SHA1)]),
        (SHA256, [("sha256", SHA256)]),
        ((SHA1.hex().upper() + "\0").encode("utf-16-le"), [("sha1", SHA1)]),
        (SHA256.hex().encode("utf-16-le"), [("sha256", SHA256)]),
        ("driver.sys\0".encode("utf-16-le"), []),
        (b"", []),
    ],
)
def test_member_named_by_its_digest(identifier: bytes, expected: list[tuple[str, bytes]]) -> None:
    found = parse(images.catalog([images.member(identifier)])).endorsements
    assert [(e.algorithm, e.digest) for e in found] == expected
    assert {e.kind for e in found} <= {ANY_KIND}


def test_indirect_data_wins_over_the_identifier() -> None:
    value = der.set_of(images.pe_content(SHA256))
    own = images.member(SHA1, der.sequence(der.oid(images.INDIRECT), value))
    (found,) = parse(images.catalog([own])).endorsements
    assert (found.algorithm, found.digest) == ("sha256", SHA256)


def test_kind_of_a_file_that_is_no_image() -> None:
    data = images.indirect("1.3.6.1.4.1.311.2.1.25", der.sequence(), SHA256)
    own = images.member(SHA1, der.sequence(der.oid(images.INDIRECT), der.set_of(data)))
    (found,) = parse(images.catalog([own])).endorsements
    assert found.kind == "file"


def test_list_in_an_octet_string() -> None:
    artifact = parse(images.catalog([images.image_member(SHA256)], octets=True))
    assert [e.digest for e in artifact.endorsements] == [SHA256]


def test_bytes_behind_a_catalog_are_uncovered() -> None:
    data = images.catalog([images.image_member(SHA256)])
    (finding,) = check_regions(parse(data + b"\0"))
    assert (finding.code, finding.offset) == (Code.UNCOVERED_CONTENT, len(data))
    assert check_regions(parse(data)) == ()


def test_nested_signature_over_another_list_is_refused() -> None:
    inner = images.catalog([images.image_member(SHA1 + bytes(12))])
    nested = der.sequence(der.oid("1.3.6.1.4.1.311.2.4.1"), der.set_of(inner))
    content = images.trust_list([images.image_member(SHA256)])
    with pytest.raises(MalformedError, match="different lists"):
        parse(images.pkcs7(content, images.CTL, unsigned=nested))


def test_tampered_member_breaks_the_signature() -> None:
    data = images.catalog([images.image_member(SHA256)])
    artifact = parse(data.replace(SHA256, bytes(32)))
    state = check_signature(artifact, artifact.signatures[0], {})
    assert not isinstance(state, IntactSignature)


@pytest.mark.parametrize(
    "content",
    [
        images.trust_list([], usage="1.3.6.1.4.1.311.10.3.9"),
        der.sequence(der.integer(1)),
        der.sequence(),
        der.sequence(der.sequence(der.oid("1.3.6.1.4.1.311.12.1.1"))),
    ],
    ids=["root-list", "integer", "empty", "usage-only"],
)
def test_other_lists_are_malformed(content: bytes) -> None:
    with pytest.raises(BadInputError):
        parse(images.pkcs7(content, images.CTL))


def test_other_content_is_malformed() -> None:
    with pytest.raises(MalformedError):
        parse(images.pkcs7(images.pe_content(SHA256)))


def test_catalog_without_members() -> None:
    assert parse(images.catalog([])).endorsements == ()


def test_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    data = images.catalog([images.image_member(SHA256)] * 3)
    monkeypatch.setattr(catalog, "MAX_MEMBERS", 2)
    with pytest.raises(LimitError):
        parse(data)
    monkeypatch.setattr(catalog, "MAX_CATALOG", 10)
    with pytest.raises(LimitError):
        parse(data)


def test_fifty_thousand_members_are_read() -> None:
    member = images.image_member(SHA256)
    assert len(read_members(der.parse(images.trust_list([member] * 50_000), "x").content)) == 50_000


def test_recognised_by_content_and_usage() -> None:
    data = images.catalog([images.image_member(SHA256)])
    assert FORMAT.recognise(peek_at(BytesSource("x", data))) == Match.SPECIFIC
    assert recognise(peek_at(BytesSource("x", data))) is FORMAT
    root_list = images.pkcs7(images.trust_list([], usage="1.3.6.1.4.1.311.10.3.9"), images.CTL)
    assert FORMAT.recognise(peek_at(BytesSource("x.cat", root_list))) == Match.NO
    assert FORMAT.recognise(Peek("x.cat", b"MZ", b"", 2)) == Match.NO


def test_real_catalog_of_windows() -> None:
    """relic's hyperv.cat: version 1, SHA-1; the first member as `openssl asn1parse` shows it."""
    try:
        path: Path = vectors_root() / "relic/functest/packages/hyperv.cat"
    except CorpusMissingError as error:
        pytest.skip(str(error))
    artifact = parse(path.read_bytes())
    assert len(artifact.endorsements) == 22
    first = artifact.endorsements[0]
    assert first.digest.hex() == "0eb0437fc77cdabf1b479d3e39e0fc1f4e3d0897"
    assert (first.algorithm, first.kind) == ("sha1", "image")
    assert isinstance(check_signature(artifact, artifact.signatures[0], {}), IntactSignature)
