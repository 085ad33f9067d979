"""Signed source: git's allowed signers and revoked keys, and a check of keyless signatures.

Sources: ssh-keygen(1) ALLOWED SIGNERS and KEY REVOCATION LISTS, git-config(1) ``gpg.*``, and
gitsign's ``verify`` and ``verify-tag``.  SSH keys stand in ``allowed_signers`` for the namespace
``git``, those denied in ``revoked_keys``, which ssh-keygen asks first.  ``git verify-commit`` takes
any keyless signature, whoever made it, and any key in the user's own ring: so git's configuration
knows SSH alone, and identities are asked by a script that calls ``gitsign verify``.

An exception that lets in ends by ``valid-before``; git holds that against the commit's own date,
which whoever commits chooses.  So its end is lost, as far as somebody lies.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Annotated

import msgspec

from signward.compilers import Compiled, File, Towards
from signward.compilers._lossy import Ledger
from signward.errors import PolicyError
from signward.frozen import Frozen
from signward.policy.rules.model import (
    Action,
    IdentityMatch,
    KeyKind,
    Name,
    PublisherMatch,
    Rule,
    RuleSet,
    Strict,
)

_SOURCES = frozenset({"git-commit", "git-tag"})
_PUBLIC = re.compile(rb"(\S+) ([A-Za-z0-9+/=]+)")
Principal = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9*?@._+-]{1,254}\Z")]


class GitSettings(Strict, frozen=True, kw_only=True):
    """``[targets.git-signing]``.

    ``principals``: by name of ``[keys]``, the patterns of e-mail addresses whose key it is; git
    tells the address, and does not compare it with the committer's.  ``directory`` is where the
    files are on the machines that verify.
    """

    principals: dict[Name, Annotated[tuple[Principal, ...], msgspec.Meta(min_length=1)]] = (
        msgspec.field(default_factory=dict)
    )
    directory: Annotated[str, msgspec.Meta(pattern=r"^/[A-Za-z0-9/._-]{1,200}\Z")] = (
        "/etc/signward/git"
    )


class Told(Frozen, frozen=True, kw_only=True):
    """What is said to git: names of keys, and identities for gitsign."""

    rule: Rule
    keys: tuple[str, ...] = ()
    identity: IdentityMatch | None = None


class GitCompiler:
    """Writes git's configuration, its two lists of keys, and the script."""

    target = "git-signing"
    title = "git and gitsign"
    spec = "ssh-keygen(1), git-config(1) gpg.*, gitsign verify"
    governs = frozenset({"source"})
    kinds = _SOURCES
    losses: Mapping[str, str] = {
        "publisher": "publishers by anything but a key",
        "key": "certificates and keys other than SSH's",
        "signers": "several signers: a commit has one",
        "identity": "identities that are denied, where others are allowed",
        "product": "what a file says of itself",
        "digest": "digests",
        "path": "paths",
        "origin": "repositories: the files are for whoever includes them",
        "catalog": "catalogs",
        "kind": "rules by kind alone, for commits alone, or for tags alone",
        "hosts": "host tags",
        "audit": "the word about what an audit rule lets in",
        "exception": "what exceptions spare",
        "expiry": "the end of exceptions, against a false date of a commit",
        "monitor": "watching only",
        "requirement-timestamp": "trusted timestamps",
        "requirement-revocation": "revocation, other than keys that are denied",
        "requirement-algorithm": "minimum algorithms",
        "requirement-log": "log inclusion of SSH signatures",
        "requirement-age": "the age of a signature",
    }
    settings = GitSettings
    checked = ("executed", "ssh-keygen -Y verify and git verify-commit; gitsign's flags as written")

    def compile(self, rules: RuleSet, settings: GitSettings) -> Compiled:
        """Return the files.  Raises ``PolicyError`` for principals of a key there is none of."""
        for name in settings.principals:
            if name not in rules.keys:
                raise PolicyError(
                    "targets.git-signing", f"principals of {name}", "a name of [keys]"
                )
        ledger = Ledger(self.target)
        told = tuple(
            one
            for rule in ledger.in_turn(rules, self.governs, self.kinds)
            if (one := _told(ledger, rules, rule))
        )
        _lose_the_rest(ledger, rules, [one.rule for one in told])
        _lose_denied_identities(ledger, told)
        return ledger.compiled(_files(rules, settings, told))


