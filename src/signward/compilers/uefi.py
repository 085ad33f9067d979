"""UEFI Secure Boot: db, dbx, KEK and PK as signature lists, and shim's SBAT level.

Spec: UEFI 2.10, 32.4 and 32.5; SBAT.md of shim.  A boot program starts if its Authenticode
digest or a certificate of its path is in db and neither is in dbx, which beats db as our
denials do.  Validity dates count for nothing there, and nothing but digests and certificates is
looked at.

Written are whole lists: signed they become updates (``signward policy seal``).  db, KEK and PK
are written only where the policy or the settings put something into them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated

import msgspec

from signward.compilers import Compiled, File, Towards
from signward.compilers._linux import LOSSES, certificate_named, digests_of, less_spared
from signward.compilers._lossy import Ledger
from signward.errors import PolicyError
from signward.policy.rules.model import (
    Action,
    Guid,
    KeyKind,
    Material,
    Name,
    PublisherMatch,
    Rule,
    RuleSet,
    Strict,
)
from signward.policy.rules.precedence import is_authority
from signward.wire.siglist import (
    SHA256,
    X509,
    X509_SHA256,
    X509_SHA384,
    X509_SHA512,
    Entry,
    revoked_tbs,
    write_lists,
)

GOVERNS = frozenset({"firmware"})

_LOST = ("publisher", "identity", "signers", "product", "digest", "path", "origin", "catalog",
         "hosts", "key", "audit", "exception", "expiry", "monitor", "requirement-timestamp",
         "requirement-revocation", "requirement-algorithm", "requirement-log",
         "requirement-age")  # fmt: skip
_TBS = {"sha256": X509_SHA256, "sha384": X509_SHA384, "sha512": X509_SHA512}

Component = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._-]{1,64}\Z")]


class Settings(Strict, frozen=True, kw_only=True):
    """``[targets.uefi]``.

    ``owner`` is the GUID noted with every entry, the policy's own by default.  ``pk`` and ``kek``
    are names of ``[keys]``.  ``sbat`` maps components to the least generation that starts,
    ``sbat_date`` is the day of that list, YYYYMMDDNN.
    """

    owner: Guid = ""
    pk: Name | None = None
    kek: tuple[Name, ...] = ()
    sbat: dict[Component, Annotated[int, msgspec.Meta(ge=1, le=65535)]] = msgspec.field(
        default_factory=dict
    )
    sbat_date: Annotated[str, msgspec.Meta(pattern=r"^([0-9]{10})?\Z")] = ""

    def __post_init__(self) -> None:
        """Refuse generations without a day: shim compares the day first."""
        if bool(self.sbat) != bool(self.sbat_date):
            raise ValueError("sbat and sbat_date belong together")


class Uefi:
    """The compiler."""

    target = "uefi"
    title = "UEFI Secure Boot: db, dbx, KEK, PK, SBAT level"
    spec = "UEFI 2.10 32.4"
    governs = GOVERNS
    losses: Mapping[str, str] = {name: LOSSES[name] for name in _LOST}
    settings = Settings
    checked = ("executed", "OVMF in a virtual machine, by updates and kernels; efitools 1.9.2")

    def compile(self, rules: RuleSet, settings: Settings) -> Compiled:
        """Return the signature lists, and SbatLevel as CSV."""
        ledger = Ledger("UEFI Secure Boot")
        lists: dict[str, list[Entry]] = {"db": [], "dbx": []}
        owner = settings.owner or rules.id
        kept = []
        for rule in ledger.in_turn(rules, GOVERNS):
            found = _entries(ledger, rules, rule, owner)
            lists["dbx" if rule.action is Action.DENY else "db"] += found
            if found:
                kept.append(rule)
        lists |= _own_keys(rules, settings, owner)
        ledger.lose_requirements(rules, kept)
        ledger.lose_expiry(rules)
        ledger.lose_mode(rules)
        return ledger.compiled(_files(lists, settings))


def _entries(ledger: Ledger, rules: RuleSet, rule: Rule, owner: str) -> list[Entry]:
    """Return a rule's entries, none where it is lost."""
    if ledger.lose_fields(rule, ("publisher", "digest")):
        return []
    if rule.publisher and rule.digest:
        ledger.lose_rule("publisher", rule, "an entry is a digest or a certificate, never both")
        return []
    if rule.action is Action.AUDIT:
        ledger.lose("audit", rule.id, LOSSES["audit"], Towards.LOOSER)
    reached = less_spared(ledger, rules, rule) if rule.action is Action.DENY else rule
    if reached is None:
        return []
    if reached.publisher:
        return _of_publisher(ledger, rules, reached, reached.publisher, owner)
    if not reached.digest:
        ledger.lose_rule("publisher", rule, "every entry is a digest or a certificate")
        return []
    return _of_digests(ledger, reached, owner)


