"""The estate's certificates: what is taken in from where, and what is told of each."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from conformance.authenticode import tsa
from conformance.authenticode.cases.base import signed_image
from conformance.authenticode.keys import key
from conformance.authenticode.pki import Identity, default_pki, instant, issue, pem
from icalendar import Calendar
from prometheus_client.parser import text_string_to_metric_families

from signward.authority.log.entry import Kind, encode
from signward.cli import main
from signward.errors import AuthorityError, EvidenceError, KeyProviderError
from signward.findings import Code
from signward.frozen import replace
from signward.inventory.cache import SETTLED_NS
from signward.keys import Secrets
from signward.policy.estate import MAX_PUBLIC_DAYS, Held, Release, Trust, findings
from signward.report import estate as report
from signward.trust.x509 import load_certificate
from signward.verbs.authority import finding, revoke
from signward.verbs.authority.issue import issue as issue_own
from signward.verbs.authority.issue import order
from signward.verbs.estate import Estate, Given, Imported
from signward.wire import der
from tests.builders.authority import Clock, founded
from tests.builders.authority import key as own_key
from tests.builders.keyfiles import p12, saying

PKI = default_pki()
AT = datetime(2026, 11, 23, 12, tzinfo=UTC)
NOBODY: Secrets = saying(None)


@pytest.fixture
def clock() -> Clock:
    return Clock(AT)


@pytest.fixture
def estate(tmp_path: Path, clock: Clock) -> Iterator[Estate]:
    """An estate on SQLite, for what does not depend on the database."""
    with Estate.open(tmp_path / "data", clock=clock) as opened:
        yield opened


@pytest.fixture
def anywhere(tmp_path: Path, database_url: str, clock: Clock) -> Iterator[Estate]:
    with Estate.open(tmp_path / "data", database=database_url, clock=clock) as opened:
        yield opened


def written(folder: Path, name: str, data: bytes) -> str:
    (folder / name).write_bytes(data)
    return str(folder / name)


def taken(estate: Estate, path: str, secrets: Secrets = NOBODY, **given: Any) -> Imported:
    return estate.import_file(path, Given(**given), secrets)


def signer(name: str = "Release", kind: str = "p256", **changes: Any) -> Identity:
    return issue(name, issuer=PKI.intermediate, subject_key=key(kind, name), **changes)


def fingerprint(who: Identity) -> str:
    return load_certificate(who.certificate).sha256.hex()


# --- taking in -----------------------------------------------------------------------------


def bundle(*certificates: bytes) -> bytes:
    """Return a PKCS#7 without signers (RFC 5652 5.1)."""
    signed_data = der.sequence(
        der.integer(1), der.set_of(), der.sequence(der.oid("1.2.840.113549.1.7.1")),
        der.context(0, b"".join(certificates)), der.set_of(),
    )  # fmt: skip
    return der.sequence(der.oid("1.2.840.113549.1.7.2"), der.context(0, signed_data))


PATH = (PKI.leaf.certificate, PKI.intermediate.certificate)
FILES = {
    "leaf.pem": PKI.leaf.pem,
    "path.pem": PKI.leaf.pem + b"between\n" + PKI.intermediate.pem,
    "leaf.cer": PKI.leaf.certificate,
    "path.p7b": bundle(*PATH),
    "path-p7b.pem": pem(bundle(*PATH), "PKCS7"),
    "leaf.p12": p12(PKI.leaf),
}


@pytest.mark.parametrize("name", FILES)
def test_certificates_are_found_in_every_kind_of_file(
    estate: Estate, tmp_path: Path, name: str
) -> None:
    path = written(tmp_path, name, FILES[name])
    done = taken(estate, path, saying("") if name.endswith("p12") else NOBODY)
    assert (done.new, done.passed_over) == (1, int("path" in name))
    (held,) = estate.everything()
    seen = load_certificate(PKI.leaf.certificate)
    assert held.fingerprint == seen.sha256.hex()
    assert (held.subject, held.serial) == (seen.subject_text, f"{seen.serial:x}")
    assert (held.not_before, held.not_after) == (seen.not_before, seen.not_after)
    assert (held.trust, held.code_signing, held.sources) == (Trust.UNKNOWN, True, (path,))
    assert held.key_location == (f"pkcs12:{path}" if name.endswith("p12") else "")


