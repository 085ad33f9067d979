"""Commits and tags of git: what is signed of them, and nothing else (THREATS 53)."""

from __future__ import annotations

import contextlib
import zlib
from pathlib import Path
from typing import Any

import pytest
from conformance.authenticode.pki import NOW
from hypothesis import given
from hypothesis import strategies as st

from signward.cli.commands import run
from signward.envelopes import Signer
from signward.envelopes.openpgp_cert import keys_of
from signward.envelopes.sshsig import read_key
from signward.envelopes.sshsig_draft import ssh_key
from signward.errors import BadInputError, EvidenceError, LimitError, NotSignableError
from signward.findings import Code
from signward.formats import (
    Existing,
    Match,
    ParseOptions,
    Peek,
    Request,
    recognise,
    signing_profile,
)
from signward.formats._git_text import read_text, unpacked
from signward.formats.git_object import FORMAT, GitObjectFormat
from signward.policy.settings import Policy
from signward.state import Algorithm, Outcome, Stage, Verdict
from signward.verbs.context import Context
from signward.verbs.git_objects import assess_revisions
from signward.verbs.options import Options
from signward.verbs.verify import assess, assess_as
from signward.wire.git_pack import Allowance, Index, read_packed
from signward.wire.patch import Patched, PatchSet, pieces
from signward.wire.source import BytesSource
from tests.builders import gits, ssh
from tests.builders import openpgp as pgp
from tests.samples.git_object import PARENT, TREE, WHO, commit, merged, tag
from tests.signing import identity as x509_identity
from tests.signing import sign_bytes, signer_of

SSH, OTHER = ssh.Key("ed25519"), ssh.Key("p256")
PGP = pgp.Key("eddsa")
LONG = b"4b825dc642cb6eb9a060e54bf8d69288fbee49044b825dc642cb6eb9a060e54b"[:64]


def judged(raw: bytes, folder: Path, name: str = "", **options: Any) -> Verdict:
    (folder / "allowed").write_text(f"ann@example.org {SSH.line}\n")
    (folder / "ring.gpg").write_bytes(pgp.certificate(PGP, pgp.user_id(PGP)))
    rings = str(folder / "allowed"), str(folder / "ring.gpg")
    source = BytesSource(name or "object.commit", raw)
    context = Context(Options(**{"keyrings": rings, "at": NOW, **options}))
    return assess(source, context)


def changed(raw: bytes, old: bytes, new: bytes) -> bytes:
    assert raw.count(old) >= 1
    return raw.replace(old, new, 1)


@pytest.mark.parametrize("raw", [commit(), commit(b""), commit(b"no end of line"), merged()])
@pytest.mark.parametrize("by", ["ssh", "pgp"])
def test_commits(by: str, raw: bytes, tmp_path: Path) -> None:
    signed = gits.by_ssh(raw, SSH) if by == "ssh" else gits.by_pgp(raw, PGP)
    verdict = judged(signed, tmp_path)
    assert verdict.outcome is Outcome.ACCEPTED, verdict.findings
    assert verdict.publisher is not None
    who = {"ssh": "ann@example.org", "pgp": "Ann <ann@example.org>"}[by]
    assert verdict.publisher.name == who
    assert verdict.facts["id"] == gits.name_of("commit", signed)
    assert verdict.facts["tree"] == TREE.decode()
    assert verdict.facts["committer"] == WHO.decode()
    for old, new in ((b"author Ann", b"author Bob"), (TREE, PARENT), (b"1700000000", b"1700000001"),
                     (b"\n\n", b"\n\nmore\n"), (b"gpgsig ", b"x y\ngpgsig ")):  # fmt: skip
        verdict = judged(changed(signed, old, new), tmp_path)
        assert verdict.cause is Code.SIGNATURE_MISMATCH, old
    assert judged(raw, tmp_path).cause is Code.UNSIGNED


