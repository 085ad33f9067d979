"""How an fs-verity tree is built, as arguments: what `sign` and `verify` share."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from signward.wire.verity import Parameters


def add_verity(group: argparse._ArgumentGroup) -> None:
    """Add what a file's tree is built with, where it is not the usual."""
    group.add_argument("--fs-verity-block", type=int, default=4096, metavar="OCTETS",
                       help="block size of fs-verity trees: 1024 to 65536 (default: 4096)",
                       )  # fmt: skip
    group.add_argument("--fs-verity-salt", default="", metavar="HEX",
                       help="salt of fs-verity trees, up to 32 octets")  # fmt: skip


def verity_from(arguments: argparse.Namespace) -> Parameters:
    """Return the parameters asked for.  Raises ``EvidenceError``."""
    from signward.errors import BadInputError, EvidenceError
    from signward.wire.verity import Parameters

    try:
        salt = bytes.fromhex(arguments.fs_verity_salt)
    except ValueError:
        raise EvidenceError("--fs-verity-salt: required hexadecimal digits") from None
    parameters = Parameters(block=arguments.fs_verity_block, salt=salt)
    try:
        parameters.check()
    except BadInputError as error:
        raise EvidenceError(f"--fs-verity: {error}") from None
    return parameters
