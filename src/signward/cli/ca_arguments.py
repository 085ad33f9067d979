"""What the actions of ``signward ca`` take."""

from __future__ import annotations

import argparse

from signward.cli.actions import add_data
from signward.cli.arguments import instant

PROFILES = ("code-signing", "kernel-module", "ci-identity", "timestamping", "ocsp-responder",
            "sub-ca")  # fmt: skip
REASONS = ("unspecified", "keyCompromise", "cACompromise", "affiliationChanged", "superseded",
           "cessationOfOperation", "privilegeWithdrawn")  # fmt: skip
KINDS = ("rsa-2048", "rsa-3072", "rsa-4096", "p-256", "p-384", "p-521", "ed25519",
         "ml-dsa-44", "ml-dsa-65", "ml-dsa-87")  # fmt: skip
FORMS = ("path", "pem", "der")
"""Words that the verbs' own tables hold too, which a start need not import."""


def add_init(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of a founding."""
    add_data(parser)
    parser.add_argument("--name", required=True, metavar="TEXT",
                        help="the organization, as certificates name it")  # fmt: skip
    parser.add_argument("--country", default="", metavar="CC", help="its country, such as SE")
    parser.add_argument("--url", default="http://127.0.0.1:8650", metavar="URL",
                        help="where verifiers will reach the service: it stands in every "
                        "certificate (default: http://127.0.0.1:8650)")  # fmt: skip
    parser.add_argument("--key", action="append", default=[], metavar="NAME=URI",
                        help="use this key rather than make one; names: root, issuing, "
                        "issuing-ocsp, tsa, log, feed")  # fmt: skip
    parser.add_argument("--encrypt", action="append", default=[], metavar="NAME",
                        help="encrypt the file of this key, with the password")  # fmt: skip
    parser.add_argument("--root-algorithm", choices=KINDS, default="p-384", metavar="KIND",
                        help="of the root's key, if it is made (default: p-384)")  # fmt: skip
    _add_algorithm(parser, "of the other keys but log and feed")
    parser.add_argument("--policies", default="", metavar="OID",
                        help="name certificate policies below this OID (default: one below "
                        "2.25, of a new UUID)")  # fmt: skip
    _add_password(parser)
    _add_dry_run(parser)
    _add_json(parser)


def add_issue(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of an issuance."""
    add_data(parser)
    parser.add_argument("--profile", choices=PROFILES, required=True, metavar="PROFILE",
                        help=f"what it is for: {', '.join(PROFILES)}")  # fmt: skip
    parser.add_argument("--subject", default="", metavar="NAME",
                        help="a common name (organization and country are the authority's), or "
                        "CN=...,O=... (default: the request's)")  # fmt: skip
    parser.add_argument("--san", action="append", default=[], metavar="KIND:NAME",
                        help="a further name: uri:https://..., email:..., dns:..., ip:... or "
                        "dir:CN=... (default: the request's)")  # fmt: skip
    key = parser.add_mutually_exclusive_group(required=True)
    key.add_argument("--request", default="", metavar="FILE",
                     help="certify the key in this PKCS#10 request")  # fmt: skip
    _add_new_key(parser, key)
    parser.add_argument("--permit", action="append", default=[], metavar="KIND:NAME",
                        help="sub-ca: it may certify names below this one only")  # fmt: skip
    parser.add_argument("--exclude", action="append", default=[], metavar="KIND:NAME",
                        help="sub-ca: it may not certify names below this one")  # fmt: skip
    parser.add_argument("--ca", default="issuing", metavar="NAME",
                        help="the authority that issues it (default: issuing)")  # fmt: skip
    _add_issuing(parser)


def add_renew(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of a renewal."""
    add_data(parser)
    parser.add_argument("certificate", metavar="WHICH", help="its serial number or file; or the "
                        "name of a key of ours, such as tsa")  # fmt: skip
    parser.add_argument("--ca", default="", metavar="NAME", help="the authority that issued it, "
                        "where two have such a serial number")  # fmt: skip
    key = parser.add_mutually_exclusive_group()
    key.add_argument("--request", default="", metavar="FILE", help="for the key in this PKCS#10 "
                     "request (default: for the key it has)")  # fmt: skip
    _add_new_key(parser, key)
    _add_issuing(parser)


def _add_new_key(parser: argparse.ArgumentParser, group: argparse._MutuallyExclusiveGroup) -> None:
    group.add_argument("--new-key", default="", metavar="FILE",
                       help="make a key, write it there and certify it")  # fmt: skip
    _add_algorithm(parser, "of the key that is made")
    parser.add_argument("--encrypted", action="store_true",
                        help="encrypt the file of the key that is made")  # fmt: skip


def _add_algorithm(parser: argparse.ArgumentParser, which: str) -> None:
    parser.add_argument("--algorithm", choices=KINDS, default="p-256", metavar="KIND",
                        help=f"{which} (default: p-256): {', '.join(KINDS)}")  # fmt: skip


def _add_issuing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--valid", default="", metavar="TIME",
                        help="how long: 10m, 24h, 90d, 8y (default: the profile's)")  # fmt: skip
    _add_ca_key(parser)
    _add_password(parser)
    _add_output(parser)
    _add_dry_run(parser)
    _add_json(parser)


def add_revoke(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of a revocation."""
    add_data(parser)
    parser.add_argument("certificates", nargs="+", metavar="WHICH",
                        help="serial numbers or files of certificates")  # fmt: skip
    parser.add_argument("--reason", choices=REASONS, required=True, metavar="REASON",
                        help=f"why: {', '.join(REASONS)}")  # fmt: skip
    parser.add_argument("--invalidity-date", type=instant, metavar="TIME",
                        help="refuse also what was signed and timestamped from then on "
                        "(default: from now on)")  # fmt: skip
    parser.add_argument("--ca", default="", metavar="NAME", help="the authority that issued them, "
                        "where two have such a serial number")  # fmt: skip
    _add_ca_key(parser)
    _add_password(parser)
    _add_dry_run(parser)
    _add_json(parser)


def add_list(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of a listing."""
    add_data(parser)
    parser.add_argument("--ca", default="", metavar="NAME", help="of this authority only")
    parser.add_argument("--profile", default="", metavar="PROFILE", help="of this profile only")
    parser.add_argument("--expiring", default="", metavar="TIME",
                        help="those that end within this time, such as 30d")  # fmt: skip
    parser.add_argument("--revoked", action="store_true", help="revoked ones only")
    _add_json(parser)


def add_export(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of an export."""
    add_data(parser)
    parser.add_argument("certificate", metavar="WHICH", help="a serial number or file, an "
                        "authority (root, issuing) or a key of ours (tsa)")  # fmt: skip
    parser.add_argument("--form", choices=FORMS, default="path", metavar="{path,pem,der}",
                        help="PEM up to the root, or the one certificate as PEM or DER "
                        "(default: path)")  # fmt: skip
    parser.add_argument("--crl", action="store_true", help="the authority's CRL instead")
    _add_output(parser)


def add_crl(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of a CRL's publication."""
    add_data(parser)
    parser.add_argument("--ca", default="issuing", metavar="NAME",
                        help="whose (default: issuing)")  # fmt: skip
    _add_ca_key(parser)
    _add_password(parser)
    parser.add_argument("-o", "--output", metavar="FILE", default="",
                        help="write it there too, in DER")  # fmt: skip
    _add_json(parser)


def _add_ca_key(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--ca-key", default="", metavar="URI", help="the authority's key is here "
                        "this time: a root's, fetched from its safe")  # fmt: skip


def _add_password(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pass-file", default="", metavar="FILE",
                        help="the password or PIN is this file's first line")  # fmt: skip


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", metavar="FILE", default="",
                        help="write it there (default: print it)")  # fmt: skip


def _add_dry_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true",
                        help="check everything, tell what would be done, do nothing")  # fmt: skip


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="tell it as JSON")
