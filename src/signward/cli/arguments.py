"""Arguments that every judging subcommand shares."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from signward.verbs.options import Options

EXIT_CODES = "exit codes: 0 the stage was reached, 1 rejected, 2 command line, 3 cannot tell, 4 not signed"


def instant(text: str) -> datetime:
    """Return an RFC 3339 instant or a date (midnight UTC) as an aware UTC datetime."""
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"found {text!r}, required a time like 2026-01-31T12:00:00Z or a date"
        ) from None
    return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)


def add_judgement(parser: argparse.ArgumentParser) -> None:
    """Add what a judgement depends on: anchors, evidence, time, policy."""
    trust = parser.add_argument_group("trust")
    many = {"action": "append", "default": []}
    trust.add_argument("--store", metavar="NAME", help="authenticode, uefi, or a file or folder of certificates", **many)  # type: ignore[arg-type]
    trust.add_argument("--anchor", metavar="PEM", help="trust this certificate (alone, unless --store is given too)", **many)  # type: ignore[arg-type]
    trust.add_argument("--certificate", metavar="PEM", help="further certificates for building paths", **many)  # type: ignore[arg-type]
    trust.add_argument("--catalog", metavar="DIR", help="catalogs that may vouch for unsigned files", **many)  # type: ignore[arg-type]
    trust.add_argument("--profile", choices=("authenticode", "uefi"), help="judge by these rules (default: the format's own)")
    trust.add_argument("--at", type=instant, metavar="TIME", help="validation time (default: now)")
    evidence = parser.add_argument_group("revocation")
    evidence.add_argument("--crl", metavar="FILE", help="a CRL, DER or PEM", **many)  # type: ignore[arg-type]
    evidence.add_argument("--ocsp", metavar="FILE", help="an OCSP response, DER", **many)  # type: ignore[arg-type]
    evidence.add_argument("--online", action="store_true", help="fetch missing certificates, CRLs and OCSP answers")
    evidence.add_argument("--revocation", choices=("prefer", "require", "ignore"), default="prefer",
                          help="unknown status: a finding, INDETERMINATE, or nothing (default: prefer)")  # fmt: skip
    policy = parser.add_argument_group("policy")
    policy.add_argument("--stage", choices=("intact", "trusted", "accepted"), default="accepted",
                        help="how far to judge (default: accepted)")  # fmt: skip
    policy.add_argument("--publisher", metavar="NAME", help="accept only this publisher", **many)  # type: ignore[arg-type]
    policy.add_argument("--signatures", choices=("best", "all", "any"), default="best",
                        help="which of several signatures must be good (default: best)")  # fmt: skip
    policy.add_argument("--sha1-until", type=instant, metavar="DATE", help="SHA-1 counts under times proven before it (default: 2016-01-01)")
    policy.add_argument("--distrust-compromised", action="store_true", help="reject compromised keys whatever the date")
    policy.add_argument("--strict-tsa", action="store_true", help="refuse TSAs whose EKU is not critical")


def options_from(arguments: argparse.Namespace) -> Options:
    """Return the run's options as the arguments give them."""
    from signward.policy.evaluate import Policy, SignatureRule
    from signward.state import Stage
    from signward.trust.profiles import RevocationMode, TrustPolicy
    from signward.verbs.options import Options

    cutoff = {"sha1_cutoff": arguments.sha1_until} if arguments.sha1_until else {}
    trust = TrustPolicy(
        revocation=RevocationMode(arguments.revocation),
        distrust_compromised=arguments.distrust_compromised,
        strict_tsa=arguments.strict_tsa,
        **cutoff,
    )
    policy = Policy(
        stage=Stage(arguments.stage),
        signatures=SignatureRule(arguments.signatures),
        publishers=tuple(arguments.publisher),
        trust=trust,
    )
    return Options(
        stores=tuple(arguments.store),
        anchors=tuple(arguments.anchor),
        certificates=tuple(arguments.certificate),
        crls=tuple(arguments.crl),
        ocsp=tuple(arguments.ocsp),
        catalogs=tuple(arguments.catalog),
        profile=arguments.profile or "",
        at=arguments.at,
        online=arguments.online,
        policy=policy,
    )
