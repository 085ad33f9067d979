"""dbx, dbt and SBAT levels in verdicts; writes of variables that come late (THREATS 47)."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from conformance.authenticode import tsa
from conformance.authenticode.keys import key
from conformance.authenticode.pe import EFI, image, image_digest, with_checksum
from conformance.authenticode.pki import EKU_TIME_STAMPING, NOW, issue, pem

from signward.cli.commands import run
from signward.errors import EvidenceError
from signward.findings import Code, Effect
from signward.formats import ParseOptions
from signward.formats.pe import FORMAT
from signward.frozen import replace
from signward.policy.settings import Policy
from signward.state import Outcome, Stage, Verdict
from signward.trust.anchors import store_from_certificates
from signward.trust.x509 import load_certificate
from signward.verbs import stores
from signward.verbs.context import Context
from signward.verbs.epoch import trust_epoch
from signward.verbs.evidence import assess_with_evidence
from signward.verbs.options import Options
from signward.verbs.replay import replay
from signward.verbs.stores import load_store
from signward.verbs.verify import assess
from signward.wire import der, siglist
from signward.wire.siglist import SHA256, X509, X509_SHA256, Entry
from signward.wire.source import BytesSource
from tests.samples.efi_variable import digests
from tests.signing import assess_bytes, authority, context, identity, sign_bytes

OWNER = "77fa9abd-0359-4d32-bd60-28f4e78f784b"
LINES = b"sbat,1,SBAT Version,sbat,1,https://x\nshim,3,UEFI shim,shim,1,https://x\n"
KEK_THUMBPRINTS = {
    "31590bfd89c9d74ed087dfac66334b3931254b30",
    "459ab6fb5e284d272d5e3e6abc8ed663829d632b",
}
"""SHA-1 thumbprints as Microsoft's Secure Boot key guidance prints them, section 1.4."""


def program(lines: bytes = LINES) -> bytes:
    """Return an unsigned EFI program with a section ``.sbat``; without one for no lines."""
    whole = image(subsystem=EFI, data=lines or b"no section of that name")
    named = b".sbat\0\0\0" if lines else b".other\0\0"
    return with_checksum(whole.replace(b".rdata\0\0", named))


def listed(folder: Path, *entries: tuple[str, bytes]) -> str:
    """Write a dbx; return its path."""
    path = folder / "dbx"
    lists = siglist.write_lists(Entry(kind=k, owner=OWNER, data=d) for k, d in entries)
    path.write_bytes(b"\x27\0\0\0" + lists)
    return str(path)


def judged(data: bytes, folder: Path, **options: Any) -> Verdict:
    return assess_bytes("boot.efi", data, folder, **options)


def test_a_listed_image_is_rejected_whoever_signed_it(tmp_path: Path) -> None:
    data = sign_bytes("boot.efi", program())
    dbx = listed(tmp_path, (SHA256, image_digest(data)))
    assert judged(data, tmp_path).outcome is Outcome.ACCEPTED
    verdict = judged(data, tmp_path, dbx=(dbx,))
    assert (verdict.outcome, verdict.cause) == (Outcome.REJECTED, Code.DIGEST_REVOKED)
    assert judged(program(), tmp_path, dbx=(dbx,)).cause is Code.DIGEST_REVOKED  # unsigned, too
    assert judged(program(), tmp_path, dbx=(listed(tmp_path),)).cause is Code.UNSIGNED


def test_entries_that_nothing_looks_at_are_noted(tmp_path: Path) -> None:
    data = sign_bytes("boot.efi", program())
    rsa = next(kind for kind, form in siglist.FORMS.items() if form.name == "rsa2048")
    verdict = judged(
        data, tmp_path, dbx=(listed(tmp_path, (rsa, bytes(256)), (SHA256, bytes(32))),)
    )
    (note,) = [f for f in verdict.findings if f.code is Code.UNSUPPORTED_KIND]
    assert verdict.outcome is Outcome.ACCEPTED
    assert (note.effect, note.found) == (
        Effect.NOTE, "1 of 2 entries of types that are not looked at",
    )  # fmt: skip


