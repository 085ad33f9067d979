"""``signward log ACTION``: the transparency log, an authority's own or anybody's at a URL."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from signward.cli.actions import Action, add_actions, add_data, local_user, run_action

if TYPE_CHECKING:
    from signward.authority.log.checkpoint import Policy
    from signward.authority.log.monitor import Followed, Sighting
    from signward.verbs.authority.log_source import LogSource
    from signward.verbs.authority.transparency import Transparency

DESCRIPTION = """\
Read a transparency log, and hold it to its word.

The log is the one of the authority in --data DIR, or one at --url URL that is
laid out as c2sp.org/tlog-tiles says.  A receipt is a c2sp.org/tlog-proof: it
proves without the log that an entry is in it."""

EPILOG = """examples:
  signward log key --data /srv/signward
  signward log checkpoint --url https://sig.example/log --log-key log.key
  signward log prove --index 7 -o 7.tlog-proof
  signward log verify 7.tlog-proof setup.exe --log-key log.key
  signward log monitor --url https://sig.example/log --log-key K --state seen
  signward log monitor --state seen --certificate release.pem

exit codes: 0 done and right, 1 the log or the receipt does not hold,
2 command line, 3 it could not be had
"""

EXIT_BROKEN = 1
EXIT_USAGE = 2
EXIT_UNREACHED = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the actions of ``log``."""
    add_actions(parser, ACTIONS)


def _add_where(parser: argparse.ArgumentParser) -> None:
    """Add where the log is, and whom to believe."""
    add_data(parser)
    parser.add_argument("--url", metavar="URL", default="", help="a log over HTTP instead")
    _add_trust(parser)


def _add_trust(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--log-key", metavar="FILE", default="", help="the log's key, or a file "
                        "that holds it (default: the authority's in --data)")  # fmt: skip
    parser.add_argument("--witness", action="append", default=[], metavar="FILE",
                        help="a witness's key, or a file that holds it")  # fmt: skip
    parser.add_argument("--quorum", type=int, metavar="NUMBER",
                        help="how many witnesses must have signed (default: all)")  # fmt: skip


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="as one JSON document")


def _add_checkpoint(parser: argparse.ArgumentParser) -> None:
    _add_where(parser)
    _add_json(parser)
    parser.add_argument("--accept-loss", metavar="REASON", default="",
                        help="go on although the database lost what was published; the log "
                        "will say so")  # fmt: skip


def _add_prove(parser: argparse.ArgumentParser) -> None:
    _add_where(parser)
    parser.add_argument("--index", type=int, metavar="NUMBER", required=True, help="which entry")
    parser.add_argument("-o", "--output", metavar="FILE", default="",
                        help="where to write the receipt (default: print it)")  # fmt: skip


