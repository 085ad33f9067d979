"""Arguments that every judging subcommand shares."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from signward.policy.rules.model import RuleSet
    from signward.verbs.options import Options

EXIT_CODES = """\
exit codes: 0 accepted (or the --stage that was asked for), 1 rejected,
2 command line, 3 cannot tell, 4 not signed"""


GENERATIONS = (
    "11-24h2-2026", "server-2025-2026", "10-1607", "server-2016", "10-1507", "8.1", "7",
)  # fmt: skip
"""Names of ``trust.kernel.GENERATIONS``, which a start need not import."""


PROFILES = ("", "authenticode", "uefi", "uefi-variable", "windows-kernel", "linux-kernel", "jar",
            "apple", "apple-installer", "openpgp", "pinned", "android", "sshsig",
            "git", "git-ssh", "device", "sigstore")  # fmt: skip
"""Names of ``trust.profiles.PROFILES``, which a start need not import; the first is none."""


MAX_API_LEVEL = 0x7FFFFFFF
"""The newest platform there can be: Android's API levels are signed numbers of 32 bits."""


def instant(text: str) -> datetime:
    """Return an RFC 3339 instant or a date (midnight UTC) as an aware UTC datetime."""
    try:
        parsed = datetime.fromisoformat(text)
        return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(
            f"found {text!r}, required a time like 2026-01-31T12:00:00Z or a date"
        ) from None


def add_judgement(parser: argparse.ArgumentParser) -> None:
    """Add what a judgement depends on: anchors, evidence, time, policy."""
    add_trust(parser.add_argument_group("trust: whom to believe, and when"))
    add_revocation(parser.add_argument_group("revocation: what is known to be withdrawn"))
    add_policy(parser.add_argument_group("policy: what is asked of a file"))


def add_trust(group: argparse._ArgumentGroup) -> None:
    """Add anchors, further certificates, catalogs, profile and instant."""
    _many(group, "--store", "STORE", "trust these roots: authenticode (what Windows trusts), "
          "uefi (Secure Boot), uefi-variable (who writes its lists), windows-kernel, apple, "
          "linux-kernel (what is compiled into the kernels installed here), kernel:VMLINUZ, "
          "shim:FILE (what that shim's vendor built into it), or a file or folder of "
          "certificates")  # fmt: skip
    _many(group, "--anchor", "PEM", "trust this certificate (of a kernel image: those "
          "compiled into it), and no store unless --store names one")  # fmt: skip
    _many(group, "--certificate", "PEM", "further certificates, for signatures that lack some")
    _many(group, "--keyring", "FILE", "public keys of OpenPGP, minisign, signify or SSH, SSH's "
          "allowed signers, or keys by themselves (PEM, DER), for signatures by such: a file, or "
          "a folder of keyrings")  # fmt: skip
    group.add_argument("--trusted-root", default="", metavar="JSON", help="trust this Sigstore "
                       "(its trusted_root.json) instead of the public one")  # fmt: skip
    _many(group, "--catalog", "PATH", "catalogs (.cat file), manifests (see signward manifest) or "
          "folders of them that may vouch for files without a signature of their own")  # fmt: skip
    _many(group, "--digest-list", "FILE", "digests that a vendor publishes (as sha512sum writes "
          "them): what they name is told as listed, which counts where the list is signed: "
          "FILE.asc, .sig, .minisig or .p7s beside it, or a manifest of --catalog")  # fmt: skip
    _many(group, "--device-says", "FILE", "what a Cisco device printed for show software "
          "authenticity: told as its claim, and no reason to accept anything")  # fmt: skip
    group.add_argument("--profile", choices=PROFILES, default="", metavar="NAME", help="judge by "
                       f"these rules: {', '.join(PROFILES[1:])} (default: those of the file's "
                       "format)")  # fmt: skip
    group.add_argument("--windows-generation", choices=GENERATIONS, default=GENERATIONS[0],
                       metavar="NAME", help="the Windows that profile windows-kernel speaks for: "
                       f"{', '.join(GENERATIONS)} (default: {GENERATIONS[0]})")  # fmt: skip
    group.add_argument("--namespace", default="file", metavar="NAME", help="what an SSH "
                       "signature must have been made for (default: file)")  # fmt: skip
    group.add_argument("--min-sdk", type=_api_level, default=0, metavar="LEVEL", help="judge "
                       "Android packages for platforms from this API level (default: the oldest "
                       "that the package names)")  # fmt: skip
    group.add_argument("--max-sdk", type=_api_level, default=0, metavar="LEVEL", help="and up to "
                       "this one (default: every newer one)")  # fmt: skip
    group.add_argument("--source-stamp", action="store_true", help="ask Android packages for a "
                       "source stamp, as stores put it, whose signer is trusted too")  # fmt: skip
    group.add_argument("--at", type=instant, metavar="TIME",
                       help="judge as at this time, such as 2024-06-01 (default: now)")  # fmt: skip