def test_an_unsigned_image_of_odd_length_is_found_as_it_would_be_signed(tmp_path: Path) -> None:
    data = program()[:-3]
    artifact = FORMAT.parse(BytesSource("boot.efi", data), ParseOptions())
    computed = FORMAT.digests(artifact, frozenset({("image:padded", "sha256")}))
    dbx = listed(tmp_path, (SHA256, computed["image:padded", "sha256"]))
    assert judged(data, tmp_path, dbx=(dbx,)).cause is Code.DIGEST_REVOKED


@pytest.mark.parametrize("which", ["leaf", "root"])
def test_one_signature_below_a_listed_certificate_is_enough(tmp_path: Path, which: str) -> None:
    """As UEFI 2.10 32.5.3.3 has it: no present signature may be reflected in dbx."""
    from signward.formats import Existing

    other = issue("Other Root", subject_key=key("rsa2048", "other-root"), ca=True, ekus=None)
    second = issue("Other Publisher", issuer=other, subject_key=key("rsa2048", "other-leaf"))
    data = sign_bytes("boot.efi", program())
    both = sign_bytes("boot.efi", data, who=second, existing=Existing.NESTED)
    named = second if which == "leaf" else other
    dbx = listed(tmp_path, (X509, named.certificate))
    assert judged(both, tmp_path).outcome is Outcome.ACCEPTED
    verdict = judged(both, tmp_path, dbx=(dbx,))
    assert (verdict.outcome, verdict.cause) == (Outcome.REJECTED, Code.REVOKED)
    assert judged(data, tmp_path, dbx=(dbx,)).outcome is Outcome.ACCEPTED


def stamped(at: datetime) -> tuple[bytes, bytes]:
    """Return a program with a timestamp, and the timestamp authority's certificate."""
    stamper = issue("Boot TSA", issuer=authority(), subject_key=key("rsa2048", "boot-tsa"),
                    ekus=(EKU_TIME_STAMPING,), eku_critical=True)  # fmt: skip
    data = sign_bytes(
        "boot.efi", program(), stamp=lambda value: tsa.token_der(value, stamper, at=at)
    )
    return data, stamper.certificate


@pytest.mark.parametrize(("days", "given", "outcome"), [
    (1, True, Outcome.ACCEPTED), (1, False, Outcome.REJECTED), (0, True, Outcome.REJECTED),
    (-1, True, Outcome.REJECTED),
])  # fmt: skip
def test_a_time_in_dbx_spares_what_dbt_proves_to_be_older(
    tmp_path: Path, days: int, given: bool, outcome: Outcome
) -> None:
    data, own = stamped(NOW)
    tbs = hashlib.sha256(load_certificate(identity().certificate).tbs).digest()
    since = NOW + timedelta(days=days)
    dbx = listed(tmp_path, (X509_SHA256, siglist.revoked_tbs(tbs, since)))
    dbt = tmp_path / "dbt"
    dbt.write_bytes(siglist.write_lists([Entry(kind=X509, owner=OWNER, data=own)]))
    verdict = judged(data, tmp_path, dbx=(dbx,), dbt=(str(dbt),) if given else ())
    assert verdict.outcome is outcome
    assert verdict.cause is (None if outcome is Outcome.ACCEPTED else Code.REVOKED)


@pytest.mark.parametrize(("level", "cause"), [
    (b"shim,3\n", None), (b"shim,4\n", Code.SBAT_REVOKED), (b"grub,9\n", None),
    (b"sbat,2\n", Code.SBAT_REVOKED),
])  # fmt: skip
def test_generations_below_the_level_are_rejected(
    tmp_path: Path, level: bytes, cause: Code | None
) -> None:
    path = tmp_path / "SbatLevelRT"
    path.write_bytes(b"\x06\0\0\0sbat,1,2024010900\n" + level)
    verdict = judged(sign_bytes("boot.efi", program()), tmp_path, sbat_level=str(path))
    assert verdict.cause is cause
    assert verdict.facts["sbat"] == "sbat,1 shim,3"


def test_the_latest_level_is_known_by_name(tmp_path: Path) -> None:
    verdict = judged(sign_bytes("boot.efi", program()), tmp_path, sbat_level="latest")
    assert verdict.cause is Code.SBAT_REVOKED
    assert "shim 3" in str(verdict.findings[0])


