"""``signward log DEED``: the transparency log, an authority's own or anybody's at a URL."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from signward.authority.log.checkpoint import Policy
    from signward.authority.log.monitor import Sighting
    from signward.verbs.authority.log_source import LogSource
    from signward.verbs.authority.transparency import Transparency

DESCRIPTION = """\
Read a transparency log, and hold it to its word.

  checkpoint  print the latest checkpoint: how many entries there are, and their
              root hash, signed
  prove       write a receipt: the proof that an entry is in the log
  verify      check a receipt, and that it speaks of a file
  monitor     follow the log from where it was last seen: nothing may have been
              changed or taken away; tell the entries that are watched for
  key         print the key that others check the log with

The log is the one of the authority in --data DIR, or one at --url URL that is
laid out as c2sp.org/tlog-tiles says."""

EPILOG = """examples:
  signward log key --data /srv/signward
  signward log checkpoint --url https://signer.example/log --log-key log.key
  signward log prove --url https://signer.example/log --log-key log.key --index 7 -o 7.tlog-proof
  signward log verify 7.tlog-proof setup.exe --log-key log.key
  signward log monitor --url https://signer.example/log --log-key log.key \\
      --state seen --certificate release.pem

exit codes: 0 done and right, 1 the log or the receipt does not hold,
2 command line, 3 it could not be had
"""

EXIT_BROKEN = 1
EXIT_USAGE = 2
EXIT_UNREACHED = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``log``."""
    parser.add_argument("deed", choices=tuple(_DEEDS), metavar="DEED",
                        help="checkpoint, prove, verify, monitor or key")  # fmt: skip
    parser.add_argument("files", nargs="*", metavar="FILE",
                        help="verify: the receipt, then the file it is to speak of")  # fmt: skip
    where = parser.add_argument_group("where the log is")
    where.add_argument("--data", metavar="DIR", default="", help="the authority's data folder "
                       "(default: $SIGNWARD_DATA, else signward-data)")  # fmt: skip
    where.add_argument("--database", metavar="URL", default="",
                       help="its database, if that is not in the folder")  # fmt: skip
    where.add_argument("--url", metavar="URL", default="", help="a log over HTTP")
    _add_trust(parser.add_argument_group("whom to believe"))
    _add_deeds(parser)


def _add_trust(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--log-key", metavar="FILE", default="", help="the log's key, or a file "
                       "that holds it (default with --data: the authority's)")  # fmt: skip
    group.add_argument("--witness", action="append", default=[], metavar="FILE",
                       help="a witness's key, or a file that holds it")  # fmt: skip
    group.add_argument("--quorum", type=int, metavar="NUMBER",
                       help="how many witnesses must have signed (default: all)")  # fmt: skip


