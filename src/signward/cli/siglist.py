"""``signward siglist -o db.esl``: make a UEFI signature list, to be signed and enrolled."""

from __future__ import annotations

import argparse

from signward.cli.arguments import instant

DESCRIPTION = """\
Write a UEFI signature list: certificates and digests of boot programs that
firmware lets in (db) or refuses (dbx).

Firmware takes a list that 'signward sign' made a write of, by the key of a KEK
for db and dbx, of the PK for KEK and the PK itself.  'signward show' tells
every entry of a list, a write, or a file of efivarfs."""

EPILOG = """examples:
  signward siglist --certificate own-ca.pem -o db.esl
  signward sign --key file:kek.pem --option append=yes db.esl
  signward siglist --image old-grub.efi --sha256 HEX -o dbx.esl
  signward siglist --tbs stolen.pem --since 2026-03-01 -o dbx.esl
  signward verify --anchor kek-certificate.pem db.esl

exit codes: 0 the list was written, 2 command line, or an unreadable file
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``siglist``."""
    for flag, metavar, text in (
        ("--certificate", "PEM", "a certificate as it stands, PEM or DER"),
        ("--tbs", "PEM", "only the SHA-256 of a certificate's TBSCertificate (for dbx)"),
        ("--image", "FILE", "the Authenticode SHA-256 of a boot program"),
        ("--sha256", "HEX", "such a digest itself"),
    ):
        parser.add_argument(flag, action="append", default=[], metavar=metavar, help=text)
    parser.add_argument("--since", type=instant, metavar="TIME", help="what --tbs refuses: what "
                        "was signed since then (default: ever)")  # fmt: skip
    parser.add_argument("--owner", default="", metavar="GUID",
                        help="who put the entries there (default: nobody)")  # fmt: skip
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="the list")


def run(arguments: argparse.Namespace) -> int:
    """Write the list."""
    from signward.cli.scan import written_whole
    from signward.report.display import quantity, visible
    from signward.verbs.siglists import NOBODY, signature_list

    data, count = signature_list(
        certificates=arguments.certificate,
        tbs=arguments.tbs,
        images=arguments.image,
        digests=arguments.sha256,
        since=arguments.since,
        owner=arguments.owner or NOBODY,
    )
    with written_whole(arguments.output) as out:
        out.write(data)
    entries = quantity(count, "entry", "entries")
    print(visible(f"{arguments.output}: {entries}; not signed yet"))
    return 0
