"""Authenticated variables and signature lists: names, shapes, what is shown, what is refused."""

from __future__ import annotations

import json
import struct
from datetime import UTC, datetime
from pathlib import Path

import pytest
from conformance.authenticode.pki import NOW, pem

from signward.cli.commands import run
from signward.errors import NotSignableError
from signward.findings import Code
from signward.formats import Existing, ParseOptions, peek_at
from signward.formats.efi_variable import FORMAT, told_of, variable_of
from signward.inventory.classify import classify
from signward.state import Outcome
from signward.verbs.policies.signing import Form, opened, seal
from signward.wire import siglist
from signward.wire.siglist import GLOBAL, IMAGE_SECURITY, SHA256, X509, Entry
from signward.wire.source import BytesSource
from tests.builders.keyfiles import encoded
from tests.samples.efi_variable import certificates, digests
from tests.signing import assess_bytes, authority, identity, sign_bytes, strip_bytes

OWNER = "77fa9abd-0359-4d32-bd60-28f4e78f784b"


@pytest.mark.parametrize(("name", "variable"), [
    ("dbx", ("dbx", IMAGE_SECURITY)), ("/a/b/db.esl", ("db", IMAGE_SECURITY)),
    ("DBXUpdate_x64.bin", ("dbx", IMAGE_SECURITY)), ("dbxupdate.bin", ("dbx", IMAGE_SECURITY)),
    ("KEK.auth", ("KEK", GLOBAL)), ("pk-new.auth", ("PK", GLOBAL)),
    ("dbDefault", ("db", IMAGE_SECURITY)), ("noPK.auth", None), ("update.bin", None),
    ("dbase.esl", None), ("kekoa", None), ("", None),
    (f"db-{GLOBAL}", ("db", GLOBAL)), (f"Boot0001-{GLOBAL.upper()}.auth", ("Boot0001", GLOBAL)),
    (f"dbx-{IMAGE_SECURITY}.bin", ("dbx", IMAGE_SECURITY)),
])  # fmt: skip
def test_files_are_named_after_variables(name: str, variable: tuple[str, str] | None) -> None:
    assert variable_of(name) == variable


def test_kinds_are_told_by_content() -> None:
    for data, kind in (
        (digests(), "efi-siglist"), (b"\x27\0\0\0" + digests(), "efi-siglist"),
        (certificates(), "efi-siglist"), (sign_bytes("db.esl", digests()), "efi-variable"),
        (bytes(64), "data"),
    ):  # fmt: skip
        assert classify(peek_at(BytesSource("x", data))) == kind


def test_a_list_and_a_file_of_efivarfs_are_unsigned(tmp_path: Path) -> None:
    for data in (digests(), b"\x27\0\0\0" + digests()):
        verdict = assess_bytes("db", data, tmp_path)
        assert verdict.cause is Code.UNSIGNED
        assert (verdict.facts["entries"], verdict.facts["sha256"]) == (2, 2)


def test_every_entry_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "db.esl"
    path.write_bytes(certificates())
    assert run(["show", "--json", str(path)]) == 0
    facts = json.loads(capsys.readouterr().out)["facts"]
    assert facts["entry 0001"].startswith("x509 Boot Test Authority sha256 ")
    assert facts["entry 0002"] == f"sha256 {'00' * 32} owner {OWNER}"


def test_entries_are_told_in_a_line() -> None:
    since = datetime(2026, 3, 1, tzinfo=UTC)
    tbs = Entry(kind=siglist.X509_SHA256, owner=OWNER, data=siglist.revoked_tbs(bytes(32), since))
    assert told_of(tbs) == f"x509-sha256 {'00' * 32} since 2026-03-01T00:00:00Z owner {OWNER}"
    svn = bytes.fromhex("01612b139dd5598843ab1c185c3cb2eb92000009") + bytes(12)
    version = Entry(kind=SHA256, owner=siglist.SVN_OWNER, data=svn)
    assert told_of(version) == f"svn bootmgfw.efi 9.0 owner {siglist.SVN_OWNER}"
    broken = Entry(kind=X509, owner=OWNER, data=b"no certificate")
    assert told_of(broken).startswith("x509  sha256 ")
    other = Entry(kind="0" * 8 + "-0000-0000-0000-" + "0" * 12, owner=OWNER, data=b"\1")
    assert told_of(other).endswith(f" 01 owner {OWNER}")