def test_a_locked_key_store_wants_its_password(estate: Estate, tmp_path: Path) -> None:
    path = written(tmp_path, "a.p12", p12(PKI.leaf, "secret"))
    with pytest.raises(KeyProviderError, match="password"):
        taken(estate, path, saying("wrong"))
    assert taken(estate, path, saying("secret")).new == 1


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (bytes.fromhex("feedfeed00000002"), "keytool -importkeystore"),
        (b"", "neither PEM nor DER"),
        (b"hello", "neither PEM nor DER"),
        (b"0\x03abc", "ASN.1"),
        (pem(b"0\x03abc"), "ASN.1"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "no "),
        (b'{"schema": 1}', "record"),
        (b'{"schema": 1, "records": [{}]}', "record"),
        (b"SQLite format 3\0" + bytes(100), "cache"),
    ],
)
def test_what_cannot_be_taken_in_says_why(
    estate: Estate, tmp_path: Path, data: bytes, said: str
) -> None:
    with pytest.raises(EvidenceError, match=said):
        taken(estate, written(tmp_path, "file", data))
    with pytest.raises(EvidenceError, match="No such file"):
        taken(estate, str(tmp_path / "absent"))
    assert estate.everything() == []


def test_authorities_and_servers_sign_nothing_of_ours(estate: Estate, tmp_path: Path) -> None:
    server = signer("Server", ekus=("1.3.6.1.5.5.7.3.1",))
    data = PKI.root.pem + server.pem + signer("TSA", ekus=("1.3.6.1.5.5.7.3.8",)).pem
    done = taken(estate, written(tmp_path, "a.pem", data))
    assert (done.new, done.passed_over) == (1, 2)
    (held,) = estate.everything()
    assert "CN=TSA" in held.subject
    assert not held.code_signing


def test_what_is_known_is_not_doubled_and_gains(anywhere: Estate, tmp_path: Path) -> None:
    first = written(tmp_path, "a.pem", PKI.leaf.pem)
    second = written(tmp_path, "b.pem", PKI.leaf.pem)
    assert taken(anywhere, first).new == 1
    assert taken(anywhere, second, holder="Ann", key_location="safe 2") == Imported(known=1)
    assert taken(anywhere, second, holder="Bob") == Imported(known=1)
    (held,) = anywhere.everything()
    assert (held.holder, held.key_location) == ("Ann", "safe 2")
    assert held.sources == (first, second)


def test_what_is_wrong_is_set_right(anywhere: Estate, tmp_path: Path) -> None:
    taken(anywhere, written(tmp_path, "a.pem", PKI.leaf.pem), holder="Ann")
    other = signer()
    taken(anywhere, written(tmp_path, "b.pem", other.pem))
    whole = fingerprint(PKI.leaf)
    assert anywhere.describe(whole[:12].upper(), None, "token 7") == whole
    assert anywhere.describe(whole, "Bob", None) == whole
    held = next(one for one in anywhere.everything() if one.fingerprint == whole)
    assert (held.holder, held.key_location) == ("Bob", "token 7")
    for prefix in ("", "zz", "%"):
        with pytest.raises(AuthorityError, match="required one"):
            anywhere.forget(prefix)
    assert anywhere.forget(whole) == whole
    assert [one.fingerprint for one in anywhere.everything()] == [fingerprint(other)]


@pytest.mark.parametrize(
    ("kind", "shown", "safe"),
    [("rsa2048", "rsa-2048", False), ("p384", "secp384r1", False), ("ml-dsa-65", "mldsa65", False)],
)
def test_keys_are_told_by_kind(
    estate: Estate, tmp_path: Path, kind: str, shown: str, safe: bool
) -> None:
    taken(estate, written(tmp_path, "a.pem", signer(kind, kind).pem))
    (held,) = estate.everything()
    assert (held.key, held.quantum_safe) == (shown, safe)