def _of_digests(ledger: Ledger, rule: Rule, owner: str) -> list[Entry]:
    values = digests_of(rule, "authenticode:sha256")
    if len(values) != len(rule.digest):
        text = f"{LOSSES['digest']}: entries are SHA-256 of what Authenticode covers"
        ledger.lose_rule("digest", rule, text)
    return [Entry(kind=SHA256, owner=owner, data=bytes.fromhex(value)) for value in values]


def _of_publisher(
    ledger: Ledger, rules: RuleSet, rule: Rule, wanted: PublisherMatch, owner: str
) -> list[Entry]:
    asked = [f for f in wanted.__struct_fields__ if getattr(wanted, f)]
    if asked == ["tbs"] and rule.action is Action.DENY:
        algorithm, _, value = wanted.tbs.partition(":")
        if algorithm in _TBS:
            data = revoked_tbs(bytes.fromhex(value))
            return [Entry(kind=_TBS[algorithm], owner=owner, data=data)]
    if asked not in (["key"], ["certificate"]):
        ledger.lose_rule("publisher", rule, f"{LOSSES['publisher']}: {', '.join(asked)}")
        return []
    material = certificate_named(rules.keys, wanted)
    if material is None:
        ledger.lose_rule("key", rule, "entries are certificates: name one in [keys]")
        return []
    if wanted.certificate and rule.action is not Action.DENY and is_authority(material):
        text = f"{material.name} is a CA's: everything below it would start"
        ledger.lose_rule("publisher", rule, text)
        return []
    return [Entry(kind=X509, owner=owner, data=material.der)]


def _own_keys(rules: RuleSet, settings: Settings, owner: str) -> dict[str, list[Entry]]:
    names = {"PK": (settings.pk,) if settings.pk else (), "KEK": settings.kek}
    return {
        variable: [
            Entry(kind=X509, owner=owner, data=_certificate(rules.keys, name).der)
            for name in wanted
        ]
        for variable, wanted in names.items()
    }


def _certificate(keys: Mapping[str, Material], name: str) -> Material:
    found = keys.get(name)
    if found is None or found.kind is not KeyKind.CERTIFICATE:
        raise PolicyError("targets.uefi", f"key {name!r}", "a certificate named in [keys]")
    return found


_DEPLOY = {
    "db": "sign it with the KEK's key: replaces every program that may start, test it first",
    "dbx": "sign it with the KEK's key, as an append: added to what is revoked already",
    "KEK": "sign it with the PK's key: replaces who may write db and dbx",
    "PK": "sign it with its own key: the platform's owner, last of all in setup mode",
}
_SBAT = "the SbatLevel of shim's revocations_sbat.efi: older generations start no more"


def _files(lists: Mapping[str, list[Entry]], settings: Settings) -> Iterator[File]:
    for variable, entries in lists.items():
        once = tuple(dict.fromkeys((e.kind, e.owner, e.data) for e in entries))
        if once:
            content = write_lists(Entry(kind=k, owner=o, data=d) for k, o, d in once)
            yield File(name=f"{variable}.esl", content=content, deploy=_DEPLOY[variable])
    if settings.sbat:
        lines = [f"sbat,1,{settings.sbat_date}"]
        lines += [f"{name},{least}" for name, least in sorted(settings.sbat.items())]
        content = "".join(f"{line}\n" for line in lines).encode()
        yield File(name="SbatLevel.csv", content=content, deploy=_SBAT)


COMPILER = Uefi()
