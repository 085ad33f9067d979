"""Clear-signed text and Debian's control data: what is signed, and the files it lists."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signward.envelopes.openpgp_clear import read_clear
from signward.errors import AmbiguousError, LimitError, MalformedError, NotSignableError
from signward.findings import Code, Effect
from signward.formats import Existing, Match, ParseOptions, Peek, _clear_text, _control, recognise
from signward.formats._control import listed_files
from signward.formats.clearsigned import FORMAT
from signward.inventory.classify import KINDS, classify
from signward.policy.settings import Policy, SignatureRule
from signward.state import Outcome, Verdict
from signward.verbs.context import Context
from signward.verbs.options import Options
from signward.verbs.verify import assess
from signward.wire.companions import MappedCompanions
from signward.wire.deb822 import read_paragraph
from signward.wire.patch import Patched, pieces
from signward.wire.source import BytesSource
from tests.builders import openpgp as pgp
from tests.builders.openpgp import Key
from tests.builders.openpgp_clear import block, canonical, clear
from tests.signing import sign_bytes, strip_bytes

NOW = datetime(2024, 6, 1, tzinfo=UTC)
KEY, OTHER = Key(), Key("p256")
TARBALL, PATCHES = b"tarball", b"patches"
FILES = {"hello_1.orig.tar.gz": TARBALL, "hello_1-1.debian.tar.xz": PATCHES}


def line(name: str, content: bytes, algorithm: str = "sha256") -> str:
    return f" {hashlib.new(algorithm, content).hexdigest()} {len(content)} {name}\n"


def described(files: Mapping[str, bytes] = FILES, *more: str) -> bytes:
    """A .dsc, as dpkg-source writes it."""
    text = "Format: 3.0 (quilt)\nSource: hello\nVersion: 1-1\nChecksums-Sha256:\n"
    text += "".join(line(name, content) for name, content in files.items())
    return (text + "Files:\n" + "".join(more)).encode()


def judged(
    data: bytes,
    folder: Path,
    name: str = "hello.dsc",
    files: Mapping[str, bytes] = FILES,
    keys: tuple[Key, ...] = (KEY,),
    policy: Policy | None = None,
) -> Verdict:
    ring = folder / "ring.gpg"
    ring.write_bytes(b"".join(map(pgp.certificate, keys)))
    beside = MappedCompanions({n: BytesSource(n, content) for n, content in files.items()})
    rings = (str(ring),) if keys else ()
    context = Context(Options(keyrings=rings, at=NOW, policy=policy or Policy()))
    return assess(BytesSource(name, data), context, beside)


def cause(*arguments: Any, **options: Any) -> Code | None:
    return judged(*arguments, **options).cause


def test_control_data_and_the_files_that_it_lists(tmp_path: Path) -> None:
    verdict = judged(clear(described(), KEY), tmp_path)
    assert verdict.outcome is Outcome.ACCEPTED, verdict.findings
    assert dict(verdict.facts) == {"source": "hello", "version": "1-1"}
    assert verdict.publisher is not None
    assert verdict.publisher.identity == f"openpgp:{KEY.fingerprint.hex()}"


def test_files_that_weak_digests_name_too_are_listed_by_strong_ones(tmp_path: Path) -> None:
    weak = [line(name, content, "md5") for name, content in FILES.items()]
    assert cause(clear(described(FILES, *weak), KEY), tmp_path) is None


def test_a_listed_file_that_differs_is_refused(tmp_path: Path) -> None:
    changed = {**FILES, "hello_1.orig.tar.gz": b"Tarball"}
    verdict = judged(clear(described(), KEY), tmp_path, files=changed)
    assert (verdict.outcome, verdict.cause) == (Outcome.REJECTED, Code.DIGEST_MISMATCH)
    assert "hello_1.orig.tar.gz" in verdict.findings[0].subject


def test_a_listed_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    verdict = judged(clear(described(), KEY), tmp_path, files={})
    assert verdict.outcome is Outcome.ACCEPTED
    told = [f.subject for f in verdict.findings if f.code is Code.COMPANION_MISSING]
    assert told == list(FILES)
    assert all(f.effect in (Effect.NOTE, Effect.WARN) for f in verdict.findings)


def test_whoever_signs_two_texts_is_found_in_either(tmp_path: Path) -> None:
    data = clear(described(), OTHER, KEY)
    assert cause(data, tmp_path, keys=(KEY,)) is None
    assert cause(data, tmp_path, keys=(OTHER,)) is None
    assert cause(data, tmp_path, keys=(Key(),)) is Code.KEY_MISSING
    assert cause(data, tmp_path, keys=()) is Code.KEY_MISSING


GOOD = clear(described(), KEY)
REFUSED: dict[str, tuple[Code, Callable[[], bytes]]] = {
    "another text": (Code.SIGNATURE_MISMATCH, lambda: GOOD.replace(b"1-1", b"1-2")),
    "a line more": (Code.SIGNATURE_MISMATCH, lambda: GOOD.replace(b"Files:", b"Files:\nPay: Ann")),
    "text before": (Code.UNCOVERED_CONTENT, lambda: b"Pay: Ann\n" + GOOD),
    "text behind": (Code.UNCOVERED_CONTENT, lambda: GOOD + b"Pay: Ann\n"),
    "two blocks": (Code.AMBIGUOUS, lambda: GOOD + GOOD),
    "a lying header": (Code.ALGORITHM_INCONSISTENT,
                       lambda: GOOD.replace(b"Hash: SHA256", b"Hash: SHA512")),
    "SHA-1": (Code.WEAK_DIGEST, lambda: clear(described(), KEY, digest="sha1")),
    "a binary signature": (Code.ATTRIBUTE_RULE, lambda: clear(described(), KEY, kind=0)),
    "unsigned": (Code.UNSIGNED, described),
    "two paragraphs": (Code.MALFORMED, lambda: clear(described() + b"\nSource: ann\n", KEY)),
    "a field twice": (Code.AMBIGUOUS, lambda: clear(described() + b"source: ann\n", KEY)),
    "a comment": (Code.MALFORMED, lambda: clear(b"# pay\n" + described(), KEY)),
    "a line of spaces": (Code.AMBIGUOUS,
                         lambda: clear(described() + b"  \n", KEY)),
    "a file twice": (Code.AMBIGUOUS,
                     lambda: clear(described().replace(b"Files:", line("hello_1.orig.tar.gz", b"x")
                                                       .encode() + b"Files:"), KEY)),
    "weak digests": (Code.WEAK_DIGEST,
                     lambda: clear(described().replace(b"Checksums-Sha256", b"Checksums-Sha1"),
                                   KEY)),
    "a file more among the weak digests": (
        Code.WEAK_DIGEST, lambda: clear(described(FILES, line("more", b"x", "md5")), KEY)),
    "a short digest": (Code.MALFORMED,
                       lambda: clear(described().replace(b"Sha256:\n ", b"Sha256:\n 0"), KEY)),
    "no UTF-8": (Code.MALFORMED, lambda: clear(described() + b"Ann: \xff\n", KEY)),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str, tmp_path: Path) -> None:
    code, make = REFUSED[name]
    verdict = judged(make(), tmp_path)
    assert (verdict.outcome, verdict.cause) == (Outcome.REJECTED, code), verdict.findings


def test_spaces_at_the_ends_of_lines_are_told_as_not_signed(tmp_path: Path) -> None:
    data = clear(described().replace(b"Files:", b"Files: \t"), KEY)
    assert cause(data, tmp_path) is None
    artifact = FORMAT.parse(BytesSource("hello.dsc", data), ParseOptions())
    spaces = [one for one in artifact.regions if one.what == "spaces at a line's end"]
    assert [data[one.start : one.end] for one in spaces] == [b" \t"]
    assert all(one.exempt for one in artifact.regions)


def test_a_text_that_is_no_control_data(tmp_path: Path) -> None:
    data = clear(b"Dear all,\n  \n-- \nAnn\n\nPay me.\n", KEY)
    assert cause(data, tmp_path, "letter.txt") is None
    assert cause(data.replace(b"Pay", b"Owe"), tmp_path, "letter.txt") is Code.SIGNATURE_MISMATCH


RELEASE = b"Origin: Test\nSuite: stable\nSHA256:\n 00 1 main/Packages\n"


def test_a_list_of_an_archive(tmp_path: Path) -> None:
    for name in ("InRelease", "deb.example.org_dists_stable_InRelease"):
        verdict = judged(clear(RELEASE, KEY), tmp_path, name)
        assert verdict.outcome is Outcome.ACCEPTED
        assert dict(verdict.facts) == {"origin": "Test", "suite": "stable"}
        assert cause(RELEASE, tmp_path, name) is Code.UNSIGNED
        assert cause(RELEASE + clear(RELEASE, KEY), tmp_path, name) is Code.UNCOVERED_CONTENT


def _peek(name: str, head: bytes) -> Peek:
    return Peek(name, head, head[-1024:], len(head))


@pytest.mark.parametrize(
    ("name", "head", "match"),
    [("any.txt", GOOD, Match.MAGIC), ("a.dsc", described(), Match.EXTENSION),
     ("a.changes", b"Pay\n" + GOOD, Match.EXTENSION), ("a.changes", b"Changes\n", Match.NO),
     ("any.txt", b"Pay\n" + GOOD, Match.NO), ("InRelease", RELEASE, Match.EXTENSION),
     ("InRelease", b"Pay", Match.NO), ("Release", RELEASE, Match.NO)],
)  # fmt: skip
def test_recognition(name: str, head: bytes, match: Match) -> None:
    peek = _peek(name, head)
    assert FORMAT.recognise(peek) is match
    assert (classify(peek) == "clearsigned") is (match is not Match.NO)
    assert (recognise(peek) is FORMAT) is (match is not Match.NO)
    assert KINDS["clearsigned"].signable


def test_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_control, "MAX_FILES", 1)
    with pytest.raises(LimitError):
        listed_files(read_paragraph(described()))
    monkeypatch.setattr(_clear_text, "MAX_OCTETS", 10)
    with pytest.raises(LimitError):
        FORMAT.parse(BytesSource("a", GOOD), ParseOptions())


@given(st.binary(max_size=120))
def test_paragraphs_are_read_or_refused(data: bytes) -> None:
    for text in (data, described() + data):
        try:
            listed_files(read_paragraph(text))
        except (MalformedError, AmbiguousError):
            continue


def test_a_stranger_beside_a_signer_says_nothing_good_or_bad(tmp_path: Path) -> None:
    """However strong his digest is: he neither decides nor stops the signer from being judged."""
    strong = pgp.packet(2, OTHER.sign(canonical(described()), kind=1, digest="sha512"))
    weak = pgp.packet(2, KEY.sign(canonical(described()), kind=1, issuer=KEY.issuer))
    both = b"Hash: SHA256, SHA512\n"
    data = block(described(), strong + weak, both)
    assert cause(data, tmp_path) is None
    assert cause(data, tmp_path, keys=(OTHER,)) is None
    assert cause(data, tmp_path, keys=()) is Code.KEY_MISSING
    verdict = judged(data, tmp_path)
    assert verdict.judged == 1
    assert [f.effect for f in verdict.findings if f.code is Code.KEY_MISSING] == [Effect.NOTE]
    strict = Policy(signatures=SignatureRule.ALL)
    assert cause(data, tmp_path, policy=strict) is Code.KEY_MISSING


def test_a_stranger_never_hides_a_signer_who_does_not_count(tmp_path: Path) -> None:
    late = datetime(2024, 6, 2, tzinfo=UTC)  # of the future, says the signer
    strong = pgp.packet(2, OTHER.sign(canonical(described()), kind=1, digest="sha512"))
    weak = pgp.packet(2, KEY.sign(canonical(described()), kind=1, made=late))
    data = block(described(), strong + weak, b"Hash: SHA256, SHA512\n")
    assert cause(data, tmp_path) is Code.NOT_YET_VALID


def test_a_broken_signature_beside_a_good_one_is_refused(tmp_path: Path) -> None:
    good = pgp.packet(2, KEY.sign(canonical(described()), kind=1))
    other = pgp.packet(2, OTHER.sign(canonical(described()) + b"x", kind=1))
    data = block(described(), good + other, b"Hash: SHA256\n")
    assert cause(data, tmp_path, keys=(KEY, OTHER)) is Code.SIGNATURE_MISMATCH


# --- signing -------------------------------------------------------------------------


def by_us(data: bytes, **asked: Any) -> bytes:
    return sign_bytes("hello.dsc", data, held=True, **asked)


def test_several_sign_one_text() -> None:
    first = by_us(described())
    both = by_us(first, existing=Existing.NESTED, digest="sha512")
    assert both.splitlines()[1] == b"Hash: SHA256, SHA512"
    assert len(FORMAT.envelopes(BytesSource("hello.dsc", both))) == 2
    assert by_us(both, existing=Existing.REPLACE) == first
    assert strip_bytes("hello.dsc", both) == described()


def test_spaces_and_dashes_survive() -> None:
    text = b"Format: 1.0\nSource: hello \t\nDescription: odd\n -a\n"
    signed = by_us(text)
    assert read_clear(signed).text == b"Format: 1.0\nSource: hello\nDescription: odd\n -a\n"
    assert strip_bytes("hello.dsc", signed) == text


def test_a_text_without_its_last_line_ending_is_not_signed() -> None:
    with pytest.raises(NotSignableError, match="last line"):
        by_us(described().removesuffix(b"\n"))


@pytest.mark.parametrize("version", [4, 6])
def test_a_checksum_is_for_old_versions_only(version: int) -> None:
    own = Key(version=version)
    blob = pgp.packet(2, own.sign(canonical(described()), kind=1))
    source = BytesSource("hello.dsc", described())
    made = b"".join(pieces(Patched(source, FORMAT.embed(source, (blob,)))))
    assert (b"\n=" in made) is (version == 4)
    assert FORMAT.envelopes(BytesSource("hello.dsc", made))[0][-40:] == blob[-40:]