@pytest.mark.parametrize("by", ["ssh", "pgp"])
def test_tags(by: str, tmp_path: Path) -> None:
    raw = tag(b"Release 1\n\nwith words\n")
    made = ssh.signed(raw, SSH, b"git") if by == "ssh" else gits.armoured_pgp(PGP.sign(raw))
    verdict = judged(raw + made, tmp_path)
    assert verdict.outcome is Outcome.ACCEPTED, verdict.findings
    assert (verdict.facts["tag"], verdict.facts["target"]) == ("v1", PARENT.decode())
    moved = judged(changed(raw, PARENT, TREE) + made, tmp_path)
    assert moved.cause is Code.SIGNATURE_MISMATCH
    assert judged(raw, tmp_path).cause is Code.UNSIGNED
    # Git takes the last block for the signature, and what is in front of it for content.
    earlier = raw + b"-----BEGIN PGP SIGNATURE-----\n\nAAAA\n-----END PGP SIGNATURE-----\n"
    again = ssh.signed(earlier, SSH, b"git")
    assert judged(earlier + again, tmp_path).outcome is Outcome.ACCEPTED
    assert judged(raw + made + made, tmp_path).outcome is Outcome.REJECTED


def test_a_signature_inside_a_tag_or_a_message(tmp_path: Path) -> None:
    raw = tag()
    made = ssh.signed(raw, SSH, b"git")
    for behind in (b"more\n", b"\nmore", b"-----BEGIN"):
        verdict = judged(raw + made + behind, tmp_path)
        assert verdict.cause is Code.MALFORMED, behind
    inside = commit(b"Look:\n\n" + gits.header(ssh.signed(commit(), SSH, b"git")))
    assert judged(inside, tmp_path).cause is Code.UNSIGNED
    within = commit(b"Merge\n", gits.header(raw + made, b"mergetag"))
    assert judged(within, tmp_path).cause is Code.UNSIGNED
    assert judged(gits.by_ssh(within, SSH), tmp_path).outcome is Outcome.ACCEPTED


def test_two_signatures_are_one_too_many(tmp_path: Path) -> None:
    raw = commit()
    one = gits.header(ssh.signed(raw, SSH, b"git"))
    two = gits.header(gits.armoured_pgp(PGP.sign(raw)))
    for headers in ((one, two), (two, one), (one, one)):
        verdict = judged(gits.put(raw, *headers), tmp_path)
        assert (verdict.outcome, verdict.cause) == (Outcome.REJECTED, Code.AMBIGUOUS)
    block = gits.header(gits.armoured_pgp(PGP.sign(raw), PGP.sign(raw)))
    assert judged(gits.put(raw, block), tmp_path).cause is Code.AMBIGUOUS
    blocks = gits.header(gits.armoured_pgp(PGP.sign(raw)) * 2)
    assert judged(gits.put(raw, blocks), tmp_path).cause is Code.MALFORMED


def test_headers_that_nothing_is_signed_of(tmp_path: Path) -> None:
    raw = commit()
    own = gits.header(ssh.signed(raw, SSH, b"git"))
    twin = gits.header(ssh.signed(raw, OTHER, b"git"), b"gpgsig-sha256")
    assert judged(gits.put(raw, own, twin), tmp_path).outcome is Outcome.ACCEPTED
    assert judged(gits.put(raw, twin), tmp_path).cause is Code.UNSIGNED
    for name in (b"gpgsigx", b"gpgsig-sha512"):
        hidden = gits.put(raw, own, gits.header(b"hidden words", name))
        assert judged(hidden, tmp_path).cause is Code.UNCOVERED_CONTENT


def test_repositories_of_sha_256(tmp_path: Path) -> None:
    raw = commit().replace(TREE, LONG).replace(PARENT, LONG)
    made = ssh.signed(raw, SSH, b"git")
    signed = gits.put(raw, gits.header(made, b"gpgsig-sha256"))
    verdict = judged(signed, tmp_path)
    assert verdict.outcome is Outcome.ACCEPTED, verdict.findings
    assert verdict.facts["id"] == gits.name_of("commit", signed, "sha256")
    assert judged(gits.put(raw, gits.header(made)), tmp_path).cause is Code.UNSIGNED