def test_a_program_without_generations_is_noted(tmp_path: Path) -> None:
    verdict = judged(sign_bytes("boot.efi", program(b"")), tmp_path, sbat_level="latest")
    assert verdict.outcome is Outcome.ACCEPTED
    assert [(f.code, f.effect) for f in verdict.findings] == [(Code.SBAT_REVOKED, Effect.NOTE)]


def test_lines_that_shim_cannot_read_are_rejected_under_a_level_alone(tmp_path: Path) -> None:
    data = sign_bytes("boot.efi", program(b"shim,many,a,b,c,d\n"))
    assert judged(data, tmp_path).outcome is Outcome.ACCEPTED
    assert judged(data, tmp_path, sbat_level="latest").cause is Code.SBAT_REVOKED


def test_other_profiles_and_the_stage_intact_are_not_hindered(tmp_path: Path) -> None:
    data = sign_bytes("boot.efi", program())
    dbx = listed(tmp_path, (SHA256, image_digest(data)))
    elsewhere = judged(data, tmp_path, dbx=(dbx,), profile="authenticode")
    assert elsewhere.outcome is Outcome.ACCEPTED
    intact = judged(data, tmp_path, dbx=(dbx,), policy=Policy(stage=Stage.INTACT))
    assert intact.outcome is Outcome.ACCEPTED
    assert [(f.code, f.effect) for f in intact.findings] == [(Code.DIGEST_REVOKED, Effect.WARN)]


@pytest.mark.parametrize(("option", "data"), [
    ("dbx", b"\1\2\3"), ("dbt", b"nothing"), ("sbat_level", b"shim,4\n"), ("sbat_level", b""),
    ("sbat_level", program()),
])  # fmt: skip
def test_files_that_are_no_such_thing_are_the_callers_fault(
    tmp_path: Path, option: str, data: bytes
) -> None:
    path = tmp_path / "given"
    path.write_bytes(data)
    given = str(path) if option == "sbat_level" else (str(path),)
    options = {"sbat_level": "latest"} | {option: given}
    with pytest.raises(EvidenceError):
        judged(sign_bytes("boot.efi", program()), tmp_path, **options)


def test_a_bundle_replays_what_firmware_refused(tmp_path: Path) -> None:
    data = sign_bytes("boot.efi", program())
    file = tmp_path / "boot.efi"
    file.write_bytes(data)
    dbx = listed(tmp_path, (SHA256, image_digest(data)))
    anchor = tmp_path / "root.pem"
    anchor.write_bytes(pem(authority().certificate))
    options = Options(anchors=(str(anchor),), at=NOW, dbx=(dbx,), sbat_level="latest", after=NOW)
    (first,), _ = assess_with_evidence([str(file)], options, str(tmp_path / "bundle"))
    Path(dbx).unlink()
    again = replay(str(tmp_path / "bundle"), str(file))
    assert (again.cause, again.findings) == (first.cause, first.findings)
    assert first.cause is Code.DIGEST_REVOKED


# --- writes of variables ---------------------------------------------------------------------


@pytest.mark.parametrize(("append", "after", "cause"), [
    ("no", NOW - timedelta(seconds=1), None), ("no", NOW, Code.REPLAYED),
    ("no", NOW + timedelta(days=1), Code.REPLAYED), ("yes", NOW + timedelta(days=1), None),
])  # fmt: skip
def test_a_write_that_replaces_must_be_later_than_the_last(
    tmp_path: Path, append: str, after: datetime, cause: Code | None
) -> None:
    data = sign_bytes("dbx.esl", digests(), options={"append": append})
    verdict = assess_bytes("dbx.auth", data, tmp_path, after=after)
    assert verdict.cause is cause
    word = "append" if append == "yes" else "replace"
    assert verdict.facts["signed-as"] == f"dbx, {word}"


def with_a_signer_of(other: bytes, update: bytes) -> bytes:
    """Return a write whose SignedData holds the signers and certificates of another, too."""
    mine, theirs = map(siglist.read_update, (update, other))
    ours, added = (der.parse(one.signed_data, "test").children() for one in (mine, theirs))
    merged = (b"".join(child.raw for node in (ours[at], added[at]) for child in node.children())
              for at in (3, 4))  # fmt: skip
    certificates, signers = merged
    signed = der.sequence(*(field.raw for field in ours[:3]), der.context(0, certificates),
                          der.encode(der.SET, signers))  # fmt: skip
    return siglist.authenticated(replace(mine, signed_data=signed))