def _add_deeds(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("checkpoint, prove, verify")
    group.add_argument("--accept-loss", metavar="REASON", default="",
                       help="checkpoint: go on although the database lost what was published; "
                       "the log will say so")  # fmt: skip
    group.add_argument("--index", type=int, metavar="NUMBER", help="prove: which entry")
    group.add_argument("-o", "--output", metavar="FILE", default="",
                       help="prove: where to write the receipt (default: print it)")  # fmt: skip
    group.add_argument("--entry", metavar="FILE", default="",
                       help="verify: the entry, for a receipt that has it not")  # fmt: skip
    group = parser.add_argument_group("monitor")
    group.add_argument("--state", metavar="FILE", default="",
                       help="the checkpoint seen last; written when all is right")  # fmt: skip
    group.add_argument("--certificate", action="append", default=[], metavar="PEM",
                       help="tell entries about this certificate or its key")  # fmt: skip
    group.add_argument("--watch", action="append", default=[], metavar="TEXT", help="tell entries "
                       "that name this: a key, an identity, a serial number, a digest")  # fmt: skip
    group.add_argument("--all", action="store_true", help="tell every entry")


def run(arguments: argparse.Namespace) -> int:
    """Do the deed; return 0 if all was right."""
    from signward.authority.log.faults import LogFaultError
    from signward.errors import (
        AuthorityError,
        BadInputError,
        FetchError,
        SignwardError,
        StoreError,
    )

    codes: tuple[tuple[type[SignwardError], int], ...] = (
        (LogFaultError, EXIT_BROKEN), (BadInputError, EXIT_BROKEN), (FetchError, EXIT_UNREACHED),
        (StoreError, EXIT_UNREACHED), (AuthorityError, EXIT_USAGE), (SignwardError, EXIT_USAGE),
    )  # fmt: skip
    try:
        return _DEEDS[arguments.deed](arguments)
    except SignwardError as error:
        print(f"signward: {error}", file=sys.stderr)
        return next(code for kind, code in codes if isinstance(error, kind))


@contextmanager
def _opened(arguments: argparse.Namespace) -> Iterator[Transparency]:
    """Open the authority's log; close the authority afterwards."""
    from pathlib import Path

    from signward.verbs.authority.realm import Realm, default_folder
    from signward.verbs.authority.transparency import transparency_of

    folder = Path(arguments.data) if arguments.data else default_folder()
    realm = Realm.open(folder, database=arguments.database)
    try:
        yield transparency_of(realm)
    finally:
        realm.close()


@contextmanager
def _source(arguments: argparse.Namespace) -> Iterator[tuple[LogSource, Policy]]:
    """Give the log that was named, and whose word counts."""
    from signward.verbs.authority.log_reading import read_policy
    from signward.verbs.authority.log_source import log_at, own_log

    if arguments.url:
        yield log_at(arguments.url), read_policy(*_trusted(arguments))
        return
    with _opened(arguments) as log:
        yield own_log(log), read_policy(*_trusted(arguments), own=log.verifier)


def _trusted(arguments: argparse.Namespace) -> tuple[str, list[str], int | None]:
    return arguments.log_key, arguments.witness, arguments.quorum


def _checkpoint(arguments: argparse.Namespace) -> int:
    from signward.verbs.authority.log_reading import latest

    if arguments.accept_loss:
        with _opened(arguments) as log:
            sys.stdout.write(log.accept_loss(arguments.accept_loss).decode())
        return 0
    with _source(arguments) as (source, policy):
        sys.stdout.write(latest(source, policy).note.decode())
    return 0


def _prove(arguments: argparse.Namespace) -> int:
    from pathlib import Path

    from signward.verbs.authority.files import replace_file
    from signward.verbs.authority.log_reading import prove

    if arguments.index is None:
        return _usage("--index", "none", "the number of an entry")
    with _source(arguments) as (source, policy):
        receipt = prove(source, policy, arguments.index)
    if arguments.output:
        replace_file(Path(arguments.output), receipt)
    else:
        sys.stdout.write(receipt.decode())
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    from signward.report.display import visible
    from signward.verbs.authority.log_reading import (
        read_entry_file,
        read_policy,
        read_receipt_file,
        verify,
    )

    if not 1 <= len(arguments.files) <= 2:
        return _usage("FILE", f"{len(arguments.files)} of them", "a receipt, and perhaps a file")
    if arguments.log_key:
        policy = read_policy(*_trusted(arguments))
    else:
        with _opened(arguments) as log:
            policy = read_policy(*_trusted(arguments), own=log.verifier)
    receipt, *file = arguments.files
    entry = read_entry_file(arguments.entry) if arguments.entry else None
    proven = verify(read_receipt_file(receipt), policy, entry, *file)
    head = proven.signed.checkpoint
    print(f"{receipt}: entry {proven.index} of {head.origin}, proven in a tree of {head.size}")
    for name, at in proven.signed.witnessed:
        print(f"witnessed by {name}" + (f" at {at:%Y-%m-%dT%H:%M:%SZ}" if at else ""))
    print(visible(proven.entry.decode("utf-8", "backslashreplace")))
    return 0


def _monitor(arguments: argparse.Namespace) -> int:
    from pathlib import Path

    from signward.verbs.authority.log_reading import watch, watched_texts

    if not arguments.state:
        return _usage("--state", "none", "a file that keeps what was seen last")
    watched = watched_texts(arguments.certificate, arguments.watch)
    with _source(arguments) as (source, policy):
        followed = watch(source, policy, Path(arguments.state), None if arguments.all else watched)
    for sighting in followed.sightings:
        print(_line(sighting))
    head = followed.head
    print(f"{head.origin}: {head.size} entries, {followed.count} of them new; "
          f"{len(followed.sightings)} told; nothing was changed or taken away")  # fmt: skip
    return 0


def _line(sighting: Sighting) -> str:
    import msgspec

    from signward.report.display import visible

    entry = sighting.entry
    if entry is None:
        return f"{sighting.index}: an entry that cannot be read: {visible(sighting.why)}"
    facts = visible(msgspec.json.encode(entry.fields, order="sorted").decode())
    return f"{sighting.index}: {entry.at:%Y-%m-%dT%H:%M:%SZ} {entry.kind} {facts}"


def _key(arguments: argparse.Namespace) -> int:
    with _opened(arguments) as log:
        print(log.verifier.text)
    return 0


def _usage(option: str, found: str, required: str) -> int:
    print(f"signward: {option}: found {found}, required {required}", file=sys.stderr)
    return EXIT_USAGE


_DEEDS = {
    "checkpoint": _checkpoint, "prove": _prove, "verify": _verify, "monitor": _monitor,
    "key": _key,
}  # fmt: skip