@pytest.mark.parametrize(
    "raw",
    [
        changed(gits.by_ssh(commit(), SSH), b"A change", b"A ch\0nge"),
        gits.put(commit(), b"author Eve <e@x> 1 +0000\n", gits.header(b"x")),
        gits.put(commit(), b"tree " + TREE + b"\n"),
        gits.put(commit(), b"encoding UTF-8\nencoding UTF-16\n"),
        b"tree " + TREE + b"\nauthor " + WHO + b"\n\n",
        b"tree " + TREE + b"\nparent abc\nauthor x y\ncommitter x y\n\n",
        b"tree " + TREE + b"\nparent " + LONG + b"\nauthor x y\ncommitter x y\n\n",
        b"tree " + TREE + b"\nauthor x y\ncommitter x y\nword\n\n",
        b"tree " + TREE + b"\nauthor x y\ncommitter x",
        b" tree x\n" + commit(),
        b"\n\nnothing",
        b"",
        tag().replace(b"tag v1\n", b"tag v1\n" + gits.header(b"x")),
        tag().replace(b"type commit\n", b""),
        gits.put(commit(), gits.header(b"no block")),
        gits.put(commit(), b"gpgsig -----BEGIN SIGNED MESSAGE-----\n AAAA\n"),
        gits.put(commit(), gits.header(
            b"-----BEGIN SIGNED MESSAGE-----\nA\n-----END SIGNED MESSAGE-----\n")),
        gits.put(commit(), gits.header(
            b"-----BEGIN SIGNED MESSAGE-----\nMH==\n-----END SIGNED MESSAGE-----\n")),
    ],
)  # fmt: skip
def test_malformed_objects(raw: bytes, tmp_path: Path) -> None:
    context = Context(Options(keyrings=(), at=NOW))
    verdict = assess_as(FORMAT, BytesSource("x.commit", raw), context)
    assert (verdict.outcome, verdict.cause) == (Outcome.REJECTED, Code.MALFORMED)


def test_signatures_for_something_else(tmp_path: Path) -> None:
    assert judged(gits.by_ssh(commit(), SSH, b"file"), tmp_path).cause is Code.WRONG_USAGE
    assert judged(gits.by_ssh(commit(), OTHER), tmp_path).cause is Code.UNTRUSTED_ROOT
    of_another = gits.put(commit(), gits.header(ssh.signed(merged(), SSH, b"git")))
    assert judged(of_another, tmp_path).cause is Code.SIGNATURE_MISMATCH
    intact = Policy(stage=Stage.INTACT)
    assert judged(gits.by_ssh(commit(), OTHER), tmp_path, policy=intact).outcome is (
        Outcome.ACCEPTED
    )


def test_loose_objects(tmp_path: Path) -> None:
    signed = gits.by_ssh(commit(), SSH)
    name = gits.name_of("commit", signed)
    place = f"r/.git/objects/{name[:2]}/{name[2:]}"
    packed = gits.loose("commit", signed)
    assert judged(packed, tmp_path, place).outcome is Outcome.ACCEPTED
    assert judged(packed, tmp_path, f"{place[:-1]}0"[: len(place)]).cause is (
        None if place.endswith("0") else Code.DIGEST_MISMATCH
    )
    assert judged(packed + b"more", tmp_path, place).cause is Code.UNCOVERED_CONTENT
    wrong = zlib.compress(b"commit 5\0" + signed)
    assert judged(wrong, tmp_path, place).cause is Code.MALFORMED
    assert judged(packed[:-4], tmp_path, place).cause is Code.MALFORMED
    assert judged(gits.loose("tag", signed), tmp_path, place).cause is Code.MALFORMED
    bomb = zlib.compress(b"commit 99999999\0" + bytes(20 << 20))
    assert judged(bomb, tmp_path, place).cause is Code.LIMIT_EXCEEDED
    with pytest.raises(NotSignableError, match="cat-file"):
        sign_bytes(place, packed)