def test_a_second_signer_does_not_excuse_a_late_write(tmp_path: Path) -> None:
    """Firmware asks that every signer count (EDK II, Pkcs7Verify), so one is all there may be."""
    data = sign_bytes("dbx.esl", digests())
    elsewhere = issue("Elsewhere", subject_key=key("rsa2048", "else"), ca=True, ekus=None)
    stranger = issue("Stranger", issuer=elsewhere, subject_key=key("rsa2048", "stranger"))
    other = sign_bytes("dbx.esl", digests(), who=stranger, options={"append": "yes"})
    both = with_a_signer_of(other, data)
    for after in (None, NOW + timedelta(days=1)):
        assert assess_bytes("dbx.auth", both, tmp_path, after=after).cause is Code.MALFORMED


@pytest.mark.parametrize(("name", "cause"), [
    ("PK", Code.WRONG_USAGE), ("KEK", Code.WRONG_USAGE), ("db", None), ("dbx", None),
])  # fmt: skip
def test_key_exchange_keys_write_neither_pk_nor_kek(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, cause: Code | None
) -> None:
    keys = store_from_certificates("uefi-variable", [authority().certificate])
    monkeypatch.setitem(stores.NAMED, "uefi-variable", lambda: keys)
    load_store.cache_clear()
    try:
        data = sign_bytes(f"{name}.esl", digests())
        by_default = Context(Options(at=NOW))
        assert assess(BytesSource("x.auth", data), by_default).cause is cause
    finally:
        monkeypatch.undo()
        load_store.cache_clear()
    assert assess_bytes("x.auth", data, tmp_path).outcome is Outcome.ACCEPTED  # who names the key


def test_a_write_under_another_name_is_broken(tmp_path: Path) -> None:
    data = sign_bytes("db.esl", digests())
    judging = context(tmp_path)
    told = {name: assess(BytesSource(name, data), judging) for name in ("db", "dbx", "x.auth")}
    assert told["db"].outcome is Outcome.ACCEPTED
    assert told["dbx"].cause is Code.SIGNATURE_MISMATCH
    assert told["x.auth"].facts["signed-as"] == "db, replace"
    assert told["x.auth"].outcome is Outcome.ACCEPTED


def test_who_may_sign_programs_may_not_write_variables() -> None:
    variable = {a.certificate.sha256 for a in load_store("uefi-variable").anchors()}
    assert not variable & {a.certificate.sha256 for a in load_store("uefi").anchors()}
    thumbprints = {
        hashlib.sha1(a.certificate.der, usedforsecurity=False).hexdigest()
        for a in load_store("uefi-variable").anchors()
    }
    assert thumbprints == KEK_THUMBPRINTS


def test_the_command_line_takes_files_without_extension(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = sign_bytes("boot.efi", program())
    (tmp_path / "boot.efi").write_bytes(data)
    (tmp_path / "root.pem").write_bytes(pem(authority().certificate))
    listed(tmp_path, (SHA256, image_digest(data)))
    monkeypatch.chdir(tmp_path)
    at = f"{NOW:%Y-%m-%dT%H:%M:%SZ}"
    words = ["verify", "--anchor", "root.pem", "--at", at, "--dbx", "dbx", "boot.efi"]
    assert run(words) == 1
    assert "digest-revoked" in capsys.readouterr().out
    assert run([*words[:-3], "--sbat-level", "latest", "boot.efi"]) == 1
    assert "sbat-revoked" in capsys.readouterr().out


@pytest.mark.parametrize("prefix", ["shim:", "kernel:"])
def test_a_store_made_of_another_file_is_another_store_to_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefix: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in (str(tmp_path / "file"), "file"):
        options = Options(stores=(f"{prefix}{name}",))
        (tmp_path / "file").write_bytes(b"old")
        before = trust_epoch(options, code=b"code")
        (tmp_path / "file").write_bytes(b"new")
        assert trust_epoch(options, code=b"code") != before
