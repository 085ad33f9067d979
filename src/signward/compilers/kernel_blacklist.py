"""The kernel's .blacklist keyring: certificates and files that never count, whoever signed them.

Spec: certs/blacklist.c and certs/system_keyring.c of Linux, CONFIG_SYSTEM_BLACKLIST_HASH_LIST.
An entry is a description: ``tbs:`` and the digest of a TBSCertificate stops everything signed by
it or below it; ``bin:`` and a digest stops a file: a kernel for kexec by its Authenticode digest, a
file that IMA appraises by that of the whole file (Linux 6.7; of a module with an appended
signature the kernel hashes what stands before it).  What is not listed it does not stop.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

from signward.compilers import Compiled, File, Towards
from signward.compilers._linux import LOSSES, certificate_named, less_spared
from signward.compilers._lossy import Ledger
from signward.policy.rules.model import Action, PublisherMatch, Rule, RuleSet, Strict
from signward.trust.x509 import load_certificate

GOVERNS = frozenset({"executable", "library", "kernel-module", "firmware"})

_LOST = ("publisher", "identity", "signers", "product", "digest", "path", "origin", "catalog",
         "wider-kind", "hosts", "key", "exception", "expiry", "monitor")  # fmt: skip
_FORMS = ("file", "authenticode")
_ALGORITHMS = frozenset({"sha256", "sha384", "sha512"})


class Settings(Strict, frozen=True, kw_only=True):
    """``[targets.kernel-blacklist]`` has no settings."""


class KernelBlacklist:
    """The compiler."""

    target = "kernel-blacklist"
    title = "the Linux kernel's .blacklist keyring: certificates and files denied"
    spec = "Linux certs/blacklist.c"
    governs = GOVERNS
    losses: Mapping[str, str] = {
        **{name: LOSSES[name] for name in _LOST},
        "allow": "it lets run whatever it does not list",
    }
    settings = Settings
    checked = ("parsed", "entries equal to those Linux 6.12 makes of dbx; signatures by OpenSSL")

    def compile(self, rules: RuleSet, _settings: Settings) -> Compiled:
        """Return the entries, a line each, and the list that a kernel is built with."""
        ledger = Ledger("the kernel's blacklist")
        entries: dict[str, None] = {}
        for rule in ledger.in_turn(rules, GOVERNS):
            if rule.action is Action.DENY:
                entries |= dict.fromkeys(_entries(ledger, rules, rule))
            else:
                ledger.lose("allow", "", self.losses["allow"], Towards.LOOSER)
        ledger.lose_expiry(rules)
        if entries:
            ledger.lose_mode(rules)
        return ledger.compiled(_files(tuple(entries)))


def _entries(ledger: Ledger, rules: RuleSet, rule: Rule) -> Iterator[str]:
    """Yield a deny rule's descriptions, none where it is lost."""
    if ledger.lose_fields(rule, ("publisher", "digest")):
        return
    if bool(rule.publisher) is bool(rule.digest):
        ledger.lose_rule("publisher", rule, "an entry is one digest: of a file or a certificate")
        return
    reached = less_spared(ledger, rules, rule)
    if reached is None:
        return
    if reached.publisher:
        if rule.kind and not set(rule.kind) >= GOVERNS:
            ledger.widen_kinds(rule, GOVERNS - set(rule.kind))
        yield from _of_publisher(ledger, rules, reached, reached.publisher)
    for text in reached.digest:
        form, algorithm, value = text.split(":")
        if form in _FORMS and algorithm in _ALGORITHMS:
            yield f"bin:{value}"
        else:
            ledger.lose_rule("digest", rule, f"{LOSSES['digest']}: {form}:{algorithm}")


def _of_publisher(
    ledger: Ledger, rules: RuleSet, rule: Rule, wanted: PublisherMatch
) -> Iterator[str]:
    asked = [f for f in wanted.__struct_fields__ if getattr(wanted, f)]
    if asked == ["tbs"]:
        yield f"tbs:{wanted.tbs.partition(':')[2]}"
        return
    if asked not in (["key"], ["certificate"]):
        ledger.lose_rule("publisher", rule, f"{LOSSES['publisher']}: {', '.join(asked)}")
        return
    material = certificate_named(rules.keys, wanted)
    digest = load_certificate(material.der).signature_algorithm.digest if material else ""
    if material is None or not digest:
        ledger.lose_rule("key", rule, "an entry is made of a certificate: name one in [keys]")
        return
    tbs = load_certificate(material.der).tbs
    yield f"tbs:{hashlib.new(digest, tbs, usedforsecurity=False).hexdigest()}"


def _files(entries: tuple[str, ...]) -> Iterator[File]:
    yield File(
        name="blacklist.txt",
        content="".join(f"{entry}\n" for entry in entries).encode(),
        deploy="a running kernel takes each entry signed by a key it was built with: "
        'signward policy seal --form blacklist, then keyctl padd blacklist "ENTRY" '
        "%:.blacklist < ENTRY.p7s",
    )
    yield File(
        name="blacklist-hashes",
        content=",\n".join(f'"{entry}"' for entry in entries).encode() + b"\n" * bool(entries),
        deploy="CONFIG_SYSTEM_BLACKLIST_HASH_LIST of a kernel that is built with it",
    )


COMPILER = KernelBlacklist()