def _told(ledger: Ledger, rules: RuleSet, rule: Rule) -> Told | None:
    """Return what can be said of a rule; None for one that is lost."""
    if ledger.lose_fields(rule, ("publisher", "signers", "identity")):
        return None
    if rule.kind and "source" not in rule.kind and not _SOURCES.issubset(rule.kind):
        ledger.lose_rule("kind", rule, "a key signs commits and tags")
        return None
    asked = [field for field in ("publisher", "signers", "identity") if getattr(rule, field)]
    if len(asked) != 1:
        why = "a signature is by a key or an identity" if asked else "git asks for a signer"
        ledger.lose_rule(asked[0] if asked else "kind", rule, why)
        return None
    if rule.identity:
        return Told(rule=rule, identity=rule.identity)
    return _told_keys(ledger, rules, rule)


def _told_keys(ledger: Ledger, rules: RuleSet, rule: Rule) -> Told | None:
    if rule.signers and rule.signers.least != 1:
        ledger.lose_rule("signers", rule, "a commit has one signer")
        return None
    matches = rule.signers.of if rule.signers else (rule.publisher,)
    names = [_key_name(match) for match in matches if match]
    if not all(names):
        ledger.lose_rule("publisher", rule, "git knows a signer by a key")
    elif any(rules.keys[name].kind is not KeyKind.SSH for name in names):
        ledger.lose_rule("key", rule, "the lists of git hold SSH keys")
    else:
        return Told(rule=rule, keys=tuple(names))
    return None


def _key_name(match: PublisherMatch) -> str:
    """Return the key's name if nothing else is asked, else an empty text."""
    asked = [field for field in match.__struct_fields__ if getattr(match, field)]
    return match.key if asked == ["key"] else ""


def _lose_the_rest(ledger: Ledger, rules: RuleSet, kept: list[Rule]) -> None:
    ledger.lose_requirements(rules, kept)
    ledger.lose_mode(rules)
    for waiver in rules.waivers:
        text = f"git holds {waiver.expires:%Y-%m-%dT%H:%M:%SZ} against the commit's own date"
        ledger.lose("expiry", waiver.id, text, Towards.LOOSER)
    for rule in kept:
        if rule.action is Action.AUDIT:
            ledger.lose("audit", rule.id, "git says of all that it is good", Towards.LOOSER)
        for spare in rules.spared.get(rule.id, ()):
            text = f"a key that {rule.id} revokes is good for nothing"
            ledger.lose("exception", spare.id, text, Towards.STRICTER)


def _lose_denied_identities(ledger: Ledger, told: Iterable[Told]) -> None:
    """Lose identities that are denied: one that gitsign could not verify would not be found."""
    named = [one.rule for one in told if one.identity]
    for rule in named:
        if rule.action is Action.DENY and any(r.action is not Action.DENY for r in named):
            text = "gitsign says who did sign, and nothing of who did not"
            ledger.lose_rule("identity", rule, text)


def _files(rules: RuleSet, settings: GitSettings, told: tuple[Told, ...]) -> tuple[File, ...]:
    allowed = [one for one in told if one.rule.action is not Action.DENY]
    denied = [one for one in told if one.rule.action is Action.DENY]
    ends = {waiver.id: waiver.expires for waiver in rules.waivers}
    signers = [
        _signer(rules, settings, name, ends.get(one.rule.id))
        for one in allowed
        for name in one.keys
    ]
    revoked = [_public(rules, name) for one in denied for name in one.keys]
    identities = [one.identity for one in allowed if one.identity]
    place = settings.directory
    return (
        File(
            name="gitconfig",
            content=_config(place),
            deploy=f"put the files into {place} and include this: "
            f"git config --system include.path {place}/gitconfig",
        ),
        File(name="allowed_signers", content=_lines(signers), deploy="beside gitconfig"),
        File(name="revoked_keys", content=_lines(revoked), deploy="beside gitconfig"),
        File(
            name="verify-source",
            content=_script(place, identities).encode(),
            deploy="run in the repository, in CI or a hook: sh verify-source COMMIT_OR_TAG...",
        ),
        File(
            name="gitsign.gitconfig",
            content=_SIGNING,
            deploy="for those who sign without keys: git config --global include.path FILE",
        ),
    )


