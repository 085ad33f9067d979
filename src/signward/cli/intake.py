"""``signward intake``: takes in what others deliver, and watches over what it accepted."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from signward.cli.actions import Action, add_actions, run_action
from signward.cli.arguments import add_revocation, add_trust

if TYPE_CHECKING:
    from datetime import datetime

    from signward.policy.rules.model import RuleSet
    from signward.verbs.intake.gate import Gate, Taken
    from signward.verbs.intake.receipts import Terms
    from signward.verbs.sealing import Sealer

DESCRIPTION = """\
Take in what others deliver.  Every file below PATH is copied out of their
reach, judged by a policy, and moved: what the policy lets in to one folder, all
else to another.  Nothing is lost and nothing overwritten.

For each file a receipt is written: a SLSA verification summary (in-toto, DSSE)
signed by --key, which other gates can check.  Receipts lie in a folder beside,
NAME.receipts.  'intake audit' notices what was changed afterwards."""

EPILOG = """examples:
  signward intake take inbox --policy vendors.toml --dry-run
  signward intake take in --policy v.toml --key file:k --accept a --quarantine q
  signward intake audit --accept /srv/in --receipt-key gate.pub.pem
  signward intake receipts /srv/in.receipts --receipt-key gate.pub.pem

take may be left out (signward intake inbox), but where PATH is called so.

exit codes: 0 everything was accepted (audit: is unchanged; receipts: counts),
1 something was not, 2 command line, policy, key or folder, 3 of some files
nobody can tell, or they stayed where they were
"""

EXIT_REJECTED = 1
EXIT_INDETERMINATE = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the actions of ``intake``."""
    add_actions(parser, ACTIONS)


def run(arguments: argparse.Namespace) -> int:
    """Do the action."""
    return run_action(ACTIONS, arguments)


def _add_take(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="+", metavar="PATH", help="what was delivered")
    parser.add_argument("--policy", action="append", required=True, metavar="FILE",
                        help="the policy that lets in: a base, then its supplements")  # fmt: skip
    parser.add_argument("--policy-key", action="append", default=[], metavar="PEM",
                        help="the key that policies must be signed with")  # fmt: skip
    where = parser.add_argument_group("where to")
    where.add_argument("--accept", default="", metavar="DIR", help="what the policy lets in")
    where.add_argument("--quarantine", default="", metavar="DIR", help="everything else")
    where.add_argument("--dry-run", action="store_true", help="judge, and move nothing")
    where.add_argument("--pass", dest="passing", action="append", default=[], metavar="KIND",
                       help="let files of this kind pass: text, image, pdf, ...")  # fmt: skip
    receipts = parser.add_argument_group("receipts")
    receipts.add_argument("--key", default="", metavar="URI", help="the key that signs them: "
                          "file:key.pem, see docs/keys.md")  # fmt: skip
    receipts.add_argument("--pass-file", default="", metavar="FILE",
                          help="the key's password or PIN is this file's first line")  # fmt: skip
    receipts.add_argument("--key-out", default="", metavar="FILE",
                          help="write the public key there, for --receipt-key")  # fmt: skip
    receipts.add_argument("--verifier", default="", metavar="URI", help="who judges (default: "
                          "urn:signward:key: and the key's SHA-256)")  # fmt: skip
    receipts.add_argument("--resource", default="", metavar="URI", help="what the URI of every "
                          "file begins with (default: package URLs, pkg:generic/)")  # fmt: skip
    _add_json(parser)
    add_trust(parser.add_argument_group("trust: whom to believe, and when"))
    add_revocation(parser.add_argument_group("revocation: what is known to be withdrawn"))


def _run_take(arguments: argparse.Namespace) -> int:
    rules = _rules(arguments)
    with _gate(arguments, rules) as gate:
        return _report(arguments, gate)


def _rules(arguments: argparse.Namespace) -> RuleSet:
    from signward.verbs.policies.load import load_rules

    return load_rules([Path(path) for path in arguments.policy], arguments.policy_key)