def _add_verify(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("receipt", metavar="FILE", help="the receipt")
    parser.add_argument("file", nargs="?", default="", metavar="FILE",
                        help="a file that its entry is to speak of")  # fmt: skip
    parser.add_argument("--entry", metavar="FILE", default="",
                        help="the entry, for a receipt that has it not")  # fmt: skip
    add_data(parser)
    _add_trust(parser)
    _add_json(parser)


def _add_monitor(parser: argparse.ArgumentParser) -> None:
    _add_where(parser)
    parser.add_argument("--state", metavar="FILE", required=True,
                        help="the checkpoint seen last; written when all is right")  # fmt: skip
    parser.add_argument("--certificate", action="append", default=[], metavar="PEM",
                        help="tell entries about this certificate or its key")  # fmt: skip
    parser.add_argument("--watch", action="append", default=[], metavar="TEXT",
                        help="tell entries that name this: a key, an identity, a serial number, "
                        "a digest")  # fmt: skip
    parser.add_argument("--all", action="store_true", help="tell every entry")
    _add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked; return 0 if all was right."""
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
        return run_action(ACTIONS, arguments)
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
        from signward.verbs.authority.realm import system_clock

        with _opened(arguments) as log:
            note = log.accept_loss(arguments.accept_loss, local_user(), system_clock())
    else:
        with _source(arguments) as (source, policy):
            note = latest(source, policy).note
    if arguments.json:
        from signward.authority.log.checkpoint import parse_text
        from signward.authority.log.note import parse

        head = parse_text(parse(note).text)
        _print_json({"origin": head.origin, "size": head.size, "root": head.root.hex(),
                     "note": note.decode()})  # fmt: skip
    else:
        sys.stdout.write(note.decode())
    return 0


def _prove(arguments: argparse.Namespace) -> int:
    from signward.cli.scan import written_whole
    from signward.verbs.authority.log_reading import prove

    with _source(arguments) as (source, policy):
        receipt = prove(source, policy, arguments.index)
    if arguments.output:
        with written_whole(arguments.output) as out:
            out.write(receipt)
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

    if arguments.log_key:
        policy = read_policy(*_trusted(arguments))
    else:
        with _opened(arguments) as log:
            policy = read_policy(*_trusted(arguments), own=log.verifier)
    entry = read_entry_file(arguments.entry) if arguments.entry else None
    proven = verify(read_receipt_file(arguments.receipt), policy, entry, arguments.file)
    head = proven.signed.checkpoint
    if arguments.json:
        _print_json({"index": proven.index, "origin": head.origin, "size": head.size,
                     "witnessed": [{"name": n, "at": at} for n, at in proven.signed.witnessed],
                     "entry": proven.entry.decode("utf-8", "backslashreplace")})  # fmt: skip
        return 0
    print(f"{arguments.receipt}: entry {proven.index} of {visible(head.origin)}, "
          f"proven in a tree of {head.size}")  # fmt: skip
    for name, at in proven.signed.witnessed:
        print(f"witnessed by {visible(name)}" + (f" at {at:%Y-%m-%dT%H:%M:%SZ}" if at else ""))
    print(visible(proven.entry.decode("utf-8", "backslashreplace")))
    return 0


def _monitor(arguments: argparse.Namespace) -> int:
    from pathlib import Path

    from signward.report.display import visible
    from signward.verbs.authority.log_reading import watch, watched_texts

    watched = watched_texts(arguments.certificate, arguments.watch)
    with _source(arguments) as (source, policy):
        state = Path(arguments.state)
        followed, keep = watch(source, policy, state, None if arguments.all else watched)
    if arguments.json:
        _print_json(_followed_told(followed))
    else:
        for sighting in followed.sightings:
            print(_line(sighting))
        head = followed.head
        print(f"{visible(head.origin)}: {head.size} entries, {followed.count} of them new; "
              f"{len(followed.sightings)} told; nothing was changed or taken away")  # fmt: skip
        if followed.foreign:
            print(f"{visible(head.origin)}: {followed.foreign} of the new entries are in another "
                  "form than an authority of ours writes")  # fmt: skip
    sys.stdout.flush()  # what was not told is told again next time
    keep()
    return 0


def _followed_told(followed: Followed) -> dict[str, object]:
    """Return what a monitor found, for JSON; an entry that cannot be read is null."""
    entries = [{"index": one.index, "why": one.why, "entry": one.entry}
               for one in followed.sightings]  # fmt: skip
    return {"origin": followed.head.origin, "size": followed.head.size, "new": followed.count,
            "foreign": followed.foreign, "entries": entries}  # fmt: skip


def _print_json(told: object) -> None:
    import msgspec

    sys.stdout.write(msgspec.json.format(msgspec.json.encode(told)).decode() + "\n")


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


ACTIONS = {
    "checkpoint": Action("print the latest checkpoint: the log's size and root hash, signed",
                         _add_checkpoint, _checkpoint),
    "prove": Action("write a receipt: the proof that an entry is in the log", _add_prove, _prove),
    "verify": Action("check a receipt, and that it speaks of a file", _add_verify, _verify),
    "monitor": Action("see that nothing was changed or taken away, and tell what is new",
                      _add_monitor, _monitor),
    "key": Action("print the key that others check the log with", add_data, _key),
}  # fmt: skip
