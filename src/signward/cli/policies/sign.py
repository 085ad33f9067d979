"""``signward policy sign``: signs a policy together with the keys it names."""

from __future__ import annotations

import argparse
from pathlib import Path

from signward.cli.actions import Action


def _add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("policy", metavar="POLICY", help="TOML file: a base or a supplement")
    parser.add_argument("--key", required=True, metavar="URI",
                        help="the key that signs: file:key.pem, see docs/keys.md")  # fmt: skip
    parser.add_argument("--pass-file", default="", metavar="FILE",
                        help="the key's password or PIN is this file's first line")  # fmt: skip
    parser.add_argument("-o", "--output", default="", metavar="FILE",
                        help="write there (default: POLICY with .signed behind it)")  # fmt: skip
    parser.add_argument("--key-out", default="", metavar="FILE",
                        help="write the public key there, for --policy-key")  # fmt: skip


def _run(arguments: argparse.Namespace) -> int:
    from signward.cli.scan import written_whole
    from signward.report.display import visible
    from signward.verbs.policies.load import key_reader, read_policy
    from signward.verbs.policies.signed import sign_policy
    from signward.verbs.sealing import opened_sealer

    path = Path(arguments.policy)
    data = read_policy(path)
    output = arguments.output or f"{arguments.policy}.signed"
    with opened_sealer(arguments.key, arguments.pass_file) as sealer:
        body = sign_policy(path, data, key_reader(path.name, path.parent), sealer)
        public = sealer.public_pem
    for target, octets in ((output, body), (arguments.key_out, public)):
        if target:
            with written_whole(target) as out:
                out.write(octets)
    print(visible(f"{output}: signed by key {sealer.key_id[:16]}"))
    return 0


ACTION = Action("sign a policy, with the keys it names, for --policy-key", _add, _run)