def test_what_is_taken_for_an_object() -> None:
    for name in ("c", "a.commit", "a.tag", "a.txt"):
        form = recognise(Peek(name, commit(), commit()[-9:], len(commit())))
        assert form is FORMAT, name
    for name in ("a.ps1", "a.sh", "a.bat", "a.py", "a.exe"):
        assert FORMAT.recognise(Peek(name, commit(), b"", 99)) is Match.NO
    for head in (
        b"tree of life\nauthor ",
        b"\x78\x9c\x00",
        b"x" * 99,
        zlib.compress(b"blob 3\0abc"),
    ):
        assert FORMAT.recognise(Peek("a", head, b"", len(head))) is Match.NO


def _signed_by(signer: Signer, sign: Any, raw: bytes, **asked: Any) -> bytes:
    source = BytesSource("x.commit", raw)
    rounds = FORMAT.sign(source, Request(signer=signer, at=NOW, **asked))
    draft = next(rounds)
    try:
        rounds.send(draft.seal(sign(draft.to_be_signed)))
    except StopIteration as stop:
        patch: PatchSet = stop.value
        return b"".join(pieces(Patched(source, patch)))
    raise AssertionError("one round")


@pytest.mark.parametrize("raw", [commit(), merged(), tag()])
def test_signing_as_the_key_is_held(raw: bytes, tmp_path: Path) -> None:
    plain = Algorithm(scheme="ed25519")
    held = ssh_key(read_key(SSH.blob).spki)
    signer = Signer(certificates=(), algorithm=plain, digest="sha512", holder=held)
    signed = _signed_by(signer, SSH.private.sign, raw)
    assert judged(signed, tmp_path).outcome is Outcome.ACCEPTED
    (key,) = keys_of(pgp.certificate(PGP, pgp.user_id(PGP)))
    by_pgp = Signer(certificates=(), algorithm=plain, digest="sha512", holder=key)
    other = _signed_by(by_pgp, PGP.private.sign, signed, existing=Existing.REPLACE)
    verdict = judged(other, tmp_path)
    assert verdict.outcome is Outcome.ACCEPTED, verdict.findings
    assert verdict.format == "git-object"
    stripped = FORMAT.embed(BytesSource("x", other), ())
    assert b"".join(pieces(Patched(BytesSource("x", other), stripped))) == raw
    for by, profile in ((signer, "git-ssh"), (by_pgp, "openpgp"),
                        (signer_of(x509_identity()), "git")):  # fmt: skip
        artifact = FORMAT.parse(BytesSource("x", raw), None)  # type: ignore[arg-type]
        assert signing_profile(FORMAT, artifact, by) == profile


def test_what_cannot_be_signed() -> None:
    signed = gits.by_ssh(commit(), SSH)
    for asked in ({}, {"existing": Existing.NESTED}):
        with pytest.raises(NotSignableError):
            sign_bytes("x.commit", signed, **asked)
    with pytest.raises(NotSignableError):
        sign_bytes("x.tag", tag(b"no end of line"))
    with pytest.raises(NotSignableError):
        sign_bytes("x.commit", gits.put(commit(), gits.header(b"x", b"gpgsig-sha256")))
    with pytest.raises(NotSignableError):
        FORMAT.embed(BytesSource("x", signed), (b"0", b"0"))


# --- repositories -----------------------------------------------------------------


def of_repository(folder: Path, *names: str) -> list[Verdict]:
    (folder / "allowed").write_text(f"ann@example.org {SSH.line}\n")
    context = Context(Options(keyrings=(str(folder / "allowed"),), at=NOW))
    return list(assess_revisions(str(folder), names, context))


def test_revisions(tmp_path: Path) -> None:
    signed = gits.by_ssh(commit(), SSH)
    name = gits.name_of("commit", signed)
    gits.repository(tmp_path, main=name)
    gits.store(tmp_path, "commit", signed)
    raw = tag(target=name.encode())
    release = gits.store(tmp_path, "tag", raw + ssh.signed(raw, SSH, b"git"))
    packed = f"# pack-refs with: peeled\n{release} refs/tags/v1\n^{name}\n"
    (tmp_path / ".git/packed-refs").write_text(packed)
    found = of_repository(tmp_path, "HEAD", "main", "refs/heads/main", name, "v1", "v1^{}")
    assert {one.outcome for one in found} == {Outcome.ACCEPTED}
    assert [one.facts["object"] for one in found] == ["commit"] * 4 + ["tag", "commit"]
    words = ["verify", "--git", str(tmp_path), "--keyring", str(tmp_path / "allowed")]
    assert run([*words, "v1", "HEAD"]) == 0
    assert run([*words, "--publisher", "bob", "v1"]) == 1
    assert run([*words, "--evidence", str(tmp_path / "e"), "v1"]) == 2
    assert run([*words, "nothing"]) == 2
    (tmp_path / "x.sig").write_bytes(ssh.signed(b"x", SSH))
    assert run([*words, "--detached", str(tmp_path / "x.sig"), "v1"]) == 2
    assert run(["verify", "--git", "", str(tmp_path / "x.sig")]) == 2