def add_revocation(group: argparse._ArgumentGroup) -> None:
    """Add evidence of revocation, whether to fetch it, and what its absence means."""
    _many(group, "--crl", "FILE", "certificate revocation lists, DER or PEM")
    _many(group, "--ocsp", "FILE", "OCSP responses, DER or PEM")
    _many(group, "--revoked", "FILE", "SSH keys that are withdrawn: a revocation list "
          "(ssh-keygen -k) or public keys, one a line")  # fmt: skip
    _many(group, "--feed", "FEED", "a revocation feed: a file, or a URL that is asked for news")
    _many(group, "--feed-key", "PEM", "the public key, or certificate, that feeds are signed with")
    _flag(group, "--online", "fetch the certificates, CRLs and OCSP answers that are missing")
    _flag(group, "--online-private", "the same, from private and loopback addresses too")
    _flag(group, "--online-nonce", "the same, with a nonce in OCSP requests: no cache answers")
    modes = ("prefer", "require", "ignore")
    _choice(group, "--revocation", modes, "where nothing is known of a certificate: prefer says "
            "so, require answers INDETERMINATE, ignore is silent")  # fmt: skip


def add_policy(group: argparse._ArgumentGroup) -> None:
    """Add the stage, the publishers wanted, and the switches of the strict policy."""
    _choice(group, "--stage", ("accepted", "trusted", "intact"), "stop there: intact asks whether "
            "the file is unchanged, trusted also who signed it, accepted also whether it is "
            "wanted")  # fmt: skip
    _many(group, "--publisher", "NAME", "accept only files of this publisher (as verify names it)")
    group.add_argument("--identity", default="", metavar="NAME", help="accept keyless signatures "
                       "(Sigstore, PyPI, npm) of this address or workflow ...")  # fmt: skip
    group.add_argument("--identity-issuer", default="", metavar="URL", help="... vouched for by "
                       "this OpenID provider, such as "
                       "https://token.actions.githubusercontent.com")  # fmt: skip
    _many(group, "--policy", "TOML", "let in what this policy allows, and nothing else: a base, "
          "then its supplements")  # fmt: skip
    _many(group, "--policy-key", "PEM", "take signed policies only, signed by this key")
    group.add_argument("--host", default="", metavar="NAME", help="the machine that rules with "
                       "hosts ask for")  # fmt: skip
    _many(group, "--tag", "NAME", "what such rules call this machine besides")
    _many(group, "--dbx", "FILE", "reject the boot programs that this UEFI dbx names: a signature "
          "list, an update, a file of efivarfs, or Microsoft's dbx_info.json")  # fmt: skip
    _many(group, "--dbt", "FILE", "whose timestamps count where --dbx names a time: a signature "
          "list or certificates (default: nobody's)")  # fmt: skip
    group.add_argument("--sbat-level", default="", metavar="LEVEL", help="reject the boot programs "
                       "that shim starts no more: latest, a level's file, or a shim that has "
                       "one")  # fmt: skip
    group.add_argument("--after", type=instant, metavar="TIME", help="reject a write of a UEFI "
                       "variable that is not later: when the last one was")  # fmt: skip
    _many(group, "--block-list", "XML", "reject what this list denies: Microsoft's vulnerable "
          "driver block list, or another SiPolicy XML")  # fmt: skip
    _choice(group, "--signatures", ("best", "all", "any"), "of several signatures, trust the "
            "strongest, all, or any one")  # fmt: skip
    sha1 = "accept SHA-1 if timestamped before DATE (default: 2016-01-01)"
    group.add_argument("--sha1-until", type=instant, metavar="DATE", help=sha1)
    _flag(group, "--distrust-compromised",
          "reject what a compromised key signed, even before the compromise")  # fmt: skip
    _flag(group, "--strict-tsa", "refuse timestamp authorities whose EKU is not critical")


def _many(group: argparse._ArgumentGroup, flag: str, metavar: str, text: str) -> None:
    group.add_argument(flag, action="append", default=[], metavar=metavar, help=text)


def _choice(group: argparse._ArgumentGroup, flag: str, values: tuple[str, ...], text: str) -> None:
    """Add an option with fixed values; the first is the default."""
    default = f" (default: {values[0]})" if values[0] else ""
    shown = "{" + ",".join(filter(None, values)) + "}"
    group.add_argument(flag, choices=values, default=values[0], metavar=shown, help=text + default)


def _api_level(text: str) -> int:
    """Return an API level: a number from 1 that platforms can compare."""
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= MAX_API_LEVEL:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is no API level, such as 28")
    return int(text)


def _flag(group: argparse._ArgumentGroup, flag: str, text: str) -> None:
    group.add_argument(flag, action="store_true", help=text)


