"""``signward feed ACTION``: the revocation feed, made and followed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from signward.cli.actions import Action, add_actions, add_data, local_user, run_action
from signward.cli.arguments import instant

if TYPE_CHECKING:
    from signward.trust.feed import Document, Entry
    from signward.verbs.authority.realm import Realm

DESCRIPTION = """\
Make, publish and follow a revocation feed: one signed document, with a version
and an end, that names what is revoked: certificates, publishers and files.

What the authority itself revokes is in its feed without being added.  add and
remove are for everything else.  verify, scan and sign take a feed with --feed."""

EPILOG = """examples:
  signward feed add --certificate stolen.pem --reason keyCompromise
  signward feed add --publisher 'subject:Example Ltd/Example Ltd' --note '#17'
  signward feed add --file setup.exe
  signward feed publish -o feed.json --key-out feed.pem
  signward feed pull https://signer.example/feed --feed-key feed.pem -o f.json
  signward feed show feed.json --feed-key feed.pem
  signward verify --feed feed.json --feed-key feed.pem setup.exe

exit codes: 0 done (pull: what counts is in force), 1 pull: what was answered
does not count, or nothing does; 2 command line, folder, key or file
"""

REASONS = (
    "unspecified", "keyCompromise", "cACompromise", "affiliationChanged", "superseded",
    "cessationOfOperation", "certificateHold", "privilegeWithdrawn", "aACompromise",
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the actions of ``feed``."""
    add_actions(parser, ACTIONS)


def run(arguments: argparse.Namespace) -> int:
    """Do the action."""
    return run_action(ACTIONS, arguments)


def _add_add(parser: argparse.ArgumentParser) -> None:
    add_data(parser)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--certificate", metavar="PEM", help="this certificate, whoever issued it")
    what.add_argument("--publisher", metavar="NAME",
                      help="this identity, as verify --json tells it")  # fmt: skip
    what.add_argument("--file", metavar="FILE", help="this file, by its SHA-256")
    what.add_argument("--digest", metavar="NAME:HEX",
                      help="a file of this digest, such as sha256:3f...")  # fmt: skip
    what.add_argument("--content", metavar="NAME:HEX",
                      help="signed content of this digest (Authenticode)")  # fmt: skip
    parser.add_argument("--reason", choices=REASONS, default="", metavar="REASON",
                        help=f"of a certificate: {', '.join(REASONS)}")  # fmt: skip
    parser.add_argument("--revoked", type=instant, metavar="TIME",
                        help="since when it is revoked (default: now)")  # fmt: skip
    parser.add_argument("--invalid-from", type=instant, metavar="TIME",
                        help="since when it must be taken for misused")  # fmt: skip
    parser.add_argument("--note", default="", metavar="TEXT", help="why, for whoever reads it")
    _add_json(parser)


def _run_add(arguments: argparse.Namespace) -> int:
    from signward.verbs.authority import feed

    with _realm(arguments) as realm:
        entry = _entry(arguments, realm)
        identifier = feed.add(realm, entry, local_user())
    if arguments.json:
        _print_json({"id": identifier})
    else:
        print(f"{identifier[:16]} added; signward feed publish makes the version that says so")
    return 0


def _entry(arguments: argparse.Namespace, realm: Realm) -> Entry:
    from signward.verbs import feed_entries

    dates = feed_entries.dates(
        realm.now(), arguments.revoked, arguments.invalid_from, arguments.note
    )
    if arguments.certificate is not None:
        return feed_entries.certificate(arguments.certificate, arguments.reason, dates)
    if arguments.publisher is not None:
        return feed_entries.publisher(arguments.publisher, dates)
    if arguments.file is not None:
        return feed_entries.file(arguments.file, dates)
    if arguments.digest is not None:
        return feed_entries.digest("file", arguments.digest, dates)
    return feed_entries.digest("content", arguments.content, dates)


def _add_remove(parser: argparse.ArgumentParser) -> None:
    add_data(parser)
    parser.add_argument("entry", metavar="ID", help="as list shows it; its beginning will do")
    _add_json(parser)


def _run_remove(arguments: argparse.Namespace) -> int:
    from signward.verbs.authority import feed

    with _realm(arguments) as realm:
        identifier = feed.remove(realm, arguments.entry, local_user())
    if arguments.json:
        _print_json({"id": identifier})
    else:
        print(f"{identifier[:16]} removed; signward feed publish makes the version without it")
    return 0


def _add_list(parser: argparse.ArgumentParser) -> None:
    add_data(parser)
    _add_json(parser)


def _run_list(arguments: argparse.Namespace) -> int:
    from signward.report.display import visible
    from signward.verbs.authority import feed

    with _realm(arguments) as realm:
        rows = feed.listing(realm)
    if arguments.json:
        _print_json([{"id": r.id, "kind": r.kind, "at": r.at, "by": r.by, "entry": r.entry}
                     for r in rows])  # fmt: skip
        return 0
    for row in rows:
        print(visible(f"{row.id[:16]}  {_told(row.entry)}  ({row.by})"))
    return 0


