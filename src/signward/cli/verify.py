"""``signward verify FILE...``: one line per file, or JSON, and an exit code."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from signward.cli.arguments import EXIT_CODES, add_judgement, options_from
from signward.cli.packages import add_packages, packages_from, replaced, tell_troubles
from signward.cli.verity import add_verity, verity_from

if TYPE_CHECKING:
    from collections.abc import Iterable

    from signward.policy.record import Record
    from signward.state import Verdict

DESCRIPTION = """\
Say of each file who signed it, whether that still counts, and if not, why not.

ACCEPTED names the publisher and when he signed; REJECTED names the cause;
INDETERMINATE means that something needed is missing, or that files of this kind
cannot be judged yet.  It is neither good nor bad."""

EPILOG = f"""examples:
  signward verify setup.exe library.dll
  signward verify Tool.app
  signward verify --explain driver.sys
  signward verify --publisher "Kitware, Inc." cmake.exe
  signward verify --catalog /mnt/Windows/System32/CatRoot notepad.exe
  signward verify --stage intact selfsigned.exe
  signward verify --policy policy.toml setup.exe
a detached signature, in a file of its own (FILE.p7s, .asc, .minisig and .sig
are found by themselves where FILE carries none):
  signward verify --detached image.bin.p7s image.bin
by a key of a keyring (OpenPGP), or a public key of minisign, signify or SSH:
  signward verify --detached a.iso.asc --keyring /usr/share/keyrings a.iso
a file, or a release of a repository, by those on SSH's list of allowed signers:
  signward verify --detached a.tar.sig --keyring allowed_signers a.tar
  signward verify --git . --keyring allowed_signers v1.0 HEAD
by an attestation of PyPI's, npm's or GitHub's beside it, and whose it must be:
  signward verify --identity a@b.org --identity-issuer https://gitlab.com a.whl
a file that Linux keeps an IMA or fs-verity signature of:
  signward verify --anchor /etc/keys/x509_ima.der /usr/bin/busybox
with your own anchor and revocation list, as of a date:
  signward verify --anchor root.pem --crl ca.crl --at 2026-01-01 tool.exe
a boot program, as firmware with this dbx and shim with its newest level would:
  signward verify --dbx dbxupdate.bin --sbat-level latest shimx64.efi
a write of a UEFI variable, by the key it is to be taken from:
  signward verify --anchor kek.pem --after 2026-05-01 dbx.auth
fetch what is missing, keep all of it, and give the same answer from it later:
  signward verify --online --evidence setup.evidence setup.exe
  signward verify --replay setup.evidence --json setup.exe

{EXIT_CODES};
of several files the worst counts, in the order 1, 3, 4, 0
"""

_GRAVITY = (1, 3, 4, 0)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``verify``."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="what to judge: files, and "
                        "macOS bundles (.app, .framework, .kext, ...) as a whole")  # fmt: skip
    parser.add_argument("--detached", "--attestation", metavar="SIG", help="judge FILE by this "
                        "signature beside it: detached CMS (.p7s, DER or PEM), OpenPGP (.asc), "
                        "minisign, signify, SSH, IMA (.sig), fs-verity, a Sigstore bundle or "
                        "attestation, or a bare value by a key of --keyring")  # fmt: skip
    parser.add_argument("--git", metavar="REPO", help="FILE is a revision of this repository: "
                        "judge its commit or tag (a whole name, HEAD, a tag, a branch; TAG^{} for "
                        "what it tags)")  # fmt: skip
    add_verity(parser.add_argument_group("fs-verity: with --detached"))
    output = parser.add_argument_group("output")
    output.add_argument("--explain", action="store_true",
                        help="tell every finding, with the clause that asks for it")  # fmt: skip
    output.add_argument("--format", choices=("text", "json"), default="text",
                        metavar="{text,json}", help="one line, or one JSON object, per file "
                        "(default: text)")  # fmt: skip
    output.add_argument("--json", dest="format", action="store_const", const="json",
                        help="the same as --format json")  # fmt: skip
    add_judgement(parser)
    add_packages(parser)
    proof = parser.add_argument_group("evidence: answers that can be repeated")
    chosen = proof.add_mutually_exclusive_group()
    chosen.add_argument("--evidence", metavar="DIR",
                        help="write all that the verdicts rest on to a new folder")  # fmt: skip
    chosen.add_argument("--replay", metavar="DIR",
                        help="judge on what such a folder holds, and nothing else")  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Judge every file; return the worst one's exit code."""
    from signward.policy.record import record
    from signward.report.text import Tally

    codes, tally = set(), Tally()
    for verdict in _verdicts(arguments):
        data = record(verdict)
        tally.add(data)
        codes.add(exit_code(verdict))
        _print(data, arguments)
    if tally.files > 1 and arguments.format == "text":
        sys.stdout.flush()
        sys.stderr.write(f"signward: {tally}\n")
    return next(code for code in _GRAVITY if code in codes)