def test_only_a_whole_path_of_such_keys_is_quantum_safe(estate: Estate, tmp_path: Path) -> None:
    root = issue("PQ Root", subject_key=key("ml-dsa-65", "pq-root"), ca=True, ekus=None,
                 usage=("keyCertSign",))  # fmt: skip
    leaf = issue("PQ", issuer=root, subject_key=key("ml-dsa-44", "pq"))
    taken(estate, written(tmp_path, "a.pem", leaf.pem))
    (held,) = estate.everything()
    assert (held.key, held.quantum_safe) == ("mldsa44", True)


def test_what_asserts_the_forums_policy_is_public(estate: Estate, tmp_path: Path) -> None:
    policies = der.sequence(der.sequence(der.oid("2.23.140.1.4.1")))
    public = signer("Public", extensions=(("2.5.29.32", False, policies),))
    taken(estate, written(tmp_path, "a.pem", public.pem))
    assert estate.everything()[0].trust is Trust.PUBLIC


# --- scans ----------------------------------------------------------------------------------


@pytest.fixture
def scanned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """Scan a folder of two signed files and an unsigned one, into every kind of report."""
    share = tmp_path / "share"
    share.mkdir()
    (share / "plain.exe").write_bytes(signed_image())
    stamp = tsa.token(PKI.tsa, at=instant(2025, 6))
    (share / "stamped.exe").write_bytes(signed_image(signer={"unsigned": (stamp,)}))
    bad = bytearray(signed_image())
    bad[700] ^= 1
    (share / "tampered.exe").write_bytes(bad)
    written(tmp_path, "root.pem", PKI.root.pem)
    time.sleep(2 * SETTLED_NS / 1e9)  # else the cache remembers nothing of them
    words = ["scan", "--anchor", str(tmp_path / "root.pem"), "--at", "2026-01-01", str(share),
             "--cache", str(tmp_path / "cache.db")]  # fmt: skip
    for form in ("json", "jsonl"):
        out = str(tmp_path / f"report.{form}")
        assert main([*words, "--format", form, "--output", out]) == 0
    capsys.readouterr()
    return tmp_path


@pytest.mark.parametrize("name", ["report.json", "report.jsonl", "cache.db"])
def test_scans_tell_of_releases(estate: Estate, scanned: Path, name: str) -> None:
    path = str(scanned / name)
    assert taken(estate, path) == Imported(passed_over=2)
    assert estate.everything() == []
    publisher = load_certificate(PKI.leaf.certificate).organization
    assert taken(estate, path, publishers=("Somebody",)).new == 0
    assert taken(estate, path, publishers=(publisher.upper(),)) == Imported(
        new=1, known=1, releases=2
    )
    (held,) = estate.everything()
    assert held.fingerprint == fingerprint(PKI.leaf)
    files = {Path(one.file).name: one.timestamped for one in held.releases}
    assert files == {"plain.exe": None, "stamped.exe": instant(2025, 6)}
    assert (held.untimestamped, held.key, held.trust) == (1, "", Trust.UNKNOWN)
    assert taken(estate, path) == Imported(known=2, releases=2)
    assert len(estate.everything()[0].releases) == 2


def test_a_certificate_outweighs_what_a_scan_told_of_it(anywhere: Estate, scanned: Path) -> None:
    taken(anywhere, str(scanned / "report.json"), publishers=("*",))
    taken(anywhere, written(scanned, "leaf.pem", PKI.leaf.pem))
    (held,) = anywhere.everything()
    assert held.key == "rsa-2048"
    assert len(held.releases) == 2


# --- the authority and its log ------------------------------------------------------------------