@pytest.mark.parametrize("name", ["nope", "../HEAD", "a..b", "f" * 40, "/HEAD", "", "x\0y"])
def test_revisions_that_are_none(name: str, tmp_path: Path) -> None:
    gits.repository(tmp_path)
    with pytest.raises(EvidenceError):
        of_repository(tmp_path, name)


def test_an_object_in_another_s_place_is_rejected(tmp_path: Path) -> None:
    gits.repository(tmp_path, main="ab" * 20)
    gits.store(tmp_path, "commit", gits.by_ssh(commit(), SSH), "ab" * 20)
    (verdict,) = of_repository(tmp_path, "main")
    assert (verdict.outcome, verdict.cause) == (Outcome.REJECTED, Code.DIGEST_MISMATCH)


@pytest.mark.parametrize("target", [b"abc", b"ab", b"ab" * 21])
def test_a_tag_of_what_is_no_name_ends_in_a_message(target: bytes, tmp_path: Path) -> None:
    raw = tag().replace(PARENT, target).replace(TREE, target)
    name = gits.name_of("tag", raw)
    gits.repository(tmp_path, main=name)
    gits.store(tmp_path, "tag", raw)
    with pytest.raises(EvidenceError, match="no name"):
        of_repository(tmp_path, "main^{}")


def test_what_a_tag_tags_is_not_taken_from_one_in_its_place(tmp_path: Path) -> None:
    gits.repository(tmp_path, main="ab" * 20)
    name = gits.store(tmp_path, "commit", gits.by_ssh(commit(), SSH))
    gits.store(tmp_path, "tag", tag(target=name.encode()), "ab" * 20)
    with pytest.raises(EvidenceError, match="its name"):
        of_repository(tmp_path, "main^{}")


def test_an_older_tag_under_a_newer_name_is_rejected(tmp_path: Path) -> None:
    gits.repository(tmp_path)
    raw = tag(target=gits.store(tmp_path, "commit", gits.by_ssh(commit(), SSH)).encode())
    own = str(FORMAT.parse(BytesSource("x", raw), ParseOptions()).facts["tag"])
    name = gits.store(tmp_path, "tag", raw + ssh.signed(raw, SSH, b"git"))
    for ref in (own, "v99"):
        (tmp_path / ".git/refs/tags" / ref).write_text(name)
    (tmp_path / ".git/refs/heads/main").write_text("ref: refs/tags/v99")
    good = of_repository(tmp_path, own, f"refs/tags/{own}", name, "v99^{}")
    assert {one.outcome for one in good} == {Outcome.ACCEPTED}
    for verdict in of_repository(tmp_path, "v99", "refs/tags/v99", "tags/v99", "HEAD"):
        assert (verdict.outcome, verdict.cause) == (Outcome.REJECTED, Code.ATTRIBUTE_RULE)


def test_other_repositories(tmp_path: Path) -> None:
    with pytest.raises(EvidenceError, match="no repository"):
        of_repository(tmp_path, "HEAD")
    gits.repository(tmp_path, HEAD="ref: refs/heads/loop\n", loop="ref: refs/heads/loop")
    with pytest.raises(EvidenceError, match="no revision"):
        of_repository(tmp_path, "HEAD")
    blob = gits.store(tmp_path, "blob", b"abc")
    with pytest.raises(EvidenceError, match="found a blob"):
        of_repository(tmp_path, blob)
    place = tmp_path / ".git/objects" / "cd"
    place.mkdir()
    (place / ("cd" * 19)).write_bytes(b"no object")
    with pytest.raises(EvidenceError, match="unpack"):
        of_repository(tmp_path, "cd" * 20)