def _add_publish(parser: argparse.ArgumentParser) -> None:
    add_data(parser)
    parser.add_argument("--always", action="store_true",
                        help="make a new version even if nothing changed")  # fmt: skip
    parser.add_argument("-o", "--output", default="", metavar="FILE",
                        help="write the document there too")  # fmt: skip
    parser.add_argument("--key-out", default="", metavar="FILE",
                        help="write the public key there, for --feed-key")  # fmt: skip
    parser.add_argument("--pass-file", default="", metavar="FILE",
                        help="the key's password or PIN is this file's first line")  # fmt: skip
    _add_json(parser)


def _run_publish(arguments: argparse.Namespace) -> int:
    from signward.cli.scan import written_whole
    from signward.verbs.authority import feed
    from signward.verbs.authority.files import check_place

    for path in filter(None, (arguments.output, arguments.key_out)):
        check_place(Path(path))
    with _realm(arguments) as realm:
        made = feed.publish(realm, always=arguments.always)
        key = feed.public_key(realm)
    for path, data in ((arguments.output, made.body), (arguments.key_out, key)):
        if path:
            with written_whole(path) as out:
                out.write(data)
    if arguments.json:
        _print_json(feed.summary(made))
    else:
        print(f"version {made.version}, {len(made.body):,} octets")
    return 0


def _add_pull(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("url", metavar="URL", help="where the feed is served")
    _add_key(parser)
    parser.add_argument("--wait", type=int, default=0, metavar="SECONDS",
                        help="let the server answer when there is news, or then")  # fmt: skip
    parser.add_argument("-o", "--output", default="", metavar="FILE",
                        help="write the document that counts there")  # fmt: skip


def _run_pull(arguments: argparse.Namespace) -> int:
    from signward.cli.scan import written_whole
    from signward.report.display import visible
    from signward.verbs.feeds import pulled

    result = pulled(arguments.url, tuple(arguments.feed_key), wait=arguments.wait)
    if result.problem:
        print(f"signward: {visible(result.problem)}", file=sys.stderr)
    if result.feed is None or result.path is None:
        print("signward: no feed counts", file=sys.stderr)
        return 1
    if arguments.output:
        with written_whole(arguments.output) as out:
            out.write(result.path.read_bytes())
    _summarise(result.feed.document)
    return 1 if result.problem else 0


def _add_show(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a feed")
    _add_key(parser)
    _add_json(parser)


def _run_show(arguments: argparse.Namespace) -> int:
    from signward.report.display import visible
    from signward.verbs.feeds import load_feeds
    from signward.verbs.options import Options

    options = Options(feeds=(arguments.file,), feed_keys=tuple(arguments.feed_key))
    (feed,) = load_feeds(options)
    if arguments.json:
        sys.stdout.write(feed.payload.decode() + "\n")
        return 0
    _summarise(feed.document)
    for kind in (feed.document.certificates, feed.document.publishers, feed.document.digests):
        for entry in kind:
            print(visible(f"  {_told(entry)}"))
    return 0


ACTIONS = {
    "add": Action("revoke a certificate, publisher or file by the feed", _add_add, _run_add),
    "remove": Action("take out an entry that was added", _add_remove, _run_remove),
    "list": Action("list what was added", _add_list, _run_list),
    "publish": Action("sign the next version, if one is due", _add_publish, _run_publish),
    "pull": Action("ask for a feed; keep the last good version", _add_pull, _run_pull),
    "show": Action("check a feed's signature and tell what it says", _add_show, _run_show),
}


def _add_key(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--feed-key", action="append", default=[], required=True, metavar="PEM",
                        help="the public key, or certificate, that it is signed with")  # fmt: skip


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="as one JSON document")


def _print_json(value: Any) -> None:
    import msgspec

    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=1).decode() + "\n")


def _summarise(document: Document) -> None:
    from signward.report.display import visible

    counts = [(len(document.certificates), "certificates"), (len(document.publishers),
              "publishers"), (len(document.digests), "files")]  # fmt: skip
    told = ", ".join(f"{number} {what}" for number, what in counts)
    print(visible(f"feed of {document.authority}, version {document.version}, good until "
                  f"{document.expires:%Y-%m-%dT%H:%M:%SZ}: {told}"))  # fmt: skip


def _told(entry: Entry) -> str:
    """Return an entry in one line."""
    import msgspec

    fields = msgspec.to_builtins(entry)
    named = [f"{name} {value}" for name, value in fields.items() if name != "revoked"]
    return f"{entry.revoked:%Y-%m-%d}  " + ", ".join(named)


@contextmanager
def _realm(arguments: argparse.Namespace) -> Iterator[Realm]:
    from signward.verbs.authority.realm import Realm, default_folder
    from signward.verbs.secrets import SecretFinder

    folder = Path(arguments.data) if arguments.data else default_folder()
    secrets = SecretFinder(getattr(arguments, "pass_file", ""))
    realm = Realm.open(folder, database=arguments.database, secrets=secrets)
    try:
        yield realm
    finally:
        realm.close()