def test_ones_own_authority_and_what_its_log_says(tmp_path: Path, clock: Clock) -> None:
    realm = founded(tmp_path / "data", clock)
    wanted = order(realm, "issuing", "code-signing", own_key("release").public_key, subject="R")
    made = issue_own(realm, "issuing", wanted, "ann").certificate
    fields: dict[str, Any] = {"certificate": made.sha256.hex(), "file": "setup.exe"}
    stamped = {**fields, "file": "tool.exe", "timestamps": ["sha256:00"]}
    foreign = {**fields, "certificate": "00" * 32}
    for one in (fields, stamped, foreign):
        realm.store.append(encode(Kind.SIGNED, one, clock.now)).result()
    revoke.revoke(realm, finding.find(realm, f"{made.serial:x}"), "superseded", "ann")
    realm.close()
    with Estate.open(tmp_path / "data", clock=clock) as estate:
        done = estate.import_authority()
        held = next(one for one in estate.everything() if one.fingerprint == made.sha256.hex())
    assert (done.releases, held.trust, held.holder) == (2, Trust.OWN, "ann")
    assert [(one.file, one.timestamped) for one in held.releases] == [
        ("setup.exe", None), ("tool.exe", clock.now),
    ]  # fmt: skip
    assert held.sources == ("ca:issuing",)
    assert [f.code for f in findings(held, clock.now + timedelta(seconds=1))] == [Code.REVOKED]


# --- what is told -----------------------------------------------------------------------------

HELD = Held(
    fingerprint="ab" * 32,
    subject="CN=Release,O=Example Ltd",
    issuer="CN=Public CA",
    serial="1f",
    not_before=datetime(2026, 3, 1, tzinfo=UTC),
    not_after=datetime(2027, 6, 3, 23, 59, 59, tzinfo=UTC),
    key="rsa-3072",
    quantum_safe=False,
    trust=Trust.PUBLIC,
    code_signing=True,
    holder="Ann",
    key_location="token 7",
    added=AT,
    releases=(Release(file="a.exe"), Release(file="b.exe", timestamped=AT)),
)


def codes(held: Held, at: datetime = AT, days: int = 60) -> list[str]:
    return [finding.code.value for finding in findings(held, at, days)]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"not_after": HELD.not_after + timedelta(seconds=1)}, ["validity-period"]),
        ({"not_before": HELD.not_before - timedelta(seconds=1)}, []),  # issued the day before
        ({"not_after": HELD.not_after + timedelta(seconds=1), "trust": Trust.OWN}, []),
        ({"not_after": HELD.not_after + timedelta(seconds=1), "trust": Trust.UNKNOWN}, []),
        ({"not_after": HELD.not_after + timedelta(seconds=1), "code_signing": False}, []),
        ({"key": "rsa-2048"}, ["weak-key"]),
        ({"key": "rsa-2048", "trust": Trust.OWN}, []),
        ({"key": "rsa-1024", "trust": Trust.OWN}, ["weak-key"]),
        ({"key": "rsa-2048", "not_before": datetime(2021, 5, 31, tzinfo=UTC)}, []),
        ({"key": "secp256r1"}, []),
        ({"key": ""}, []),
        ({"revoked": AT}, ["revoked"]),
        ({"revoked": AT + timedelta(days=1)}, []),
        ({"not_after": AT - timedelta(seconds=1)}, ["expired"]),
        ({"not_after": AT}, ["expires-soon"]),
        ({"not_after": AT + timedelta(days=60) - timedelta(seconds=1)}, ["expires-soon"]),
        ({"not_after": AT + timedelta(days=60)}, []),
        ({"not_before": AT + timedelta(days=1)}, ["not-yet-valid"]),
    ],
)  # fmt: skip
def test_each_fault_is_told(changes: dict[str, Any], expected: list[str]) -> None:
    assert codes(replace(HELD, **changes)) == expected


def test_the_longest_permitted_period_is_460_days() -> None:
    period = HELD.not_after - HELD.not_before + timedelta(seconds=1)
    assert period == timedelta(days=MAX_PUBLIC_DAYS) == timedelta(days=460)
    (told,) = findings(replace(HELD, not_after=HELD.not_after + timedelta(days=9)), AT)
    assert told.found.startswith("469 days")
    assert "CSC-31" in told.clause


