"""Revocation feeds: what a document may say, and what verify, scan and bundles make of it."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from conformance.authenticode import cms, pe, tsa
from conformance.authenticode.cases.base import sign_image, signed_image
from conformance.authenticode.keys import key
from conformance.authenticode.pki import NOW, default_pki, instant, issue
from hypothesis import given
from hypothesis import strategies as st

from signward.authority import feed as writing
from signward.cli import main
from signward.envelopes import dsse
from signward.errors import AuthorityError, EvidenceError
from signward.findings import Code, Effect
from signward.policy.publisher import publisher_of
from signward.policy.record import record, to_json
from signward.policy.settings import Policy
from signward.state import Outcome, Stage, TrustedSignature, Verdict
from signward.trust import feed as reading
from signward.trust.feed import (
    PAYLOAD_TYPE,
    Entry,
    RevokedCertificate,
    RevokedDigest,
    RevokedPublisher,
    open_feed,
)
from signward.trust.sealed import read_keys
from signward.trust.settings import RevocationMode, TrustPolicy
from signward.trust.x509 import load_certificate
from signward.verbs.context import Context
from signward.verbs.epoch import trust_epoch
from signward.verbs.evidence import assess_with_evidence
from signward.verbs.feeds import followed
from signward.verbs.options import Options
from signward.verbs.replay import replay
from signward.verbs.verify import assess_path
from tests.builders.feeds import (
    ISSUED,
    drafted,
    feed,
    feed_key,
    files,
    of_certificate,
    public_pem,
    sealed,
    spki,
)

PKI = default_pki()
EARLY, LATE = instant(2025, 3), instant(2025, 9)
STAMPED_AT = instant(2025, 6)
PLAIN = signed_image()
STAMPED = signed_image(signer={"unsigned": (tsa.token(PKI.tsa, at=STAMPED_AT),)})

Judge = Callable[..., Verdict]


@pytest.fixture
def judge(tmp_path: Path) -> Judge:
    """Return a function that judges bytes by a feed of entries."""

    def judged(data: bytes, *entries: Entry, name: str = "a.exe", **options: Any) -> Verdict:
        return assess_path(
            write(tmp_path, name, data), Context(made(tmp_path, *entries, **options))
        )

    return judged


def write(folder: Path, name: str, data: bytes) -> str:
    (folder / name).write_bytes(data)
    return str(folder / name)


def made(
    folder: Path, *entries: Entry, hours: int = 24, at: datetime = NOW, **options: Any
) -> Options:
    """Return options that trust the test PKI and follow a feed of these entries."""
    path, public = files(folder, feed(*entries, hours=hours, issued=options.pop("issued", ISSUED)))
    anchor = write(folder, "root.pem", PKI.root.pem)
    return Options(anchors=(anchor,), at=at, feeds=(path,), feed_keys=(public,), **options)


def codes(verdict: Verdict) -> set[str]:
    return {finding.code.value for finding in verdict.findings}


def leaf(revoked: datetime = EARLY, **fields: Any) -> RevokedCertificate:
    return of_certificate(PKI.leaf.certificate, revoked, **fields)


# --- certificates ------------------------------------------------------------------------


def test_an_empty_feed_changes_nothing(judge: Judge) -> None:
    assert judge(PLAIN).outcome is Outcome.ACCEPTED


@pytest.mark.parametrize(
    ("entry", "data", "cause"),
    [
        (leaf(EARLY), PLAIN, Code.REVOKED),
        (leaf(LATE), PLAIN, Code.REVOKED),
        (leaf(EARLY), STAMPED, Code.REVOKED),
        (leaf(LATE), STAMPED, None),
        (leaf(STAMPED_AT), STAMPED, Code.REVOKED),
        (leaf(LATE, invalid_from=EARLY), STAMPED, Code.REVOKED),
        (leaf(LATE, invalid_from=LATE - timedelta(days=1)), STAMPED, None),
        (leaf(LATE, reason="certificateHold"), STAMPED, None),
        (leaf(EARLY, reason="certificateHold"), STAMPED, Code.REVOKED),
        (leaf(NOW + timedelta(days=1)), PLAIN, None),
        (of_certificate(PKI.intermediate.certificate, EARLY), PLAIN, Code.REVOKED),
        (of_certificate(PKI.tsa.certificate, LATE, reason="superseded"), PLAIN, None),
    ],
)  # fmt: skip
def test_certificates_are_judged_by_the_dates_of_the_table(
    judge: Judge, entry: RevokedCertificate, data: bytes, cause: Code | None
) -> None:
    verdict = judge(data, entry)
    assert verdict.cause is cause
    assert verdict.outcome is (Outcome.REJECTED if cause else Outcome.ACCEPTED)


def test_signed_before_revocation_is_accepted_and_said(judge: Judge) -> None:
    assert "signed-before-revocation" in codes(judge(STAMPED, leaf(LATE)))


def test_a_compromise_rejects_outright_where_policy_says_so(judge: Judge) -> None:
    policy = Policy(trust=TrustPolicy(distrust_compromised=True))
    verdict = judge(STAMPED, leaf(LATE, reason="keyCompromise"), policy=policy)
    assert verdict.cause is Code.REVOKED


def test_a_revoked_authority_of_time_spoils_its_tokens(judge: Judge) -> None:
    entry = of_certificate(PKI.tsa.certificate, LATE, reason="keyCompromise")
    verdict = judge(STAMPED, entry)
    assert "timestamp-revoked" in codes(verdict)
    (signature,) = verdict.signatures
    assert isinstance(signature, TrustedSignature)
    assert signature.proven_time is None


def test_the_status_names_the_feed(judge: Judge) -> None:
    (signature,) = judge(PLAIN, leaf()).signatures
    sources = {status.source for status in signature.revocation}  # type: ignore[union-attr]
    assert "the feed of Test Ltd, version 1" in sources


@pytest.mark.parametrize("kept", [("sha256",), ("issuer", "serial")])
def test_either_name_of_a_certificate_suffices(judge: Judge, kept: tuple[str, ...]) -> None:
    whole = leaf()
    names = {name: getattr(whole, name) for name in kept}
    assert judge(PLAIN, RevokedCertificate(revoked=EARLY, **names)).cause is Code.REVOKED


def test_a_certificate_encoded_anew_is_the_same_one(judge: Judge) -> None:
    seen = load_certificate(PKI.leaf.certificate)
    entry = RevokedCertificate(
        issuer=seen.issuer.hex(), serial=f"{seen.serial:x}", sha256="00" * 32, revoked=EARLY
    )
    assert judge(PLAIN, entry).cause is Code.REVOKED


def test_the_same_serial_of_another_issuer_is_another_certificate(judge: Judge) -> None:
    seen = load_certificate(PKI.leaf.certificate)
    other = RevokedCertificate(issuer=seen.subject.hex(), serial=f"{seen.serial:x}", revoked=EARLY)
    assert judge(PLAIN, other).outcome is Outcome.ACCEPTED


def test_of_several_entries_the_earliest_counts(judge: Judge) -> None:
    by_digest = RevokedCertificate(sha256=leaf().sha256, revoked=EARLY)
    assert judge(STAMPED, leaf(LATE), by_digest).cause is Code.REVOKED
    assert judge(STAMPED, leaf(EARLY), leaf(LATE)).cause is Code.REVOKED


# --- publishers and files ------------------------------------------------------------------


def identity(judge: Judge) -> str:
    (signature,) = judge(PLAIN).signatures
    assert isinstance(signature, TrustedSignature)
    return publisher_of(signature).identity


@pytest.mark.parametrize("data", [PLAIN, STAMPED])
def test_a_revoked_publisher_is_refused_whenever_he_signed(judge: Judge, data: bytes) -> None:
    entry = RevokedPublisher(identity=identity(judge).upper(), revoked=LATE, note="stolen key")
    verdict = judge(data, entry)
    assert (verdict.outcome, verdict.cause) == (Outcome.REJECTED, Code.PUBLISHER_REVOKED)
    (found,) = [f for f in verdict.findings if f.code is Code.PUBLISHER_REVOKED]
    assert found.found.endswith("revoked 2025-09-01T00:00:00Z: stolen key")


def digest(
    data: bytes, of: str = "file", algorithm: str = "sha256", **fields: Any
) -> RevokedDigest:
    fields.setdefault("revoked", LATE)
    value = hashlib.new(algorithm, data).hexdigest()
    return RevokedDigest(of=of, algorithm=algorithm, digest=value, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "sha384", "sha512"])
@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.exe", PLAIN),
        ("a.exe", pe.image()),
        ("a.exe", pe.image()[:70]),
        ("a.txt", b"hello"),
        ("a.jar", b"PK\x03\x04" + bytes(40)),
        ("a", b"\x7fELF" + bytes(60)),
    ],
)
def test_a_revoked_file_is_refused_whatever_it_is(
    judge: Judge, name: str, data: bytes, algorithm: str
) -> None:
    verdict = judge(data, digest(data, algorithm=algorithm), name=name)
    assert (verdict.outcome, verdict.cause) == (Outcome.REJECTED, Code.DIGEST_REVOKED)
    assert judge(data, digest(data + b"x", algorithm=algorithm), name=name).cause is not (
        Code.DIGEST_REVOKED
    )


@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
@pytest.mark.parametrize("data", [PLAIN, STAMPED, pe.image()])
def test_revoked_content_is_refused_under_every_signature(
    judge: Judge, data: bytes, algorithm: str
) -> None:
    value = pe.image_digest(pe.image(), algorithm).hex()
    entry = RevokedDigest(of="content", algorithm=algorithm, digest=value, revoked=LATE)  # type: ignore[arg-type]
    assert judge(data, entry).cause is Code.DIGEST_REVOKED


def test_entries_of_the_future_do_not_reject_the_past(judge: Judge) -> None:
    later = NOW + timedelta(days=1)
    entries = (
        digest(PLAIN, revoked=later),
        RevokedPublisher(identity=identity(judge), revoked=later),
    )
    assert judge(PLAIN, *entries).outcome is Outcome.ACCEPTED
    assert judge(PLAIN, *entries, at=later).cause is Code.DIGEST_REVOKED
    early = digest(PLAIN, revoked=later, invalid_from=EARLY)
    assert judge(PLAIN, early).cause is Code.DIGEST_REVOKED


@pytest.mark.parametrize("stage", [Stage.INTACT, Stage.TRUSTED])
def test_before_the_last_stage_publishers_and_files_only_warn(judge: Judge, stage: Stage) -> None:
    entries = digest(PLAIN), RevokedPublisher(identity=identity(judge), revoked=LATE)
    verdict = judge(PLAIN, *entries, policy=Policy(stage=stage))
    assert verdict.outcome is Outcome.ACCEPTED
    assert "digest-revoked" in codes(verdict)
    assert ("publisher-revoked" in codes(verdict)) == (stage is Stage.TRUSTED)


def test_a_publisher_is_refused_beside_a_stronger_signature(judge: Judge) -> None:
    other = issue("Another Publisher", issuer=PKI.intermediate, subject_key=key("p256", "other"))
    stronger = sign_image(
        signer={"identity": other, "digest": "sha512"},
        content={"digest": "sha512"},
        certificates=(other.certificate, PKI.intermediate.certificate),
    )
    both = signed_image(signer={"unsigned": (cms.nested(stronger),)})
    accepted = judge(both)
    assert accepted.publisher is not None
    entry = RevokedPublisher(identity=identity(judge), revoked=LATE)
    assert entry.identity != accepted.publisher.identity
    assert judge(both, entry).cause is Code.PUBLISHER_REVOKED


# --- age -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "outcome", "effect"),
    [
        (RevocationMode.PREFER, Outcome.ACCEPTED, Effect.WARN),
        (RevocationMode.REQUIRE, Outcome.INDETERMINATE, Effect.UNKNOWN),
        (RevocationMode.IGNORE, Outcome.ACCEPTED, Effect.NOTE),
    ],
)
def test_a_feed_that_has_ended_still_revokes_and_says_so(
    judge: Judge, mode: RevocationMode, outcome: Outcome, effect: Effect
) -> None:
    policy = Policy(trust=TrustPolicy(revocation=mode))
    ended = {"issued": EARLY, "policy": policy}
    verdict = judge(PLAIN, **ended)
    if mode is not RevocationMode.REQUIRE:  # nothing tells of the rest of the path there
        assert verdict.outcome is outcome
    (note,) = [f for f in verdict.findings if f.code is Code.REVOCATION_FEED]
    assert note.effect is effect
    assert judge(PLAIN, leaf(), **ended).cause is Code.REVOKED


def test_a_feed_counts_at_the_instant_asked_about(judge: Judge) -> None:
    inside = EARLY + timedelta(hours=23)
    assert "revocation-feed" not in codes(judge(PLAIN, issued=EARLY, at=inside))


# --- what is refused outright ----------------------------------------------------------------


def opened(data: bytes, *keys: bytes) -> reading.Feed:
    return open_feed("feed", data, keys or (spki(feed_key()),))


def test_a_feed_is_read_as_it_was_written() -> None:
    entries = leaf(), digest(b"x"), RevokedPublisher(identity="subject:A/B", revoked=EARLY)
    read = opened(feed(*entries, version=9)).document
    assert (read.authority, read.version) == ("Test Ltd", 9)
    assert (read.issued, read.expires) == (ISSUED, ISSUED + timedelta(hours=24))
    assert (read.certificates, read.digests, read.publishers) == tuple((e,) for e in entries)


def test_the_same_facts_give_the_same_octets() -> None:
    entries = [digest(bytes([n])) for n in range(5)] + [leaf()]
    assert drafted(*entries).payload == drafted(*reversed(entries), entries[0]).payload


@pytest.mark.parametrize("kind", ["rsa2048", "p256", "p384", "ed25519", "ml-dsa-65"])
def test_every_kind_of_key_signs_a_feed(kind: str) -> None:
    of = feed_key(kind)
    data = feed(version=3, of=of)
    assert opened(data, spki(of)).document.version == 3
    assert opened(data, spki(feed_key("ed25519", "new")), spki(of)).document.version == 3


def test_another_key_is_named() -> None:
    with pytest.raises(EvidenceError, match=r"found a signature by key .* required"):
        opened(feed(of=feed_key("p256")))


def test_the_key_id_proves_nothing() -> None:
    forged = sealed(drafted(), feed_key("ed25519", "mallory"))
    with pytest.raises(EvidenceError, match="does not fit"):
        opened(forged)
    unnamed = json.loads(forged)
    del unnamed["signatures"][0]["keyid"]
    with pytest.raises(EvidenceError, match="does not fit"):
        opened(json.dumps(unnamed).encode())
    unnamed["signatures"].append(json.loads(feed())["signatures"][0])
    assert opened(json.dumps(unnamed).encode()).document.version == 1


def test_every_changed_bit_of_the_payload_is_refused() -> None:
    whole = json.loads(feed())
    payload = bytearray(dsse.open_envelope(feed()).claimed_payload)
    for place in range(len(payload)):
        payload[place] ^= 1
        whole["payload"] = dsse._encoded(bytes(payload))
        with pytest.raises(EvidenceError, match="does not fit"):
            opened(json.dumps(whole).encode())
        payload[place] ^= 1


def test_a_payload_of_another_type_is_none() -> None:
    other = msgspec.structs.replace(drafted(), payload_type="application/vnd.in-toto+json")
    with pytest.raises(EvidenceError, match=f"required {PAYLOAD_TYPE.replace('+', '.')}"):
        opened(sealed(other))


def document(**changes: Any) -> bytes:
    """Return a signed feed whose document is changed before it is signed."""
    plain = json.loads(drafted(leaf()).payload) | changes
    return sealed(msgspec.structs.replace(drafted(), payload=json.dumps(plain).encode()))


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "other"},
        {"schema": 2},
        {"version": 0},
        {"version": 2**53},
        {"version": "1"},
        {"issued": "2026-01-01T00:00:00"},
        {"expires": None},
        {"unknown": []},
        {"certificates": [{"revoked": "2026-01-01T00:00:00Z"}]},
        {"certificates": [{"revoked": "2026-01-01T00:00:00Z", "serial": "1"}]},
        {"certificates": [{"revoked": "2026-01-01T00:00:00Z", "issuer": "3000"}]},
        {"certificates": [{"revoked": "2026-01-01T00:00:00Z", "issuer": "ff", "serial": "1"}]},
        {"certificates": [{"revoked": "2026-01-01T00:00:00Z", "issuer": "30", "serial": "1"}]},
        {"certificates": [{"revoked": "2026-01-01T00:00:00Z", "sha256": "ABCD"}]},
        {"certificates": [{"revoked": "2026-01-01T00:00:00Z", "sha256": "ab\n"}]},
        {"certificates": [{"revoked": "2026-01-01T00:00:00Z", "sha256": "ab", "reason": "x"}]},
        {"certificates": [{"sha256": "ab"}]},
        {"certificates": [{"revoked": "2026-01-01T00:00:00Z", "sha256": "abc"}]},
        {"certificates": [{"revoked": "2026-01-01T00:00:00Z", "issuer": "300", "serial": "1"}]},
        {"digests": [{"revoked": "2026-01-01T00:00:00Z", "of": "file", "algorithm": "sha256",
                      "digest": "abc"}]},
        {"publishers": [{"revoked": "2026-01-01T00:00:00Z", "identity": ""}]},
        {"digests": [{"revoked": "2026-01-01T00:00:00Z", "of": "page", "algorithm": "sha256",
                      "digest": "ab"}]},
        {"digests": [{"revoked": "2026-01-01T00:00:00Z", "of": "file", "algorithm": "md5",
                      "digest": "ab"}]},
    ],
)  # fmt: skip
def test_a_document_that_breaks_its_rules_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(EvidenceError):
        opened(document(**changes))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.floats(allow_nan=False)
    | st.sampled_from(["2026-01-01T00:00:00Z", "00", "3000", "sha256", "file", "1"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["revoked", "issuer", "serial", "sha256", "identity", "of", "digest",
                         "algorithm", "reason", "invalid_from"]), inner, max_size=6,
    ),
    max_leaves=12,
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(list(reading.Document.__struct_fields__)), VALUES))
def test_whatever_was_signed_raises_nothing_else(changes: dict[str, Any]) -> None:
    with contextlib.suppress(EvidenceError):
        opened(document(**changes))


def test_entries_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_ENTRIES", 2)
    assert opened(feed(digest(b"1"), digest(b"2"), leaf())).document.version == 1
    with pytest.raises(EvidenceError, match="at most 2"):
        opened(feed(*(digest(bytes([n])) for n in range(3))))


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"version": 0}, "version"), ({"hours": 0}, "hours"), ({"hours": 9999}, "hours")],
)
def test_what_nobody_would_read_is_not_written(changes: dict[str, int], said: str) -> None:
    with pytest.raises(AuthorityError, match=said):
        drafted(**changes)  # type: ignore[arg-type]


def test_a_feed_that_is_too_long_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "MAX_ENTRIES", 1)
    with pytest.raises(AuthorityError, match="at most 1"):
        drafted(digest(b"1"), digest(b"2"))
    monkeypatch.setattr(writing, "MAX_OCTETS", writing._SPARE)
    with pytest.raises(AuthorityError, match="octets"):
        drafted()


# --- keys ----------------------------------------------------------------------------------


def test_a_key_is_a_public_key_or_a_certificate() -> None:
    own = spki(feed_key())
    assert read_keys("k", public_pem()) == (own,)
    assert read_keys("k", own) == (own,)
    assert read_keys("k", public_pem() + public_pem(feed_key("p256")))[1] == spki(feed_key("p256"))
    signer = load_certificate(PKI.leaf.certificate)
    assert read_keys("k", PKI.leaf.pem) == read_keys("k", PKI.leaf.certificate) == (signer.spki,)


DAMAGED = b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"


@pytest.mark.parametrize("data", [b"", b"x", b"0\x03abc", DAMAGED, public_pem() * 17])
def test_what_is_no_key(data: bytes) -> None:
    with pytest.raises(EvidenceError):
        read_keys("k", data)


# --- the command line, the scan's cache, bundles ----------------------------------------------


def run(folder: Path, *words: str, options: Options) -> int:
    anchor, at = options.anchors[0], f"{options.at:%Y-%m-%dT%H:%M:%SZ}"
    said = ["--anchor", anchor, "--at", at, "--feed", *options.feeds]
    return main([words[0], *said, "--feed-key", *options.feed_keys, *words[1:]])


def test_verify_and_scan_take_a_feed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = made(tmp_path / "feeds", leaf())
    path = write(tmp_path, "a.exe", PLAIN)
    assert run(tmp_path, "verify", path, options=options) == 1
    assert "revoked" in capsys.readouterr().out
    words = ("scan", "--no-cache", "--fail-on", "rejected", path)
    assert run(tmp_path, *words, options=options) == 1
    options = made(tmp_path / "feeds")
    assert run(tmp_path, "verify", path, options=options) == 0


def test_a_feed_without_a_key_or_by_another_is_a_mistake(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = made(tmp_path / "feeds")
    path = write(tmp_path, "a.exe", PLAIN)
    assert main(["verify", "--feed", options.feeds[0], path]) == 2
    assert "--feed-key" in capsys.readouterr().err
    other = write(tmp_path, "other.pem", public_pem(feed_key("p256")))
    assert main(["verify", "--feed", options.feeds[0], "--feed-key", other, path]) == 2
    assert "required" in capsys.readouterr().err


def test_a_remembered_verdict_is_of_one_version(tmp_path: Path) -> None:
    path = write(tmp_path, "a.exe", PLAIN)
    cache = str(tmp_path / "cache.db")
    words = ("scan", "--cache", cache, "--fail-on", "rejected", path)
    assert run(tmp_path, *words, options=made(tmp_path / "feeds")) == 0
    assert run(tmp_path, *words, options=made(tmp_path / "feeds")) == 0
    assert run(tmp_path, *words, options=made(tmp_path / "feeds", leaf())) == 1


def test_the_end_of_a_feed_ends_remembered_verdicts(tmp_path: Path) -> None:
    fresh = made(tmp_path / "feeds", at=ISSUED)
    ended = made(tmp_path / "feeds", at=ISSUED + timedelta(days=2))
    same = msgspec.structs.replace(fresh, at=None)
    first, second = (
        trust_epoch(msgspec.structs.replace(followed(one), at=None)) for one in (fresh, ended)
    )
    assert first != second
    assert trust_epoch(same) != first


def test_options_are_followed_once(tmp_path: Path) -> None:
    once = followed(made(tmp_path))
    assert once.feed_notes == ()
    Path(once.feeds[0]).unlink()
    assert followed(once) is once


@pytest.mark.parametrize("entry", [leaf(), digest(PLAIN), None])
@pytest.mark.parametrize("issued", [ISSUED, EARLY])
def test_a_bundle_holds_the_feed(tmp_path: Path, entry: Entry | None, issued: datetime) -> None:
    options = made(tmp_path / "feeds", *([entry] if entry else []), issued=issued)
    path = write(tmp_path, "a.exe", PLAIN)
    bundle = str(tmp_path / "bundle")
    (judged,), _ = assess_with_evidence([path], options, bundle)
    assert judged.outcome is (Outcome.REJECTED if entry else Outcome.ACCEPTED)
    decided_by_signature = judged.cause is not Code.DIGEST_REVOKED
    assert ("revocation-feed" in codes(judged)) == (issued == EARLY and decided_by_signature)
    assert to_json(record(judged)) == to_json(record(assess_path(path, Context(options))))
    for gone in (*options.feeds, *options.feed_keys):
        Path(gone).unlink()
    assert to_json(record(replay(bundle, path))) == to_json(record(judged))


def test_a_bundles_feed_is_checked_again(tmp_path: Path) -> None:
    options = made(tmp_path / "feeds", leaf())
    path = write(tmp_path, "a.exe", PLAIN)
    bundle = tmp_path / "bundle"
    assess_with_evidence([path], options, str(bundle))
    manifest = json.loads((bundle / "manifest.json").read_text())
    (member,) = manifest["feeds"]["documents"]
    forged = sealed(drafted(), feed_key("ed25519", "mallory"))
    replaced = hashlib.sha256(forged).hexdigest()
    (bundle / "feeds" / f"{member}.json").unlink()
    (bundle / "feeds" / f"{replaced}.json").write_bytes(forged)
    text = (bundle / "manifest.json").read_text().replace(member, replaced)
    size = next(m["size"] for m in manifest["members"] if m["sha256"] == member)
    text = text.replace(f'"size": {size}', f'"size": {len(forged)}')
    (bundle / "manifest.json").write_text(text)
    with pytest.raises(EvidenceError, match="does not fit"):
        replay(str(bundle), path)


def test_keys_are_told_by_their_digest() -> None:
    assert drafted().key_id == hashlib.sha256(spki(feed_key())).hexdigest()