def options_from(arguments: argparse.Namespace) -> Options:
    """Return the run's options as the arguments give them."""
    from signward.policy.settings import Policy, SignatureRule
    from signward.state import Stage
    from signward.trust.settings import RevocationMode, TrustPolicy

    _check_identity(arguments)
    cutoff = {"sha1_cutoff": arguments.sha1_until} if arguments.sha1_until else {}
    trust = TrustPolicy(
        revocation=RevocationMode(arguments.revocation),
        distrust_compromised=arguments.distrust_compromised,
        strict_tsa=arguments.strict_tsa,
        windows_generation=arguments.windows_generation,
        ssh_namespace=arguments.namespace,
        **cutoff,
    )
    policy = Policy(
        stage=Stage(arguments.stage),
        signatures=SignatureRule(arguments.signatures),
        publishers=tuple(arguments.publisher),
        identity=arguments.identity,
        issuer=arguments.identity_issuer,
        trust=trust,
    )
    from signward.frozen import replace

    return replace(
        judging_from(arguments),
        policy=policy,
        block_lists=tuple(arguments.block_list),
        dbx=tuple(map(_placed, arguments.dbx)),
        dbt=tuple(map(_placed, arguments.dbt)),
        sbat_level=_level_named(arguments.sbat_level),
        after=arguments.after,
        rules=_rules_from(arguments),
        host=arguments.host,
        tags=frozenset(arguments.tag),
    )


def _check_identity(arguments: argparse.Namespace) -> None:
    """Ask for both halves of a keyless identity.  Raises ``EvidenceError``."""
    from signward.errors import EvidenceError

    if bool(arguments.identity) != bool(arguments.identity_issuer):
        raise EvidenceError("--identity, --identity-issuer: found one of them, required both: two "
                            "providers may give one name to different people")  # fmt: skip


def _placed(path: str) -> str:
    """Return a path that nobody takes for a word: variables' files often have no extension."""
    return path if "/" in path else f"./{path}"


def _beside(path: str) -> str:
    """Return the file of the signature beside a digest list; empty where there is none."""
    from pathlib import Path

    found = (path + ending for ending in (".asc", ".sig", ".minisig", ".p7s"))
    return next((one for one in found if Path(one).is_file()), "")


def _level_named(text: str) -> str:
    return text if text in ("", "latest") else _placed(text)


def _rules_from(arguments: argparse.Namespace) -> RuleSet | None:
    """Return the policy that decides, if one is given.  Raises ``PolicyError``."""
    from signward.errors import PolicyError

    if not arguments.policy:
        if arguments.policy_key:
            raise PolicyError("--policy-key", "no --policy", "the policy that it signs")
        return None
    for flag, given in (
        ("--publisher", arguments.publisher),
        ("--identity", arguments.identity),
        ("--stage", _short(arguments)),
    ):
        if given:
            raise PolicyError("--policy", f"{flag} too", "one of them: rules say whom to accept")
    from pathlib import Path

    from signward.verbs.policies.load import load_rules

    return load_rules([Path(path) for path in arguments.policy], arguments.policy_key)


def _short(arguments: argparse.Namespace) -> bool:
    """Say whether a stage is asked for that comes before whether a file is wanted."""
    return str(arguments.stage) != "accepted"


def judging_from(arguments: argparse.Namespace) -> Options:
    """Return anchors, evidence and instant as the arguments give them, under the built-in policy.

    For commands that assess what they made: they have no policy switches.
    """
    from signward.policy.settings import Policy
    from signward.trust.settings import RevocationMode, TrustPolicy
    from signward.verbs.options import Options

    trust = TrustPolicy(
        revocation=RevocationMode(arguments.revocation),
        windows_generation=arguments.windows_generation,
        ssh_namespace=arguments.namespace,
    )
    return Options(
        stores=tuple(arguments.store),
        anchors=tuple(arguments.anchor),
        certificates=tuple(arguments.certificate),
        crls=tuple(arguments.crl),
        ocsp=tuple(arguments.ocsp),
        keyrings=tuple(arguments.keyring),
        revoked=tuple(arguments.revoked),
        trusted_root=arguments.trusted_root,
        catalogs=tuple(arguments.catalog),
        digest_lists=tuple((path, _beside(path)) for path in map(_placed, arguments.digest_list)),
        device_claims=tuple(map(_placed, arguments.device_says)),
        feeds=tuple(arguments.feed),
        feed_keys=tuple(arguments.feed_key),
        profile=arguments.profile,
        oldest_sdk=arguments.min_sdk,
        newest_sdk=arguments.max_sdk,
        source_stamp=arguments.source_stamp,
        at=arguments.at,
        online=arguments.online or arguments.online_private or arguments.online_nonce,
        online_private=arguments.online_private,
        online_nonce=arguments.online_nonce,
        policy=Policy(trust=trust),
    )