def test_how_far_ahead_is_the_callers_choice() -> None:
    ends = replace(HELD, not_after=AT + timedelta(days=90))
    assert (codes(ends, days=60), codes(ends, days=91)) == ([], ["expires-soon"])
    (told,) = findings(ends, AT, 91)
    assert "2 releases, 1 of them without a timestamp" in told.found


# --- calendar and metrics: read by other libraries --------------------------------------------

ODD = replace(
    HELD,
    fingerprint="cd" * 32,
    subject='CN=Ä; "Odd", \\ Ltd\u202e\nBEGIN:VEVENT ' + "長い名前" * 40,
    holder="",
    key_location="",
    not_after=datetime(2026, 12, 24, 22, 0, tzinfo=UTC),
)


def told(*held: Held) -> list[report.Told]:
    return [(one, findings(one, AT)) for one in held]


def test_the_calendar_is_read_by_another_library() -> None:
    data = report.calendar(told(HELD, ODD), AT, 60)
    assert all(len(line) <= 75 for line in data.split(b"\r\n"))
    assert b"\n" not in data.replace(b"\r\n", b"")
    calendar: Any = Calendar.from_ical(data)
    assert calendar["VERSION"] == "2.0"
    assert calendar.errors == []
    first, second = calendar.walk("VEVENT")
    assert first["UID"] == f"{'ab' * 32}@signward"
    assert first["DTSTART"].dt == date(2027, 6, 3)
    assert second["DTSTART"].dt == date(2026, 12, 24)
    assert first["DTSTAMP"].dt == AT
    assert first["SUMMARY"] == "Signing certificate ends: CN=Release,O=Example Ltd"
    assert "2 releases, 1 without a timestamp" in first["DESCRIPTION"].splitlines()
    assert '; "Odd", \\ Ltd\\u202e' in second["SUMMARY"]
    assert second["SUMMARY"].endswith("長い名前")
    alarms = [alarm["TRIGGER"].dt for alarm in first.walk("VALARM")]
    assert alarms == [timedelta(days=-60), timedelta(days=-7)]
    assert [event.errors for event in (first, second)] == [[], []]


@pytest.mark.parametrize(("days", "count"), [(7, 1), (0, 1), (30, 2)])
def test_reminders_are_each_given_once(days: int, count: int) -> None:
    calendar: Any = Calendar.from_ical(report.calendar(told(HELD), AT, days))
    (event,) = calendar.walk("VEVENT")
    assert len(event.walk("VALARM")) == count


def test_an_empty_calendar_is_one() -> None:
    assert Calendar.from_ical(report.calendar([], AT, 60)).walk("VEVENT") == []


def test_the_metrics_are_read_by_another_library() -> None:
    text = report.metrics(told(HELD, ODD)).decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert {family.type for family in families.values()} == {"gauge"}
    ends = families["signward_certificate_not_after_seconds"].samples
    assert [sample.value for sample in ends] == [
        HELD.not_after.timestamp(), ODD.not_after.timestamp(),
    ]  # fmt: skip
    assert ends[1].labels["subject"] == ODD.subject
    (fault,) = families["signward_certificate_finding"].samples
    assert fault.labels["code"] == "expires-soon"
    lonely = families["signward_certificate_releases_without_timestamp"].samples
    assert [sample.value for sample in lonely] == [1, 1]
    counts = {s.labels["trust"]: s.value for s in families["signward_certificates"].samples}
    assert counts == {"public": 2, "own": 0, "unknown": 0}


# --- the command line ---------------------------------------------------------------------------


def certs(folder: Path, *words: str, code: int = 0) -> None:
    assert main(["certs", words[0], "--data", str(folder / "data"), *words[1:]]) == code


def ending(days: float, name: str = "Soon") -> Identity:
    """Return a signer whose certificate ends so many days from now."""
    now = datetime.now(UTC).replace(microsecond=0)
    begin = now - timedelta(days=300)
    return signer(name, not_before=begin, not_after=now + timedelta(days=days))