@pytest.mark.parametrize(("name", "form", "append"), [
    ("db", Form.DB, "no"), ("dbx", Form.DBX, "yes"), ("KEK", Form.KEK, "no"),
])  # fmt: skip
def test_signing_makes_what_policy_seal_makes(
    tmp_path: Path, name: str, form: Form, append: str
) -> None:
    """OVMF takes those (tests/interop/test_linux_machine.py), so it takes these."""
    who = identity()
    (tmp_path / "key.pem").write_bytes(encoded(who.key))
    (tmp_path / "path.pem").write_bytes(b"".join(pem(one.certificate) for one in who.path[:-1]))
    with opened(f"file:{tmp_path / 'key.pem'}", (str(tmp_path / "path.pem"),)) as credential:
        sealed = seal(form, digests(), credential, NOW)
    ours = sign_bytes(f"{name}.esl", digests(), options={"append": append})
    assert siglist.read_update(ours) == siglist.read_update(sealed)


def test_options_say_which_variable(tmp_path: Path) -> None:
    data = sign_bytes("list.esl", digests(), options={"variable": "KEK", "append": "yes"})
    verdict = assess_bytes("list.auth", data, tmp_path)
    assert verdict.facts["signed-as"] == "KEK, append"
    for options in ({}, {"variable": "Boot0001"}, {"variable": "db", "append": "perhaps"}):
        with pytest.raises(NotSignableError):
            sign_bytes("list.esl", digests(), options=options)
    with pytest.raises(NotSignableError):
        sign_bytes("db.esl", digests(), existing=Existing.NESTED)


def test_a_write_of_nothing_clears_a_variable(tmp_path: Path) -> None:
    signed = sign_bytes("PK.esl", digests(), options={"variable": "PK"})
    update = siglist.read_update(signed)
    (draft,) = FORMAT.envelopes(BytesSource("PK.auth", signed))
    assert draft.endswith(update.signed_data)
    empty = siglist.authenticated(siglist.Update(at=update.at, signed_data=update.signed_data,
                                                 content=b""))  # fmt: skip
    assert assess_bytes("PK.auth", empty, tmp_path).cause is Code.SIGNATURE_MISMATCH
    assert FORMAT.parse(BytesSource("PK.auth", empty), ParseOptions()).facts["entries"] == 0


def test_an_envelope_needs_a_time_beside_it() -> None:
    signed = sign_bytes("db.esl", digests())
    envelopes = FORMAT.envelopes(BytesSource("db.auth", signed))
    assert strip_bytes("db.auth", signed) == digests()
    with pytest.raises(NotSignableError):
        FORMAT.embed(BytesSource("db.esl", digests()), envelopes)
    again = FORMAT.embed(BytesSource("db.auth", signed), envelopes)
    assert again.edits[0].data == signed


def test_a_content_info_around_the_signature_changes_nothing(tmp_path: Path) -> None:
    """EDK2 takes either."""
    signed = sign_bytes("db.esl", digests())
    update = siglist.read_update(signed)
    (envelope,) = FORMAT.envelopes(BytesSource("db.auth", signed))
    assert len(envelope) > len(update.signed_data)
    wrapped = siglist.authenticated(
        siglist.Update(at=update.at, signed_data=envelope, content=update.content)
    )
    assert assess_bytes("db.auth", wrapped, tmp_path).outcome is Outcome.ACCEPTED


def test_another_variables_content_is_not_taken_for_a_list(tmp_path: Path) -> None:
    name = f"Custom-{GLOBAL}"
    at = NOW.replace(microsecond=0)
    data = siglist.authenticated(siglist.Update(at=at, signed_data=b"\x30\0", content=b"any"))
    assert assess_bytes(f"{name}.auth", data, tmp_path).cause is Code.MALFORMED  # its signature is
    with pytest.raises(NotSignableError):
        sign_bytes(f"{name}.esl", digests())