def _verdicts(arguments: argparse.Namespace) -> Iterable[Verdict]:
    if arguments.git is not None:
        return _of_repository(arguments)
    if arguments.detached is not None:
        return [_detached(arguments)]
    if arguments.replay:
        return _replayed(arguments)
    from signward.errors import EvidenceError

    options = options_from(arguments)
    if arguments.evidence:
        if options.digest_lists or options.device_claims:
            raise EvidenceError("--evidence: found --digest-list or --device-says, required "
                                "neither: bundles do not hold them")  # fmt: skip
        from signward.verbs.evidence import assess_with_evidence

        verdicts, digest = assess_with_evidence(arguments.files, options, arguments.evidence)
        print(f"signward: {arguments.evidence}: manifest SHA-256 {digest}", file=sys.stderr)
        return verdicts
    from signward.verbs.beside import assess_with_companions
    from signward.verbs.context import Context

    packages = packages_from(arguments, arguments.files, options)
    context = Context(replaced(options, packages))
    tell_troubles(context.system if packages is not None else None)
    return (assess_with_companions(path, context) for path in arguments.files)


def _detached(arguments: argparse.Namespace) -> Verdict:
    from signward.errors import EvidenceError
    from signward.verbs.context import Context
    from signward.verbs.detached import assess_detached

    if len(arguments.files) != 1:
        raise EvidenceError("--detached: found several files, required one for one signature")
    if arguments.replay or arguments.evidence:
        raise EvidenceError("--detached: found --evidence or --replay, required neither: bundles "
                            "hold no detached signatures")  # fmt: skip
    options = options_from(arguments)
    if options.rules is not None:
        raise EvidenceError("--detached: found --policy, required none: rules speak of files that "
                            "carry their signatures")  # fmt: skip
    context = Context(options)
    tree = verity_from(arguments)
    return assess_detached(arguments.files[0], arguments.detached, context, tree)


def _of_repository(arguments: argparse.Namespace) -> Iterable[Verdict]:
    from signward.errors import EvidenceError
    from signward.verbs.context import Context
    from signward.verbs.git_objects import assess_revisions

    options = options_from(arguments)
    of_files = (arguments.replay, arguments.evidence, options.rules, arguments.detached)
    if not arguments.git or any(one is not None for one in of_files):
        raise EvidenceError("--git: found no name, or --detached, --evidence, --replay or "
                            "--policy, required a repository and none of these: they speak of "
                            "files")  # fmt: skip
    return assess_revisions(arguments.git, arguments.files, Context(options))


def _replayed(arguments: argparse.Namespace) -> Iterable[Verdict]:
    from signward.errors import EvidenceError
    from signward.verbs.options import Options
    from signward.verbs.replay import replay

    if options_from(arguments) != Options():
        raise EvidenceError("--replay takes anchors, time and policy from its bundle alone")
    return [replay(arguments.replay, path) for path in arguments.files]


def exit_code(verdict: Verdict) -> int:
    """Return a verdict's exit code: 0 reached, 1 rejected, 3 cannot tell, 4 not signed."""
    from signward.findings import Code
    from signward.state import Outcome

    if verdict.outcome is Outcome.ACCEPTED:
        return 0
    if verdict.outcome is Outcome.INDETERMINATE:
        return 3
    return 4 if verdict.cause in (Code.UNSIGNED, Code.AD_HOC) else 1


def _print(data: Record, arguments: argparse.Namespace) -> None:
    from signward.policy.record import to_json
    from signward.report import text

    if arguments.format == "json":
        sys.stdout.write(to_json(data).decode() + "\n")
        return
    tell = text.explain if arguments.explain else text.line
    out = sys.stdout
    told = tell(data, colour=text.wants_colour(out), width=text.terminal_width(out))
    out.write(told + "\n")