def test_from_taking_in_to_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    soon = written(tmp_path, "soon.pem", ending(20).pem)
    late = written(tmp_path, "late.pem", ending(200, "Late").pem)
    gone = written(tmp_path, "gone.pem", ending(-1, "Gone").pem)
    certs(tmp_path, "import", late, "--holder", "Ann", "--location", "token 7")
    assert capsys.readouterr().out.startswith("1 new, 0 known")
    certs(tmp_path, "list", "--expiring", "30")
    assert capsys.readouterr().out == ""
    certs(tmp_path, "import", soon, late)
    capsys.readouterr()
    certs(tmp_path, "list", "--expiring", "19")
    certs(tmp_path, "list", "--expiring", "30", code=1)
    assert "CN=Soon" in (out := capsys.readouterr().out)
    assert "CN=Late" not in out
    certs(tmp_path, "list", code=1)
    assert "held by Ann, key in token 7" in capsys.readouterr().out
    certs(tmp_path, "import", gone)
    capsys.readouterr()
    certs(tmp_path, "list", "--expiring", "1", "--json", code=1)
    (row,) = json.loads(capsys.readouterr().out)
    assert [finding["code"] for finding in row["findings"]] == ["expired"]


def test_what_is_exported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, "a.pem", ending(20).pem)
    certs(tmp_path, "import", path)
    out = {name: str(tmp_path / f"out.{name}") for name in ("calendar", "metrics", "json")}
    words = [word for name, target in out.items() for word in (f"--{name}", target)]
    certs(tmp_path, "export", *words, code=1)
    certs(tmp_path, "export", *words, "--days", "10")
    assert len(Calendar.from_ical(Path(out["calendar"]).read_bytes()).walk("VEVENT")) == 1
    assert "signward_certificates" in Path(out["metrics"]).read_text()
    assert json.loads(Path(out["json"]).read_text())[0]["findings"] == []
    certs(tmp_path, "export", code=2)
    assert "nowhere to write" in capsys.readouterr().err


def test_one_file_that_cannot_be_read_does_not_stop_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = written(tmp_path, "a.pem", PKI.leaf.pem)
    bad = written(tmp_path, "b.pem", b"hello")
    certs(tmp_path, "import", bad, good, code=1)
    told = capsys.readouterr()
    assert told.out.startswith("1 new")
    assert "neither PEM nor DER" in told.err
    certs(tmp_path, "import", code=2)
    certs(tmp_path, "set", "zz", "--holder", "Ann", code=2)
    whole = fingerprint(PKI.leaf)
    certs(tmp_path, "set", whole[:8], "--holder", "Ann")
    certs(tmp_path, "forget", whole[:8])
    certs(tmp_path, "list")


def test_the_folder_is_its_owners_alone(tmp_path: Path) -> None:
    (tmp_path / "leaf.pem").write_bytes(PKI.leaf.pem)
    certs(tmp_path, "import", str(tmp_path / "leaf.pem"))
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("words", [("list",), ("set", "ab", "--holder", "A"), ("forget", "ab"),
                                   ("export", "--json", "x.json")])  # fmt: skip
def test_a_mistyped_folder_is_not_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    """An empty list from a new, empty folder would say that nothing is to be told of."""
    action, *rest = words
    assert main(["certs", action, "--data", str(tmp_path / "typo"), *rest]) == 2
    assert "signward certs import" in capsys.readouterr().err
    assert not (tmp_path / "typo").exists()


def test_an_import_is_told_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = str(tmp_path / "data")
    path = tmp_path / "leaf.pem"
    path.write_bytes(PKI.leaf.pem)
    assert main(["certs", "import", "--data", data, "--json", str(path)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {"new": 1, "known": 0, "passed_over": 0, "releases": 0, "problems": []}
    assert main(["certs", "import", "--data", data, "--json", str(tmp_path / "none")]) == 1
    assert "none" in json.loads(capsys.readouterr().out)["problems"][0]