@pytest.mark.parametrize("data", [
    struct.pack("<HBBBBB", 2026, 1, 1, 0, 0, 0) + bytes(9)
    + siglist.authenticated(siglist.Update(at=NOW, signed_data=b"", content=b""))[16:40],
    digests()[:-1], digests() + b"\0", digests() + digests()[:28],
])  # fmt: skip
def test_what_is_cut_or_has_something_behind_is_malformed(tmp_path: Path, data: bytes) -> None:
    assert assess_bytes("db", data, tmp_path).cause is Code.MALFORMED


# --- signward siglist ------------------------------------------------------------------------


def test_a_list_is_made_of_certificates_programs_and_digests(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.unit.test_firmware import program

    (tmp_path / "ca.pem").write_bytes(pem(authority().certificate))
    (tmp_path / "a.efi").write_bytes(program())
    out = tmp_path / "db.esl"
    words = ["siglist", "--certificate", str(tmp_path / "ca.pem"), "--tbs",
             str(tmp_path / "ca.pem"), "--since", "2026-03-01", "--image", str(tmp_path / "a.efi"),
             "--sha256", "AB" * 32, "--sha256", "ab" * 32, "--owner", OWNER.upper(),
             "-o", str(out)]  # fmt: skip
    assert run(words) == 0
    assert "4 entries" in capsys.readouterr().out
    entries = siglist.read_lists(out.read_bytes())
    assert [siglist.FORMS[e.kind].name for e in entries] == [
        "x509", "x509-sha256", "sha256", "sha256",
    ]  # fmt: skip
    assert entries[0].data == authority().certificate
    assert siglist.revocation_time(entries[1]) == datetime(2026, 3, 1, tzinfo=UTC)
    assert {entry.owner for entry in entries} == {OWNER}


@pytest.mark.parametrize("words", [
    ["--sha256", "ab"], ["--image", "{esl}"], ["--certificate", "{esl}"], ["--tbs", "{absent}"],
    ["--owner", "me", "--sha256", "ab" * 32], [], ["--certificate", "{der}"],
    ["--sha256", "ab" * 32, "--since", "2026-03-01"],
])  # fmt: skip
def test_what_cannot_be_listed_is_the_callers_fault(
    tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.esl").write_bytes(digests())
    (tmp_path / "no.der").write_bytes(bytes.fromhex("3003020105"))  # DER, and no certificate
    places = {"esl": tmp_path / "a.esl", "absent": tmp_path / "absent", "der": tmp_path / "no.der"}
    given = [word.format(**places) for word in words]
    assert run(["siglist", *given, "-o", str(tmp_path / "out.esl")]) == 2
    assert not (tmp_path / "out.esl").exists()
    assert capsys.readouterr().err.startswith("signward: ")


def test_a_write_takes_no_timestamp_afterwards(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "db.auth"
    path.write_bytes(sign_bytes("db.esl", digests()))
    before = path.read_bytes()
    assert run(["timestamp", "--timestamp", "http://127.0.0.1:9/tsa", str(path)]) == 1
    assert "without a place for a timestamp" in capsys.readouterr().err
    assert path.read_bytes() == before


def test_whoever_asks_for_a_timestamp_is_told_that_there_is_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "db.esl"
    path.write_bytes(digests())
    (tmp_path / "key.pem").write_bytes(encoded(identity().key))
    (tmp_path / "cert.pem").write_bytes(pem(identity().certificate))
    words = ["sign", "--key", f"file:{tmp_path / 'key.pem'}", "--cert", str(tmp_path / "cert.pem")]
    assert run([*words, "--timestamp", "http://127.0.0.1:9/tsa", "--json", str(path)]) == 0
    (told,) = capsys.readouterr().out.splitlines()
    assert "not timestamped: efi-variable has no place for it" in json.loads(told)["warnings"]
