"""Arguments that every judging subcommand shares."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from signward.verbs.options import Options

EXIT_CODES = (
    "exit codes: 0 the stage was reached, 1 rejected, 2 command line, 3 cannot tell, 4 not signed"
)


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
    _many(trust, "--store", "NAME", "authenticode, uefi, or a file or folder of certificates")
    _many(trust, "--anchor", "PEM", "trust this certificate (alone, unless --store is given too)")
    _many(trust, "--certificate", "PEM", "further certificates for building paths")
    _many(trust, "--catalog", "DIR", "catalogs that may vouch for unsigned files")
    _choice(trust, "--profile", ("", "authenticode", "uefi"), "whose rules (default: by format)")
    trust.add_argument("--at", type=instant, metavar="TIME", help="validation time (default: now)")
    evidence = parser.add_argument_group("revocation")
    _many(evidence, "--crl", "FILE", "CRLs, DER or PEM")
    _many(evidence, "--ocsp", "FILE", "OCSP responses, DER or PEM")
    _flag(evidence, "--online", "fetch missing certificates, CRLs and OCSP answers")
    _flag(evidence, "--online-private", "the same, private and loopback servers too")
    modes = ("prefer", "require", "ignore")
    _choice(evidence, "--revocation", modes, "unknown status: a finding, INDETERMINATE, nothing")
    policy = parser.add_argument_group("policy")
    _choice(policy, "--stage", ("accepted", "trusted", "intact"), "how far to judge")
    _many(policy, "--publisher", "NAME", "accept only this publisher")
    _choice(policy, "--signatures", ("best", "all", "any"), "which of several must be good")
    policy.add_argument("--sha1-until", type=instant, metavar="DATE",
                        help="SHA-1 counts under times proven before it (2016-01-01)")  # fmt: skip
    _flag(policy, "--distrust-compromised", "reject compromised keys whatever the date")
    _flag(policy, "--strict-tsa", "refuse TSAs whose EKU is not critical")


def _many(group: argparse._ArgumentGroup, flag: str, metavar: str, text: str) -> None:
    group.add_argument(flag, action="append", default=[], metavar=metavar, help=text)


def _choice(group: argparse._ArgumentGroup, flag: str, values: tuple[str, ...], text: str) -> None:
    """Add an option with fixed values; the first is the default."""
    default = f" (default: {values[0]})" if values[0] else ""
    shown = "{" + ",".join(filter(None, values)) + "}"
    group.add_argument(flag, choices=values, default=values[0], metavar=shown, help=text + default)


def _flag(group: argparse._ArgumentGroup, flag: str, text: str) -> None:
    group.add_argument(flag, action="store_true", help=text)


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
        profile=arguments.profile,
        at=arguments.at,
        online=arguments.online or arguments.online_private,
        online_private=arguments.online_private,
        policy=policy,
    )
