"""Commits and tags: what git signs we accept, what we sign git accepts, and we read its stores."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from conformance.authenticode.pki import Identity, issue
from cryptography.hazmat.primitives import serialization

from signward.cli.commands import run
from signward.cli.verify import exit_code
from signward.findings import Code
from signward.policy.settings import Policy
from signward.state import Outcome, Stage, Verdict
from signward.verbs.context import Context
from signward.verbs.git_objects import assess_revisions
from signward.verbs.options import Options
from signward.verbs.verify import assess_path

pytestmark = pytest.mark.interop

WHO = "ann@example.org"
KINDS = ("openpgp", "ssh", "x509")


def tool(folder: Path, *words: str, data: str = "", check: bool = True) -> str:
    """Run a tool with a home of its own; return what it says."""
    if shutil.which(words[0]) is None:
        pytest.skip(f"{words[0]} is not installed")
    home = folder / "home"
    home.mkdir(mode=0o700, exist_ok=True)
    own = {"HOME": str(home), "GNUPGHOME": str(home), "GIT_CONFIG_NOSYSTEM": "1"}
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, input=data,
                          env={**os.environ, **own}, check=False, timeout=120)  # fmt: skip
    assert not check or done.returncode == 0, done.stderr
    return done.stdout if done.returncode == 0 else ""


def by_openpgp(folder: Path) -> dict[str, str]:
    gpg = ("gpg", "--batch", "--quiet", "--pinentry-mode=loopback", "--passphrase", "")
    tool(folder, *gpg, "--quick-gen-key", f"Ann <{WHO}>", "ed25519", "sign", "1y")
    tool(folder, *gpg, "--output", "secret.asc", "--armor", "--export-secret-keys")
    tool(folder, *gpg, "--output", "ring.gpg", "--export")
    return {"user.signingkey": WHO}


def by_ssh(folder: Path) -> dict[str, str]:
    tool(folder, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", "secret.asc")
    public = (folder / "secret.asc.pub").read_text()
    (folder / "ring.gpg").write_text(f"{WHO} {public}")
    return {
        "gpg.format": "ssh",
        "user.signingkey": str(folder / "secret.asc"),
        "gpg.ssh.allowedSignersFile": str(folder / "ring.gpg"),
    }


def by_x509(folder: Path) -> dict[str, str]:
    """Let gpgsm have a certificate of our own, whose key its agent keeps under a password."""
    root = issue("Root of Ann", ca=True, ekus=None, usage=("keyCertSign", "cRLSign"))
    who = issue("Ann", issuer=root)
    _write_identity(folder, root, who)
    home = folder / "home"
    home.mkdir(mode=0o700, exist_ok=True)
    (home / "gpgsm.conf").write_text("disable-crl-checks\n")
    (folder / "pass").write_text("x\n")
    program = folder / "program"
    words = '--pinentry-mode loopback --passphrase-fd 3 "$@" 3<'
    program.write_text(f"#!/bin/sh\nexec gpgsm {words}{folder / 'pass'}\n")
    program.chmod(0o700)
    text = tool(folder, "openssl", "x509", "-in", "root.pem", "-noout", "-fingerprint", "-sha1")
    (home / "trustlist.txt").write_text(f"{text.strip().rpartition('=')[2]} S relax\n")
    tool(folder, str(program), "--batch", "--import", "both.p12")
    listed = tool(folder, "gpgsm", "--with-colons", "-K").splitlines()
    fingerprint = next(line for line in listed if line.startswith("fpr:")).split(":")[9]
    return {
        "gpg.format": "x509",
        "gpg.x509.program": str(program),
        "user.signingkey": f"0x{fingerprint}",
    }


def _write_identity(folder: Path, root: Identity, who: Identity) -> None:
    def pem(one: Identity) -> str:
        from conformance.authenticode.pki import pem as encoded

        return encoded(one.certificate).decode()

    secret = who.key.private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (folder / "secret.asc").write_text(secret.decode() + pem(who))
    (folder / "root.pem").write_text(pem(root))
    tool(folder, "openssl", "pkcs12", "-export", "-in", "secret.asc", "-certfile", "root.pem",
         "-keypbe", "PBE-SHA1-3DES", "-certpbe", "PBE-SHA1-3DES", "-macalg", "sha1",
         "-passout", "file:/dev/stdin", "-out", "both.p12", data="x\n")  # fmt: skip


SETUPS: dict[str, Callable[[Path], dict[str, str]]] = {
    "openpgp": by_openpgp, "ssh": by_ssh, "x509": by_x509,
}  # fmt: skip


def made(folder: Path, kind: str) -> None:
    """Make a repository whose user signs in this way."""
    settings = {"user.name": "Ann", "user.email": WHO, **SETUPS[kind](folder)}
    git(folder, "init", "-q", "-b", "main", "repo")
    for name, value in settings.items():
        git(folder, "-C", "repo", "config", name, value)


def git(folder: Path, *words: str, data: str = "", check: bool = True) -> str:
    return tool(folder, "git", *words, data=data, check=check).strip()


def options(folder: Path, kind: str) -> Options:
    if kind == "x509":
        return Options(anchors=(str(folder / "root.pem"),))
    return Options(keyrings=(str(folder / "ring.gpg"),))


def judged(folder: Path, kind: str, *names: str) -> list[Verdict]:
    return list(assess_revisions(str(folder / "repo"), names, Context(options(folder, kind))))


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest, tmp_path: Path) -> object:
    made(tmp_path, request.param)
    yield request.param
    tool(tmp_path, "gpgconf", "--kill", "all", check=False)


@pytest.mark.confirms("git-object", "verify", "git")
def test_git_signs(kind: str, tmp_path: Path) -> None:
    repo = ("-C", "repo")
    git(tmp_path, *repo, "commit", "-q", "--allow-empty", "-S", "-m", "One\n\nand why")
    git(tmp_path, *repo, "tag", "-s", "-m", "Release 1", "v1")
    git(tmp_path, *repo, "commit", "-q", "--allow-empty", "-m", "two, by nobody")
    first, tag, head = judged(tmp_path, kind, "HEAD", "v1", "v1^{}")[::-1]
    assert {first.outcome, tag.outcome} == {Outcome.ACCEPTED}, (first.findings, tag.findings)
    assert head.cause is Code.UNSIGNED
    assert first.publisher is not None
    assert first.publisher.name == {"openpgp": f"Ann <{WHO}>", "ssh": WHO}.get(kind, "Conformance")
    git(tmp_path, *repo, "repack", "-adq")
    git(tmp_path, *repo, "pack-refs", "--all")
    again = judged(tmp_path, kind, "v1", "v1^{}")
    assert [one.outcome for one in again] == [Outcome.ACCEPTED] * 2


@pytest.mark.confirms("git-object", "sign", "git")
def test_git_takes_what_we_sign(kind: str, tmp_path: Path) -> None:
    repo = ("-C", "repo")
    git(tmp_path, *repo, "commit", "-q", "--allow-empty", "-m", "One\n\nand why")
    git(tmp_path, *repo, "tag", "-a", "-m", "Release 1", "v1")
    for what, name, verb in (("commit", "HEAD", "verify-commit"), ("tag", "v1", "verify-tag")):
        file = tmp_path / f"object.{what}"
        file.write_text(git(tmp_path, *repo, "cat-file", what, name) + "\n")
        words = ["sign", "--key", f"file:{tmp_path / 'secret.asc'}", str(file)]
        assert run(words) == 0
        signed = git(tmp_path, *repo, "hash-object", "-t", what, "-w", str(file))
        git(tmp_path, *repo, verb, signed)
        (verdict,) = judged(tmp_path, kind, signed)
        assert verdict.outcome is Outcome.ACCEPTED, verdict.findings
        assert assess_path(str(file), Context(options(tmp_path, kind))).outcome is (
            Outcome.ACCEPTED
        )
        spoilt = file.read_text().replace("Ann", "Eve", 1)
        (tmp_path / "spoilt").write_text(spoilt)
        bad = git(tmp_path, *repo, "hash-object", "-t", what, "-w", str(tmp_path / "spoilt"))
        assert judged(tmp_path, kind, bad)[0].outcome is Outcome.REJECTED
        with pytest.raises(AssertionError):
            git(tmp_path, *repo, verb, bad)


def _tampered(raw: str) -> dict[str, tuple[str, bool]]:
    """Return commits that were made of a signed one, and whether git takes them."""
    head, _, message = raw.partition("\n\n")
    start = head.index("gpgsig ")
    plain, signature = head[:start], head[start:]
    twin = signature.replace("gpgsig", "gpgsig-sha256", 1)
    return {
        "as it was": (raw, True),
        "a header more": (f"{plain}{signature}\nx-note hidden\n\n{message}", False),
        "an encoding": (f"{plain}encoding UTF-16\n{signature}\n\n{message}", False),
        "two signatures": (f"{plain}{signature}\n{signature}\n\n{message}", True),
        "another form's": (f"{plain}{signature}\n{twin}\n\n{message}", True),
        "words that look so": (f"{plain}{signature}\ngpgsigx hidden\n\n{message}", True),
        "in the message": (f"{plain}\n{signature}\n\n{message}", False),
        "another message": (f"{plain}{signature}\n\n{message}more\n", False),
    }


def test_we_agree_on_what_was_changed(tmp_path: Path) -> None:
    made(tmp_path, "ssh")
    git(tmp_path, "-C", "repo", "commit", "-q", "--allow-empty", "-S", "-m", "One")
    raw = git(tmp_path, "-C", "repo", "cat-file", "commit", "HEAD") + "\n"
    stricter = {
        # It hands both to ssh-keygen, which reads the first.
        "two signatures": Code.AMBIGUOUS,
        # It takes all headers that begin with gpgsig out of what is signed, whatever they are.
        "words that look so": Code.UNCOVERED_CONTENT,
    }
    for name, (text, taken) in _tampered(raw).items():
        (tmp_path / "changed").write_text(text)
        words = ("hash-object", "-t", "commit", "-w", "--literally", str(tmp_path / "changed"))
        made_id = git(tmp_path, "-C", "repo", *words)
        told = git(tmp_path, "-C", "repo", "log", "-1", "--format=%G?", made_id, check=False)
        assert (told == "G") is taken, name
        (verdict,) = judged(tmp_path, "ssh", made_id)
        assert (verdict.outcome is Outcome.ACCEPTED) is (taken and name not in stricter), name
        assert name not in stricter or verdict.cause is stricter[name]


def test_git_takes_an_older_tag_for_a_newer_and_we_do_not(tmp_path: Path) -> None:
    made(tmp_path, "ssh")
    repo = ("-C", "repo")
    git(tmp_path, *repo, "commit", "-q", "--allow-empty", "-S", "-m", "One")
    git(tmp_path, *repo, "tag", "-s", "-m", "Release 1", "v1")
    git(tmp_path, *repo, "update-ref", "refs/tags/v2", "v1")
    for name, taken in (("v1", True), ("v2", False), ("v2^{}", True)):
        assert (judged(tmp_path, "ssh", name)[0].outcome is Outcome.ACCEPTED) is taken
    git(tmp_path, *repo, "verify-tag", "v2")
    git(tmp_path, *repo, "tag", "-d", "v1")
    words = ("git", "-C", str(tmp_path / "repo"), "describe", "v2")
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert "externally known as" in done.stderr


@pytest.mark.parametrize("by_name", ["true", "false"])
def test_deltas_as_git_writes_them(by_name: str, tmp_path: Path) -> None:
    made(tmp_path, "ssh")
    repo = ("-C", "repo", "-c", f"repack.useDeltaBaseOffset={by_name}")
    long = "\n".join(f"line {number} of a long message" for number in range(200))
    for number in range(12):
        git(tmp_path, *repo, "commit", "-q", "--allow-empty", "-S", "-m", f"{number}\n\n{long}")
    git(tmp_path, *repo, "repack", "-adfq", "--depth=50", "--window=50")
    listed = git(tmp_path, *repo, "verify-pack", "-v", *_indexes(tmp_path)).splitlines()
    assert sum(len(line.split()) == 7 for line in listed) >= 5, "deltas"
    names = git(tmp_path, *repo, "rev-list", "HEAD").split()
    assert {one.outcome for one in judged(tmp_path, "ssh", *names)} == {Outcome.ACCEPTED}


def _indexes(folder: Path) -> list[str]:
    return [str(one) for one in (folder / "repo/.git/objects/pack").glob("*.idx")]


def test_repositories_of_sha_256(tmp_path: Path) -> None:
    made(tmp_path, "ssh")
    shutil.rmtree(tmp_path / "repo")
    git(tmp_path, "init", "-q", "-b", "main", "--object-format=sha256", "repo")
    for name, value in (("user.name", "Ann"), ("user.email", WHO), ("gpg.format", "ssh"),
                        ("user.signingkey", str(tmp_path / "secret.asc"))):  # fmt: skip
        git(tmp_path, "-C", "repo", "config", name, value)
    git(tmp_path, "-C", "repo", "commit", "-q", "--allow-empty", "-S", "-m", "One")
    assert judged(tmp_path, "ssh", "HEAD")[0].outcome is Outcome.ACCEPTED
    git(tmp_path, "-C", "repo", "repack", "-adq")
    (verdict,) = judged(tmp_path, "ssh", "HEAD")
    assert verdict.outcome is Outcome.ACCEPTED
    assert len(str(verdict.facts["id"])) == 64


def test_work_trees_and_clones_that_share(tmp_path: Path) -> None:
    made(tmp_path, "ssh")
    git(tmp_path, "-C", "repo", "commit", "-q", "--allow-empty", "-S", "-m", "One")
    git(tmp_path, "-C", "repo", "worktree", "add", "-q", "../tree")
    git(tmp_path, "clone", "-q", "--shared", "--bare", "repo", "bare.git")
    context = Context(options(tmp_path, "ssh"))
    for name in ("tree", "bare.git"):
        (verdict,) = assess_revisions(str(tmp_path / name), ["HEAD"], context)
        assert verdict.outcome is Outcome.ACCEPTED, name


ROWS = {
    "gitsign/internal/e2e/testdata/online.commit": 0,
    "gitsign/pkg/attest/testdata/fulcio-cert.in.txt": 0,
    "gitsign/pkg/git/testdata/commit.txt": 0,
    "gitsign/pkg/git/testdata/tag.txt": 0,
    # GitHub's own key made this one, and none of the vectors holds it: whether it is intact
    # nobody can tell here.
    "gitsign/pkg/attest/testdata/gpg.in.txt": 3,
}
"""The rows of git's formats at ``--stage intact``, and how each is answered."""


def test_the_vectors_rows(vectors: Path) -> None:
    told = (vectors / "EXPECTED.tsv").read_text().splitlines()
    listed = {line.split("\t")[0] for line in told if line.split("\t")[1].startswith("git-")}
    assert listed == ROWS.keys()
    context = Context(Options(policy=Policy(stage=Stage.INTACT)))
    found = {name: assess_path(str(vectors / name), context) for name in ROWS}
    assert {name: exit_code(verdict) for name, verdict in found.items()} == ROWS
    assert found["gitsign/pkg/attest/testdata/gpg.in.txt"].cause is Code.KEY_MISSING