@contextmanager
def _gate(arguments: argparse.Namespace, rules: RuleSet) -> Iterator[Gate]:
    from datetime import UTC, datetime

    from signward.cli.arguments import judging_from
    from signward.errors import EvidenceError
    from signward.verbs.intake.gate import Gate, folders
    from signward.verbs.intake.judging import PolicyJudge
    from signward.verbs.sealing import opened_sealer

    options = judging_from(arguments)
    at = options.at or datetime.now(UTC)
    judge = PolicyJudge(rules, options, at, frozenset(arguments.passing))
    if arguments.dry_run:
        to = folders(arguments.accept or "accept", arguments.quarantine or "quarantine")
        yield Gate(to, judge.judge, _terms(arguments, rules, None), None)
        return
    for flag in ("accept", "quarantine", "key"):
        if not getattr(arguments, flag):
            raise EvidenceError(f"--{flag}: found none, required (or --dry-run)")
    to = folders(arguments.accept, arguments.quarantine)
    with opened_sealer(arguments.key, arguments.pass_file) as sealer:
        _write_key(arguments.key_out, sealer)
        yield Gate(to, judge.judge, _terms(arguments, rules, sealer), sealer)


def _write_key(path: str, sealer: Sealer) -> None:
    from signward.cli.scan import written_whole

    if path:
        with written_whole(path) as out:
            out.write(sealer.public_pem)


def _terms(arguments: argparse.Namespace, rules: RuleSet, sealer: Sealer | None) -> Terms:
    from datetime import UTC, datetime

    from signward.verbs.intake.receipts import Terms, policy_resources
    from signward.verbs.policies.load import read_policy

    key = sealer.key_id if sealer else ""
    names = [(layer.name, layer.version) for layer in rules.layers]
    files = [read_policy(Path(path)) for path in arguments.policy]
    return Terms(
        verifier=arguments.verifier or f"urn:signward:key:{key}",
        at=datetime.now(UTC),
        policies=policy_resources(names, files),
        resource=arguments.resource,
    )


def _report(arguments: argparse.Namespace, gate: Gate) -> int:
    counts: Counter[str] = Counter()
    for path in arguments.paths:
        for taken in gate.take(path):
            word = _word(taken)
            counts[word] += 1
            _print_json(_plain(taken)) if arguments.json else _tell(word, taken)
    if not arguments.json:
        told = ", ".join(f"{number:,} {word.lower()}" for word, number in sorted(counts.items()))
        print(f"{sum(counts.values()):,} files: {told or 'nothing was delivered'}")
    if counts["REJECTED"]:
        return EXIT_REJECTED
    return EXIT_INDETERMINATE if counts["INDETERMINATE"] or counts["LEFT"] else 0


def _word(taken: Taken) -> str:
    if taken.left or taken.judged is None:
        return "LEFT"
    return taken.judged.outcome.value.upper()


def _tell(word: str, taken: Taken) -> None:
    from signward.report.display import visible

    judged = taken.judged
    by = f" by {judged.publisher}" if judged and judged.publisher else ""
    rule = f" (rule {judged.rule})" if judged and judged.rule else ""
    why = taken.left or (judged.why if judged else "")
    place = f" -> {taken.place}" if taken.place else ""
    print(visible(f"{word:<13} {taken.name}{by}{rule}{f': {why}' if why else ''}{place}"))


def _plain(value: Any) -> Any:
    import msgspec

    return msgspec.to_builtins(value)


def _print_json(value: Any) -> None:
    from signward.policy.record import printable_json

    sys.stdout.write(printable_json(value).decode() + "\n")


def _add_audit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--accept", required=True, metavar="DIR", help="where accepted files lie")
    parser.add_argument("--receipts", default="", metavar="DIR",
                        help="their receipts (default: beside it, NAME.receipts)")  # fmt: skip
    _add_receipt_key(parser)
    _add_verifier(parser)
    parser.add_argument("--all", action="store_true", help="tell of unchanged files too")
    _add_json(parser)