_SIGNING = b"""\
[gpg]
\tformat = x509
[gpg "x509"]
\tprogram = gitsign
[commit]
\tgpgSign = true
[tag]
\tgpgSign = true
"""


def _public(rules: RuleSet, name: str) -> str:
    """Return ``TYPE BASE64 NAME`` of an SSH key: its comment is anybody's text and goes."""
    match = _PUBLIC.match(rules.keys[name].data)
    assert match is not None  # noqa: S101 - policy.rules.material took it for an SSH key
    return f"{match[1].decode()} {match[2].decode()} {name}"


def _signer(rules: RuleSet, settings: GitSettings, name: str, ends: datetime | None) -> str:
    principals = ",".join(settings.principals.get(name, ("*",)))
    options = 'namespaces="git"'
    if ends is not None:
        options += f',valid-before="{ends.astimezone(UTC):%Y%m%d%H%M%SZ}"'
    return f"{principals} {options} {_public(rules, name)}"


def _lines(lines: Iterable[str]) -> bytes:
    return "".join(f"{line}\n" for line in dict.fromkeys(lines)).encode()


def _config(place: str) -> bytes:
    """Return an include file: SSH signatures by the lists, and no trust in anything else."""
    return f"""\
[gpg]
\tminTrustLevel = fully
\tprogram = false
[gpg "openpgp"]
\tprogram = false
[gpg "ssh"]
\tallowedSignersFile = {place}/allowed_signers
\trevocationFile = {place}/revoked_keys
[gpg "x509"]
\tprogram = false
[merge]
\tverifySignatures = true
""".encode()


def _script(place: str, identities: Iterable[IdentityMatch]) -> str:
    """Return a shell script (POSIX) that is content with every commit or tag named, or fails.

    gitsign looks a tag up by its name below ``refs/tags``, git in other places first.
    """
    keyless = "".join(f" ||\n\t\tkeyless {_flags(one)}" for one in identities)
    return f"""\
#!/bin/sh
# Verifies commits and tags: exits 0 if each of them is signed as the policy says.
set -u

by_ssh() {{
\tgit -c include.path={place}/gitconfig "verify-$kind" "$object" 2>/dev/null
}}

keyless() {{
\tcase $kind in
\ttag) [ "$(git rev-parse --verify --quiet "refs/tags/$name")" = "$object" ] &&
\t\tgitsign verify-tag "$@" -- "$name" ;;
\t*) gitsign verify "$@" -- "$object" ;;
\tesac
}} >/dev/null 2>&1

allowed() {{
\tby_ssh{keyless}
}}

[ $# -gt 0 ] || {{ echo "usage: verify-source COMMIT_OR_TAG..." >&2; exit 2; }}
for name in "$@"; do
\tobject=$(git rev-parse --verify --quiet --end-of-options "$name") &&
\t\tkind=$(git cat-file -t "$object") || {{ echo "$name: no such object" >&2; exit 1; }}
\tcase $kind in
\tcommit | tag) allowed ;;
\t*) false ;;
\tesac || {{ echo "$name: not signed as the policy says" >&2; exit 1; }}
done
"""


def _flags(match: IdentityMatch) -> str:
    """Return gitsign's flags: its regular expressions match anywhere, ours match as a whole."""
    identity, issuer = (f"^(?:{text})$" for text in (match.identity, match.issuer))
    return (
        f"--certificate-identity-regexp={shlex.quote(identity)} "
        f"--certificate-oidc-issuer-regexp={shlex.quote(issuer)}"
    )


COMPILER = GitCompiler()
