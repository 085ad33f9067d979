"""``signward sign FILE...``: sign files in place or into a folder, and say what became of each."""

from __future__ import annotations

import argparse
import sys
from contextlib import closing
from typing import TYPE_CHECKING

from signward.cli.arguments import add_revocation, add_trust
from signward.cli.results import add_output, report
from signward.cli.verity import add_verity, verity_from

if TYPE_CHECKING:
    from signward.verbs.detached import Beside
    from signward.verbs.sign import SignOptions
    from signward.wire.verity import Parameters

DESCRIPTION = """\
Sign files: each keeps its name, mode and times, and is replaced whole or not
at all.

Every result is assessed before it is released: it must be intact, made with
the certificate's key, and the certificate must be valid now and meant for
signing code.  That nobody here knows a path to a root, or whether the
certificate is revoked, is a warning."""

EPILOG = """examples:
  signward sign --key file:release.pem setup.exe library.dll
  signward sign --key pkcs12:id.p12 --option runtime=yes Tool.app
  signward sign --key pkcs12:release.p12 --pass-file pass.txt setup.msi
  signward sign --key pkcs12:release.p12 --timestamp URL --out signed/ *.exe
  signward sign --key 'pkcs11:token=Release;object=codesign' --cert ca.pem a.ps1
by a signing service, which keeps the key, timestamps and logs:
  signward sign --key https://signer.example/keys/release --receipts DIR a.exe
add a second signature, beside the one that is there:
  signward sign --key file:second.pem --nested setup.exe
sign a file of any kind, beside it:
  signward sign --key file:release.pem --detached image.bin
  signward sign --key file:secret.asc --detached --as openpgp archive.tar
  signward sign --key file:minisign.key --detached archive.tar
sign whole trees for Linux (IMA), and single files for fs-verity:
  signward sign --key file:ima.pem --ima /usr/bin /usr/lib
  signward sign --key file:ima.pem --fs-verity program
see what would be done, and whether it would be accepted:
  signward sign --key file:release.pem --dry-run --require-accepted setup.exe

Passwords and tokens come from --pass-file, from the environment
(SIGNWARD_PASSWORD) or from a prompt; never from the command line.

--json writes one object for each file, with all of these: path, outcome
(signed, planned, failed; with --ima also kept: signed so already, and
hashed), format, output (where the result is), members
(signed inside, with --deep), signer, algorithm, problem and hint (why it
failed), warnings (what a verifier may object to), receipts (files of
--receipts).  Octets of a name that are
no UTF-8 stand as \\xNN.

exit codes: 0 every file was signed, 1 some were not, 2 command line, key or
output; ended by a signal: 128 and its number (Ctrl-C: 130), whole files only
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``sign``."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="what to sign: files, and macOS "
                        "bundles, with the code in them")  # fmt: skip
    _add_key(parser.add_argument_group("key: who signs"))
    _add_signature(parser.add_argument_group("signature: how"))
    output = parser.add_argument_group("output")
    add_output(output)
    output.add_argument("--receipts", default="", metavar="DIR",
                        help="with a served key, write the log's receipt for each file there, "
                        "as NAME.receipt")  # fmt: skip
    assess = parser.add_argument_group("assessment of the result")
    assess.add_argument("--require-accepted", action="store_true",
                        help="release nothing that verify would not accept")  # fmt: skip
    add_trust(assess)
    add_revocation(assess)


def _add_key(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--key", default="", metavar="URI",
                       help="where the key is (--ima-hash alone needs none): file:key.pem, "
                       "pkcs12:release.p12, "
                       "pkcs11:token=..., https://HOST/keys/NAME, see docs/keys.md")  # fmt: skip
    group.add_argument("--cert", action="append", default=[], metavar="FILE",
                       help="the key's certificate and its issuers, where the key's holder "
                       "keeps none: PEM or DER; or what else holds the public key: an OpenPGP "
                       "certificate, a public key of minisign or signify")  # fmt: skip
    group.add_argument("--pass-file", default="", metavar="FILE",
                       help="the password or PIN is this file's first line")  # fmt: skip


def _add_signature(group: argparse._ArgumentGroup) -> None:
    from signward.verbs.credential import DIGESTS

    group.add_argument("--timestamp", action="append", default=[], metavar="URL",
                       help="have this RFC 3161 authority timestamp it; of several the first "
                       "that answers well")  # fmt: skip
    group.add_argument("--digest", choices=DIGESTS, default="", metavar="{" + ",".join(DIGESTS)
                       + "}", help="digest with this (default: what suits the key)")  # fmt: skip
    group.add_argument("--pss", action="store_true", help="with an RSA key, sign by RSASSA-PSS")
    there = group.add_mutually_exclusive_group()
    there.add_argument("--nested", action="store_true",
                       help="where there is a signature, add a second one")  # fmt: skip
    there.add_argument("--replace", action="store_true",
                       help="where there is a signature, put this one in its place")  # fmt: skip
    group.add_argument("--page-hashes", action="store_true",
                       help="in PE images, digest every page too")  # fmt: skip
    group.add_argument("--description", default="", metavar="TEXT",
                       help="what the file is, for Windows' prompts")  # fmt: skip
    group.add_argument("--url", default="", metavar="URL", help="where to learn more of it")
    _add_places(group)
    _add_linux(group)
    group.add_argument("--deep", action="store_true",
                       help="in packages and ZIP archives, first sign what they hold")  # fmt: skip
    group.add_argument("--option", action="append", default=[], metavar="NAME=VALUE",
                       help="an option of one format's own, see docs/formats.md")  # fmt: skip


def _add_places(group: argparse._ArgumentGroup) -> None:
    """Add where signatures go, other than into the files: one of these."""
    from signward.verbs.detached import AS

    group.add_argument("--detached", action="store_true",
                       help="sign files of any kind; the signature goes into a file beside "
                       "each: FILE.p7s, or see --as")  # fmt: skip
    group.add_argument("--as", choices=tuple(AS), default="", dest="detached_as",
                       metavar="{" + ",".join(AS) + "}",
                       help="with --detached: what to write, FILE.p7s, .asc, .minisig, .sig or "
                       "a bare value, .sig (default: as the key is held)")  # fmt: skip
    group.add_argument("--ima", action="store_true",
                       help="sign files of any kind, and all in folders, for Linux IMA: into the "
                       "attribute security.ima (as root); what is signed so is kept")  # fmt: skip
    group.add_argument("--ima-sigfile", action="store_true",
                       help="the same, but the attribute's value goes into FILE.sig")  # fmt: skip
    group.add_argument("--ima-hash", action="store_true",
                       help="as --ima, but write a digest that nobody signed")  # fmt: skip
    group.add_argument("--fs-verity", action="store_true",
                       help="sign files of any kind for fs-verity; the built-in signature goes "
                       "into FILE.fsverity-sig")  # fmt: skip


def _add_linux(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--ima-version", choices=("2", "3", "verity"), default="2",
                       metavar="{2,3,verity}",
                       help="IMA signatures: 2 is what every kernel takes, 3 what some take since "
                       "2026, verity speaks of fs-verity's digest (default: 2)")  # fmt: skip
    add_verity(group)


def run(arguments: argparse.Namespace) -> int:
    """Sign every file; return 0 if all were."""
    from signward.verbs.sign import Signatory

    _check_words(arguments)
    if arguments.ima_hash or arguments.ima:
        return _run_below(arguments)
    # The results are closed before the key: nobody is to sign with it then.
    with (
        Signatory(_options(arguments), _tell) as signatory,
        closing(signatory.run(arguments.files)) as results,
    ):
        return report(results, arguments, "signing")


def _run_below(arguments: argparse.Namespace) -> int:
    """Sign or hash all files in folders into their attributes."""
    from signward.verbs.ima import AttributeSignatory, Hasher, files_below

    found = list(files_below(arguments.files))
    if arguments.ima_hash:
        hasher = Hasher(
            arguments.digest or "sha256", replace=arguments.replace, dry_run=arguments.dry_run
        )
        with closing(hasher.run(found)) as results:
            return report(results, arguments, "hashing", len(found))
    with (
        AttributeSignatory(_options(arguments), *_ima(arguments), _tell) as signatory,
        closing(signatory.run(found)) as results,
    ):
        return report(results, arguments, "signing", len(found))


_PLACES = ("detached", "ima", "ima_sigfile", "ima_hash", "fs_verity")
"""Where signatures go: one of these (usage has no room to say that they exclude each other)."""

_NOT_BELOW = ("out", "deep", "nested", "timestamp", "page_hashes", "description", "url", "option")
"""What an attribute of a file has no place for."""


def _check_words(arguments: argparse.Namespace) -> None:
    """Raise ``EvidenceError`` for options that go with no such signature."""
    from signward.errors import EvidenceError

    places = [f"--{name.replace('_', '-')}" for name in _PLACES if getattr(arguments, name)]
    if len(places) > 1:
        raise EvidenceError(f"found {' and '.join(places)}, required one of them")
    if arguments.detached_as and not arguments.detached:
        raise EvidenceError("--as: found it without --detached, required both")
    if not arguments.key and not arguments.ima_hash:
        raise EvidenceError("--key: found none, required where the key is")
    if arguments.ima or arguments.ima_hash:
        for name in _NOT_BELOW:
            if getattr(arguments, name):
                word = name.replace("_", "-")
                raise EvidenceError(f"--{word}: an attribute has no place for it, required none")


def _tell(line: str) -> None:
    from signward.report.display import visible

    print(f"signward: {visible(line)}", file=sys.stderr, flush=True)


def _options(arguments: argparse.Namespace) -> SignOptions:
    from signward.cli.arguments import judging_from
    from signward.formats import Existing
    from signward.verbs.sign import SignOptions

    existing = Existing.NESTED if arguments.nested else Existing.REFUSE
    return SignOptions(
        key=arguments.key,
        certificates=tuple(arguments.cert),
        pass_file=arguments.pass_file,
        digest=arguments.digest,
        pss=arguments.pss,
        timestamps=tuple(arguments.timestamp),
        existing=Existing.REPLACE if arguments.replace else existing,
        page_hashes=arguments.page_hashes,
        description=arguments.description,
        url=arguments.url,
        beside=_beside(arguments),
        deep=arguments.deep,
        out=arguments.out,
        receipts=arguments.receipts,
        dry_run=arguments.dry_run,
        require_accepted=arguments.require_accepted,
        options=_format_options(arguments.option),
        judge=judging_from(arguments),
    )


def _beside(arguments: argparse.Namespace) -> Beside | None:
    """Return how signatures are written beside files, if they are."""
    from signward.verbs.detached import AS, BY_KEY, ima_beside, verity_beside

    if arguments.ima_sigfile:
        return ima_beside(*_ima(arguments))
    if arguments.fs_verity:
        return verity_beside(verity_from(arguments))
    if not arguments.detached:
        return None
    return AS[arguments.detached_as] if arguments.detached_as else BY_KEY


def _ima(arguments: argparse.Namespace) -> tuple[int, Parameters | None]:
    """Return the version of IMA signatures, and the tree they are over, if they are over one."""
    if arguments.ima_version == "verity":
        return 3, verity_from(arguments)
    return int(arguments.ima_version), None


def _format_options(given: list[str]) -> dict[str, str]:
    """Return ``--option`` as names and values.  Raises ``EvidenceError`` for one no format has."""
    from signward.errors import EvidenceError
    from signward.formats import all_formats, as_signable

    known = {name for form in map(as_signable, all_formats()) if form for name in form.options}
    options = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or name not in known:
            listed = ", ".join(sorted(known)) or "none"
            raise EvidenceError(f"--option {text}: required NAME=VALUE with a NAME of: {listed}")
        options[name] = value
    return options