def _run_audit(arguments: argparse.Namespace) -> int:
    from signward.report.display import visible
    from signward.verbs.intake.audit import TOLD, State, audit
    from signward.verbs.intake.gate import receipts_of
    from signward.verbs.intake.receipts import receipt_keys

    folder = _folder(arguments.accept)
    receipts = Path(arguments.receipts) if arguments.receipts else receipts_of(folder)
    counts: Counter[State] = Counter()
    keys = receipt_keys(arguments.receipt_key)
    for one in audit(folder, receipts, keys, arguments.verifier):
        counts[one.state] += 1
        if arguments.json:
            _print_json(_plain(one))
        elif arguments.all or one.state is not State.UNCHANGED:
            why = f": {one.why}" if one.why else ""
            when = f", {_at(one.verified)}" if one.state is State.UNCHANGED else ""
            print(visible(f"{one.state.upper()}  {one.name}: {TOLD[one.state]}{when}{why}"))
    if not arguments.json:
        print(f"{counts.total():,} files, {counts[State.UNCHANGED]:,} unchanged")
    return 0 if counts.total() == counts[State.UNCHANGED] else EXIT_REJECTED


def _folder(path: str) -> Path:
    from signward.errors import EvidenceError

    folder = Path(path).absolute().resolve()
    if not folder.is_dir():
        raise EvidenceError(f"{path}: found no folder, required one")
    return folder


def _add_receipts(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="+", metavar="PATH",
                        help="receipts (anybody's summaries), or folders of them")  # fmt: skip
    _add_receipt_key(parser)
    _add_verifier(parser)
    parser.add_argument("--file", default="", metavar="FILE",
                        help="ask whether one of them passes this file")  # fmt: skip
    _add_json(parser)


def _run_receipts(arguments: argparse.Namespace) -> int:
    from signward.report.display import visible
    from signward.verbs.intake.receipts import receipt_keys, wanted

    keys = receipt_keys(arguments.receipt_key)
    sha256 = _sha256_of(arguments.file) if arguments.file else ""
    found = [one for path in arguments.paths
             for one in wanted(Path(path), keys, arguments.verifier, sha256)]  # fmt: skip
    for one in found:
        _tell_receipt(arguments, one)
    if arguments.file:
        if not found and not arguments.json:
            print(visible(f"no receipt that counts speaks of {arguments.file}"))
        passed = any(one.statement is not None and one.statement.passed for one in found)
        failed = any(one.statement is not None and not one.statement.passed for one in found)
        return 0 if passed and not failed else EXIT_REJECTED
    return 0 if all(one.statement is not None for one in found) else EXIT_REJECTED


def _tell_receipt(arguments: argparse.Namespace, one: Any) -> None:
    from signward.report.display import visible

    if arguments.json:
        _print_json({"receipt": str(one.path), "problem": one.problem,
                     "statement": _plain(one.statement)})  # fmt: skip
    elif one.statement is None:
        print(visible(f"BROKEN  {one.path}: {one.problem}"))
    else:
        predicate = one.statement.predicate
        names = ", ".join(subject.name for subject in one.statement.subject)
        print(visible(f"{predicate.verification_result}  {names}  by {predicate.policy.uri}, "
                      f"{_at(predicate.time_verified)}, {predicate.verifier.id}"))  # fmt: skip


def _at(time: datetime | None) -> str:
    from datetime import UTC

    return f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" if time else ""


def _sha256_of(path: str) -> str:
    from signward.errors import EvidenceError
    from signward.verbs.intake.moving import sha256_of

    file = Path(path).resolve()
    try:
        if file.is_file():
            return sha256_of(file)
    except OSError as error:
        raise EvidenceError(f"{path}: {(error.strerror or str(error)).lower()}") from None
    raise EvidenceError(f"{path}: found no file, required one")


def _add_receipt_key(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--receipt-key", action="append", default=[], required=True, metavar="PEM",
                        help="the public key, or certificate, that signs receipts")  # fmt: skip


def _add_verifier(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--verifier", default="", metavar="URI",
                        help="only of this verifier: keys may sign for several")  # fmt: skip


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON object a line")


ACTIONS = {
    "take": Action("judge what was delivered and move it", _add_take, _run_take),
    "audit": Action("say which accepted files were changed since", _add_audit, _run_audit),
    "receipts": Action("check receipts and tell what they say", _add_receipts, _run_receipts),
}
