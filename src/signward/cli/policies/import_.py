"""``signward policy import``: a policy that somebody already has, as ours."""

from __future__ import annotations

import argparse
from pathlib import Path

from signward.cli.actions import Action


def _add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", metavar="TARGET", help="whose it is, such as app-control")
    parser.add_argument("files", nargs="+", metavar="FILE", help="the enforcer's own files")
    parser.add_argument("--output", "-o", metavar="FILE",
                        help="write the TOML there instead of to the terminal")  # fmt: skip


def _run(arguments: argparse.Namespace) -> int:
    from signward.errors import PolicyError
    from signward.policy.rules.writing import document_of, key_file, to_toml
    from signward.verbs.options import read_option
    from signward.verbs.policies.compiling import import_from
    from signward.wire.whole import write_whole

    files = {Path(name).name: read_option(name) for name in arguments.files}
    if len(files) != len(arguments.files):
        raise PolicyError("FILE", "two files of one name", "names that differ")
    rules = import_from(arguments.target, files)
    text = to_toml(document_of(rules))
    if not arguments.output:
        if rules.keys:
            raise PolicyError("--output", "none", "a file: the policy's keys are written beside it")
        print(text, end="")
        return 0
    output = Path(arguments.output)
    keys = {output.parent / key_file(name): key.data for name, key in rules.keys.items()}
    try:
        for place, data in keys.items():
            _keep_others(place, data)
        for place, data in keys.items():
            place.parent.mkdir(exist_ok=True)
            write_whole(place, data, mode=0o644)
        write_whole(output, text.encode(), mode=0o644)
    except OSError as error:
        why = error.strerror or str(error)
        raise PolicyError(arguments.output, why, "a place that can be written") from None
    return 0


def _keep_others(place: Path, data: bytes) -> None:
    """Refuse to replace another key: a policy beside this one may trust what it names there."""
    from signward.errors import PolicyError

    if place.exists() and place.read_bytes() != data:
        raise PolicyError(str(place), "another key there already", "no key, or the same one",
                          hint="nothing was written: name an --output elsewhere")  # fmt: skip


ACTION = Action("turn an enforcer's policy into ours", _add, _run)