def test_work_trees_and_alternates(tmp_path: Path) -> None:
    main, tree, clone = tmp_path / "main", tmp_path / "tree", tmp_path / "clone"
    gits.repository(main)
    name = gits.store(main, "commit", gits.by_ssh(commit(), SSH))
    (main / ".git/refs/heads/main").write_text(name)
    (main / ".git/worktrees/tree").mkdir(parents=True)
    (main / ".git/worktrees/tree/commondir").write_text("../..\n")
    (main / ".git/worktrees/tree/HEAD").write_text("ref: refs/heads/main\n")
    tree.mkdir()
    (tree / ".git").write_text("gitdir: ../main/.git/worktrees/tree\n")
    gits.repository(clone, main=name)
    (clone / ".git/objects/info").mkdir()
    loop = f"{main / '.git/objects'}\n.\n"
    (clone / ".git/objects/info/alternates").write_text(loop)
    for folder in (main, main / ".git", tree, clone):
        assert [v.outcome for v in of_repository(folder, "HEAD")] == [Outcome.ACCEPTED], folder


def packed(
    folder: Path, *entries: bytes, names: dict[str, int] | None = None, at: str = ""
) -> None:
    """Put a pack into a new repository, whose branch is ``at``."""
    gits.repository(folder, main=at)
    data, places = gits.pack(*entries)
    found = {name: places[number] for name, number in (names or {at: 0}).items()}
    (folder / ".git/objects/pack/p.pack").write_bytes(data)
    (folder / ".git/objects/pack/p.idx").write_bytes(gits.index(found))


def test_packs(tmp_path: Path) -> None:
    base = gits.by_ssh(commit(), SSH)
    made = gits.by_ssh(commit(b"Another\n"), SSH)
    first, second = gits.name_of("commit", base), gits.name_of("commit", made)
    plain = gits.entry(1, base)
    change = gits.delta(base, made, gits.copy(0, 30), bytes([99]) + made[30:129],
                        *(bytes([len(made[i : i + 127])]) + made[i : i + 127]
                          for i in range(129, len(made), 127)))  # fmt: skip
    by_place = gits.entry(6, change, gits.back(len(plain)))
    by_name = gits.entry(7, change, bytes.fromhex(first))
    for number, told in enumerate((by_place, by_name)):
        folder = tmp_path / str(number)
        folder.mkdir()
        packed(folder, plain, told, names={first: 0, second: 1}, at=second)
        found = of_repository(folder, "HEAD", first)
        assert [one.outcome for one in found] == [Outcome.ACCEPTED] * 2


@pytest.mark.parametrize(
    "entry",
    [
        gits.entry(1, b"abc", size=4),
        gits.entry(1, b"abc", size=2),
        gits.entry(1, b"", size=1 << 30),
        gits.entry(5, b"abc"),
        gits.entry(6, b"abc", gits.back(5000)),
        gits.entry(6, b"abc", b"\0"),
        gits.entry(7, b"abc", bytes(20)),
        gits.entry(6, gits.delta(b"xyz", b"x", gits.copy(0, 1)), gits.back(20)),
        b"\x93abc",
        b"\xff" * 60,
        b"\xe0" + b"\xff" * 60,
    ],
)
def test_packs_that_cannot_be_read(entry: bytes, tmp_path: Path) -> None:
    packed(tmp_path, gits.entry(3, b"filler"), entry, names={"ab" * 20: 1}, at="ab" * 20)
    with pytest.raises(EvidenceError):
        of_repository(tmp_path, "HEAD")


