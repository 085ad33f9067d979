"""dbx: lists of every shape, and what they say of images and signers."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import pytest
from conformance.authenticode.keys import key
from conformance.authenticode.pki import Identity, issue

from signward.errors import EvidenceError
from signward.findings import Code, Effect
from signward.policy.dbx import MAX_ANCESTORS, Dbx, image_findings, read_dbx, signer_findings
from signward.trust.x509 import Certificate, load_certificate
from signward.wire import siglist
from signward.wire.siglist import SHA256, X509, X509_SHA256, Entry
from tests.schemas import schemas
from tests.signing import authority, identity

AT = datetime(2026, 5, 1, tzinfo=UTC)
OWNER = "77fa9abd-0359-4d32-bd60-28f4e78f784b"
DIGEST = bytes(range(32))


def entry(data: bytes, kind: str = SHA256, owner: str = OWNER) -> Entry:
    return Entry(kind=kind, owner=owner, data=data)


def listed(*entries: Entry) -> Dbx:
    return read_dbx("dbx.esl", siglist.write_lists(entries))


@cache
def loaded(who: Identity) -> Certificate:
    return load_certificate(who.certificate)


def test_a_list_an_update_and_a_file_of_efivarfs_are_one() -> None:
    plain = siglist.write_lists([entry(DIGEST)])
    update = siglist.authenticated(siglist.Update(at=AT, signed_data=b"", content=plain))
    for data, at in ((plain, None), (b"\x27\0\0\0" + plain, None), (update, AT)):
        dbx = read_dbx("dbx", data)
        assert (dbx.entries, dbx.at) == (1, at)
        assert [f.code for f in image_findings(dbx, [("sha256", DIGEST)])] == [Code.DIGEST_REVOKED]
        assert not list(image_findings(dbx, [("sha256", bytes(32)), ("sha1", DIGEST)]))


def test_entries_of_every_type_are_counted() -> None:
    rsa = next(kind for kind, form in siglist.FORMS.items() if form.name == "rsa2048")
    svn = bytes.fromhex("01612b139dd5598843ab1c185c3cb2eb920000090000000000000000000000" + "00")
    dbx = listed(entry(DIGEST), entry(bytes(256), rsa), entry(svn, owner=siglist.SVN_OWNER),
                 entry(loaded(authority()).der, X509))  # fmt: skip
    assert (dbx.entries, dbx.unknown, len(dbx.images), len(dbx.certificates)) == (4, 1, 1, 1)
    assert [str(one) for one in dbx.svns] == ["bootmgfw.efi 9.0"]
    assert not list(image_findings(dbx, [("sha256", svn)]))


@pytest.mark.parametrize("who", [identity(), authority()])
def test_a_certificate_reaches_itself_and_all_below(who: Identity) -> None:
    dbx = listed(entry(who.certificate, X509))
    leaf = loaded(identity())
    found = list(signer_findings(dbx, leaf, (), AT))  # the listed certificate need not be at hand
    assert [f.code for f in found] == [Code.REVOKED]
    assert loaded(who).label in found[0].found
    assert not list(signer_findings(dbx, loaded(_stranger()), (), None))


@cache
def _stranger() -> Identity:
    return issue("Somebody Else", subject_key=key("rsa2048", "somebody-else"))


def test_a_namesake_with_another_key_is_not_reached() -> None:
    other = issue("Signing Test Root", subject_key=key("rsa2048", "another"), ca=True, ekus=None)
    dbx = listed(entry(other.certificate, X509))
    assert not list(signer_findings(dbx, loaded(identity()), (loaded(authority()),), None))


@pytest.mark.parametrize(("since", "proven", "revoked"), [
    (None, None, True), (None, AT - timedelta(days=900), True), (AT, None, True),
    (AT, AT, True), (AT, AT + timedelta(1), True), (AT, AT - timedelta(seconds=1), False),
])  # fmt: skip
def test_a_tbs_digest_counts_from_its_time_on(
    since: datetime | None, proven: datetime | None, revoked: bool
) -> None:
    digest = hashlib.sha256(loaded(authority()).tbs).digest()
    dbx = listed(entry(siglist.revoked_tbs(digest, since), X509_SHA256))
    found = list(signer_findings(dbx, loaded(identity()), (loaded(authority()),), proven))
    assert bool(found) is revoked


def test_of_a_digest_listed_twice_the_earlier_time_counts() -> None:
    digest = hashlib.sha256(loaded(identity()).tbs).digest()
    times = (AT, AT - timedelta(5), AT + timedelta(5))
    dbx = listed(*(entry(siglist.revoked_tbs(digest, at), X509_SHA256) for at in times))
    assert list(dbx.tbs.values()) == [AT - timedelta(5)]
    never = listed(*(entry(siglist.revoked_tbs(digest, at), X509_SHA256) for at in (AT, None)))
    assert list(never.tbs.values()) == [None]


def test_microsofts_published_list_loads_whole() -> None:
    path = schemas() / "dbx_info_msft_latest.json"
    raw = json.loads(path.read_bytes())
    dbx = read_dbx(path.name, path.read_bytes())
    images = [image["authenticodeHash"] for group in raw["images"].values() for image in group]
    assert dbx.entries == len(images) + len(raw["certificates"]) + len(raw["svns"])
    assert dbx.entries == 677
    assert len(dbx.images) == len({one.lower() for one in images if one})
    assert [str(svn) for svn in dbx.svns][:2] == ["bootmgfw.efi 9.0", "cdboot.efi 3.0"]
    found = list(image_findings(dbx, [("sha256", bytes.fromhex(images[0]))]))
    assert found[0].code is Code.DIGEST_REVOKED
    assert "shim.efi of Unknown" in found[0].found


def test_a_thumbprint_reaches_its_certificate(tmp_path: Path) -> None:
    sha1 = hashlib.sha1(authority().certificate, usedforsecurity=False).hexdigest()
    info = {"images": {}, "certificates": [{"thumbprint": sha1, "subjectName": "CN = Root"}]}
    dbx = read_dbx("info.json", json.dumps(info).encode())
    pool = (loaded(authority()),)
    assert [f.code for f in signer_findings(dbx, loaded(identity()), pool, None)] == [Code.REVOKED]
    assert not list(signer_findings(dbx, loaded(_stranger()), pool, None))


@pytest.mark.parametrize("data", [
    b"{}", b"{", b'{"images": {"x64": [{"authenticodeHash": "zz"}]}}', b'{"images": 1}',
    b'{"images": {}, "svns": [{"value": "01"}]}',
    b'{"images": {}, "certificates": [{"thumbprint": "01"}]}', b"\x01", bytes(40), SHA256.encode(),
    siglist.write_lists([entry(b"no certificate", X509)]),
])  # fmt: skip
def test_what_is_no_list_is_refused(data: bytes) -> None:
    with pytest.raises(EvidenceError):
        read_dbx("dbx", data)


@pytest.mark.parametrize("image", [
    {"authenticodeHash": "00", "hashType": "MD7"}, {"authenticodeHash": "00"},
    {"authenticodeHash": "00" * 64, "hashType": "BLAKE2B"},
    {"authenticodeHash": "00" * 32, "hashType": "SHAKE_128"},
])  # fmt: skip
def test_a_digest_of_no_algorithm_that_images_have_is_refused(image: dict[str, str]) -> None:
    info = json.dumps({"images": {"x64": [image]}}).encode()
    with pytest.raises(EvidenceError, match="octets"):
        read_dbx("info.json", info)


def test_json_nested_too_deeply_is_refused() -> None:
    deep = b'{"images": {}, "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    with pytest.raises(EvidenceError):
        read_dbx("info.json", deep)


def test_a_file_without_an_octet_revokes_nothing_and_is_refused() -> None:
    with pytest.raises(EvidenceError, match="nothing in it"):
        read_dbx("dbx", b"")
    assert read_dbx("dbx", b"\x27\0\0\0").entries == 0  # a variable that holds nothing


def test_a_listed_certificate_is_not_hidden_behind_its_namesakes() -> None:
    root = issue("Top", subject_key=key("rsa2048", "top"), ca=True, ekus=None)
    made_of = key("rsa2048", "middle")
    middles = [
        issue("Middle", issuer=root, subject_key=made_of, ca=True, ekus=None, serial=1000 + n)
        for n in range(MAX_ANCESTORS + 1)
    ]
    leaf = loaded(issue("Leaf", issuer=middles[0]))
    digest = hashlib.sha256(loaded(middles[-1]).tbs).digest()
    dbx = listed(entry(siglist.revoked_tbs(digest), X509_SHA256))
    pool = [loaded(middle) for middle in middles]
    found = list(signer_findings(dbx, leaf, pool, None))
    assert [(f.code, f.effect) for f in found] == [(Code.LIMIT_EXCEEDED, Effect.REJECT)]
    found = list(signer_findings(dbx, leaf, pool[3:], None))
    assert [f.code for f in found] == [Code.REVOKED]