@pytest.mark.parametrize(
    "change",
    [
        gits.delta(b"base", b"bas", gits.copy(0, 4)),
        gits.delta(b"base", b"base!", gits.copy(0, 4)),
        gits.delta(b"base", b"ase", gits.copy(2, 3)),
        gits.delta(b"base", b"\0", b"\0\0"),
        gits.delta(b"base", b"abc", b"\x05ab"),
        gits.delta(b"other", b"abc", b"\x03abc"),
        gits.length(4) + gits.length(1 << 40),
        b"\xff" * 20,
        b"",
    ],
)
def test_deltas_that_do_not_fit(change: bytes) -> None:
    plain = gits.entry(1, b"base")
    data, places = gits.pack(plain, gits.entry(6, change, gits.back(len(plain))))
    with pytest.raises(BadInputError):
        read_packed(BytesSource("p", data), places[1], 20, _nowhere, Allowance())


def test_a_delta_by_itself_ends() -> None:
    entry = gits.entry(7, gits.delta(b"", b"", b""), bytes(20))
    data, places = gits.pack(entry)
    source = BytesSource("p", data)
    calls = []

    def again(name: bytes) -> tuple[str, bytes]:
        calls.append(name)
        if len(calls) > 50:
            raise EvidenceError("enough")
        return read_packed(source, places[0], 20, again, Allowance())

    with pytest.raises(EvidenceError):
        again(bytes(20))


def test_a_loop_of_names_ends(tmp_path: Path) -> None:
    entry = gits.entry(7, gits.delta(b"", b"", b""), bytes.fromhex("ab" * 20))
    packed(tmp_path, entry, at="ab" * 20)
    with pytest.raises(EvidenceError, match="deltas by name"):
        of_repository(tmp_path, "HEAD")


def test_objects_by_name_share_one_allowance(tmp_path: Path) -> None:
    big, names = bytes(4 << 20), [f"{number:02x}" * 20 for number in range(1, 31)]
    change = gits.delta(big, big, *(gits.copy(0, 1 << 20) for _ in range(4)))
    entries = [gits.entry(7, change, bytes.fromhex(after)) for after in names[1:]]
    packed(tmp_path, *entries, gits.entry(1, big), at=names[0],
           names={name: number for number, name in enumerate(names)})  # fmt: skip
    with pytest.raises(EvidenceError, match="octets of work"):
        of_repository(tmp_path, "HEAD")


def test_a_delta_of_countless_commands_ends_soon() -> None:
    count = 2_000_000
    change = gits.length(1) + gits.length(count) + b"\x90\x01" * count
    plain = gits.entry(1, b"x")
    data, places = gits.pack(plain, gits.entry(6, change, gits.back(len(plain))))
    with pytest.raises(LimitError):
        read_packed(BytesSource("p", data), places[1], 20, _nowhere, Allowance())


def _nowhere(name: bytes) -> tuple[str, bytes]:
    raise EvidenceError(name.hex())


@given(st.binary(max_size=200), st.integers(min_value=0, max_value=300))
def test_any_pack_is_read_or_refused(data: bytes, at: int) -> None:
    whole = gits.pack(gits.entry(1, b"base"), data)[0]
    with contextlib.suppress(BadInputError, EvidenceError):
        read_packed(BytesSource("p", whole), at, 20, _nowhere, Allowance())
    try:
        index = Index(BytesSource("i", gits.index({"ab" * 20: 12})[:8] + data * 40), 20)
        index.find(bytes.fromhex("ab" * 20))
    except BadInputError:
        pass


@given(st.binary(max_size=300))
def test_any_object_is_read_or_refused(data: bytes) -> None:
    for octets in (data, commit() + data, commit()[:130] + data, tag() + data):
        with contextlib.suppress(BadInputError):
            read_text(octets)
    with contextlib.suppress(BadInputError):
        unpacked(zlib.compress(b"commit 9\0" + data)[: len(data)])


@given(st.integers(min_value=0), st.integers(min_value=0, max_value=7))
def test_no_bit_can_be_changed(position: int, bit: int) -> None:
    signed = bytearray(gits.by_ssh(merged(), SSH))
    signed[position % len(signed)] ^= 1 << bit
    intact = Options(policy=Policy(stage=Stage.INTACT), at=NOW)
    source = BytesSource("x.commit", bytes(signed))
    verdict = assess_as(GitObjectFormat(), source, Context(intact))
    assert verdict.outcome is not Outcome.ACCEPTED
